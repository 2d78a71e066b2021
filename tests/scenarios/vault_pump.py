"""Runs the machines of a vault's holders against each other, message by message, with faults by name."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from nacl.signing import SigningKey

from protocols.arithmetic.xof import Xof
from protocols.errors import ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Query, Seat
from protocols.sharing import shamir
from protocols.vault import deposit
from protocols.vault.deposit import Depositor, Taken
from protocols.vault.messages import VaultOffer
from protocols.vault.renewal import Renewal
from protocols.vault.renewal_messages import PendingShare, Renewed
from protocols.vault.standing import Standing
from protocols.vault.terms import Consent, Terms, sign_terms
from protocols.wire import codec
from protocols.wire.digest import digest

MESH = Digest(b"m" * 32)
SLOTS = (Query("variance", "bmi", ()), Query("count", "*", ()))
EVERYTHING = ("count", "sum", "mean", "variance", "stddev")


def keys_of(name: str) -> PartyKeys:
    return PartyKeys.from_seeds(digest("test", name.encode(), b"s"), digest("test", name.encode(), b"e"))


def terms_of(owner: PartyKeys, holders: list[PartyKeys], t: int, **rules) -> Terms:
    consent = Consent(
        rules.get("allow", EVERYTHING), rules.get("requesters", ("any-member",)), rules.get("min_sites", 1),
        rules.get("max_uses", 0), rules.get("expires_s", 0),
    )  # fmt: skip
    seats = tuple(Seat(one.party, one.sealing_key) for one in holders)
    return Terms(MESH, owner.party, "cardio", b"n" * 32, 1000, SLOTS, seats, t, consent)


@dataclass
class Vault:
    """A deposited vault: who holds what."""

    owner: PartyKeys
    holders: list[PartyKeys]
    vector: np.ndarray
    standing: Standing
    shares: dict[PartyId, np.ndarray]

    def secrets(self, standing: Standing, shares: dict[PartyId, np.ndarray]) -> np.ndarray:
        t, length = standing.terms.terms.threshold, standing.terms.terms.length
        held = [(seat + 1, shares[p]) for seat, p in enumerate(standing.members) if p in shares]
        return shamir.reconstruct([x for x, _ in held], np.stack([s[:length] for _, s in held]), t)


def deposited(n: int = 4, t: int = 1, **rules) -> Vault:
    owner, holders = keys_of("owner"), [keys_of(f"h{i}") for i in range(n)]
    terms = terms_of(owner, holders, t, **rules)
    vector = Xof(b"v" * 32, "values").elements(terms.length)
    signed = sign_terms(owner.signing_seed, terms)
    machine = Depositor(owner, signed, vector, b"d" * 32)
    effects = machine.start(0.0)
    offer = effects[0].message
    assert isinstance(offer, VaultOffer)
    shares = {}
    for one in holders:
        taken = deposit.take(one, owner.party, codec.decode(VaultOffer, codec.encode(offer)))
        assert isinstance(taken, Taken)
        shares[one.party] = taken.share
        machine.receive(0.1, one.party, taken.receipt)
    assert isinstance(machine.outcome, deposit.Deposited)
    return Vault(owner, holders, vector, machine.outcome.standing, shares)


Tamper = Callable[[PartyId, PartyId, object], object | None]


@dataclass
class Pump:
    """`tamper(sender, receiver, message)` gives what is delivered instead, None for nothing."""

    vault: Vault
    spare: list[PartyKeys] = field(default_factory=list)
    tamper: Tamper = lambda _sender, _receiver, message: message
    latency: Callable[[int], float] = lambda index: 0.01 + (index * 7919 % 13) / 1000

    def __post_init__(self) -> None:
        self.now = 0.0
        self.machines: dict[PartyId, Renewal] = {}
        self.disks: dict[PartyId, list[object]] = {}
        self.pending: dict[PartyId, dict[Digest, np.ndarray]] = {}
        self.named: list[object] = []
        self.dead: set[PartyId] = set()
        self.crash_before_send: dict[PartyId, type] = {}
        self.said: list[tuple[PartyId, object]] = []
        self._mail: list[tuple[float, int, PartyId, PartyId, object]] = []
        self._count = itertools.count()
        self.keys = {one.party: one for one in (*self.vault.holders, *self.spare)}

    def seed(self, party: PartyId) -> bytes:
        return digest("test seed", party)

    def make(self, party: PartyId, wanted: tuple[Seat, ...]) -> Renewal:
        share = self.vault.shares.get(party)
        return Renewal(self.keys[party], self.vault.standing, share, self.seed(party), wanted)

    def start(self, wanted: tuple[Seat, ...] | None = None, lost: frozenset[PartyId] = frozenset()) -> None:
        self.wanted = wanted or self.vault.standing.seats
        self.dead |= lost
        for party in dict.fromkeys((*self.vault.standing.members, *(seat.party for seat in self.wanted))):
            if party not in lost:
                machine = self.machines[party] = self.make(party, self.wanted)
                machine.lost = lost
                self.carry(party, machine.start(self.now))

    def carry(self, party: PartyId, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(record):
                    if isinstance(record, PendingShare):
                        self.pending.setdefault(party, {})[record.outcome] = record.share
                    else:
                        self.disks.setdefault(party, []).append(
                            codec.decode(type(record), codec.encode(record))
                        )
                    if self.crash_before_send.get(party) is type(record):
                        self.crash_before_send.pop(party)
                        self.dead.add(party)
                        return
                case Send(to, message):
                    self.post(party, (to,), message)
                case Broadcast(to, message):
                    self.post(party, to, message)
                case Publish(event):
                    self.named.append(event)

    def post(self, sender: PartyId, to: tuple[PartyId, ...], message: object) -> None:
        self.said.append((sender, message))
        encoded = codec.encode(message)
        for receiver in to:
            sent = self.tamper(sender, receiver, codec.decode(type(message), encoded))
            if sent is not None and sender not in self.dead:
                index = next(self._count)
                heapq.heappush(self._mail, (self.now + self.latency(index), index, sender, receiver, sent))

    def run(self, until: float = 120.0) -> None:
        """Until everybody alive has its outcome, or time is over."""
        while self.now < until:
            alive = {p: m for p, m in self.machines.items() if p not in self.dead}
            if all(machine.done for machine in alive.values()):
                return
            due = min((m.deadline, p) for p, m in alive.items() if m.deadline is not None)
            if self._mail and self._mail[0][0] <= due[0]:
                self.now, _, sender, receiver, message = heapq.heappop(self._mail)
                if receiver in alive and alive[receiver].done and sender in alive:
                    if alive[sender].outcome is None:  # as a node answers: the newer standing
                        alive[sender].outcome = alive[receiver].outcome
                elif receiver in alive:
                    try:
                        self.carry(receiver, alive[receiver].receive(self.now, sender, message))
                    except ProtocolError:
                        continue
            else:
                self.now = due[0]
                self.carry(due[1], alive[due[1]].expire(self.now))

    def restart(self, party: PartyId) -> None:
        """The process comes back with what it had stored."""
        self.dead.discard(party)
        machine = self.machines[party] = self.make(party, self.wanted)
        for record in self.disks.get(party, []):
            machine.restore(record)
        machine.lost = frozenset(self.dead)
        self.carry(party, machine.start(self.now))

    def lose(self, *parties: PartyId) -> None:
        self.dead |= set(parties)
        for party, machine in self.machines.items():
            if party not in self.dead:
                self.carry(party, machine.want(self.now, self.wanted, frozenset(self.dead)))

    def renewed(self) -> tuple[Standing, dict[PartyId, np.ndarray]]:
        """The one standing that all agree on, and the shares stored for it."""
        found = [m.outcome for p, m in self.machines.items() if p not in self.dead]
        assert found
        ended = [isinstance(outcome, Renewed) for outcome in found]
        assert all(ended), ended
        names = {outcome.outcome for outcome in found}
        assert len(names) == 1
        shares = {
            party: stored[found[0].outcome]
            for party, stored in self.pending.items()
            if found[0].outcome in stored and party not in self.dead
        }
        return found[0].standing, shares


def forger(seed: bytes) -> SigningKey:
    return SigningKey(seed)
