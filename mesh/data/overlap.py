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
judged by all rosters it can end with, from `fewest` of its sites to all of them, and so is an earlier session
whose end this owner does not know (`Use.certain`): whoever collected may have kept the smaller roster to
itself. A certificate or the proof that nothing was opened settles it (`ledger`). The same sites again are
harmless only if it is all of them or nothing, both times.

The least difference in closed form. Let c sites be in both plans, and at least m of the first and m' of the
second be counted. What is counted beyond the c common ones is the first's or the second's alone, so rosters
differ by at least max(0, m-c) + max(0, m'-c), and by no more when both count all common sites. If that is 0
they may be equal; then they can differ by exactly 1 as soon as either has any choice: a site that is not
common to add, or a common one to leave out.

Plans of many devices go out by role, and list few of them here. An answer over sites that are not listed may
differ from another by one site, unless one of the two has more sites by `min_sites` than the other can have:
so the like is not asked again of this column, or after a small job only.

Limit: pairs are judged, not combinations of three and more jobs; `max_uses` bounds those.

Symbols: c, m, m' as above.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh.data.policy import Asked, Policy
from protocols.statistics import names

_ABOUT_ONE_MODEL = names.OF_MODEL - {"gram"}


@dataclass(frozen=True, slots=True)
class Use:
    """One approved job: what it (may have) revealed over which sites, from which state of our file.

    `certain`: exactly `sites` were counted, if anything was opened at all. Otherwise it is any `fewest` or
    more of them, and `requester` knows best how it ended.
    """

    session: str
    at: float
    queries: tuple[Asked, ...]
    sites: frozenset[str]
    rows: int
    digest: str
    inputs: tuple[str, ...] = ()
    min_sites: int = 2
    certain: bool = True
    fewest: int = 2
    requester: str = ""
    others: int = 0
    """Sites of the plan beside `sites` that are not listed here: of a plan by role."""

    @property
    def least(self) -> int:
        """The least number of sites that were counted, as far as we know."""
        return len(self.sites) if self.certain else min(self.fewest, len(self.sites))


def conflict(
    policy: Policy,
    earlier: Iterable[Use],
    queries: Sequence[Asked],
    sites: frozenset[str],
    rows: int,
    digest: str,
    inputs: tuple[str, ...] = (),
    fewest: int | None = None,
    others: int = 0,
) -> str | None:
    """Words about the first earlier use whose answers minus these isolate too few, or None.

    `fewest` of the sites may end up in the answer; None: it is over exactly these. `others` of them are not
    listed in `sites`.
    """
    least = len(sites) if fewest is None else min(fewest, len(sites))
    for use in earlier:
        column = _shared(use.queries, queries, use.inputs == inputs)
        if column is None:
            continue
        if use.others or others:
            total = len(sites) + others
            if unlisted_apart(use, total, total if fewest is None else fewest) >= policy.min_sites:
                continue
            return (
                f"session {use.session[:8]} answered on {column!r}; who its sites were, or those of this "
                f"job, is not all known here: they may differ by fewer than {policy.min_sites}"
            )
        if 0 < least_apart(use.sites, sites, use.least, least) < policy.min_sites:
            return _words(use, column, sites, least, policy)
        alike = forced_apart(use.sites, sites, use.least, least) == 0
        if alike and use.digest != digest and abs(rows - use.rows) < policy.min_rows:
            return (
                f"session {use.session[:8]} answered on {column!r} over the same sites, and our file has "
                f"changed by {abs(rows - use.rows)} rows < {policy.min_rows} since"
            )
    return None


def _words(use: Use, column: str, sites: frozenset[str], least: int, policy: Policy) -> str:
    """Why the two are too close, and what would be allowed: for our owner, and for whoever asks."""
    apart, short = len(use.sites ^ sites), use.session[:8]
    if not use.certain and not 0 < least_apart(use.sites, sites, len(use.sites), least) < policy.min_sites:
        return (
            f"how session {short} ended is not known here: it may have answered on {column!r} over any "
            f"{use.least} to {len(use.sites)} of its sites, and with this job tell about fewer than "
            f"{policy.min_sites}; once {use.requester[:8] or 'its requester'} or another of its parties is "
            f"linked and shows its end to us, ask again"
        )
    if 0 < apart < policy.min_sites:
        return (
            f"session {short} answered on {column!r} over sites that differ by {apart} < "
            f"{policy.min_sites}; the difference would be theirs alone"
        )
    return (
        f"session {short} answered on {column!r}, and this job may end with sites that "
        f"differ from its by fewer than {policy.min_sites}; ask for all {len(sites)} sites or none"
    )


def unlisted_apart(use: Use, total: int, fewest: int) -> int:
    """By how many sites an answer over `fewest` to `total` differs from an earlier one at least.

    By their numbers alone: who they are is not listed of both.
    """
    before = len(use.sites) + use.others
    least = before if use.certain else min(use.fewest, before)
    return max(fewest - before, least - total, 0)


def forced_apart(before: frozenset[str], sites: frozenset[str], least: int, fewest: int) -> int:
    """How many sites any `least` of `before` and `fewest` of `sites` differ by at least; see the module."""
    common = len(before & sites)
    return max(0, least - common) + max(0, fewest - common)


def least_apart(before: frozenset[str], sites: frozenset[str], least: int, fewest: int) -> int:
    """Least number, above 0, by which a choice of `least` or more of `before` and one of `fewest` or more of
    `sites` can differ; 0 if they cannot differ.
    """
    forced = forced_apart(before, sites, least, fewest)
    if forced:
        return forced
    return 1 if before != sites or min(least, fewest) < len(before & sites) else 0


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
