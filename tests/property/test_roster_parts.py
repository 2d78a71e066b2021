"""Rosters shown in part: one digest, one head, one link a source; and what a device makes of a chain."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions import merkle, roster
from protocols.sessions.assembly import after_interim, first_generation
from protocols.sessions.counting import Counting
from protocols.sessions.messages import NO_VECTOR, Ballot, Certificate, Entry, Group, Result, Roster
from protocols.sessions.opening import check_result, result_digest
from protocols.sessions.plan import Plan
from protocols.sessions.roster_tree import Hidden, Link, part, roster_digest
from protocols.wire import codec
from protocols.wire.digest import digest
from tools.sim import scale
from tools.sim.mesh_plan import keys_of

CLUSTERS, EACH, REGION = 9, 8, 3


@cache
def plan() -> Plan:
    """Nine clusters of eight, three regions (9, 10, 11), a root (12)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "REGION", REGION)
        return scale.big_plan([keys_of(index) for index in range(CLUSTERS * EACH)], CLUSTERS)[0]


def group(child: int, source: Digest) -> Group:
    members = plan().stages[child].members
    return Group(child, source, NO_VECTOR, tuple(sorted((Entry(m, source) for m in members), key=key)))


def key(entry: Entry) -> PartyId:
    return entry.dealer


@cache
def leaf(index: int, without: PartyId | None = None) -> Roster:
    dealers = tuple(dealer for dealer in plan().stages[index].dealers if dealer != without)
    entries = tuple(Entry(dealer, digest("a dealing", dealer)) for dealer in dealers)
    return Roster(index, 0, (Group(-1, Digest(bytes(32)), NO_VECTOR, entries),), dealers)


def above(stage: int, rosters: list[Roster]) -> Roster:
    groups = tuple(group(below.stage, name(below)) for below in rosters)
    return Roster(stage, 0, groups, (), (), sum(below.sites for below in rosters))


@cache
def region(index: int) -> Roster:
    return above(index, [leaf(child) for child in plan().stages[index].children])


@cache
def top() -> Roster:
    return above(12, [region(index) for index in plan().stages[12].children])


def name(subject: Roster) -> Digest:
    return roster_digest(plan().session, subject)


def result(root: Roster, *below: Roster) -> Result:
    return Result(Certificate(root, ()), np.zeros(1, dtype=np.uint64), (), (), (), below)


def device() -> PartyId:
    """Of leaf 4, in region 10."""
    return plan().stages[4].dealers[-1]


def shown(*rosters: Roster) -> bool | None:
    """What a device of leaf 4 learns of these after a result with nothing but the root's head."""
    counting = Counting(plan(), device())
    counting.opened(0.0, result(part(top())))
    counting.learn(result(*rosters))
    return counting.counted


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.data())
def test_a_path_proves_one_digest_at_one_place(size: int, data: st.DataObject) -> None:
    leaves = [digest("leaf", bytes([index])) for index in range(size)]
    place = data.draw(st.integers(0, size - 1))
    steps, root = merkle.path(leaves, place), merkle.root(leaves)
    assert merkle.root_of(leaves[place], place, size, steps) == root
    assert len(steps) <= max(size - 1, 0).bit_length()
    assert merkle.root_of(merkle.NOTHING, place, size, steps) != root
    for wrong in (steps[1:], (*steps, merkle.NOTHING)):
        if wrong != steps:
            with pytest.raises(MalformedMessage):
                merkle.root_of(leaves[place], place, size, wrong)
    for other in range(size):
        if other != place:
            with suppress(MalformedMessage):  # a path of another length
                assert merkle.root_of(leaves[place], other, size, steps) != root
    with pytest.raises(MalformedMessage):
        merkle.root_of(leaves[place], size, size, steps)


def test_a_part_has_the_digest_of_the_whole_and_is_small() -> None:
    for child in (None, *top().children):
        made = codec.decode(Roster, codec.encode(part(top(), child)))
        assert roster_digest(plan().session, made) == name(top())
        assert (made.groups, made.children, made.sites) == ((), top().children, top().sites)
        assert part(made, child) == made
        assert part(made) == part(top())
    assert part(leaf(0)) == leaf(0)
    with pytest.raises(KeyError):
        part(part(top(), 9), 10)


def test_whatever_is_changed_in_a_part_is_another_roster() -> None:
    honest = part(top(), 10)
    hidden = honest.hidden
    assert hidden is not None
    assert hidden.link is not None
    forged = [
        replace(honest, count=honest.count + 1),
        replace(honest, generation=1),
        replace(honest, stage=11),
        replace(honest, hidden=replace(hidden, children=(9, 10))),
        replace(honest, hidden=replace(hidden, children=(9, 10, 8))),
        replace(honest, hidden=replace(hidden, link=replace(hidden.link, source=NO_VECTOR))),
        replace(honest, hidden=replace(hidden, link=replace(hidden.link, child=11))),
        replace(honest, hidden=replace(hidden, steps=(NO_VECTOR, *hidden.steps[1:]))),
        replace(honest, hidden=Hidden(hidden.children, None, (NO_VECTOR,))),
    ]
    for other in forged:
        with suppress(MalformedMessage):  # a path that does not fit the sources
            assert name(other) != name(top())


@pytest.mark.parametrize(
    "hidden",
    [
        Hidden((9, 10, 10), None, (NO_VECTOR,)),
        Hidden((9, 10), Link(11, NO_VECTOR, NO_VECTOR), (NO_VECTOR,)),
        Hidden((9, 10), Link(9, NO_VECTOR, NO_VECTOR), ()),
        Hidden((9, 10), None, ()),
        Hidden((9, 10), None, (NO_VECTOR, NO_VECTOR)),
    ],
    ids=["a source twice", "no source of it", "no path", "no root", "two roots"],
)
def test_a_part_that_does_not_hold_together_has_no_digest(hidden: Hidden) -> None:
    with pytest.raises(MalformedMessage):
        name(Roster(12, 0, (), (), (), 5, hidden))


def test_a_roster_is_whole_or_in_part() -> None:
    with pytest.raises(MalformedMessage, match="whole or in part"):
        name(replace(top(), hidden=part(top()).hidden))


def test_who_votes_deals_or_adds_is_not_content_with_a_part() -> None:
    root = first_generation(plan(), 12)
    roster.check_roster(root, top())
    with pytest.raises(MalformedMessage, match="takes the whole"):
        roster.check_roster(root, part(top()))
    roster.check_roster(root, part(top()), certified=True, in_part=True)
    with pytest.raises(MalformedMessage, match="takes the whole"):
        roster.check_certificate(root, Certificate(part(top()), ()))
    whole_plan = first_generation(replace(plan(), fan_in=0), 12)
    with pytest.raises(MalformedMessage, match="takes the whole"):
        roster.check_roster(whole_plan, part(top()), certified=True, in_part=True)


def test_the_generation_after_a_part_is_that_after_the_whole() -> None:
    root = first_generation(plan(), 12)
    for subject in (above(12, [region(9)]), above(12, [region(9), region(11)]), above(12, [])):
        assert after_interim(root, part(subject)) == after_interim(root, subject)


def signed(count: int, subject: Roster | None = None) -> Result:
    """A result that all members of the root vouch for, whatever it says."""
    subject = replace(subject or part(top(), 10), count=count)
    keys = {keys_of(index).party: keys_of(index) for index in range(CLUSTERS * EACH)}
    members = [keys[member] for member in plan().stages[12].members]
    total = np.zeros(1, dtype=np.uint64)
    said = result_digest(plan().session, name(subject), total)

    def ballots(label: str, what: Digest) -> tuple[Ballot, ...]:
        return tuple(roster.cast(key, seat, label, what) for seat, key in enumerate(members))

    certificate = Certificate(subject, ballots(roster.ROSTER, name(subject)))
    return Result(certificate, total, ballots(roster.RESULT, said)[:2], ())


def test_a_device_checks_the_number_of_sites_in_the_head_that_it_is_shown() -> None:
    root = first_generation(plan(), 12)
    check_result(root, signed(CLUSTERS * EACH))
    check_result(root, signed(2))
    for wrong in (0, 1, CLUSTERS * EACH + 1):
        with pytest.raises(MalformedMessage):
            check_result(root, signed(wrong))
    honest = signed(CLUSTERS * EACH)
    for other in (signed(5).certificate.roster, part(above(12, [region(9)]), 9)):
        with pytest.raises(MalformedMessage, match="forged"):
            check_result(root, replace(honest, certificate=replace(honest.certificate, roster=other)))


def test_a_device_finds_itself_by_the_parts_that_lead_to_its_leaf() -> None:
    assert shown(part(top(), 10), part(region(10), 4), leaf(4)) is True


def test_who_is_not_on_the_certified_path_is_told_so() -> None:
    mine = leaf(4, without=device())
    below = above(10, [leaf(3), mine, leaf(5)])
    root = above(12, [region(9), below, region(11)])
    for chain, counted in (
        ((part(root, 10), part(below, 4), mine), False),
        ((part(root, 10), part(below, 4), leaf(4)), None),
        ((part(above(12, [region(9), region(11)]), 9),), False),
    ):
        counting = Counting(plan(), device())
        counting.opened(0.0, result(*chain))
        assert counting.counted is counted
    lost = above(10, [leaf(3), leaf(5)])
    root = above(12, [region(9), lost, region(11)])
    counting = Counting(plan(), device())
    counting.opened(0.0, result(part(root, 10)))
    assert counting.counted is None
    counting.learn(result(part(root, 10), part(lost)))
    assert counting.counted is False


def test_whoever_hides_forges_or_cuts_a_chain_shows_nothing() -> None:
    less = above(10, [leaf(3), leaf(5)])
    for chain in (
        (part(top()), part(region(10), 4), leaf(4)),
        (part(top(), 9), part(region(10), 4), leaf(4)),
        (part(top(), 10), part(region(10), 3), leaf(4)),
        (part(top(), 10), part(less), leaf(4)),
        (part(top(), 10), leaf(4)),
        (part(above(12, [region(9), less, region(11)]), 10), part(less)),
        (part(top(), 10), part(region(10), 4), leaf(4, without=device())),
        (part(top(), 10), replace(part(region(10), 4), count=1), leaf(4)),
        (part(top(), 10), Roster(10, 0, (), (), (), 5, Hidden((3, 3), None, (NO_VECTOR,)))),
    ):
        assert shown(*chain) is None


def test_an_earlier_generation_is_reached_by_the_link_to_it() -> None:
    early = replace(above(12, [region(10)]), successors=plan().stages[12].seats)
    late = replace(above(12, [region(9)]), generation=1, count=region(9).sites + early.sites)
    groups = (Group(12, name(early), NO_VECTOR, ()), *late.groups)
    late = replace(late, groups=groups)
    for chain, counted in (
        ((part(late, 12), part(early, 10), part(region(10), 4), leaf(4)), True),
        ((part(late, 12), part(early)), None),
        ((part(late, 9), part(early, 10)), None),
    ):
        counting = Counting(plan(), device())
        counting.opened(0.0, result(*chain))
        assert counting.counted is counted
    counting = Counting(plan(), plan().stages[7].dealers[-1])
    counting.opened(0.0, result(part(late, 12), part(early)))
    assert counting.counted is False
