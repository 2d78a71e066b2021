"""A program session among pure machines, on an event heap: latency, losses, kills at chosen moments."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from protocols.arithmetic.xof import derive
from protocols.errors import MalformedMessage, ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Persist, Publish, Send
from protocols.programs import keeping, questions
from protocols.programs.party import ProgramParty
from protocols.programs.plan import Limits, ProgramPlan, check
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import PeersLost
from protocols.sessions.plan import Job, Query, Seat
from protocols.wire import codec

LIMITS = Limits(10_000, 1 << 34, 1 << 30)


def keys_of(number: int) -> PartyKeys:
    return PartyKeys.from_seeds(bytes([number]) * 32, bytes([100 + number]) * 32)


def job(statistic: str, *columns: str, low=0.0, high=100.0, decimals=2.0, rest=(), min_sites=2) -> Job:
    queries = tuple(Query(statistic, c, (low, high, decimals, *map(float, rest))) for c in columns)
    return Job("rows", queries, min_sites, "test")


@dataclass
class Pump:
    """`seats` members, then substitutes, then owners that hold no seat; party 0 asks."""

    work: Job
    tables: list[dict[str, list[float]] | None]
    n: int = 4
    t: int = 1
    substitutes: int = 0
    limits: Limits = LIMITS
    graph: object = None
    values: dict[int, tuple] = field(default_factory=dict)
    latency: float = 0.01
    mode: str = "P"
    now: float = 0.0
    machines: dict[PartyId, ProgramParty] = field(default_factory=dict)
    events: list[tuple[PartyId, object]] = field(default_factory=list)
    records: list[tuple[PartyId, object]] = field(default_factory=list)
    dead: set[PartyId] = field(default_factory=set)
    hook: Callable[[Pump, PartyId, PartyId, object], object | None] | None = None
    refused: list[tuple[PartyId, str]] = field(default_factory=list)
    kept: dict[PartyId, set] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = max(self.n + self.substitutes, len(self.tables))
        self.keys = [keys_of(i) for i in range(count)]
        seats = tuple(Seat(k.party, k.sealing_key) for k in self.keys)
        owners = tuple(sorted(k.party for k, table in zip(self.keys, self.tables, strict=False) if table))
        self.plan = ProgramPlan(
            Digest(bytes(32)), 1, b"nonce", self.keys[0].party, self.work, self.mode, seats[: self.n], self.t,
            seats[self.n : self.n + self.substitutes], owners, (seats[0],), self.limits, 2000, 1000, 60_000,
        )  # fmt: skip
        check(self.plan)
        self._heap: list = []
        self._order = itertools.count()
        for number, keys in enumerate(self.keys):
            table = self.tables[number] if number < len(self.tables) else None
            values = None
            if number in self.values:
                values = self.values[number]
            elif table is not None:
                values = questions.encoded(self.work, {c: np.array(v) for c, v in table.items()})
            self.machines[keys.party] = ProgramParty(
                self.plan, keys, derive(bytes(32), "pump", bytes([number])), values, graph=self.graph
            )

    def party(self, number: int) -> PartyId:
        return self.keys[number].party

    def push(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._order), action))

    def carry_out(self, me: PartyId, effects) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.post(me, effect.to, effect.message)
                case Broadcast():
                    for to in effect.to:
                        self.post(me, to, effect.message)
                case Publish():
                    self.events.append((me, effect.event))
                case Persist():
                    codec.encode(effect.record)
                    self.records.append((me, effect.record))

    def post(self, me: PartyId, to: PartyId, message: object) -> None:
        assert to != me
        if me in self.dead:
            return
        data = codec.encode(message)
        self.push(self.now + self.latency, lambda: self.arrive(me, to, codec.decode(type(message), data)))

    def arrive(self, sender: PartyId, to: PartyId, message: object) -> None:
        if self.hook is not None:
            message = self.hook(self, sender, to, message)
        if (
            message is None
            or to in self.dead
            or to not in self.machines
            or type(message).__name__ == "ProgramOffer"
        ):
            return
        self.step(to, lambda m: m.receive(self.now, sender, message))

    def step(self, to: PartyId, act) -> None:
        machine = self.machines[to]
        try:
            effects = act(machine)
        except MalformedMessage as error:
            self.refused.append((to, str(error)))
            effects = []
        except ProtocolError:
            effects = []
        self.carry_out(to, effects)
        for state in keeping.kept(machine, self.kept.setdefault(to, set())):
            self.records.append((to, codec.decode(type(state), codec.encode(state))))
        self.arm(to)

    def arm(self, to: PartyId) -> None:
        deadline = self.machines[to].deadline
        if deadline is not None:
            self.push(max(deadline, self.now), lambda: self.ring(to))

    def ring(self, to: PartyId) -> None:
        machine = self.machines[to]
        if to not in self.dead and machine.deadline is not None and machine.deadline <= self.now:
            self.step(to, lambda m: m.expire(self.now))

    def kill(self, number: int, *, noticed: bool = True) -> None:
        party = self.party(number)
        self.dead.add(party)
        if noticed:
            for other in self.machines:
                if other not in self.dead:
                    self.push(self.now + self.latency, lambda o=other: self.notice(o))

    def restart(self, number: int) -> None:
        """Come back with what was kept: every second record of the marks, and the binding ones."""
        party = self.party(number)
        records = [record for owner, record in self.records if owner == party]
        self.dead.discard(party)
        machine, effects = keeping.restored(self.keys[number], records, self.now, None)
        self.machines[party] = machine
        self.carry_out(party, effects)
        for other in self.machines:
            self.notice(other)

    def notice(self, other: PartyId) -> None:
        lost = PeersLost(tuple(sorted(self.dead)))
        if other not in self.dead:
            self.step(other, lambda m: m.receive(self.now, other, lost))

    def run(self, until: float = 120.0):
        for party in self.machines:
            if party not in self.dead:
                self.step(party, lambda m: m.start(self.now))
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if all(m.outcome is not None for p, m in self.machines.items() if p not in self.dead):
                break
        return self.machines[self.party(0)].outcome
