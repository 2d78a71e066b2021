"""Masked vectors, and a key sum that moves on after its stage's final roster: vectors stay where they are."""

from __future__ import annotations

import pytest

from protocols.sessions.handing import Handovers
from tests.scenarios.masked_tree_pump import check_masked_total, lost, make_masked, spoil
from tests.scenarios.test_session_generations import generations
from tools.sim.stand_ins import fast_crypto


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


LEAF, MIDDLE, ROOT = 0, 2, 3
STAGES = [("leaf 0", LEAF, MIDDLE), ("middle", MIDDLE, ROOT)]


def two_leave(name="leaf 0", above=MIDDLE, **options):
    """Two members of a committee leave while nothing comes through to the stage above."""
    pump, parts = make_masked(middle=True, **options)
    pump.hold_up(above, 110.0)
    pump.at(101.0, lambda: pump.kill(parts[name][1]))
    pump.at(103.0, lambda: pump.kill(parts[name][2]))
    return pump, parts


@pytest.mark.parametrize(("name", "stage", "above"), STAGES)
def test_the_total_unmasks_with_a_key_sum_that_was_handed_over(name, stage, above):
    pump, parts = two_leave(name, above)
    pump.start()
    pump.run(200.0)
    check_masked_total(pump, parts)
    assert generations(pump, stage) == 3
    assert not pump.named()


def test_without_a_handover_the_cluster_would_be_lost(monkeypatch):
    monkeypatch.setattr(Handovers, "advance", lambda *_: [])
    pump, parts = two_leave()
    pump.start()
    pump.run(200.0)
    check_masked_total(pump, parts, missing=parts["devices 0"])


@pytest.mark.parametrize("name", ["leaf 0", "middle"])
def test_adders_that_leave_beside_the_members_take_the_vectors_with_them(name):
    """The next rank asks for nothing: devices, or the adders below, send their vectors to it."""
    pump, parts = two_leave(name, {"leaf 0": MIDDLE, "middle": ROOT}[name])
    pump.at(104.5, lambda: pump.kill(parts[f"adders {name}"][0]))
    pump.at(107.0, lambda: pump.kill(parts[f"adders {name}"][1]))
    pump.start()
    pump.run(200.0)
    check_masked_total(pump, parts)


def test_every_device_unmasks_what_a_handover_led_to():
    pump, parts = two_leave(to_all=True)
    pump.start()
    pump.run(200.0)
    opened = check_masked_total(pump, parts)
    for device in opened.contributors:
        sums, _, _ = pump.unmasked(device)
        assert (sums == pump.expected(opened)).all()


@pytest.mark.parametrize("middle", [False, True])
def test_the_root_opens_the_key_sum_that_it_was_handed(middle):
    """A member is lost just before anything is opened: the masked total is that of the first generation."""
    pump, parts = make_masked(middle=middle)
    below = len(pump.plan.stages) - 2
    gone = []

    def lose_one(sender, to, message):
        certified = type(message).__name__ == "Certificate" and message.roster.stage == pump.plan.root
        if certified and not gone:
            gone.append(parts["root"][1])
            pump.kill(gone[0])

    pump.hooks.append(lose_one)
    pump.start()
    pump.run(200.0)
    opened = check_masked_total(pump, parts)
    assert below >= 1
    assert gone
    assert opened.result.handovers
    assert not lost(pump)


def test_the_next_adder_of_the_root_takes_over_after_a_handover():
    pump, parts = make_masked()
    adder = parts["adders root"][0]

    def lose_two(sender, to, message):
        certified = type(message).__name__ == "Certificate" and message.roster.stage == pump.plan.root
        if certified and not pump.dead:
            pump.kill(parts["root"][1])
            pump.kill(adder)

    pump.hooks.append(lose_two)
    pump.start()
    pump.run(200.0)
    check_masked_total(pump, parts)


def test_a_lying_adder_of_the_root_is_replaced_over_keys_that_were_handed_over():
    pump, parts = make_masked()
    liar = parts["adders root"][0]
    spoil(pump, liar)

    def lose_one(sender, to, message):
        certified = type(message).__name__ == "Certificate" and message.roster.stage == pump.plan.root
        if certified and not pump.dead:
            pump.kill(parts["root"][1])

    pump.hooks.append(lose_one)
    pump.start()
    pump.run(200.0)
    assert check_masked_total(pump, parts).result.handovers
    assert pump.named() == pump.named(proven=True) == {liar}
