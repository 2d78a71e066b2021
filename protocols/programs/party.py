"""All roles of one party in one program session, as one machine.

    owner       deals its encoded values to the committee                       (`owner`)
    member      keys, one vote for a start, layers, output shares              (`member`)
    initiator   hands out the plan, proposes, begins attempts                  (`initiator`)
    recipient   decodes what the plan lets it learn                            (`recipient`)

    offer -> keys and inputs -> start certificate -> layers ... -> output shares -> done

Messages that a party sends to itself are handled here and never reach the network.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.arithmetic.rns import Residues
from protocols.circuits.graph import Graph
from protocols.errors import MeshError, ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.programs import start
from protocols.programs.events import Certified, Unopened
from protocols.programs.initiator import Initiator
from protocols.programs.member import Member
from protocols.programs.messages import (
    BadDealing,
    Failed,
    Holding,
    OutputShare,
    ProgramDecline,
    ProgramDone,
    Renounced,
    Standing,
    StartCertificate,
    StartVote,
)
from protocols.programs.owner import Owner
from protocols.programs.plan import Limits, ProgramPlan
from protocols.programs.recipient import ProgramOpened, Recipient
from protocols.programs.records import Coordinated, ProgramBegun
from protocols.programs.renouncing import Renunciations
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import PeersLost

_TO_INITIATOR = (ProgramDecline, Holding, BadDealing, StartVote, Standing, Failed)
INITIATOR_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Finished:
    """Outcome of a party that is not told the outputs. `opened`: the recipients have them."""

    opened: bool
    roster: tuple[PartyId, ...]
    code: str = ""
    reason: str = ""


class ProgramParty:
    """Machine of one party; see the module for the flow. The plan must have been checked and approved."""

    def __init__(
        self,
        plan: ProgramPlan,
        keys: PartyKeys,
        seed: bytes,
        values: tuple[Residues, int] | None = None,
        refusal: str = "no data for this job",
        *,
        limits: Limits | None = None,
        graph: Graph | None = None,
    ) -> None:
        """`values`: (2, L) residues and rows of an owner, or None: decline with `refusal`.

        `limits`: this node's own; `graph`: of a job that names its program by digest.
        """
        self.plan = plan
        self.me = keys.party
        self.keys = keys
        self.outcome: ProgramOpened | Finished | events.Aborted | None = None
        self.lost: frozenset[PartyId] = frozenset()
        self.certificate: StartCertificate | None = None
        self.owner = None if values is None else Owner(plan, keys, values[0], values[1], seed)
        self._refusal = refusal
        self._begun = ProgramBegun(plan, seed, b"" if graph is None else graph.encoded())
        seated = {seat.party for seat in (*plan.seats, *plan.substitutes)}
        self.member = Member(plan, keys, seed, limits, graph) if self.me in seated else None
        self._compiler = self.member or Member(plan, keys, seed, None, graph)
        told = {seat.party for seat in plan.recipients}
        self.recipient = Recipient(plan, keys, seed) if self.me in told else None
        self.initiator = Initiator(plan, graph) if plan.initiator == self.me else None
        self._renunciations = Renunciations(plan)
        self._ends = float("inf")

    # -- the Machine contract -----------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Take up every role the plan gives us."""
        patience = INITIATOR_PATIENCE_S if self.initiator is None else 0.0
        self._ends = now + self.plan.total_ms / 1000 + patience
        effects: list[Effect] = [Persist(self._begun)] if self.member or self.initiator else []
        effects += self.initiator.begin(now) if self.initiator else []
        if self.member is not None:
            effects += self.member.begin()
        if self.owner is not None:
            effects += self.owner.begin()
        elif self.me in self.plan.owners:
            effects.append(Send(self.plan.initiator, ProgramDecline(self._refusal[:500], whole=False)))
        return self._settle(now, effects)

    def resume(
        self, now: float, certificate: StartCertificate | None, last: Coordinated | None = None
    ) -> list[Effect]:
        """Instead of `start`, after a restart: a member that was restored waits for the next attempt.

        `last`: where the asker was, which begins that attempt.
        """
        self._ends = now + self.plan.total_ms / 1000 + INITIATOR_PATIENCE_S
        self.certificate = certificate
        effects: list[Effect] = []
        if certificate is not None and self.me in self.plan.owners:
            effects.append(Publish(Certified(self._roster())))
        if self.recipient is not None and certificate is not None:
            program = self._compiler.compiled(certificate.start)
            effects += self.recipient.started(now, certificate, program)
        if self.initiator is not None:
            effects += self.initiator.resume(now, last)
        return self._settle(now, effects)

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one authenticated message. Raises ProtocolError; the state is then unchanged."""
        return self._settle(now, self._dispatch(now, sender, message))

    def expire(self, now: float) -> list[Effect]:
        """Some role's deadline, or the session's, has passed."""
        effects: list[Effect] = []
        for role in self._roles():
            if role.deadline is not None and role.deadline <= now:
                effects += role.expire(now)
        effects = self._settle(now, effects)
        if self.outcome is None and now >= self._ends:
            effects += self._settle(now, self._give_up())
        return effects

    @property
    def deadline(self) -> float | None:
        """The earliest of all roles' deadlines."""
        if self.outcome is not None:
            return None
        return min([self._ends, *(r.deadline for r in self._roles() if r.deadline is not None)])

    def _roles(self) -> list[Member | Initiator | Recipient]:
        return [role for role in (self.member, self.initiator, self.recipient) if role is not None]

    # -- routing --------------------------------------------------------------------------------------

    def _settle(self, now: float, effects: Sequence[Effect]) -> list[Effect]:
        """Deliver our own messages to ourselves until nothing moves."""
        out: list[Effect] = []
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            if isinstance(effect, Send) and effect.to == self.me:
                queue.extend(self._own(now, effect.message))
            elif isinstance(effect, Broadcast) and self.me in effect.to:
                others = tuple(party for party in effect.to if party != self.me)
                if others:
                    out.append(Broadcast(others, effect.message))
                queue.extend(self._own(now, effect.message))
            else:
                out.append(effect)
            if not queue:
                queue.extend(self._conclude())
        return out

    def _own(self, now: float, message: object) -> list[Effect]:
        try:
            return self._dispatch(now, self.me, message)
        except ProtocolError:
            return []  # we do not blame ourselves, and what we say to others must not be lost with it

    def _dispatch(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        if isinstance(message, PeersLost):
            return self._lose(now, frozenset(message.parties) - {self.me})
        if isinstance(message, StartCertificate):
            return self._on_certificate(now, sender, message)
        if isinstance(message, Renounced):
            return self._on_renounced(sender, message)
        if isinstance(message, OutputShare):
            if self.recipient is None:
                raise UnexpectedMessage("output shares for somebody who is told nothing")
            return self.recipient.receive(now, sender, message)
        if isinstance(message, ProgramDone) and not (self.initiator and sender != self.me):
            return self._on_done(now, sender, message)
        if isinstance(message, (*_TO_INITIATOR, ProgramDone)):
            if self.initiator is None:
                raise UnexpectedMessage("a message for the initiator")
            return self.initiator.receive(now, sender, message)
        if self.member is None:
            raise UnexpectedMessage(f"no role here takes {type(message).__name__}")
        return self.member.receive(now, sender, message)

    def _lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        returned, self.lost = self.lost - lost, lost
        effects: list[Effect] = []
        if self.initiator is not None:
            effects += self.initiator.lose(now, lost)
        if self.member is not None:
            effects += self.member.lose(lost)
        if self.owner is not None and self.certificate is None:
            for party in sorted(returned):
                effects += self.owner.again(party)
        return effects

    def _on_certificate(self, now: float, sender: PartyId, message: StartCertificate) -> list[Effect]:
        start.check_certificate(self.plan, message)
        effects: list[Effect] = []
        if self.certificate is None:
            self.certificate = message
            if self.me in self.plan.owners:
                effects.append(Publish(Certified(self._roster())))
        if self.recipient is not None:
            try:
                program = self._compiler.compiled(message.start)
            except MeshError as error:
                raise UnexpectedMessage(f"we cannot read this program: {error.args[0]}") from None
            effects += self.recipient.started(now, message, program)
        if self.member is not None:
            try:
                effects += self.member.receive(now, sender, message)
            except UnexpectedMessage:
                if self.recipient is None and not effects:
                    raise
        return effects

    # -- the end ------------------------------------------------------------------------------------

    def _on_done(self, now: float, sender: PartyId, message: ProgramDone) -> list[Effect]:
        if sender == self.me and self.initiator is not None:
            return self.initiator.receive(now, sender, message)
        if sender != self.plan.initiator:
            raise UnexpectedMessage("the end is told by the initiator")
        if self.outcome is None and not (message.opened and self.recipient is not None):
            self.outcome = Finished(message.opened, self._roster(), message.code, message.reason)
            return [*([] if message.opened else self._renounced()), Publish(self.outcome)]
        return []

    def _renounced(self) -> list[Effect]:
        return self.member.renounce() if self.member else []

    def _on_renounced(self, sender: PartyId, message: Renounced) -> list[Effect]:
        if self.me not in self.plan.owners or self._renunciations.complete:
            raise UnexpectedMessage("a ballot that we have no use for")
        self._renunciations.take(sender, message)
        return [Publish(Unopened())] if self._renunciations.complete else []

    @property
    def unopened(self) -> bool:
        """Whether it is proven to us that nothing is ever opened."""
        return self._renunciations.complete

    def _roster(self) -> tuple[PartyId, ...]:
        return () if self.certificate is None else tuple(e.dealer for e in self.certificate.start.inputs)

    def _conclude(self) -> list[Effect]:
        """What the roles have come to."""
        if self.outcome is not None:
            return []
        if self.recipient is not None and self.recipient.opened is not None:
            self.outcome = self.recipient.opened
            return [Send(self.plan.initiator, ProgramDone(True, "", ""))]
        if self.initiator is not None and self.initiator.aborted is not None:
            self.outcome = self.initiator.aborted
            return [*self._renounced(), Publish(self.outcome)]
        if self.initiator is not None and self.recipient is None and self.initiator.phase == "over":
            self.outcome = Finished(True, self._roster())
            return [Publish(self.outcome)]
        return []

    def _give_up(self) -> list[Effect]:
        """The session's time is over."""
        seconds = self.plan.total_ms / 1000
        reason = f"no result within {seconds:g} s"
        effects: list[Effect] = []
        if self.initiator is not None and self.initiator.aborted is None:
            phase = self.initiator.phase
            effects += self.initiator.abort("C-303", f"{reason} (while {phase})")
            self.outcome = self.initiator.aborted
        else:
            self.outcome = events.Aborted("C-303", reason, definite=False)
        return [*effects, *self._renounced(), Publish(self.outcome)]
