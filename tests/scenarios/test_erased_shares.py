"""A share that moved on is not to be had from the journal of who held it, whatever else the finder has."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from protocols.sessions import dealing
from protocols.sessions.dealing import dealing_digest
from protocols.sessions.durable import DurableParty
from protocols.sessions.messages import Deal, Part
from protocols.sessions.records import HandedOver, Heard, Snapshot
from protocols.wire import codec, sealing
from tests.scenarios.generations_pump import ScriptedCrashPump, make_session
from tests.scenarios.pump import make_inputs, make_keys, make_plan, seed_of


@dataclass
class Watched:
    """A finished run: shares that moved on by (party, slot), and what was dealt to each slot."""

    pump: ScriptedCrashPump
    shares: dict = field(default_factory=dict)
    deals: dict = field(default_factory=dict)


class WatchedPump(ScriptedCrashPump):
    """Looks into every member after each of its steps."""

    shares = None

    def _carry_out(self, party, effects):
        for slot, member in self.parties[party].party.posts.members.items():
            if member.sum is not None and (member.is_interim or slot == (0, 0)):
                self.shares[party, slot] = member.sum.copy()
        super()._carry_out(party, effects)


def watched(monkeypatch, pump):
    """Run it with real sealings; note what each member held and what was dealt."""
    seen = Watched(pump)
    pump.shares = seen.shares
    deal = dealing.deal

    def noting(keys, assembly, *rest, **more):
        made = deal(keys, assembly, *rest, **more)
        seen.deals.setdefault((assembly.stage, assembly.generation), []).append(made)
        return made

    monkeypatch.setattr(dealing, "deal", noting)
    pump.start()
    pump.run()
    return seen


def apart(monkeypatch):
    """Leaf 0 loses a member while it collects; its adders hold no seats."""
    pump, _, parts = make_session(WatchedPump, clusters=1, devices=4)
    pump.hold_back(parts["devices 0"][:1], 103.5)
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
    return watched(monkeypatch, pump), 0


def adding(monkeypatch):
    """The same where adders are members: they see their own share's sealings twice."""
    keys = make_keys(8)
    plan = make_plan(keys, length=2, size=(4, 1), clusters=1)
    pump = WatchedPump(plan, keys, make_inputs(plan), coded=False)
    pump.hold_back([keys[7].party], 103.5)
    pump.at(101.0, lambda: pump.kill(keys[1].party))
    return watched(monkeypatch, pump), 0


def handing(monkeypatch):
    """Leaf 0 loses a member after its final roster, while nothing comes through to the stage above."""
    pump, _, parts = make_session(
        WatchedPump, clusters=1, devices=4, size=(7, 2), collect_ms=40_000, total_ms=90_000
    )
    pump.hold_up(1, 108.0)
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][2]))
    return watched(monkeypatch, pump), 0


def dump(records):
    """All that the journal can be read to hold."""
    return b"".join(codec.encode(record) for record in records)


def erasure(pump, party, slot):
    """Where in its disk a party had all that stood before made unreadable, for this seat's share."""
    for index, one in enumerate(pump.disks[party]):
        if isinstance(one, Snapshot) and one.erases:
            machine, _ = DurableParty.restore(pump.keys[party], [one], pump.now, 1.0)
            if slot in machine.party.posts.outlived:
                return index
    raise AssertionError("who held a share of a sum that moved on has not erased it")


@pytest.mark.parametrize("make", [apart, adding, handing])
def test_the_journal_and_the_nodes_keys_do_not_tell_a_share_that_moved_on(monkeypatch, make):
    seen, stage = make(monkeypatch)
    pump, slot = seen.pump, (stage, 0)
    held = {party: share for (party, place), share in seen.shares.items() if place == slot}
    looked_at = 0
    for party, share in held.items():
        if party in pump.dead:
            continue
        place = erasure(pump, party, slot)
        before, after = pump.disks[party][:place], pump.disks[party][place:]
        seat = pump.parties[party].party.posts.members[slot].seat
        sealed = [made.sealed[seat] for made in seen.deals[slot] if made.dealing.dealer != party]
        seed = seed_of(list(pump.parties).index(party))
        assert_told(before, sealed, seed)
        left = dump(after)
        assert not any(element.tobytes() in left for element in share), "the share itself"
        assert not any(blob in left for blob in sealed), "what our keys open it from"
        assert seed not in left, "what opens the sealings in which we dealt it again"
        assert_sealed(pump, seen, party, slot, after)
        looked_at += 1
    assert looked_at >= 3


def assert_told(before, sealed, seed):
    """The finder's method works: before, all this was there."""
    found = dump(before)
    assert seed in found
    assert sum(blob in found for blob in sealed) >= 2


def assert_sealed(pump, seen, party, slot, after):
    """The share was dealt again; of the sealings that are kept our keys open one at most: our next seat's."""
    keys, left = pump.keys[party], dump(after)
    again = [made for made in seen.deals[slot[0], slot[1] + 1] if made.dealing.dealer == party]
    target = pump.parties[party].party.succession.at((slot[0], slot[1] + 1))
    opened = 0
    for made in again:
        context = dealing._seal_context(target, party, made.dealing.source)
        for blob in (one for one in made.sealed if one in left):
            try:
                opened += sealing.unseal(keys.sealing_secret, blob, context) is not None
            except sealing.SealBroken:
                continue
    assert opened <= 1 < pump.plan.stages[slot[0]].threshold + 1


@pytest.mark.parametrize("make", [apart, adding, handing])
def test_the_party_goes_on_from_what_is_left_and_knows_no_share(monkeypatch, make):
    seen, stage = make(monkeypatch)
    pump, restored = seen.pump, 0
    for party in {party for party, place in seen.shares if place == (stage, 0)} - pump.dead:
        disk = pump.disks[party][erasure(pump, party, (stage, 0)) :]
        machine, effects = DurableParty.restore(pump.keys[party], disk, pump.now, 1.0)
        old = machine.party.posts.members[stage, 0]
        assert old.erased
        assert old.sum is None
        assert not old._held
        assert effects
        assert machine.plan == pump.plan
        restored += 1
    assert restored >= 3


def test_nothing_that_is_sealed_to_a_lost_share_is_stored_afterwards(monkeypatch):
    """A slow link brings a dealing, and a part of it, of the old generation once more: not onto the disk."""
    monkeypatch.setattr(DurableParty, "snapshot_every", 10**6)
    seen, stage = adding(monkeypatch)
    pump = seen.pump
    party = next(p for p, place in seen.shares if p in pump.plan.stages[stage].adders and p not in pump.dead)
    disk = pump.disks[party][: erasure(pump, party, (stage, 0)) + 1]
    machine, _ = DurableParty.restore(pump.keys[party], disk, pump.now, 1.0)
    seat = machine.party.posts.members[stage, 0].seat
    for made in seen.deals[stage, 0]:
        machine.receive(pump.now, made.dealing.dealer, made)
        for adder in pump.plan.stages[stage].adders:
            machine.receive(pump.now, adder, Part(made.dealing, made.sealed[seat]))
    assert not any(isinstance(item, tuple) and isinstance(item[2], Deal | Part) for item in machine._waiting)
    names = {
        dealing_digest(machine.party.succession.at((stage, 0)), made.dealing) for made in seen.deals[0, 0]
    }
    accounts = machine.party.posts.adders[stage, 0].ledger.by_digest
    machine.party.posts.blind()
    assert names & accounts.keys()
    assert not any(account.deal.sealed[seat] for account in accounts.values())


def test_a_state_that_is_too_large_costs_the_session_not_the_secret(monkeypatch):
    monkeypatch.setattr("protocols.sessions.durable.MAX_LOG_BYTES", 5_000)
    monkeypatch.setattr(DurableParty, "snapshot_every", 10**6)
    seen, stage = apart(monkeypatch)
    pump = seen.pump
    for party in {party for party, place in seen.shares if place == (stage, 0)} - pump.dead:
        disk = pump.disks[party]
        at = next(i for i, record in enumerate(disk) if isinstance(record, HandedOver))
        assert not any(isinstance(record, Heard | Snapshot) for record in disk[at:])
