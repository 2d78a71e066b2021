"""Sessions whose end the owner does not know: judged by every roster that they may have had."""

from __future__ import annotations

import itertools

import pytest

from mesh.data import overlap
from mesh.data.overlap import Use
from mesh.data.policy import Asked, Policy
from mesh.data.room import DataRoom
from tests.data.plans import MEAN, OTHER, OWNER, PARTIES, make_plan

ASKED = (Asked("mean", "temp"),)
WATCHFUL = Policy(allow=("mean",), min_sites=3, min_rows=10)


def rosters(sites: frozenset[str], fewest: int):
    for size in range(min(fewest, len(sites)), len(sites) + 1):
        yield from map(frozenset, itertools.combinations(sorted(sites), size))


@pytest.mark.parametrize("second", ["abcd", "abc", "abce", "abcde", "abefg", "efgh", "defgh"])
@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_the_closed_form_is_the_least_of_all_pairs_of_rosters(second: str, least: int) -> None:
    before, sites = frozenset("abcd"), frozenset(second)
    for fewest in range(1, len(sites) + 1):
        pairs = itertools.product(rosters(before, least), rosters(sites, fewest))
        apart = [len(one ^ other) for one, other in pairs]
        assert overlap.forced_apart(before, sites, least, fewest) == min(apart)
        smallest = min((each for each in apart if each), default=0)
        assert overlap.least_apart(before, sites, least, fewest) == smallest


def use(*, certain: bool, fewest: int = 3) -> Use:
    return Use(
        "5e" * 32, 0.0, ASKED, frozenset("abcd"), 100, "one", (), fewest, certain, fewest, requester="ab" * 32
    )


def test_an_unknown_end_may_have_been_over_fewer_sites() -> None:
    """Three of a, b, c, d were counted, the asker kept it; all four now would show the fourth."""
    sites = frozenset("abcd")
    words = overlap.conflict(WATCHFUL, [use(certain=False)], ASKED, sites, 100, "one", (), 4)
    assert words is not None
    assert "not known here" in words
    assert "abababab" in words
    assert "5e5e5e5e" in words
    assert overlap.conflict(WATCHFUL, [use(certain=True)], ASKED, sites, 100, "one", (), 4) is None
    settled = use(certain=False, fewest=4)  # all or none were asked for: nothing else can have been
    assert overlap.conflict(WATCHFUL, [settled], ASKED, sites, 100, "one", (), 4) is None


def test_sites_far_from_every_roster_that_it_may_have_had_are_free() -> None:
    sites = frozenset("efg")
    assert overlap.conflict(WATCHFUL, [use(certain=False)], ASKED, sites, 100, "one", (), 3) is None


def test_a_certificate_settles_it(room: DataRoom) -> None:
    first, again = make_plan(), make_plan(nonce=b"2", min_sites=4)
    assert room.authorize(first, OWNER).allowed
    denied = room.authorize(again, OWNER)
    assert denied.rule == "overlap"
    assert first.session.hex()[:8] in denied.reason
    assert OTHER.hex()[:8] in denied.reason
    room.record_certified(first, PARTIES[:4])
    assert room.authorize(again, OWNER).allowed


def test_a_certified_roster_counts_and_not_the_plans(room: DataRoom) -> None:
    first = make_plan()
    assert room.authorize(first, OWNER).allowed
    room.record_certified(first, PARTIES[:3])
    assert "differ by 1 < 3" in room.authorize(make_plan(nonce=b"2", min_sites=4), OWNER).reason
    assert room.authorize(make_plan(dealers=3, nonce=b"3"), OWNER).allowed
    assert room.record_use(first, opened=True, roster=PARTIES[:3]) == ()
    assert [entry.kind for entry in room.history()][-3:] == ["certified", "approved", "result"]


def test_a_proof_that_nothing_was_opened_frees_the_question(room: DataRoom) -> None:
    first, again = make_plan(), make_plan(MEAN, nonce=b"2")
    assert room.authorize(first, OWNER).allowed
    assert not room.authorize(again, OWNER).allowed
    room.record_use(first, opened=False)
    assert room.authorize(again, OWNER).allowed


def test_an_opening_over_an_unknown_roster_settles_nothing(room: DataRoom) -> None:
    first = make_plan()
    assert room.authorize(first, OWNER).allowed
    room.record_use(first, opened=True)
    assert "not known here" in room.authorize(make_plan(nonce=b"2", min_sites=4), OWNER).reason
