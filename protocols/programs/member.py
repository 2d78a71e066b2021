"""A committee member's part: keys and inputs in, one vote for a start, layers, output shares out.

States of one generation: GATHERING -> VOTED (at most one start, stored before the ballot leaves) ->
COMPUTING (against a certificate only) -> RELEASED (shares of the outputs, to their recipients only).
A substitute begins with the generation that seats it; its registers are handed over (`handing`).
"""

from __future__ import annotations

from protocols.arithmetic.xof import derive
from protocols.circuits.graph import Graph
from protocols.errors import LocalMisuse, MalformedMessage, MeshError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.programs import questions, renouncing, results, start
from protocols.programs.computing import Computing, Registers
from protocols.programs.gathering import Gathering
from protocols.programs.handing import Handing
from protocols.programs.messages import (
    FIRST,
    Attempt,
    Failed,
    InputPart,
    KeyPart,
    Layer,
    Mark,
    Recount,
    RecoveryPart,
    Reseat,
    Start,
    StartCertificate,
    StartProposal,
    StartVote,
)
from protocols.programs.plan import Limits, ProgramPlan, point_of
from protocols.programs.questions import Compiled, Roster
from protocols.programs.records import AttemptTaken, OutputReleased, StartVoted
from protocols.programs.seating import Seating
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sharing.prss import SetKeys

MAX_EARLY = 256
FORM_BYTES = 128
"""Of one register's number and shape in a summand, and then some."""


class Member:
    """One party's seat, in whatever generation it has one."""

    def __init__(
        self, plan: ProgramPlan, keys: PartyKeys, seed: bytes, limits: Limits | None, graph: Graph | None
    ) -> None:
        """`limits`: this node's own, beside the plan's; `graph`: the job's own program, if it names one."""
        self.plan = plan
        self.keys = keys
        self.gathering: Gathering | None = None
        self.computing: Computing | None = None
        self.start: Start | None = None
        self.first: StartCertificate | None = None
        self.certificate: StartCertificate | None = None
        self.program: Compiled | None = None
        self.lost: frozenset[PartyId] = frozenset()
        self.failure: tuple[str, str] | None = None
        self.released: set[tuple[int, int]] = set()
        self._seed = seed
        self._limits = limits
        self._graph = graph
        self._votes: dict[int, Digest] = {}
        self._early: list[tuple[PartyId, Layer]] = []
        self._handing = Handing(plan, keys, seed)
        self._seating = Seating(plan, keys.party)

    def begin(self) -> list[Effect]:
        """Take a seat of the first generation, if we have one."""
        if point_of(self.plan.seats, self.keys.party) is None:
            return []
        self.gathering = Gathering(self.plan, self.keys, self._seed, 0, self.plan.seats)
        return self.gathering.start()

    # -- the contract of a role -----------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When a silent member is reported."""
        return self.computing.deadline if self.computing else None

    def expire(self, now: float) -> list[Effect]:
        """A layer took longer than the plan's patience."""
        if self.computing is None or self.deadline is None or now < self.deadline:
            return []
        return [Send(self.plan.initiator, self.computing.complain())]

    def lose(self, lost: frozenset[PartyId]) -> list[Effect]:
        """Do not wait for these; report at once when one of them is of our quorum."""
        self.lost = lost
        self._seating.lose(lost)
        effects = self.gathering.report(lost) if self.gathering and self.start is None else []
        computing = self.computing
        if computing is None or computing.finished or computing.frozen:
            return effects
        gone = [point for point in computing.missing() if computing.seats[point - 1].party in lost]
        return [*effects, Send(self.plan.initiator, computing.complain())] if gone else effects

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """One message. Raises ProtocolError; the state is then unchanged."""
        match message:
            case KeyPart() | InputPart():
                return self._on_dealing(sender, message)
            case StartProposal():
                return self._on_proposal(sender, message.start)
            case StartCertificate():
                return self._on_certificate(now, message)
            case Reseat():
                return self._on_reseat(sender, message)
            case RecoveryPart():
                return self._on_recovery(now, sender, message)
            case Attempt():
                return self._on_attempt(now, sender, message)
            case Layer():
                return self._on_layer(now, sender, message)
            case Recount():
                return self._on_recount(sender, message)
        raise UnexpectedMessage(f"a member takes no {type(message).__name__}")

    # -- dealings and the start -----------------------------------------------------------------------

    def _on_dealing(self, sender: PartyId, message: KeyPart | InputPart) -> list[Effect]:
        gathering = self.gathering
        if gathering is None:
            raise UnexpectedMessage("a dealing for a seat we do not hold")
        effects: list[Effect] = []
        if isinstance(message, KeyPart):
            if message.dealing.generation != gathering.generation:
                raise UnexpectedMessage("keys of another generation")
            gathering.on_keys(sender, message)
        else:
            effects = gathering.on_input(sender, message)
            effects += self._check_width(sender)
        return [*effects, *gathering.report(self.lost)]

    def _check_width(self, owner: PartyId) -> list[Effect]:
        """An owner that dealt another number of values than its rows make has dealt nothing."""
        assert self.gathering is not None
        held = self.gathering.inputs.get(owner)
        if held is None:
            return []
        place = self.plan.owners.index(owner)
        wanted = questions.width_of(self.plan.job, held[0].rows, place, self._graph)
        if held[1].shape[1] == wanted:
            return []
        self.gathering.drop(owner)
        fault = f"dealt {held[1].shape[1]} numbers where its rows make {wanted}"
        return [Publish(events.Named(owner, fault, proven=False))]

    def compiled(self, start_: Start) -> Compiled:
        """The program of a start. Raises LocalMisuse when it cannot be, or exceeds the limits."""
        if self.program is not None and self.program.graph.digest() == start_.graph:
            return self.program  # and not that of another roster, which we alone were proposed
        places = tuple(self.plan.owners.index(entry.dealer) for entry in start_.inputs)
        roster = Roster(places, tuple(entry.rows for entry in start_.inputs))
        program, found = questions.affordable(self.plan, roster, self._graph, self._limits)
        self._handing.most_bytes = found.working_set_bytes + FORM_BYTES * len(program.lowered.program.steps)
        return program

    def _on_proposal(self, sender: PartyId, proposed: Start) -> list[Effect]:
        gathering = self.gathering
        if sender != self.plan.initiator or gathering is None:
            raise UnexpectedMessage("a proposal of somebody who may not, or without our seat")
        if proposed.generation != gathering.generation or proposed.seats != gathering.seats:
            raise UnexpectedMessage("a proposal for another generation")
        start.check_start(self.plan, proposed, self.first.start if self.first else None)
        if not gathering.holds(proposed):
            raise UnexpectedMessage("a proposal counts what we do not hold")
        subject = start.start_digest(self.plan.session, proposed)
        voted = self._votes.get(proposed.generation, subject)
        if voted == renouncing.subject(self.plan):
            raise UnexpectedMessage("a proposal after we were told that there is none")
        if voted != subject:
            raise MalformedMessage("two starts are proposed for one generation", blame=sender)
        try:
            program = self.compiled(proposed)
        except LocalMisuse as error:
            return self._fail(error)
        if program.graph.digest() != proposed.graph:
            raise MalformedMessage("the proposed graph is not the job's", blame=sender)
        self.program = program
        self._votes[proposed.generation] = subject
        ballot = start.cast(self.keys, gathering.point - 1, subject)
        vote = StartVote(proposed.generation, subject, ballot)
        return [Persist(StartVoted(proposed.generation, subject)), Send(sender, vote)]

    def renounce(self) -> list[Effect]:
        """The session is over before we voted: let the owners know that it stays so."""
        point = point_of(self.plan.seats, self.keys.party)
        if point is None or self._votes or self.first is not None:
            return []
        subject = self._votes[0] = renouncing.subject(self.plan)
        ballot = renouncing.ballot(self.keys, self.plan, point - 1)
        return [Persist(StartVoted(0, subject)), Broadcast(self.plan.owners, ballot)]

    def _fail(self, error: MeshError) -> list[Effect]:
        self.failure = (error.code, str(error.args[0])[:500])
        return [Send(self.plan.initiator, Failed(error.code[:8], self.failure[1]))]

    def _on_certificate(self, now: float, certificate: StartCertificate) -> list[Effect]:
        started = certificate.start
        if self.gathering is None or started.generation != self.gathering.generation:
            raise UnexpectedMessage("a start of another generation")
        if started.seats != self.gathering.seats:
            raise UnexpectedMessage("a start of other seats than we were told")
        if self.start is not None and self.start.generation >= started.generation:
            return []
        start.check_certificate(self.plan, certificate)
        if not self.gathering.holds(started):
            raise UnexpectedMessage("a start counts what we do not hold: the others go on without us")
        try:
            self.program = self.compiled(started)
        except LocalMisuse as error:
            raise UnexpectedMessage(f"we cannot compute this program: {error.args[0]}") from None
        before, self.start, self.certificate = self.computing, started, certificate
        self.computing = self._computing(started, self.gathering.set_keys(started))
        if started.generation == 0:
            self.first = certificate
            shares = [self.gathering.inputs[entry.dealer][1] for entry in started.inputs]
            self.computing.marks[FIRST] = questions.registers_of(self.program, shares)
            self.gathering.inputs.clear()
        elif before is not None:
            self.computing.marks.update(before.marks)
        return self._attempt(now, started.attempt, before)

    def _computing(self, started: Start, keys: SetKeys) -> Computing:
        assert self.program is not None
        name = start.start_digest(self.plan.session, started)
        private = derive(self._seed, "coppice/programs/private/1", bytes([started.generation]))
        return Computing(self.plan, started.seats, keys, self.program, name, started.generation, private)

    def restore(
        self,
        first: StartCertificate,
        certificate: StartCertificate,
        keys: SetKeys,
        marks: dict[Mark, Registers],
        attempt: Attempt,
        released: set[tuple[int, int]],
        votes: dict[int, Digest],
    ) -> None:
        """Be as we were kept: idle, with these marks, after this attempt. See `keeping`."""
        started = certificate.start
        self.first, self.certificate, self.start = first, certificate, started
        self.program = self.compiled(started)
        self.gathering = Gathering(self.plan, self.keys, self._seed, started.generation, started.seats)
        self.computing = self._computing(started, keys)
        self.computing.marks.update(marks)
        self.computing.attempt = attempt
        self.released = released
        self._seating.resume(started.seats)
        self._votes = votes

    def _attempt(self, now: float, attempt: Attempt, before: Computing | None = None) -> list[Effect]:
        """Begin; hand the mark to fresh members as a helper, under the keys of the generation `before`."""
        computing = self.computing
        assert computing is not None
        effects: list[Effect] = [
            Persist(AttemptTaken(attempt.generation, attempt.number)),
            *computing.begin(now, attempt),
        ]
        if computing.point in attempt.helpers and attempt.mark in computing.marks:
            held = (before or computing).keys
            registers = computing.marks[attempt.mark]
            effects += self._handing.give(held, computing.seats, attempt, registers, computing.label(attempt))
        effects += self._handed(now)
        early, self._early = self._early, []
        for sender, layer in early:
            try:
                effects += computing.on_layer(now, sender, layer)
            except (MalformedMessage, UnexpectedMessage):
                continue
        return [*effects, *self._release()]

    # -- computing ------------------------------------------------------------------------------------

    def _on_layer(self, now: float, sender: PartyId, message: Layer) -> list[Effect]:
        if self.computing is None:
            seated = self.gathering is not None and point_of(self.gathering.seats, sender) is not None
            if not seated or sum(other == sender for other, _ in self._early) >= MAX_EARLY // self.plan.size:
                raise UnexpectedMessage("a vector before its start")
            self._early.append((sender, message))
            return []
        effects = self.computing.on_layer(now, sender, message)
        return [*effects, *self._stopped(), *self._release()]

    def _stopped(self) -> list[Effect]:
        """A deviation was seen: say so once; nothing more leaves this member."""
        computing = self.computing
        if computing is None or computing.deviation is None or self.failure is not None:
            return []
        return self._fail(computing.deviation)

    def _on_attempt(self, now: float, sender: PartyId, message: Attempt) -> list[Effect]:
        if sender != self.plan.initiator or self.computing is None:
            raise UnexpectedMessage("an attempt that is not ours to begin")
        if message.generation != self.computing.generation:
            raise UnexpectedMessage("an attempt of another generation")
        start.check_attempt(self.plan, message)
        return self._attempt(now, message)

    def _on_recount(self, sender: PartyId, message: Recount) -> list[Effect]:
        if sender != self.plan.initiator or self.computing is None:
            raise UnexpectedMessage("a recount that we have no part in")
        current = self.computing.attempt
        if current is not None and current.number == message.attempt:
            self.computing.freeze()
        return [Send(sender, self.computing.standing(told=True)), *self._released_to(sender)]

    def _release(self) -> list[Effect]:
        """Shares of the outputs, once for each attempt that we finished."""
        computing = self.computing
        if computing is None or not computing.finished or self.program is None:
            return []
        assert computing.attempt is not None
        place = (computing.generation, computing.attempt.number)
        if place in self.released:
            return []
        self.released.add(place)
        sent = results.shared(self.keys, self.plan, self.program, computing.outputs, place, self._seed)
        record = Persist(OutputReleased(*place))
        return [record, *(Send(seat.party, message) for seat, message in sent),
                Send(self.plan.initiator, computing.standing())]  # fmt: skip

    def _released_to(self, recipient: PartyId) -> list[Effect]:
        """Our shares of the outputs once more, for one that may have come back without them."""
        computing = self.computing
        if computing is None or not computing.finished or self.program is None or computing.attempt is None:
            return []
        place = (computing.generation, computing.attempt.number)
        if place not in self.released:
            return []
        sent = results.shared(self.keys, self.plan, self.program, computing.outputs, place, self._seed)
        return [Send(seat.party, message) for seat, message in sent if seat.party == recipient]

    # -- another generation -----------------------------------------------------------------------------

    def _on_reseat(self, sender: PartyId, message: Reseat) -> list[Effect]:
        if sender != self.plan.initiator:
            raise UnexpectedMessage("seats are given by the initiator")
        if self.gathering is not None and message.generation <= self.gathering.generation:
            return self._tell_again(message)
        start.check_certificate(self.plan, message.first)
        if message.first.start.generation:
            raise MalformedMessage("a reseating rests on the first start", blame=sender)
        start.check_seats(self.plan, message.seats)
        self._seating.change(message.seats, message.first)
        self.first = message.first
        if point_of(message.seats, self.keys.party) is None:
            self.gathering = None
            return []
        if self.computing is not None:
            self.computing.freeze()
        self.gathering = Gathering(self.plan, self.keys, self._seed, message.generation, message.seats)
        return [*self.gathering.start(), *self.gathering.report(self.lost)]

    def _tell_again(self, message: Reseat) -> list[Effect]:
        """Somebody came back and missed our keys: the same ones again, until the generation has its start."""
        gathering = self.gathering
        started = -1 if self.start is None else self.start.generation
        if gathering is None or not started < message.generation == gathering.generation:
            return []
        return [*gathering.start(), Send(self.plan.initiator, gathering.holding())]

    def _on_recovery(self, now: float, sender: PartyId, message: RecoveryPart) -> list[Effect]:
        if self.gathering is None or point_of(self.gathering.seats, sender) is None:
            raise UnexpectedMessage("registers of, or for, somebody without a seat")
        self._handing.take(sender, message)
        return [*self._handed(now), *self._release()]

    def _handed(self, now: float) -> list[Effect]:
        """Go on once every helper's summand is here."""
        computing = self.computing
        if computing is None or not computing.waits or computing.attempt is None:
            return []
        registers = self._handing.taken(computing.attempt, computing.seats)
        return [] if registers is None else computing.recovered(now, registers)
