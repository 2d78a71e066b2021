"""Which peers work together: clusters of bounded size, by site label first, then by measured round trip.

Rule: a group of at least 2*target peers is halved, so clusters of one site have target..2*target-1
members. Halving goes by round trip to two far-apart poles if the group is spread out, else by a hash of
the id, at the middle: one peer more or less moves at most one peer over each cut. Sites too small for a
cluster are pooled; a pool that is still too small joins the cluster nearest to it.

Invariants: every alive member is in exactly one cluster; each cluster has min..max members as soon as
there are min members at all; the result is a function of the view's alive members, sites and coarse
round trips, not of their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.overlay.view import View
from protocols.errors import ConfigError
from protocols.identifiers import PartyId
from protocols.wire.digest import digest

SPREAD_MS = 20
"""Round trips within a group must differ by this much before they decide anything; below it is noise."""

Group = tuple[PartyId, ...]
Rtts = Mapping[tuple[PartyId, PartyId], int]


@dataclass(frozen=True, slots=True)
class ClusterSizes:
    """min <= target and 2*target-1 <= max. Larger clusters: fewer committees, more shares for each."""

    min: int = 3
    target: int = 4
    max: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.target or 2 * self.target - 1 > self.max:
            raise ConfigError(
                f"cluster sizes {self.min}..{self.max} with target {self.target} cannot always be met",
                fix="choose min <= target and max >= 2*target - 1",
            )


def clusters(view: View, sizes: ClusterSizes | None = None) -> tuple[Group, ...]:
    """The clusters of all alive members; members and clusters sorted by id."""
    sizes = sizes or ClusterSizes()
    by_site: dict[str, list[PartyId]] = {}
    for member in view.alive:
        by_site.setdefault(member.certificate.site, []).append(member.party)
    whole = [group for _, group in sorted(by_site.items()) if len(group) >= sizes.min]
    pool = [party for _, group in sorted(by_site.items()) if len(group) < sizes.min for party in group]
    pooled = [pool] if len(pool) >= sizes.min else []
    groups = [part for group in whole + pooled for part in _split(group, sizes, view.rtts_ms)]
    if pool and not pooled:
        groups = _adopt(groups, pool, sizes, view.rtts_ms)
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def _within(group: Sequence[PartyId], rtts_ms: Rtts) -> Rtts:
    """The measured pairs inside `group`."""
    members = set(group)
    return {pair: ms for pair, ms in rtts_ms.items() if pair[0] in members and pair[1] in members}


def _between(first: PartyId, second: PartyId, rtts_ms: Rtts, default: int) -> int:
    if first == second:
        return 0
    return rtts_ms.get((first, second) if first < second else (second, first), default)


def _typical(rtts_ms: Rtts) -> int:
    """Median: what a pair that nobody measured counts as."""
    measured = sorted(rtts_ms.values())
    return measured[len(measured) // 2] if measured else 0


def _split(group: Sequence[PartyId], sizes: ClusterSizes, rtts_ms: Rtts) -> list[list[PartyId]]:
    if len(group) < 2 * sizes.target:
        return [sorted(group)]
    inside = _within(group, rtts_ms)
    leaning = _leaning(group, inside)
    order = sorted(group, key=lambda party: (leaning[party], digest("cluster-order", party)))
    cut = len(order) // 2
    if any(leaning.values()):
        nearer_first = sum(value < 0 for value in leaning.values())
        cut = min(max(nearer_first, sizes.target), len(order) - sizes.target)
    return _split(order[:cut], sizes, inside) + _split(order[cut:], sizes, inside)


def _leaning(group: Sequence[PartyId], inside: Rtts) -> dict[PartyId, int]:
    """Round trip to one pole minus that to the other; all zero for a group without spread."""
    farthest, poles = max(((ms, pair) for pair, ms in inside.items()), default=(0, None))
    if poles is None or farthest < SPREAD_MS:
        return dict.fromkeys(group, 0)
    typical = _typical(inside)
    first, second = poles
    return {p: _between(p, first, inside, typical) - _between(p, second, inside, typical) for p in group}


def _adopt(
    groups: list[list[PartyId]], pool: list[PartyId], sizes: ClusterSizes, rtts_ms: Rtts
) -> list[list[PartyId]]:
    """Let the pool join the nearest cluster, which is split if that makes it too large."""
    if not groups:
        return [pool]
    typical = _typical(rtts_ms)

    def distance(group: list[PartyId]) -> tuple[float, int, list[PartyId]]:
        total = sum(_between(a, b, rtts_ms, typical) for a in pool for b in group)
        return total / (len(pool) * len(group)), len(group), sorted(group)

    nearest = min(groups, key=distance)
    rest = [group for group in groups if group is not nearest]
    merged = nearest + pool
    return rest + (_split(merged, sizes, rtts_ms) if len(merged) > sizes.max else [merged])
