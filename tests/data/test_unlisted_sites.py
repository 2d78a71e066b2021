"""Answers over sites that are not listed: only their numbers can keep two of them apart."""

from __future__ import annotations

import pytest

from mesh.data import overlap
from mesh.data.overlap import Use
from mesh.data.policy import Asked, Policy

WATCHFUL = Policy(allow=("mean",), min_sites=3, min_rows=10)
MEAN = (Asked("mean", "temp"),)


def use(listed: str, others: int, fewest: int, certain: bool = False) -> Use:
    return Use("5e" * 32, 0.0, MEAN, frozenset(listed), 100, "one", (), 3, certain, fewest, "", others)


@pytest.mark.parametrize(
    ("before", "listed", "others", "fewest", "denied"),
    [
        (use("ab", 998, 900), "ab", 998, 900, True),  # a thousand twice: who knows which
        (use("ab", 998, 1000), "ab", 998, 1000, True),  # not even then: they may be others
        (use("ab", 998, 900), "ab", 0, 2, False),  # two of so many: 898 apart at least
        (use("abcd", 0, 4, certain=True), "ab", 998, 7, False),  # seven or more against four
        (use("abcd", 0, 4, certain=True), "ab", 998, 6, True),
        (use("ab", 398, 300), "ab", 1998, 403, False),
        (use("ab", 398, 300), "ab", 1998, 402, True),
    ],
)
def test_numbers_keep_answers_apart(before: Use, listed: str, others: int, fewest: int, denied: bool) -> None:
    words = overlap.conflict(WATCHFUL, [before], MEAN, frozenset(listed), 100, "one", (), fewest, others)
    assert (words is not None) == denied


def test_other_columns_are_no_matter() -> None:
    before = use("ab", 998, 900)
    assert (
        overlap.conflict(
            WATCHFUL, [before], (Asked("mean", "other"),), frozenset("ab"), 100, "one", (), 900, 998
        )
        is None
    )
