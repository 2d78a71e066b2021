"""Whether two answers together give away what neither does: n sites against n-1.

If one sum is opened over the sites A and another of the same column over B, their difference is a sum
over A△B. With fewer than `min_sites` sites in A△B it is one that the owner's policy would not open. Every
owner in either job judges this, also when it is not in A△B itself: a site that was left out of the second
job is not asked about it, so only those that are in both can refuse on its behalf.

The same holds in time: the same sites asked again after this owner's rows changed give away the change
unless it is at least `min_rows` rows.

Updates, losses and accuracies of two models are not comparable exactly, so that sites may come and go between
the rounds of a training run; how much two nearly equal models tell about a site that left is bounded by a
privacy budget only.

Who is counted is known only at the end: a site can drop out, or be dropped by whoever collects. So a plan is
judged by all rosters it can end with, from `fewest` of its sites to all of them. The same sites again are
harmless only if it is all of them or nothing.

Limit: pairs are judged, not combinations of three and more jobs; `max_uses` bounds those. An earlier
session whose end is unknown counts with all the sites of its plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh.data.policy import Asked, Policy
from protocols.statistics import names

_ABOUT_ONE_MODEL = names.OF_MODEL - {"gram"}


@dataclass(frozen=True, slots=True)
class Use:
    """One approved job: what it (may have) revealed over which sites, from which state of our file."""

    session: str
    at: float
    queries: tuple[Asked, ...]
    sites: frozenset[str]
    rows: int
    digest: str
    inputs: tuple[str, ...] = ()
    min_sites: int = 2


def conflict(
    policy: Policy,
    earlier: Iterable[Use],
    queries: Sequence[Asked],
    sites: frozenset[str],
    rows: int,
    digest: str,
    inputs: tuple[str, ...] = (),
    fewest: int | None = None,
) -> str | None:
    """Words about the first earlier use whose answers minus these isolate too few, or None.

    `fewest` of `sites` may end up in the answer; None: it is over exactly these.
    """
    for use in earlier:
        column = _shared(use.queries, queries, use.inputs == inputs)
        if column is None:
            continue
        apart = len(use.sites ^ sites)
        if 0 < apart < policy.min_sites:
            return (
                f"session {use.session[:8]} answered on {column!r} over sites that differ by {apart} < "
                f"{policy.min_sites}; the difference would be theirs alone"
            )
        if 0 < least_apart(use.sites, sites, len(sites) if fewest is None else fewest) < policy.min_sites:
            return (
                f"session {use.session[:8]} answered on {column!r}, and this job may end with sites that "
                f"differ from its by fewer than {policy.min_sites}; ask for all {len(sites)} sites or none"
            )
        if apart == 0 and use.digest != digest and abs(rows - use.rows) < policy.min_rows:
            return (
                f"session {use.session[:8]} answered on {column!r} over the same sites, and our file has "
                f"changed by {abs(rows - use.rows)} rows < {policy.min_rows} since"
            )
    return None


def least_apart(before: frozenset[str], sites: frozenset[str], fewest: int) -> int:
    """Least number, above 0, of sites by which `before` and a choice of at least `fewest` of `sites` differ.

    0 if they cannot differ.
    """
    kept, gone, fresh = len(before & sites), len(before - sites), len(sites - before)
    if gone or fewest > kept:
        return gone + max(0, fewest - kept)
    return 1 if fresh or fewest < kept else 0


def is_repeated(earlier: Iterable[Use], queries: Sequence[Asked], inputs: tuple[str, ...] = ()) -> bool:
    """Whether some earlier use answered the like on one of the columns."""
    return any(_shared(use.queries, queries, use.inputs == inputs) is not None for use in earlier)


def _shared(one: Sequence[Asked], other: Sequence[Asked], same_inputs: bool) -> str | None:
    """A column on which both reveal a sum of the same kind.

    Sums about a model are of one kind only if it is the very same model.
    """
    for left in one:
        for right in other:
            if left.statistic in _ABOUT_ONE_MODEL and not same_inputs:
                continue
            if left.column == right.column and _family(left) & _family(right):
                return left.column
    return None


def _family(query: Asked) -> frozenset[str]:
    known = names.FORMS.get(query.statistic)
    return known.family if known else frozenset({query.statistic})
