"""Masked vectors, and members that leave while their stage collects: an interim roster's count once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import MalformedMessage
from protocols.sessions import events, roster
from protocols.sessions.bulk_messages import SumClaim
from protocols.sessions.messages import Certificate, Deal, Proposal
from tests.scenarios.masked_tree_pump import check_masked_total, lost, make_masked, spoil
from tests.scenarios.test_session_generations import generations
from tools.sim.stand_ins import fast_crypto


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


LEAF, MIDDLE = 0, 2
QUICK = {"collect_ms": 12_000}


def late_device(name="leaf 0", **options):
    """One device of cluster 0 deals late, and a committee's member leaves meanwhile: its stage refills."""
    pump, parts = make_masked(**QUICK, **options)
    pump.hold_back(parts["devices 0"][:1], 108.0)
    pump.at(101.0, lambda: pump.kill(parts[name][1]))
    return pump, parts


def interim_rosters(pump):
    """Of all stages, as they are told."""
    seen = {}

    def look(sender, to, message):
        if isinstance(message, Certificate) and message.roster.is_interim:
            seen.setdefault((message.roster.stage, message.roster.generation), set()).add(message.roster)

    pump.hooks.append(look)
    return seen


def names_added(pump):
    """What each party's store is asked to add, as it happens."""
    added = []
    for party, store in pump.stores.items():
        honest = store.add

        def add(parts, party=party, honest=honest):
            added.append((party, parts))
            return honest(parts)

        store.add = add
    return added


def test_a_cluster_refills_itself_while_it_collects():
    pump, parts = late_device()
    seen, added = interim_rosters(pump), names_added(pump)
    pump.start()
    pump.run(60.0)
    check_masked_total(pump, parts)
    assert generations(pump, LEAF) == 2
    (interim,) = seen[LEAF, 0]
    assert set(interim.contributors) == set(parts["devices 0"][1:])
    by_leaf = [set(names) for party, names in added if party in parts["adders leaf 0"]]
    assert by_leaf == [{pump.stores[device].mine for device in parts["devices 0"]}]
    assert not pump.named()


def test_without_an_interim_roster_the_second_loss_would_cost_the_cluster(monkeypatch):
    def session():
        pump, parts = late_device()
        pump.at(104.0, lambda: pump.kill(parts["leaf 0"][2]))
        pump.start()
        pump.run(60.0)
        return pump, parts

    pump, parts = session()
    check_masked_total(pump, parts)
    assert generations(pump, LEAF) == 3
    monkeypatch.setattr("protocols.sessions.adder.successor_seats", lambda *_: None)
    pump, parts = session()
    check_masked_total(pump, parts, missing=parts["devices 0"])


@pytest.mark.parametrize("middle", [False, True])
def test_a_stage_above_refills_itself_between_two_clusters(middle):
    """It has the sum of one, and waits for that of the other."""
    name = "middle" if middle else "root"
    pump, parts = late_device(name, middle=middle)
    seen = interim_rosters(pump)
    pump.start()
    pump.run(60.0)
    check_masked_total(pump, parts)
    assert (MIDDLE, 0) in seen
    (interim,) = seen[MIDDLE, 0]
    assert set(interim.contributors) == set(parts["devices 1"])


@pytest.mark.parametrize("moment", [102.5, 109.0])
def test_the_next_adder_has_the_vectors_of_all_generations_sent_again(moment):
    pump, parts = late_device()
    pump.at(moment, lambda: pump.kill(parts["adders leaf 0"][0]))
    pump.start()
    pump.run(60.0)
    check_masked_total(pump, parts)


def test_vectors_that_are_gone_for_good_cost_their_interim_sum_and_no_more():
    """A device of the interim roster is lost beside the only adder that had its vector."""
    pump, parts = late_device()
    gone = parts["devices 0"][1]
    pump.at(104.0, lambda: pump.kill(gone))
    pump.at(104.0, lambda: pump.kill(parts["adders leaf 0"][0]))
    pump.start()
    pump.run(60.0)
    check_masked_total(pump, parts, missing=parts["devices 0"][1:])


def test_a_device_whose_interim_roster_has_it_is_not_taken_again():
    """Whoever says it deals to the next generation, too."""
    pump, parts = late_device()
    listed = parts["devices 0"][1]
    again = []

    def tamper(sender, to, message):
        if isinstance(message, Deal) and message.dealing.generation == 1 and not again:
            again.append(message)
            pump.inject(listed, to, replace(message, dealing=replace(message.dealing, dealer=listed)))
        return message

    pump.tamper = tamper
    pump.start()
    pump.run(60.0)
    assert again
    check_masked_total(pump, parts)
    assert any("may not deal" in str(error) for _, _, error in pump.errors)


def test_only_sums_from_below_are_named_in_a_roster():
    """An adder that names a vector for the keys of its own earlier generation gets no vote."""
    pump, parts = late_device()
    forged = []

    def tamper(sender, to, message):
        if isinstance(message, Proposal) and message.roster.stage == LEAF and message.roster.generation == 1:
            own, *rest = message.roster.groups
            assert own.child == LEAF
            own = replace(own, vector=pump.stores[parts["devices 1"][0]].mine)
            forged.append(replace(message.roster, groups=(own, *rest)))
            return replace(message, roster=forged[-1])
        return message

    pump.tamper = tamper
    pump.start()
    pump.run(60.0)
    assembly = pump.parties[parts["adders leaf 0"][0]].succession.latest(LEAF)
    with pytest.raises(MalformedMessage, match="names the masked sum"):
        roster.check_roster(assembly, forged[0])
    check_masked_total(pump, parts, missing=parts["devices 0"])


@pytest.mark.parametrize("rank", ["adders leaf 0", "adders root"])
def test_an_adder_that_lies_about_the_vectors_of_two_generations_is_named(rank):
    pump, parts = late_device({"adders leaf 0": "leaf 0", "adders root": "root"}[rank])
    liar = parts[rank][0]
    spoil(pump, liar)
    pump.start()
    pump.run(60.0)
    assert pump.named() == pump.named(proven=True) == {liar}
    if rank == "adders root":
        check_masked_total(pump, parts)


def test_vectors_of_two_generations_are_shown_to_the_audit_of_a_flat_session():
    """Devices of either generation are gone by then: their adder shows the dealings that counted."""
    pump, parts = late_device("root", clusters=1, flat=True)
    early, late = parts["devices 0"][1], parts["devices 0"][0]

    def leave(sender, to, message):
        if isinstance(message, SumClaim):
            pump.dead |= {early, late}
            pump.notice()

    pump.hooks.append(leave)
    pump.start()
    pump.run(60.0)
    opened = check_masked_total(pump, parts)
    assert opened.result.interim
    phases = [e.phase for e in pump.events[pump.plan.initiator] if isinstance(e, events.Progress)]
    assert "audited" in phases
    assert not pump.named()
    assert not lost(pump)


def test_in_a_flat_session_the_next_adder_adds_the_vectors_of_both_generations():
    pump, parts = late_device("root", clusters=1, flat=True)
    spoil(pump, parts["adders root"][0])
    pump.start()
    pump.run(60.0)
    opened = check_masked_total(pump, parts)
    assert opened.result.interim
    assert pump.named() == pump.named(proven=True) == {parts["adders root"][0]}
