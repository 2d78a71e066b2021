"""Simulated sessions of masked vectors: each party has a store, vectors travel beside the messages.

A device's vector is here its values plus the key that it deals, a few integers; so the masked total less the
opened keys is the sum of values, or it is not the sum of those vectors. What a lattice hides is not there.
Vectors travel as the runtime moves them: a link that is cut delivers later, one whose end is down does not,
and to who comes back all is offered again that it was offered before. Stores survive crashes.

Rules: a masked total that counts unmasks to the values of the certified contributors, unless somebody lies
and no audit looked; where nothing goes wrong, whoever should take the total does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from protocols.identifiers import Digest, PartyId
from protocols.machine import Combine, Effect, Fingerprint, Transfer
from protocols.masking.parameters import B16_N10
from protocols.sessions import events
from protocols.sessions.bulk_messages import FINGERPRINT_BYTES, Fingerprinted, VectorsAdded, VectorStored
from protocols.sessions.durable import DurableParty
from protocols.sessions.messages import NO_VECTOR, Resumed
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Bulk, Plan
from protocols.wire.digest import digest
from tools.sim import memory
from tools.sim.masked_liars import KeepVectors, WrongSum
from tools.sim.masked_scenario import MaskedScenario
from tools.sim.mesh_plan import parties_of, plan_of
from tools.sim.world import World

AUDITS_S: Final = 60.0
"""How long nodes stay in a session after its end."""
AGAIN_S: Final = 0.3
WORK_S: Final = 0.02

Vector = tuple[int, ...]


class MaskedWorld(World):
    """Runs one scenario with stores of vectors."""

    scenario: MaskedScenario

    def __init__(self, scenario: MaskedScenario, tracing: bool = False) -> None:
        self.stores: dict[PartyId, dict[Digest, Vector]] = {}
        self.values: dict[PartyId, Vector] = {}
        self.totals: dict[PartyId, Digest] = {}
        self.audited = False
        self._sent: dict[PartyId, dict[tuple[PartyId, Digest], None]] = {}
        self._views: dict[PartyId, frozenset[PartyId]] = {}
        super().__init__(scenario, tracing, (masked_plan(scenario), parties_of(scenario)))

    def _set_up(self) -> None:
        self.stores = {key.party: {} for key in self.keys}
        for party, key in self.inputs.items():
            self.values[party] = tuple(17 * (1 + self.index[party]) + place for place in range(key.size))
            vector = tuple(value + part for value, part in zip(self.values[party], key.tolist(), strict=True))
            self.stores[party][name_of(vector)] = vector
        super()._set_up()

    def play(self, until_s: Callable[[], float]) -> None:
        """Nodes stay for the audits."""
        super().play(lambda: until_s() + AUDITS_S)
        if not self.violations and self.scenario.clean:
            takers = {self.plan.initiator, *(self.inputs if self.scenario.to_all else ())}
            for party in sorted(takers - self.totals.keys()):
                self.complain(f"masked total: {self.label(party)} never took it although nothing went wrong")

    @property
    def ending(self) -> str:
        """As any session's; and whether the vectors were added, too."""
        added = "with its vectors" if self.plan.initiator in self.totals else "keys only"
        return f"opened, {added}" if super().ending == "opened" else super().ending

    # -- machines ------------------------------------------------------------------------------------

    def _machine(self, plan: Plan, party: PartyId) -> SessionParty | DurableParty:
        return self._masked(super()._machine(plan, party))

    def _masked(self, machine: SessionParty | DurableParty) -> SessionParty | DurableParty:
        """The same, made with the name of its vector."""
        party = machine.me
        name = next(iter(self.stores[party]), NO_VECTOR) if party in self.values else NO_VECTOR
        if isinstance(machine, DurableParty):
            seed, contribution, refusal, _ = machine._origin
            made = DurableParty(machine.plan, self.keys[self.index[party]], seed, contribution, refusal, name)
            made.snapshot_every = machine.snapshot_every
            return made
        return SessionParty(
            machine.plan,
            self.keys[self.index[party]],
            machine._seed,
            machine._contribution,
            machine._refusal,
            name,
        )

    def renew(self, party: PartyId) -> None:
        super().renew(party)
        self.machines[party] = self._masked(self.machines[party])

    def _start(self, party: PartyId) -> None:
        begun = party in self.started_at
        super()._start(party)
        if party in self.started_at and not begun:
            self.tell_stored(party)

    def tell_stored(self, party: PartyId) -> None:
        """As a node does when it takes up a session: whatever its store has."""
        for name in list(self.stores[party]):
            if self.is_running(party):
                self.step(party, party, VectorStored(name))

    def _publish(self, party: PartyId, event: object) -> None:
        super()._publish(party, event)
        if isinstance(event, events.Progress) and event.phase == "audited" and self.is_honest(party):
            self.audited = True
        if isinstance(event, events.MaskedTotal) and self.is_honest(party):
            self.totals[party] = event.name
            self._check(party, event.name)
        if self.trace is not None and isinstance(event, events.TotalLost | events.MaskedTotal):
            self.note(f"{self.label(party)} has {event}")

    def _check(self, party: PartyId, name: Digest) -> None:
        outcome = self.inner(party).outcome
        if not isinstance(outcome, events.Opened):
            return self.complain(
                f"masked total: {self.label(party)} takes one of a session that was not opened"
            )
        keys, vector = outcome.total.tolist(), self.stores[party][name]
        right = [sum(self.values[who][place] for who in outcome.contributors) for place in range(len(keys))]
        if [masked - key for masked, key in zip(vector, keys, strict=True)] == right:
            return None
        if not self.scenario.lies or (self.audited and party == self.plan.initiator):
            return self.complain(f"masked total: {self.label(party)} takes a wrong one")
        return self.note(f"{self.label(party)} cannot unmask the total")

    # -- vectors -------------------------------------------------------------------------------------

    def _carry_out(self, party: PartyId, effect: Effect) -> None:
        super()._carry_out(party, effect)
        if isinstance(effect, Transfer):
            for to in effect.to:
                self._sent.setdefault(party, {})[to, effect.name] = None
                self._move(party, to, effect.name)
        elif isinstance(effect, Combine | Fingerprint):
            self.at(self.now + WORK_S, self._work, party, effect, self.started_at.get(party))

    def _work(self, party: PartyId, effect: Combine | Fingerprint, since: float) -> None:
        store = self.stores[party]
        if not self.is_running(party) or self.started_at[party] != since:
            return None
        if isinstance(effect, Fingerprint):
            words = fingerprint(effect.challenge, store[effect.name])
            return self.step(party, party, Fingerprinted(effect.challenge, effect.name, words))
        total = tuple(sum(store[name][place] for name in effect.parts) for place in range(self.plan.length))
        if any(isinstance(bent, WrongSum) for bent in self.behaviours.get(party, ())):
            total = (total[0] + 1, *total[1:])
        store[name_of(total)] = total
        return self.step(party, party, VectorsAdded(effect.stage, name_of(total)))

    def _move(self, sender: PartyId, to: PartyId, name: Digest) -> None:
        vector = self.stores[sender].get(name)
        kept = any(isinstance(bent, KeepVectors) and bent.keeps() for bent in self.behaviours.get(sender, ()))
        if vector is not None and not kept and to != sender:
            self.at(
                self.now + self.dice.uniform(0.01, self.scenario.vector_s), self._arrive, sender, to, vector
            )

    def _arrive(self, sender: PartyId, to: PartyId, vector: Vector) -> None:
        if sender in self.faults.crashed or to in self.faults.crashed:
            return None
        if to not in self.started_at or self.faults.stops(sender, to):
            return self.at(self.now + AGAIN_S, self._arrive, sender, to, vector)
        self.stores[to][name_of(vector)] = vector
        return self.step(to, to, VectorStored(name_of(vector)))

    def _offer_again(self, party: PartyId, to: PartyId) -> None:
        for other, name in list(self._sent.get(party, ())):
            if other == to:
                self._move(party, to, name)

    def _take(self, sender: PartyId, to: PartyId, message: Any) -> None:
        super()._take(sender, to, message)
        if isinstance(message, Resumed) and self.is_running(to):
            self._offer_again(to, sender)

    def tell_lost(self, party: PartyId, view: tuple[PartyId, ...]) -> None:
        restored = self.faults.restored.get(party) == self.now
        if restored:
            self.tell_stored(party)
        returned = self._views.get(party, frozenset()) - set(view)
        self._views[party] = frozenset(view)
        super().tell_lost(party, view)
        for other in sorted(returned) if self.is_running(party) else ():
            self._offer_again(party, other)


def masked_plan(scenario: MaskedScenario) -> Plan:
    """The plan of any such session, but for the mask, whose keys are as short as `scenario` has it."""
    plain = plan_of(scenario)
    key = ("masked plan", plain.session, scenario.to_all)
    plan: Plan | None = memory.known(key)
    if plan is None:
        bulk = Bulk(B16_N10.name, plain.length, scenario.to_all)
        plan = memory.keep(key, replace(plain, bulk=bulk))
    return plan


def name_of(vector: Vector) -> Digest:
    """As stores name vectors: by their content."""
    return digest("simulated vector", repr(vector).encode())


def fingerprint(challenge: Digest, vector: Vector) -> bytes:
    """Linear over the integers mod 2^64, with weights of the challenge."""
    words = [0] * (FINGERPRINT_BYTES // 8)
    for place, value in enumerate(vector):
        weights = hashlib.shake_128(bytes(challenge) + bytes([place])).digest(FINGERPRINT_BYTES)
        for index in range(len(words)):
            weight = int.from_bytes(weights[8 * index : 8 * index + 8], "little")
            words[index] = (words[index] + value * weight) % 2**64
    return b"".join(word.to_bytes(8, "little") for word in words)
