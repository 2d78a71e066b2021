"""Plans by role before the judge: everybody accepts its part of an honest plan, and sees what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from mesh.overlay import plan_check, planner
from mesh.overlay.planner import PlanLimits
from protocols.errors import MalformedMessage, Refused
from protocols.identifiers import PartyId
from protocols.sessions.excerpt import Excerpts, PartialPlan, read
from protocols.sessions.plan import Job, Plan, Query, Stage
from tests.scenarios.overlay_mesh import Peer, make_peer, make_record, make_standings, make_view

GATEWAYS = [make_peer(index) for index in range(9)]
PEERS = [*GATEWAYS, *(make_peer(100 + i, gateway=False, site=f"site-{i % 6}") for i in range(30))]
RECORD = make_record(GATEWAYS)
STANDINGS = make_standings(RECORD, GATEWAYS)
JOB = Job("cardio", (Query("mean", "bmi", ()),), 3, "study")
LIMITS = PlanLimits(fan_in=3, by_role_above=20)


def build(limits: PlanLimits = LIMITS) -> Plan:
    view = make_view(PEERS, PEERS[0])
    return planner.plan_session(view, RECORD, STANDINGS, JOB, length=7, nonce=bytes(32), limits=limits)


@cache
def honest() -> Plan:
    return build()


def part(plan: Plan, who: PartyId) -> Plan:
    excerpt = Excerpts(plan).of(who)
    return plan if excerpt is None else read(excerpt, who)


def judge(plan: Plan, peer: Peer, limits: PlanLimits = LIMITS) -> None:
    plan_check.verify(part(plan, peer.party), make_view(PEERS, peer), RECORD, limits=limits)


def device(leaf: int) -> Peer:
    """Somebody who only deals, in this leaf or the next one that has such."""
    seated = {p.party for p in GATEWAYS}
    for stage in honest().stages[leaf:]:
        for peer in PEERS:
            if peer.party in stage.dealers and peer.party not in seated:
                return peer
    raise AssertionError("no device")


def changed(index: int, change: Callable[[Stage], Stage]) -> Plan:
    stages = tuple(change(s) if i == index else s for i, s in enumerate(honest().stages))
    return replace(honest(), stages=stages)


def other_committee(stage: Stage) -> Stage:
    """The substitutes' order turned into the seats': nobody drew that."""
    return replace(stage, seats=tuple(reversed(stage.seats)))


def test_everybody_accepts_its_part_of_an_honest_plan() -> None:
    assert honest().by_role
    assert len({stage.label for stage in honest().stages}) == len(honest().stages)
    for peer in PEERS:
        judge(honest(), peer)
    alone = part(honest(), device(0).party)
    assert isinstance(alone, PartialPlan)
    assert len(alone.indices) < len(honest().stages)


def test_the_whole_plan_is_accepted_as_well() -> None:
    for peer in PEERS[::7]:
        plan_check.verify(honest(), make_view(PEERS, peer), RECORD, limits=LIMITS)


def test_size_decides_whether_a_plan_goes_out_whole() -> None:
    whole = build(PlanLimits(fan_in=3))
    assert not whole.by_role
    with pytest.raises(MalformedMessage, match="fan-in"):
        plan_check.verify(whole, make_view(PEERS, PEERS[3]), RECORD, limits=LIMITS)
    with pytest.raises(MalformedMessage, match="fan-in"):
        judge(honest(), PEERS[3], PlanLimits(fan_in=3))


@pytest.mark.parametrize("level", ["leaf", "root"])
def test_a_committee_that_was_not_drawn_is_seen_by_all_below_it_and_above_it(level: str) -> None:
    mine = device(0)
    leaf = honest().cluster_of(mine.party)
    assert leaf is not None
    bad = changed(leaf if level == "leaf" else honest().root, other_committee)
    with pytest.raises(MalformedMessage, match="rank order"):
        judge(bad, mine)
    above = bad.stages[bad.root if level == "root" else bad.parent_of(leaf)]
    for seat in above.seats:
        with pytest.raises(MalformedMessage, match="rank order"):
            judge(bad, next(peer for peer in PEERS if peer.party == seat.party))


def test_what_a_device_cannot_see_the_committee_above_it_does() -> None:
    mine, others = device(0), device(len(honest().stages) // 2)
    leaf = honest().cluster_of(others.party)
    assert leaf is not None
    assert leaf != honest().cluster_of(mine.party)
    bad = changed(leaf, other_committee)
    judge(bad, mine)
    with pytest.raises(MalformedMessage):
        judge(bad, others)


def test_labels_are_judged_one_by_one() -> None:
    mine = device(0)
    leaf = honest().cluster_of(mine.party)
    assert leaf is not None
    bad = changed(leaf, lambda stage: replace(stage, label=stage.label[:-1] + "x"))
    with pytest.raises(MalformedMessage, match="belongs"):
        judge(bad, mine)


def test_a_dealer_is_not_grouped_with_those_of_another_cluster() -> None:
    mine = device(0)
    leaf = honest().cluster_of(mine.party)
    assert leaf is not None
    donor = next(i for i, s in enumerate(honest().stages) if len(s.dealers) > 3 and i != leaf)
    moved = honest().stages[donor].dealers[-1]
    stages = list(honest().stages)
    stages[leaf] = replace(stages[leaf], dealers=tuple(sorted((*stages[leaf].dealers, moved))))
    stages[donor] = replace(stages[donor], dealers=stages[donor].dealers[:-1])
    bad = part(replace(honest(), stages=tuple(stages)), mine.party)
    with pytest.raises((MalformedMessage, Refused)):
        plan_check.verify(bad, make_view(PEERS, mine), RECORD, limits=LIMITS)
    checker = plan_check._Checker(bad, make_view(PEERS, mine), RECORD, LIMITS)
    with pytest.raises(Refused, match="not of our cluster"):
        checker.own_leaf()
