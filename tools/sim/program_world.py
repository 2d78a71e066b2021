"""Simulated programs: a committee computes the largest of all owners' values, under crashes, cuts and liars.

The machines are those of `protocols.programs`. Links deliver late, twice or out of order, but lose nothing
while both ends are up and joined (the daemon's transport sends again); a crashed member may come back with
what it kept (`programs.keeping`). In mode P the parties follow the protocol; in mode A one may lie.

    right outputs   what a recipient learns is the largest value over the owners that the start counts
    one start       no two honest parties take different starts for one generation
    one voice       no honest member says two things in one place of one attempt, over all its lives
    blameless       nobody honest is named with proof, or blamed for a message
    ends            every party that is up has an outcome in time; without faults, the outputs
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import traceback
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from protocols.errors import LocalMisuse, MalformedMessage, ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.programs import keeping, questions
from protocols.programs.messages import Layer, ProgramOffer, StartCertificate, StartVote
from protocols.programs.party import ProgramParty
from protocols.programs.plan import Limits, ProgramPlan, check
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from protocols.sessions.messages import PeersLost
from protocols.sessions.plan import Job, Query, Seat
from tools.sim.event_heap import EventHeap
from tools.sim.liars import mutated
from tools.sim.mesh_plan import keys_of, seed_of
from tools.sim.tracing import ending_of

TOTAL_S: Final = 60.0
LIMITS: Final = Limits(10_000, 1 << 34, 1 << 30)
JOB: Final = Job("rows", (Query("maximum", "c", (0.0, 100.0, 0.0)),), 2, "simulation")


@dataclass(frozen=True, slots=True)
class Fall:
    """Member `index` is down from `at_s` to `back_s` (for good if negative); the others notice at once."""

    index: int
    at_s: float
    back_s: float


@dataclass(frozen=True, slots=True)
class ProgramScenario:
    """One program and its faults; party 0 asks."""

    seed: int
    size: tuple[int, int] = (4, 1)
    substitutes: int = 0
    owners: int = 4
    mode: str = "P"
    latency_s: tuple[float, float] = (0.005, 0.02)
    duplicate: float = 0.0
    in_order: bool = True
    falls: tuple[Fall, ...] = ()
    liar: int = -1

    @property
    def faults(self) -> int:
        """How many faults of all kinds it contains."""
        return len(self.falls) + bool(self.duplicate) + (not self.in_order) + (self.liar >= 0)


def draw(seed: int) -> ProgramScenario:
    """The scenario of `seed`."""
    dice = random.Random(seed ^ 0x9406)
    substitutes = dice.choice([0, 1, 2])
    owners = dice.randint(2, 4)
    base = ProgramScenario(seed, substitutes=substitutes, owners=owners, mode=dice.choice("PPA"))
    if dice.random() < 0.1:
        return base
    falls = []
    parties = max(4 + substitutes, owners)
    for index in dice.sample(range(parties), dice.choices([0, 1, 2], [3, 5, 2])[0]):
        at_s = dice.uniform(0.0, 2.5)
        falls.append(Fall(index, at_s, at_s + dice.uniform(0.1, 8.0) if dice.random() < 0.6 else -1.0))
    liar = dice.randrange(1, 4) if base.mode == "A" and dice.random() < 0.5 else -1
    return dataclasses.replace(
        base,
        latency_s=dice.choice([(0.005, 0.02), (0.001, 0.15)]),
        duplicate=dice.choice([0.0, 0.05]),
        in_order=dice.random() < 0.6,
        falls=tuple(fall for fall in falls if fall.index != liar),
        liar=liar,
    )


class ProgramWorld(EventHeap):
    """Runs one scenario; `violations` says what went wrong, `trace` what happened if it was asked for."""

    def __init__(self, scenario: ProgramScenario, tracing: bool = False) -> None:
        super().__init__(tracing)
        self.scenario = scenario
        self.dice = random.Random(scenario.seed ^ 0x94065EED)
        self.restored = 0
        self.down: set[PartyId] = set()
        self.abstains: set[PartyId] = set()
        n, t = scenario.size
        self.keys = [keys_of(i) for i in range(max(n + scenario.substitutes, scenario.owners))]
        self._index = {key.party: index for index, key in enumerate(self.keys)}
        seats = tuple(Seat(key.party, key.sealing_key) for key in self.keys)
        self.values = {
            key.party: [float(self.dice.randrange(100)) for _ in range(1 + i % 2)]
            for i, key in enumerate(self.keys[: scenario.owners])
        }
        self.plan = ProgramPlan(
            Digest(bytes(32)), 1, scenario.seed.to_bytes(8, "big"), self.keys[0].party, JOB, scenario.mode,
            seats[:n], t, seats[n : n + scenario.substitutes], tuple(sorted(self.values)), (seats[0],),
            LIMITS, 2000, 1000, int(TOTAL_S * 1000),
        )  # fmt: skip
        check(self.plan)
        self.machines = {key.party: self._machine(index) for index, key in enumerate(self.keys)}
        self._last: dict[tuple[PartyId, PartyId], float] = {}
        self._disks: dict[PartyId, list[object]] = {}
        self._kept: dict[PartyId, set[Any]] = {}
        self._starts: dict[int, Digest | bytes] = {}
        self._voiced: dict[tuple[Any, ...], bytes] = {}
        for fall in scenario.falls:
            self.at(fall.at_s, self._fall, fall)

    def _machine(self, index: int) -> ProgramParty:
        key = self.keys[index]
        table = self.values.get(key.party)
        values = None if table is None else questions.encoded(JOB, {"c": np.array(table)})
        return ProgramParty(self.plan, key, seed_of(index, f"program {self.scenario.seed}"), values)

    # -- time ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until everybody who is up has ended, or its time is over for long."""
        for party in self.machines:
            if party not in self.down:
                self._call(party, self.machines[party].start, self.now)
        self.play(lambda: TOTAL_S + 15.0)
        if not self.violations:
            self._judge_ends()

    def label(self, party: PartyId) -> str:
        """Short name of a party."""
        return f"p{self._index[party]}"

    def is_honest(self, party: PartyId) -> bool:
        """Whether `party` follows the protocol."""
        return self._index.get(party) != self.scenario.liar

    def digest(self) -> str:
        """Of the trace, the outcomes and the number of messages: equal for equal seeds."""
        lines = [*(self.trace or ()), str(self.messages)]
        lines += [f"{self.label(p)} {type(m.outcome).__name__}" for p, m in self.machines.items()]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    @property
    def ending(self) -> str:
        """How the program ended for who asked."""
        return ending_of(self.machines[self.plan.initiator].outcome)

    # -- falls ---------------------------------------------------------------------------------------

    def _fall(self, fall: Fall) -> None:
        party = self.keys[fall.index].party
        self.note(f"{self.label(party)} crashes")
        self.down.add(party)
        self._spread_news()
        if fall.back_s >= 0:
            self.at(fall.back_s, self._come_back, fall.index)

    def _come_back(self, index: int) -> None:
        party = self.keys[index].party
        self.down.discard(party)
        try:
            machine, effects = keeping.restored(
                self.keys[index], self._disks.get(party, []), self.now, LIMITS
            )
        except LocalMisuse as misuse:
            self.note(f"{self.label(party)} is back and abstains: {misuse}")
            self.abstains.add(party)
        else:
            self.note(f"{self.label(party)} is back with what it kept")
            self.machines[party] = machine
            self.restored += 1
            self._call(party, lambda: effects)
        self._spread_news()

    def _spread_news(self) -> None:
        for party in self.machines:
            self.at(self.now + self.dice.uniform(0.05, 0.4), self._hear_news, party)

    def _hear_news(self, party: PartyId) -> None:
        if party not in self.down | self.abstains:
            lost = PeersLost(tuple(sorted(self.down - {party})))
            self._call(party, self.machines[party].receive, self.now, party, lost)

    # -- messages ------------------------------------------------------------------------------------

    def _post(self, sender: PartyId, to: PartyId, message: Any) -> None:
        if not self.is_honest(sender):
            message = self._bent(message)
        elif self.is_honest(sender):
            self._listen(sender, to, message)
        self.messages += 1
        for _ in range(1 + (self.dice.random() < self.scenario.duplicate)):
            moment = self.now + self.dice.uniform(*self.scenario.latency_s)
            if self.scenario.in_order:
                moment = max(moment, self._last.get((sender, to), 0.0) + 1e-6)
                self._last[sender, to] = moment
            self.at(moment, self._deliver, sender, to, message)

    def _bent(self, message: Any) -> Any:
        """What a liar says: now and then other words, or anything else changed."""
        if isinstance(message, Layer) and message.words.size and self.dice.random() < 0.05:
            words = message.words.copy()
            words[self.dice.randrange(words.size)] ^= np.uint64(1)
            return dataclasses.replace(message, words=words)
        return mutated(message, self.dice) if self.dice.random() < 0.01 else message

    def _deliver(self, sender: PartyId, to: PartyId, message: Any) -> None:
        if to in self.down | self.abstains or sender in self.down or isinstance(message, ProgramOffer):
            return
        if self.trace is not None:
            self.note(f"{self.label(sender)} -> {self.label(to)}  {type(message).KIND}")
        self._call(to, self.machines[to].receive, self.now, sender, message)

    def _listen(self, sender: PartyId, to: PartyId, message: Any) -> None:
        """One voice: what is said in one place of one attempt is said once."""
        place: tuple[Any, ...]
        if isinstance(message, Layer):
            place = (sender, to, "layer", message.attempt, message.layer, message.part)
            content = message.words.tobytes()
        elif isinstance(message, StartVote):
            place, content = (sender, "vote", message.generation), bytes(message.subject)
        else:
            return
        if self._voiced.setdefault(place, content) != content:
            self.complain(f"one voice: {self.label(sender)} contradicts its {type(message).KIND}")

    # -- machines ------------------------------------------------------------------------------------

    def _call(self, party: PartyId, step: Any, *arguments: Any) -> None:
        effects: list[Effect] = []
        try:
            effects = step(*arguments)
        except ProtocolError as error:
            self.note(f"{self.label(party)} refuses: {error}")
            blamed = getattr(error, "blame", None) if isinstance(error, MalformedMessage) else None
            if self.is_honest(party) and blamed is not None and self.is_honest(blamed):
                self.complain(f"blameless: {self.label(blamed)} was blamed: {error}")
        except Exception as error:
            if self.is_honest(party):
                where = traceback.extract_tb(error.__traceback__)[-1]
                spot = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
                self.complain(f"raised: {self.label(party)} {error!r} at {spot}")
        for effect in effects:
            self._carry_out(party, effect)
        machine = self.machines[party]
        kept = keeping.kept(machine, self._kept.setdefault(party, set()))
        self._disks.setdefault(party, []).extend(kept)
        certificate = machine.certificate
        if certificate is not None and self.is_honest(party):
            self._check_start(certificate)
        if machine.deadline is not None:
            self.at(max(machine.deadline, self.now), self._ring, party)

    def _check_start(self, certificate: StartCertificate) -> None:
        first = self._starts.setdefault(certificate.start.generation, repr(certificate.start).encode())
        if first != repr(certificate.start).encode():
            self.complain(f"one start: two of generation {certificate.start.generation}")

    def _ring(self, party: PartyId) -> None:
        due = self.machines[party].deadline
        if party not in self.down | self.abstains and due is not None and due <= self.now:
            self._call(party, self.machines[party].expire, self.now)

    def _carry_out(self, party: PartyId, effect: Effect) -> None:
        match effect:
            case Send():
                self._post(party, effect.to, effect.message)
            case Broadcast():
                for to in effect.to:
                    self._post(party, to, effect.message)
            case Persist():
                self._disks.setdefault(party, []).append(effect.record)
            case Publish():
                self._hear(party, effect.event)

    def _hear(self, party: PartyId, event: object) -> None:
        self.note(f"{self.label(party)} publishes {type(event).__name__}")
        if not self.is_honest(party):
            return
        if isinstance(event, ProgramOpened):
            counted = [value for entry in event.inputs for value in self.values[entry.dealer]]
            if [float(v) for v in event.outputs["maximum"].tolist()] != [max(counted)]:
                self.complain(f"right outputs: {event.outputs} over {counted}")
        elif isinstance(event, events.Named) and event.proven and self.is_honest(event.party):
            self.complain(f"blameless: {self.label(event.party)} was named: {event.fault}")

    def _judge_ends(self) -> None:
        for party, machine in self.machines.items():
            if party in self.down | self.abstains or not self.is_honest(party):
                continue
            if machine.outcome is None:
                self.complain(f"ends: {self.label(party)} never ended")
            elif not self.scenario.faults and isinstance(machine.outcome, events.Aborted):
                self.complain(f"ends: {self.label(party)} aborted although nothing went wrong")
