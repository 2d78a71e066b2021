"""Members of any committee leave while it collects: the next generation goes on, with what there was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events, party
from protocols.sessions.assembly import first_generation
from protocols.sessions.handover import is_agreeable
from protocols.sessions.messages import Certificate, Deal, OpeningShare, Proposal
from tests.scenarios.generations_pump import ScriptedCrashPump, make_session
from tools.sim.stand_ins import fast_crypto


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def check_total(pump, inputs, missing=()):
    """Everybody who is there has the total of all inputs but those `missing`; nobody is blamed."""
    expected = field.total(np.stack([v for who, v in inputs.items() if who not in missing]))
    results = []
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened), outcome
        assert np.array_equal(outcome.total, expected)
        assert set(outcome.contributors) == set(inputs) - set(missing)
        results.append(outcome.result)
    assert not pump.named()
    return results[0]


def generations(pump, stage):
    """How many generations of a stage its parties came to know."""
    return max(
        len(getattr(m, "party", m).succession.of(stage))
        for p, m in pump.parties.items()
        if p not in pump.dead
    )


STAGES = [("leaf 0", 0), ("middle", 2), ("root", 3)]
LONG = {"collect_ms": 40_000, "total_ms": 90_000}


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_member_that_leaves_while_its_stage_collects_is_replaced(name, stage):
    pump, inputs, parts = make_session(middle=True)
    pump.hold_back(parts["devices 0"][:1], 103.5)
    pump.at(101.0, lambda: pump.kill(parts[name][1]))
    pump.start()
    pump.run()
    check_total(pump, inputs)
    assert generations(pump, stage) == 2
    chain = next(m for p, m in pump.parties.items() if p == pump.plan.initiator).succession
    assert all(len(chain.of(other)) <= 2 for other in range(4))


@pytest.mark.parametrize(("name", "stage"), STAGES)
@pytest.mark.parametrize("size", [(4, 1), (7, 2)])
def test_n_minus_t_minus_one_members_leave_one_after_another(name, stage, size):
    pump, inputs, parts = make_session(middle=True, size=size, collect_ms=40_000, total_ms=90_000)
    n, t = size
    pump.hold_back(parts["devices 0"][:1], 120.0)
    for turn in range(n - t - 1):
        pump.at(101.0 + 1.5 * turn, lambda turn=turn: pump.kill(parts[name][turn]))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, stage) >= 3


def test_leaf_inner_stage_and_root_are_refilled_in_turn():
    pump, inputs, parts = make_session(middle=True, collect_ms=40_000, total_ms=90_000)
    pump.hold_back(parts["devices 0"][:1], 120.0)
    leavers = [parts[name][seat] for name, _ in STAGES for seat in (1, 2)]
    for turn, leaver in enumerate(leavers):
        pump.at(101.0 + 1.5 * turn, lambda leaver=leaver: pump.kill(leaver))
    pump.start()
    pump.run(200.0)
    result = check_total(pump, inputs)
    assert [generations(pump, stage) for _, stage in STAGES] == [3, 3, 3]
    assert len(result.interim) == 2


def one_leaves(size=(4, 1), **options):
    """A member of leaf 0 leaves while one device of its cluster is late."""
    pump, inputs, parts = make_session(size=size, clusters=1, **options)
    pump.hold_back(parts["devices 0"][:1], 103.5)
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
    return pump, inputs, parts


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_the_sum_survives_an_adder_that_leaves_with_one_of_those_who_dealt_it(name, stage):
    """Generation 1 has it of three; two are left of these to deal it again to the next rank."""
    pump, inputs, parts = make_session(middle=True, **LONG)
    pump.hold_back(parts["devices 0"][:1], 112.0)
    pump.at(101.0, lambda: pump.kill(parts[name][1]))
    pump.at(105.0, lambda: pump.kill(parts[name][2]))
    pump.at(105.5, lambda: pump.kill(parts[f"adders {name}"][0]))
    pump.start()
    pump.run(200.0)
    check_total(pump, inputs)
    assert generations(pump, stage) == 3


def test_what_members_hand_on_is_taken_only_as_its_dealer_signed_it():
    """One with another signature is refused; that makes no proof against its dealer."""
    pump, _, parts = make_session(clusters=1, **LONG)
    pump.hold_back(parts["devices 0"][:1], 112.0)
    refused = []

    def tamper(sender, to, message):
        if isinstance(message, Deal) and not message.sealed:
            refused.append(to)
            return replace(message, dealing=replace(message.dealing, signature=bytes(64)))
        return message

    pump.tamper = tamper
    pump.at(101.0, lambda: pump.kill(parts["leaf 0"][1]))
    pump.at(105.0, lambda: pump.kill(parts["leaf 0"][2]))
    pump.at(105.5, lambda: pump.kill(parts["adders leaf 0"][0]))
    pump.start()
    pump.run(200.0)
    assert set(refused) == {parts["adders leaf 0"][1]}
    assert not pump.named()
    assert not any(isinstance(outcome, events.Opened) for outcome in pump.outcomes().values())


def test_contributions_of_devices_that_dealt_and_left_are_kept():
    pump, inputs, parts = one_leaves()
    pump.at(101.5, lambda: pump.kill(parts["devices 0"][2]))
    pump.start()
    pump.run()
    check_total(pump, inputs)


def test_a_member_that_lies_when_it_reshares_is_named_and_changes_nothing(monkeypatch):
    pump, inputs, parts = one_leaves(size=(7, 2))
    liar, honest = parts["leaf 0"][3], party.reshare

    def reshare(keys, seed, member, target):
        if keys.party == liar and target.stage == 0:
            member.sum = field.add(member.sum, field.as_elements(np.ones(member.sum.size, dtype=np.int64)))
        return honest(keys, seed, member, target)

    monkeypatch.setattr(party, "reshare", reshare)
    pump.start()
    pump.run()
    expected = field.total(np.stack(list(inputs.values())))
    assert all(np.array_equal(outcome.total, expected) for outcome in pump.outcomes().values())
    assert pump.named() == pump.named(proven=False) == {liar}


def test_an_adder_that_shows_two_rosters_gets_one_certified_at_most():
    """It ends the generation for some members, and goes on with it for others; or seats an accomplice."""
    for split in range(1, 4):
        pump, inputs, parts = one_leaves()
        others = parts["leaf 0"][2 : 1 + split]
        stage = pump.plan.stages[0]

        def tamper(sender, to, message, others=others, stage=stage):
            if isinstance(message, Proposal) and message.roster.is_interim and to in others:
                accomplice = (stage.seats[0], stage.substitutes[1], *stage.seats[2:])
                seats = accomplice if to == others[0] else ()
                return replace(message, roster=replace(message.roster, successors=seats))
            return message

        pump.tamper = tamper
        certified = {}

        def look(sender, to, message, certified=certified):
            if isinstance(message, Certificate):
                place = (message.roster.stage, message.roster.generation)
                certified.setdefault(place, set()).add(message.roster)

        pump.hooks.append(look)
        pump.start()
        pump.run()
        assert all(len(rosters) == 1 for rosters in certified.values())
        totals = {o.total.tobytes() for o in pump.outcomes().values() if isinstance(o, events.Opened)}
        assert len(totals) <= 1
        for outcome in pump.outcomes().values():
            if isinstance(outcome, events.Opened):
                counted = field.total(np.stack([inputs[who] for who in outcome.contributors]))
                assert np.array_equal(outcome.total, counted)


def test_members_that_are_there_are_not_replaced():
    """No vote for an interim roster that takes a seat from somebody who is reached, or skips a substitute."""
    pump, _, _ = make_session(clusters=1)
    assembly = first_generation(pump.plan, 0)
    one, two, *_ = assembly.blueprint.substitutes
    gone = frozenset({assembly.members[1]})
    seats = assembly.seats
    assert is_agreeable(assembly, (seats[0], one, *seats[2:]), gone)
    assert not is_agreeable(assembly, (seats[0], one, *seats[2:]), frozenset())
    assert not is_agreeable(assembly, (seats[0], one, two, seats[3]), gone)
    assert not is_agreeable(assembly, (seats[0], two, *seats[2:]), gone)
    assert is_agreeable(assembly, (seats[0], two, *seats[2:]), gone | {one.party})


def test_who_did_not_hear_of_the_new_generation_learns_it_from_its_late_dealing():
    pump, inputs, parts = one_leaves()
    deaf = parts["devices 0"][0]
    pump.tamper = lambda sender, to, message: (
        None if isinstance(message, Certificate) and to == deaf and pump.now < 103.0 else message
    )
    pump.start()
    pump.run()
    check_total(pump, inputs)
    assert generations(pump, 0) == 2


def test_old_shares_are_gone_also_where_the_member_was_away():
    pump, inputs, parts = one_leaves(pump_type=ScriptedCrashPump)
    away = parts["leaf 0"][1]

    def back():
        pump.back_at[away] = 0
        held.append(bool(pump.disks[away]))
        pump.come_back(away)

    held = []
    pump.at(103.0, back)
    pump.start()
    pump.run()
    check_total(pump, inputs)
    assert held == [True]
    assert generations(pump, 0) == 2
    for machine in pump.parties.values():
        old = machine.party._members.get((0, 0))
        assert old is None or (old.erased and old.sum is None and not old._held)


def test_old_members_erase_before_the_session_ends():
    pump, inputs, parts = one_leaves()
    seen = []

    def look(sender, to, message):
        if isinstance(message, OpeningShare):
            olds = [pump.parties[who]._members[0, 0] for who in parts["leaf 0"] if who not in pump.dead]
            seen.append(all(old.erased and not old._held for old in olds))

    pump.hooks.append(look)
    pump.start()
    pump.run()
    check_total(pump, inputs)
    assert seen
    assert all(seen)


ROLES = ["adders leaf 0", "leaf 0", "spare leaf 0", "devices 0", "root"]


@pytest.mark.parametrize(("torn", "back"), [(0, 0), (99, 40)])
def test_a_crash_at_any_effect_of_a_change_of_generation_costs_nothing(torn, back):
    pump, inputs, parts = one_leaves(pump_type=ScriptedCrashPump)
    pump.start()
    pump.run()
    check_total(pump, inputs)
    for role in ROLES:
        who = parts[role][0]
        stride = max(1, pump.effects[who] // 6)
        for effect in range(1 + torn % 2, pump.effects[who] + 1, stride):
            crashed, inputs, _ = one_leaves(
                pump_type=ScriptedCrashPump, crashes={(who, effect): (torn, back)}
            )
            crashed.start()
            crashed.run()
            assert crashed.lives[who] == 2, (role, effect)
            assert not crashed.sayings.contradictions, (role, effect)
            check_total(crashed, inputs)
