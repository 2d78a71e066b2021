"""The state of a session machine as bytes: what is not in them, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from protocols.errors import LocalMisuse
from protocols.identifiers import Digest
from protocols.machine import Persist
from protocols.sessions import events, snapshot
from protocols.sessions.assembly import first_generation
from protocols.sessions.durable import SMALL_STATE, DurableParty
from protocols.sessions.excerpt import KnownPlan, PartialPlan, read
from protocols.sessions.keys import PartyKeys
from protocols.sessions.ledger import Ledger
from protocols.sessions.messages import Deal, Decline, Fetch, PeersLost
from protocols.sessions.plan import Plan
from protocols.sessions.records import Snapshot
from protocols.wire import codec
from tests.property import test_plan_excerpts as plans
from tests.scenarios.bulk_pump import BulkPump, bulk_plan
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan, seed_of

KEYS = make_keys(8)


def begun(plan, keys, index=0):
    machine = DurableParty(plan, keys[index], seed_of(index), make_inputs(plan).get(keys[index].party))
    machine.start(0.0)
    return machine


def test_long_term_keys_are_not_in_a_state():
    machine = begun(make_plan(KEYS, length=2, size=(4, 1)), KEYS)
    body, _ = snapshot.taken(machine._state(), machine.plan, KEYS[0])
    assert KEYS[0].signing_seed not in body
    assert bytes(KEYS[0].sealing_secret) not in body
    assert seed_of(0) in body, "the session's own seed is: the record is secret"


def test_identifiers_are_written_once_and_the_plan_is_not_written():
    machine = begun(make_plan(KEYS, length=2, size=(4, 1)), KEYS)
    body, form = snapshot.taken(machine._state(), machine.plan, KEYS[0])
    assert all(body.count(key.party) <= 1 for key in KEYS)
    assert machine.plan.stages[0].seats[1].sealing_key not in body
    plan = codec.decode(Plan, codec.encode(machine.plan))
    state = snapshot.restored(body, form, plan, KEYS[0])
    assert state["party"].plan is plan
    assert state["party"].posts.keys is KEYS[0]
    assert state["party"].posts.members.keys() == machine.party.posts.members.keys()
    assert state["party"].posts.members[0, 0].assembly is first_generation(plan, 0)


def test_a_state_of_other_classes_is_refused(monkeypatch):
    machine = begun(make_plan(KEYS, length=2, size=(4, 1)), KEYS)
    body, form = snapshot.taken(machine._state(), machine.plan, KEYS[0])
    with pytest.raises(LocalMisuse, match="another version: its classes differ"):
        snapshot.restored(body, Digest(bytes(32)), machine.plan, KEYS[0])
    monkeypatch.setattr(Ledger, "blind", lambda self, seat: None)
    forget_layouts()
    try:
        with pytest.raises(LocalMisuse, match="another version: its classes differ") as refused:
            snapshot.restored(body, form, machine.plan, KEYS[0])
        assert "takes no part" in refused.value.fix
    finally:
        forget_layouts()


def forget_layouts():
    snapshot.layout.cache_clear()
    snapshot._layout_of.cache_clear()


def test_other_keys_are_nothing_that_a_state_holds():
    machine = begun(make_plan(KEYS, length=2, size=(4, 1)), KEYS)
    with pytest.raises(LocalMisuse, match=r"keys\.PartyKeys is nothing that is stored"):
        snapshot.taken(machine._state(), machine.plan, KEYS[1])


def test_what_is_torn_or_no_state_is_refused_and_costs_the_session_only():
    plan = make_plan(KEYS, length=2, size=(4, 1))
    machine = begun(plan, KEYS)
    (record,) = (e.record for e in machine._renewed([], erases=False) if isinstance(e, Persist))
    for body in (
        b"",
        b"\x00",
        record.body[:-1],
        record.body[: len(record.body) // 2],
        pickle.dumps((None, 1)),
    ):
        with pytest.raises(LocalMisuse, match="a state of another version") as refused:
            DurableParty.restore(KEYS[0], [replace(record, body=body)], 5.0, 5.0)
        assert seed_of(0).hex() not in str(refused.value)


def test_every_bit_of_a_state_that_is_wrong_is_refused_or_harmless():
    """The journal's seal finds every wrong bit; even without it nothing but our own error comes of one."""
    machine = begun(make_plan(KEYS, length=2, size=(4, 1)), KEYS)
    body, form = snapshot.taken(machine._state(), machine.plan, KEYS[0])
    refused = 0
    for place in range(0, len(body), max(1, len(body) // 400)):
        wrong = bytearray(body)
        wrong[place] ^= 1 << place % 8
        try:
            snapshot.restored(bytes(wrong), form, machine.plan, KEYS[0])
        except LocalMisuse:
            refused += 1
    assert refused > 100


def test_a_party_that_knows_an_excerpt_of_the_plan_comes_back_with_it(monkeypatch):
    monkeypatch.setattr(DurableParty, "snapshot_every", 1)
    me = plans.plan().stages[0].members[0]
    known = read(plans.part(me), me)
    keys = PartyKeys(me, bytes(32), bytes(32), bytes(32))
    machine = DurableParty(known, keys, seed_of(0))
    machine.start(0.0)
    machine.receive(1.0, machine.me, PeersLost(()))
    (record,) = (e.record for e in machine._renewed([], erases=False) if isinstance(e, Persist))
    record = codec.decode(Snapshot, codec.encode(record))
    again, _ = DurableParty.restore(keys, [record], 5.0, 5.0)
    assert isinstance(again.plan, PartialPlan)
    assert KnownPlan.of(again.plan) == KnownPlan.of(known)
    assert again.deadline is not None


def test_a_state_is_stored_no_more_often_than_its_size_allows():
    machine = begun(make_plan(KEYS, length=2, size=(4, 1)), KEYS)
    machine._state_bytes = machine.log_bytes = SMALL_STATE
    assert machine._is_worth_it()
    machine._state_bytes = machine.log_bytes = 10 * SMALL_STATE
    assert not machine._is_worth_it()
    machine.log_bytes = 15 * SMALL_STATE
    assert machine._is_worth_it()


def test_what_was_taken_before_a_state_is_known_after_it(monkeypatch):
    monkeypatch.setattr(DurableParty, "snapshot_every", 1)
    plan = make_plan(KEYS, length=2, size=(4, 1))
    dealer = DurableParty(plan, KEYS[2], seed_of(2), make_inputs(plan)[KEYS[2].party])
    machine = begun(plan, KEYS)
    deal = next(e.message for e in dealer.start(0.0) if isinstance(getattr(e, "message", None), Deal))
    decline = Decline(0, "not today", whole=False)
    machine.receive(1.0, KEYS[2].party, deal)
    machine.receive(1.0, KEYS[4].party, decline)
    assert len(machine._taken) == 2
    (record,) = (e.record for e in machine._renewed([], erases=False) if isinstance(e, Persist))
    again, _ = DurableParty.restore(KEYS[0], [record], 5.0, 5.0)
    assert again._is_known(KEYS[2].party, deal)
    assert again._is_known(KEYS[4].party, decline)
    assert not again._is_known(KEYS[6].party, decline)
    assert not again._is_known(KEYS[2].party, Fetch(0, 0, ()))


class Forgetful:
    """Pumps whose parties are made anew from their state, every so many messages."""

    def _deliver(self, sender, to, message):
        machine = self.parties[to]
        if self.delivered % 5 == 0:
            body, form = snapshot.taken([machine, *self.events[to]], machine.plan, machine.keys)
            self.parties[to], *self.events[to] = snapshot.restored(body, form, machine.plan, machine.keys)
        super()._deliver(sender, to, message)


class ForgetfulBulkPump(Forgetful, BulkPump):
    pass


class ForgetfulPump(Forgetful, Pump):
    pass


@pytest.mark.parametrize("lies", [False, True])
def test_a_session_of_masked_vectors_goes_on_from_its_states(lies):
    """With its audit, and the evidence when the sum is not what was certified."""
    keys = make_keys(8)
    pump = ForgetfulBulkPump(bulk_plan(keys), keys)
    if lies:
        lying_adder(pump)
    pump.start()
    pump.run()
    assert all(isinstance(outcome, events.Opened) for outcome in pump.outcomes().values())
    if not lies:
        sums, _, opened = pump.unmasked(pump.plan.initiator)
        assert (sums == pump.expected(opened)).all()
    else:
        assert any(isinstance(e, events.SumRefused) for log in pump.events.values() for e in log)


def lying_adder(pump):
    """The root's adder names another vector than the sum."""
    store = pump.stores[pump.plan.stages[pump.plan.root].adders[0]]
    honest = store.add

    def add(parts):
        packed = store.packed[honest(parts)].copy()
        packed[44] ^= 1
        return store.put(packed)

    store.add = add


@pytest.mark.parametrize("killed", [0, 1])
def test_a_session_goes_on_from_its_states(killed):
    plan = make_plan(KEYS, length=2, size=(4, 1))
    pump = ForgetfulPump(plan, KEYS, make_inputs(plan), coded=False)
    pump.kill_at = {40: (KEYS[1].party, True)} if killed else {}
    pump.start()
    pump.run()
    opened = [outcome for outcome in pump.outcomes().values() if isinstance(outcome, events.Opened)]
    assert len(opened) == len(KEYS) - killed
