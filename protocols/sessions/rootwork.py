"""What only the root does with its sum: refill the committee if a member left, open, hand on the result.

Keeps the chain of generations. A member with a share of the sum opens at once if nobody is lost; with a
seat vacant and a substitute at hand it waits HANDOVER_WAIT_S for the handover, then opens with whom there
is. Whoever sees another member open in its generation joins in: the handover has become pointless.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from protocols.errors import ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Effect
from protocols.sessions.adder import Adder
from protocols.sessions.assembly import Assembly, first_generation
from protocols.sessions.collecting import Member
from protocols.sessions.handover import (
    HANDOVER_WAIT_S,
    HandoverProposer,
    HandoverVoter,
    check_handover,
    replay,
    successor_seats,
)
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    HandoverCertificate,
    HandoverProposal,
    HandoverVote,
    OpeningShare,
    Result,
    ResultVote,
)
from protocols.sessions.opening import Opening
from protocols.sessions.plan import Plan

HOPELESS_S = 3.0
"""How long the root waits for lost members to come back before it gives up for lack of a quorum."""
MAX_EARLY = 64


class RootWork:
    """The root's part of one party; idle in parties that do not sit there."""

    def __init__(self, plan: Plan, keys: PartyKeys, seed: bytes) -> None:
        self.plan = plan
        self.keys = keys
        self.generations: list[Assembly] = [first_generation(plan, plan.root)]
        self.handovers: list[HandoverCertificate] = []
        self.opening: Opening | None = None
        self.released = False
        self.closed = False
        self.lost: frozenset[PartyId] = frozenset()
        self._seed = seed
        self._waiting: tuple[float, Member] | None = None
        self._voters: dict[int, HandoverVoter] = {}
        self._proposers: dict[int, HandoverProposer] = {}
        self._early: deque[tuple[PartyId, OpeningShare | ResultVote]] = deque(maxlen=MAX_EARLY)
        self._hopeless_since: float | None = None

    # -- state that others ask for ------------------------------------------------------------------

    @property
    def assembly(self) -> Assembly:
        """The latest generation."""
        return self.generations[-1]

    @property
    def result(self) -> Result | None:
        """The result, once t+1 members vouch for what we opened."""
        return self.opening.result if self.opening else None

    @property
    def failure(self) -> str | None:
        """Why the opening cannot succeed."""
        return self.opening.failure if self.opening else None

    @property
    def deadline(self) -> float | None:
        """End of a wait for a handover, of the opening's grace, or of hope."""
        ends = []
        if self._waiting is not None:
            ends.append(self._waiting[0])
        if self.opening is not None and self.opening.deadline is not None:
            ends.append(self.opening.deadline)
        if self._hopeless_since is not None and not self.closed:
            ends.append(self._hopeless_since + HOPELESS_S)
        return min(ends, default=None)

    def successor_of(self, generation: int) -> Assembly | None:
        """The generation after `generation`, if there was a handover."""
        return self.generations[generation + 1] if generation + 1 < len(self.generations) else None

    def replay(self, handovers: tuple[HandoverCertificate, ...]) -> Assembly:
        """The generation that a result's chain of handovers leads to. Raises MalformedMessage."""
        return replay(self.plan, self.plan.root, handovers)

    def everybody(self) -> tuple[PartyId, ...]:
        """Members of all generations."""
        return tuple(dict.fromkeys(party for assembly in self.generations for party in assembly.members))

    def speaks_first(self, lost: frozenset[PartyId]) -> bool:
        """Whether we are the live root member that hands the result down."""
        return next((m for m in self.assembly.members if m not in lost), None) == self.keys.party

    # -- inputs -------------------------------------------------------------------------------------

    def summed(self, now: float, member: Member) -> list[Effect]:
        """Our share of the root sum exists: open it, or wait for a substitute to be seated."""
        if self.opening is not None or member.assembly.generation != self.assembly.generation:
            return []
        if self._waiting is None and successor_seats(self.assembly, self.lost) is not None:
            self._waiting = (now + HANDOVER_WAIT_S, member)
        if self._waiting is not None and now < self._waiting[0] and not self._others_opened():
            return []
        return self._open(now, member)

    def expire(self, now: float) -> list[Effect]:
        """A wait is over."""
        effects: list[Effect] = []
        if self._waiting is not None and now >= self._waiting[0]:
            effects += self._open(now, self._waiting[1])
        if self.opening is not None and self.opening.deadline is not None and now >= self.opening.deadline:
            effects += self.opening.expire(now)
        return effects

    def lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Membership changed."""
        self.lost = lost
        live = [member for member in self.assembly.members if member not in lost]
        if len(live) >= self.assembly.quorum:
            self._hopeless_since = None
        elif self._hopeless_since is None and self.keys.party in self.assembly.members:
            self._hopeless_since = now
        return self.opening.lose(now, lost) if self.opening else []

    def hopeless(self, now: float, members: Mapping[tuple[int, int], Member]) -> bool:
        """Whether no certificate can come any more because too many members are gone for too long."""
        if self._hopeless_since is None or now < self._hopeless_since + HOPELESS_S:
            return False
        mine = members.get((self.assembly.stage, self.assembly.generation))
        return mine is not None and mine.certificate is None

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Opening shares, result ballots and handovers. Raises ProtocolError if unacceptable."""
        match message:
            case OpeningShare() | ResultVote():
                if self.opening is None or message.generation != self.opening.assembly.generation:
                    self._early.append((sender, message))
                    return []
                return self.opening.receive(now, sender, message)
            case HandoverProposal():
                generation = message.handover.generation
                if generation != self.assembly.generation or self.opening is not None or self.closed:
                    raise UnexpectedMessage("no handover is due here")
                voter = self._voters.setdefault(generation, HandoverVoter(self.assembly, self.keys))
                return voter.receive(sender, message, self.lost)
            case HandoverVote():
                proposer = self._proposers.get(message.generation)
                if proposer is None:
                    raise UnexpectedMessage("we proposed no handover")
                return proposer.receive(sender, message)
        raise UnexpectedMessage(f"the root takes no {type(message).__name__}")

    def succeed(self, message: HandoverCertificate) -> Assembly | None:
        """Enter the next generation. None if we are there already. Raises MalformedMessage if it is not certified."""
        if message.handover.generation != self.assembly.generation:
            return None
        self.generations.append(check_handover(self.assembly, message))
        self.handovers.append(message)
        self._waiting = None
        return self.assembly

    def advance(self, now: float, adders: Mapping[tuple[int, int], Adder]) -> list[Effect]:
        """As the root's adder in office: propose a handover once the roster is certified and a seat is vacant."""
        del now
        generation = self.assembly.generation
        adder = adders.get((self.plan.root, generation))
        if adder is None or adder.certificate is None or not adder.in_office or self.opening is not None:
            return []
        proposer = self._proposers.setdefault(generation, HandoverProposer(self.assembly, adder.certificate))
        return proposer.propose(self.lost)

    # -- opening ------------------------------------------------------------------------------------

    def _others_opened(self) -> bool:
        generation = self.assembly.generation
        return any(isinstance(m, OpeningShare) and m.generation == generation for _, m in self._early)

    def _open(self, now: float, member: Member) -> list[Effect]:
        self._waiting = None
        if self.closed or self.opening is not None or member.assembly.generation != self.assembly.generation:
            return []
        assert member.sum is not None
        assert member.certificate is not None
        handovers = tuple(self.handovers)
        self.released = True
        self.opening = Opening(
            self.assembly, self.keys, self._seed, member.certificate, member.sum, handovers
        )
        self.opening.lost = self.lost
        effects = self.opening.start(now)
        early, self._early = list(self._early), deque(maxlen=MAX_EARLY)
        for sender, message in early:
            try:
                effects += self.receive(now, sender, message)
            except ProtocolError:
                continue  # a bad early message must not stop the good ones
        return effects
