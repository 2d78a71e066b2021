"""A toy network for session machines: a hand-turned clock, faults as functions.

First in, first out, or with `order` in any order that keeps what one party sends to another in line.

Every message is encoded and decoded on its way, as on the real network.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from protocols.arithmetic import field
from protocols.errors import ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Persist, Publish, Send
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import BY_KIND, PeersLost
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Job, Plan, Query, Seat, Stage, hops_needed
from protocols.sessions.plan_rules import check
from protocols.wire import codec

Tamper = Callable[[PartyId, PartyId, object], object | None]
"""(sender, receiver, message) -> what arrives, or None."""


def seed_of(index: int, purpose: str = "session") -> bytes:
    """32 bytes fixed by index and purpose."""
    return purpose.encode().ljust(28, b".") + index.to_bytes(4, "big")


def make_keys(count: int) -> list[PartyKeys]:
    """Key sets fixed by their index."""
    return [PartyKeys.from_seeds(seed_of(i, "signing"), seed_of(i, "sealing")) for i in range(count)]


def make_plan(
    keys: list[PartyKeys],
    clusters: int = 2,
    size: tuple[int, int] = (7, 2),
    length: int = 5,
    min_sites: int = 2,
    middle: bool = False,
    nonce: bytes = b"nonce",
) -> Plan:
    """A two-level plan (three with `middle`); everybody is a device, the root has the first seats."""
    seats = [Seat(k.party, k.sealing_key) for k in keys]
    n, t = size
    stages = []
    for cluster in range(clusters):
        members = keys[cluster::clusters]
        turned = seats[cluster:] + seats[:cluster]
        stages.append(
            Stage(
                f"cluster-{cluster}",
                tuple(turned[:n]),
                t,
                tuple(k.party for k in members[:3]),
                tuple(turned[n : n + 8]),
                tuple(sorted(k.party for k in members)),
                (),
            )
        )
    if middle:
        stages.append(
            Stage(
                "middle",
                tuple(seats[-n:]),
                t,
                tuple(k.party for k in keys[-3:]),
                (),
                (),
                tuple(range(clusters)),
            )
        )
    children = (clusters,) if middle else tuple(range(clusters))
    root = Stage(
        "root", tuple(seats[:n]), t, tuple(k.party for k in keys[:3]), tuple(seats[n:][:8]), (), children
    )
    stages.append(root)
    job = Job("data", (Query("sum", "x", ()),), min_sites, "test")
    plan = Plan(
        mesh=Digest(bytes(32)),
        epoch=1,
        nonce=nonce,
        initiator=keys[-1].party,
        job=job,
        length=length,
        hops=hops_needed(3),
        collect_ms=5_000,
        total_ms=20_000,
        stages=tuple(stages),
        proofs=(),
    )
    check(plan)
    return plan


class Pump:
    """Parties, a queue between them, and what they said to their devices."""

    def __init__(
        self,
        plan: Plan,
        keys: list[PartyKeys],
        inputs: dict[PartyId, np.ndarray],
        tamper: Tamper | None = None,
        refusals: dict[PartyId, str] | None = None,
        coded: bool = True,
        order: random.Random | None = None,
    ) -> None:
        """`coded` False spares encoding and decoding each message; for sweeps."""
        self.plan = plan
        self.coded = coded
        self.order = order
        self.delivered = 0
        self.kill_at: dict[int, tuple[PartyId, bool]] = {}
        self.now = 100.0
        self.tamper = tamper
        self.dead: set[PartyId] = set()
        self.events: dict[PartyId, list[object]] = {k.party: [] for k in keys}
        self.persisted: dict[PartyId, list[object]] = {k.party: [] for k in keys}
        self.wire: list[tuple[PartyId, PartyId, object, bytes]] = []
        self.queue: deque[tuple[PartyId, PartyId, object]] = deque()
        self.errors: list[tuple[PartyId, PartyId, ProtocolError]] = []
        self.hooks: list[Callable[[PartyId, PartyId, object], None]] = []
        refusals = refusals or {}
        self.parties = {
            k.party: SessionParty(plan, k, seed_of(i), inputs.get(k.party), refusals.get(k.party, "no data"))
            for i, k in enumerate(keys)
        }

    def start(self) -> None:
        """Everybody has accepted the plan."""
        for party, machine in self.parties.items():
            if party not in self.dead:
                self._carry_out(party, machine.start(self.now))

    def kill(self, party: PartyId, noticed: bool = True) -> None:
        """`party` is gone; the others hear of it at once if `noticed`."""
        self.dead.add(party)
        if noticed:
            self.notice()

    def notice(self) -> None:
        """Membership tells everybody who is gone."""
        for other, machine in self.parties.items():
            if other not in self.dead:
                self._carry_out(other, machine.receive(self.now, other, PeersLost(tuple(sorted(self.dead)))))

    def run(self, until: float = 60.0) -> None:
        """Deliver all; then turn the clock to the next deadline; until everybody is done."""
        stop = self.now + until
        idle = 0
        while True:
            while self.queue:
                self._deliver(*self._next())
            due = [
                m.deadline for p, m in self.parties.items() if p not in self.dead and m.deadline is not None
            ]
            if not due or min(due) > stop:
                return
            idle = idle + 1 if min(due) <= self.now else 0
            assert idle < 10, "a deadline lies in the past and stays there: a driver would spin"
            self.now = max(self.now, min(due))
            for party, machine in self.parties.items():
                if party not in self.dead and machine.deadline is not None and machine.deadline <= self.now:
                    self._carry_out(party, machine.expire(self.now))

    def _next(self) -> tuple[PartyId, PartyId, object]:
        if self.order is None:
            return self.queue.popleft()
        sender, to, _ = self.queue[self.order.randrange(len(self.queue))]
        first = next(i for i, item in enumerate(self.queue) if item[:2] == (sender, to))
        chosen = self.queue[first]
        del self.queue[first]
        return chosen

    def outcomes(self) -> dict[PartyId, object]:
        """Outcome of each live party."""
        return {p: m.outcome for p, m in self.parties.items() if p not in self.dead}

    def named(self, proven: bool | None = None) -> set[PartyId]:
        """Parties that somebody named as faulty; with `proven`, only in that way."""
        said = (e for log in self.events.values() for e in log if isinstance(e, events.Named))
        return {e.party for e in said if proven is None or e.proven is proven}

    def inject(self, sender: PartyId, to: PartyId, message: object) -> None:
        """Let `sender` say something its machine would not."""
        self.queue.append((sender, to, message))

    def _carry_out(self, party: PartyId, effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._post(party, effect.to, effect.message)
                case Broadcast():
                    for to in effect.to:
                        self._post(party, to, effect.message)
                case Publish():
                    self.events[party].append(effect.event)
                case Persist():
                    self.persisted[party].append(effect.record)

    def _post(self, sender: PartyId, to: PartyId, message: object) -> None:
        assert sender != to, "machines deliver their own messages themselves"
        arriving = self.tamper(sender, to, message) if self.tamper else message
        if arriving is not None:
            self.queue.append((sender, to, arriving))

    def _deliver(self, sender: PartyId, to: PartyId, message: object) -> None:
        for hook in self.hooks:
            hook(sender, to, message)
        self.delivered += 1
        if self.delivered in self.kill_at:
            self.kill(*self.kill_at[self.delivered])
        if to in self.dead or sender in self.dead:  # what was under way is lost with its sender
            return
        decoded = message
        if self.coded:
            data = codec.encode(message)
            self.wire.append((sender, to, message, data))
            decoded = codec.decode(BY_KIND[type(message).KIND], data)
        if type(message).KIND == "plan":
            return
        try:
            effects = self.parties[to].receive(self.now, sender, decoded)
        except ProtocolError as error:
            self.errors.append((sender, to, error))
            return
        self._carry_out(to, effects)


def make_inputs(plan: Plan, salt: int = 0) -> dict[PartyId, np.ndarray]:
    """A vector for each dealer, different everywhere."""
    return {
        dealer: field.as_elements(np.arange(plan.length, dtype=np.int64) * 1000 + index + salt)
        for index, dealer in enumerate(plan.dealers)
    }


__all__ = ["Pump", "make_inputs", "make_keys", "make_plan", "replace", "seed_of"]
