"""Excerpts of a plan: what belongs to a session's id is shown, and nothing else passes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.net.transport import MAX_FRAME_BYTES
from protocols.errors import LocalMisuse, MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions import plan_tree
from protocols.sessions.assembly import first_generation
from protocols.sessions.excerpt import Branch, Excerpt, Excerpts, Place, read
from protocols.sessions.messages import PlanOffer, Roster
from protocols.sessions.plan import (
    MAX_STAGES,
    Job,
    Placed,
    Plan,
    Query,
    Seat,
    SortitionProof,
    Stage,
    hops_needed,
)
from protocols.sessions.plan_rules import check
from protocols.sessions.plan_tree import DealerMap, Shape, check_place
from protocols.sessions.roster import check_roster
from protocols.wire import codec

LEAVES, FAN_IN, EACH = 7, 3, 6


def party(index: int) -> PartyId:
    return PartyId(index.to_bytes(32, "big"))


def seats(first: int, count: int) -> tuple[Seat, ...]:
    return tuple(Seat(party(index), bytes(32)) for index in range(first, first + count))


@cache
def plan() -> Plan:
    """Seven leaves of six devices, three regions, a root; committees are gateways that deal nothing."""
    shape = Shape(LEAVES, FAN_IN)
    stages = []
    for index in range(shape.size):
        first = 1000 + 10 * index
        dealers = tuple(party(EACH * index + i) for i in range(EACH)) if index < LEAVES else ()
        stages.append(
            Stage(f"s{index}", seats(first, 4), 1, (party(first + 5),), seats(first + 6, 2), dealers,
                  shape.children(index))
        )  # fmt: skip
    made = Plan(
        Digest(bytes(32)), 1, b"n", party(9999), Job("d", (Query("sum", "x", ()),), 5, "p"), 1,
        hops_needed(shape.depth), 1000, 9000, tuple(stages), (), fan_in=FAN_IN,
    )  # fmt: skip
    check(made)
    return made


@cache
def excerpts() -> Excerpts:
    return Excerpts(plan())


def part(who: PartyId) -> Excerpt:
    made = excerpts().of(who)
    assert made is not None
    return made


DEALER, MEMBER, REGION, ADDER = party(8), party(1010), party(1071), party(1015)


@pytest.mark.parametrize(
    ("who", "stages"),
    [
        (DEALER, [1, 7, 10]),
        (MEMBER, [1, 7, 10]),
        (ADDER, [1, 7, 10]),
        (REGION, [0, 1, 2, 7, 10]),
        (party(1076), [0, 1, 2, 7, 10]),
        (party(1100), [7, 8, 9, 10]),
    ],
    ids=["dealer", "member", "adder", "region member", "region substitute", "root member"],
)
def test_everybody_knows_its_path_and_what_hangs_below_its_seat(who: PartyId, stages: list[int]) -> None:
    known = read(codec.decode(Excerpt, codec.encode(part(who))), who)
    assert [index for index, _ in known.known] == stages
    assert known.session == plan().session
    for index, stage in known.known:
        assert stage == plan().stages[index]
        if index != known.root:
            assert known.parent_of(index) == plan().parent_of(index)
    assert known.dealer_count == len(plan().dealers)


def test_what_is_not_in_the_excerpt_is_not_taken_for_empty() -> None:
    known = read(part(DEALER), DEALER)
    with pytest.raises(UnexpectedMessage, match="not in our excerpt"):
        known.stages[0]
    with pytest.raises(LocalMisuse):
        list(known.stages)


def test_an_excerpt_is_for_those_who_have_a_role_in_it() -> None:
    with pytest.raises(MalformedMessage, match="another party"):
        read(part(DEALER), party(13))
    with pytest.raises(LocalMisuse):
        excerpts().of(party(5555))


def other(branch: Branch) -> Branch:
    """The same place with another committee."""
    stage = branch.placed.stage
    return replace(branch, placed=Placed(replace(stage, seats=seats(5000, 4)), branch.placed.proofs))


def changed(made: Excerpt, position: int, branch: Branch) -> Excerpt:
    branches = list(made.branches)
    branches[position] = branch
    return Excerpt(made.header, tuple(branches), made.places)


FORGERIES = {
    "another committee in the leaf": lambda e: changed(e, 0, other(e.branches[0])),
    "another committee at the root": lambda e: changed(e, -1, other(e.branches[-1])),
    "the leaf of others on our index": lambda e: changed(
        e, 0, replace(part(party(2)).branches[0], index=e.branches[0].index)
    ),
    "our leaf on another index": lambda e: changed(e, 0, replace(e.branches[0], index=0)),
    "a step changed": lambda e: changed(
        e, 0, replace(e.branches[0], steps=(Digest(bytes(32)), *e.branches[0].steps[1:]))
    ),
    "a step too many": lambda e: changed(
        e, 0, replace(e.branches[0], steps=(*e.branches[0].steps, Digest(bytes(32))))
    ),
    "a step too few": lambda e: changed(e, 0, replace(e.branches[0], steps=e.branches[0].steps[:-1])),
    "a step above the root": lambda e: changed(e, -1, replace(e.branches[-1], steps=(Digest(bytes(32)),))),
    "other children": lambda e: changed(e, 1, replace(e.branches[1], below=Digest(bytes(32)))),
    "the leaf of others on our index, by its own path": lambda e: changed(
        e, 0, replace(part(party(2)).branches[0], index=e.branches[0].index, steps=e.branches[0].steps)
    ),
    "the region of others in place of ours": lambda e: changed(
        e, 1, replace(part(party(20)).branches[1], index=e.branches[1].index)
    ),
    "something below a leaf": lambda e: changed(e, 0, replace(e.branches[0], below=Digest(bytes([1] * 32)))),
    "no root": lambda e: Excerpt(e.header, e.branches[:-1], e.places),
    "a gap in the path": lambda e: Excerpt(e.header, (e.branches[0], e.branches[2]), e.places),
    "a branch twice": lambda e: Excerpt(e.header, (e.branches[0], *e.branches), e.places),
    "another tree": lambda e: Excerpt(replace(e.header, leaves=LEAVES + 1), e.branches, e.places),
    "a tree deeper than its masks": lambda e: Excerpt(replace(e.header, leaves=28), e.branches, e.places),
    "more sites than dealers": lambda e: Excerpt(
        replace(e.header, job=replace(e.header.job, min_sites=43)), e.branches, e.places
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_excerpts_are_refused(forgery: str) -> None:
    with pytest.raises(MalformedMessage):
        read(FORGERIES[forgery](part(DEALER)), DEALER)


def test_a_member_is_shown_that_its_dealers_are_of_this_leaf_alone() -> None:
    made = part(MEMBER)
    assert len(made.places) == EACH
    for places in ((), made.places[1:], (replace(made.places[0], steps=()), *made.places[1:])):
        with pytest.raises(MalformedMessage):
            read(Excerpt(made.header, made.branches, places), MEMBER)


def test_a_member_is_shown_all_committees_below() -> None:
    made = part(REGION)
    with pytest.raises(MalformedMessage, match="leaves out committees"):
        read(Excerpt(made.header, made.branches[1:], made.places), REGION)


def test_any_change_of_the_header_is_another_session() -> None:
    made = part(DEALER)
    header = made.header
    for change in ({"dealers": 41}, {"epoch": 2}, {"nonce": b"m"}, {"dealer_map": Digest(bytes(32))}):
        forged = Excerpt(replace(header, **change), made.branches, made.places)
        assert read(forged, DEALER).session != plan().session


def test_any_change_of_a_stage_is_another_session() -> None:
    for index in range(len(plan().stages)):
        stages = list(plan().stages)
        stages[index] = replace(stages[index], seats=seats(5000, 4))
        assert replace(plan(), stages=tuple(stages)).session != plan().session


def test_a_whole_plan_holds_nothing_that_its_id_does_not_commit_to() -> None:
    moved = list(plan().stages)
    moved[7] = replace(moved[7], children=(0, 1))
    moved[8] = replace(moved[8], children=(2, 3, 4, 5))
    twice = list(plan().stages)
    twice[0] = replace(twice[0], dealers=twice[1].dealers)
    for stages in (moved, twice, plan().stages[1:]):
        with pytest.raises(MalformedMessage):
            check(replace(plan(), stages=tuple(stages)))
    with pytest.raises(MalformedMessage):
        check(replace(plan(), fan_in=1))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 2**64), min_size=1, max_size=60), st.integers(0, 2**64))
def test_a_dealer_has_one_place_in_the_map(dealers: set[int], stranger: int) -> None:
    made = DealerMap((party(dealer), index % 5) for index, dealer in enumerate(sorted(dealers)))
    for index, dealer in enumerate(sorted(dealers)):
        steps = made.proof(party(dealer))
        check_place(made.root, party(dealer), index % 5, steps)
        for wrong in (steps[1:], (*steps, plan_tree.NOTHING), (plan_tree.NOTHING, *steps)):
            if wrong != steps:
                with pytest.raises(MalformedMessage):
                    check_place(made.root, party(dealer), index % 5, wrong)
        with pytest.raises(MalformedMessage):
            check_place(made.root, party(dealer), index % 5 + 1, steps)
    if stranger not in dealers:
        with pytest.raises(MalformedMessage):
            check_place(made.root, party(stranger), 0, made.proof(party(stranger)))
    with pytest.raises(MalformedMessage, match="65 steps"):
        check_place(made.root, party(stranger), 0, (plan_tree.NOTHING,) * 65)


def test_a_dealer_of_two_leaves_has_no_map() -> None:
    with pytest.raises(MalformedMessage, match="twice"):
        DealerMap([(DEALER, 0), (party(1), 0), (DEALER, 1)])


@pytest.mark.parametrize(
    ("leaves", "fan_in"), [(1, 2), (2, 2), (7, 3), (27, 27), (28, 27), (700, 27), (1000, 16)]
)
def test_the_canonical_tree_is_one_tree(leaves: int, fan_in: int) -> None:
    shape = Shape(leaves, fan_in)
    adopted = [child for stage in range(shape.size) for child in shape.children(stage)]
    assert adopted == list(range(shape.size - 1))
    assert all(shape.parent(child) == stage for stage in range(shape.size) for child in shape.children(stage))
    assert shape.parent(shape.size - 1) is None
    assert shape.level(shape.size - 1) == shape.depth - 1


def test_places_of_other_leaves_do_not_serve() -> None:
    made = part(MEMBER)
    foreign = part(party(1020)).places
    forged = tuple(
        Place(1, mine.dealer, their.steps) for mine, their in zip(made.places, foreign, strict=True)
    )
    with pytest.raises(MalformedMessage):
        read(Excerpt(made.header, made.branches, forged), MEMBER)


def test_no_more_devices_count_than_the_header_admits() -> None:
    """An initiator may say any number: consent to two answers rests on how far their numbers are apart."""
    whole = part(party(1000 + 10 * plan().root))
    few = read(replace(whole, header=replace(whole.header, dealers=5)), party(1000 + 10 * plan().root))
    root = first_generation(few, few.root)
    check_roster(root, Roster(few.root, 0, (), (), count=5))
    with pytest.raises(MalformedMessage, match="6 contributed to a plan of 5"):
        check_roster(root, Roster(few.root, 0, (), (), count=6))


def test_a_plan_of_as_many_stages_as_there_may_be_fits_one_frame() -> None:
    """With 14 dealers in each of its clusters, and every committee of the planner's largest size."""
    shape = Shape(1437, 16)
    assert MAX_STAGES - 3 <= shape.size <= MAX_STAGES
    adders = tuple(party(index) for index in range(8))
    stages = tuple(
        Stage("s" * 57, seats(100, 13), 4, adders, seats(200, 8),
              tuple(party(14 * index + i) for i in range(14)) if index < 1437 else (), shape.children(index))
        for index in range(shape.size)
    )  # fmt: skip
    proofs = tuple(SortitionProof(party(index), bytes(80)) for index in range(1437))
    large = replace(plan(), stages=stages, proofs=proofs, fan_in=16, hops=hops_needed(shape.depth))
    assert len(codec.encode(PlanOffer(large))) + 4096 < MAX_FRAME_BYTES
