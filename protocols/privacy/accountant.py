"""How much privacy a run of noised sums costs: Rényi accounting of the Skellam mechanism.

A release adds, over the sites of a certified roster, integer vectors of which one row (or one site) can
change the sum by at most l1, l2, and Skellam noise of variance v. Its Rényi divergence of order a is at most

    a l2^2 / (2v) + min( ((2a - 1) l2^2 + 6 l1) / (4 v^2), 3 l1 / (2v) )

(Agarwal, Kairouz, Liu, NeurIPS 2021, theorem 3.5). Orders add up over releases; then, for every order,

    epsilon = rdp + log((a-1)/a) - (log delta + log a) / (a-1)     (Canonne, Kamath, Steinke, 2020, prop. 12)

Neighbours replace one row (site) by another: the number of rows is public. Hence the change is twice the
clip, and, since both vectors are rounded with the same coins, at most one step a coordinate more:
l2 = 2 clip / step + sqrt(d), l1 = min(sqrt(d) l2, l2^2).

The noise that counts is that of min_sites - 1 sites: what a roster has at least, less the share of a
site that looks at the total and knows its own. Sites that collude take one share each from it.

`dp-accounting` has no event for this mechanism and needs scipy; a test compares the conversion with its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from protocols.learning.faults import bad_recipe
from protocols.privacy.skellam import DISTANCE, MAX_VARIANCE

ORDERS = (*range(2, 64), *range(64, 256, 8), *range(256, 1025, 64))
FEWEST_BITS = 4
MOST_BITS = 22
"""Noise needs room beside the values: both together stay below 24 bits, as masks want."""


@dataclass(frozen=True, slots=True)
class Release:
    """One noised sum: d values, cut to L2 length `clip` a row, on a grid of `bits` up to clip * max_weight.

    `noise` is the variance, in steps, of one site's share.
    """

    size: int
    clip: float
    bits: int
    max_weight: int
    noise: int
    min_sites: int

    @property
    def step(self) -> float:
        """Real value of one step; the same as `Quantiser.unit`."""
        return self.clip * self.max_weight / ((1 << (self.bits - 1)) - 1)

    def rdp(self, order: int) -> float:
        """Rényi divergence of an order from 2 on; infinite without noise."""
        variance = float(self.noise * (self.min_sites - 1))
        if variance <= 0:
            return math.inf
        l2 = 2 * self.clip / self.step + math.sqrt(self.size)
        return skellam_rdp(order, min(math.sqrt(self.size) * l2, l2 * l2), l2, variance)


def skellam_rdp(order: int, l1: float, l2: float, variance: float) -> float:
    """The bound in the module docstring."""
    first = ((2 * order - 1) * l2 * l2 + 6 * l1) / (4 * variance * variance)
    return order * l2 * l2 / (2 * variance) + min(first, 3 * l1 / (2 * variance))


def epsilon(releases: Iterable[Release], delta: float) -> float:
    """What all the releases together cost at `delta`; 0 for none, infinity if one of them has no noise."""
    counts: dict[Release, int] = {}
    for release in releases:
        counts[release] = counts.get(release, 0) + 1
    if not counts:
        return 0.0
    remaining = delta - sum(number * release.size * DISTANCE for release, number in counts.items())
    if remaining <= 0:
        return math.inf
    best = math.inf
    for order in ORDERS:
        spent = sum(number * release.rdp(order) for release, number in counts.items())
        best = min(best, convert(order, spent, remaining))
    return max(0.0, best)


def convert(order: int, rdp: float, delta: float) -> float:
    """Epsilon at `delta` of a mechanism with this Rényi divergence."""
    return rdp + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)


def calibrate(
    target: float, delta: float, rounds: int, size: int, clip: float, max_weight: int, min_sites: int
) -> Release:
    """The finest grid, and the least noise on it, with which `rounds` releases cost at most `target`.

    Raises ConfigError C-649 if no grid will do.
    """
    if not (0 < target < math.inf and 0 < delta < 1 and rounds >= 1 and min_sites >= 2):
        raise bad_recipe("a privacy budget is an epsilon above 0, a delta between 0 and 1, and rounds")
    for bits in range(MOST_BITS, FEWEST_BITS - 1, -1):
        loudest = Release(size, clip, bits, max_weight, MAX_VARIANCE, min_sites)
        if _cost(loudest, rounds, delta) > target:
            continue
        low, high = 0, MAX_VARIANCE
        while high - low > 1:
            middle = (low + high) // 2
            release = Release(size, clip, bits, max_weight, middle, min_sites)
            low, high = (low, middle) if _cost(release, rounds, delta) <= target else (middle, high)
        return Release(size, clip, bits, max_weight, high, min_sites)
    raise bad_recipe(
        f"{rounds} rounds of {size} values cannot be kept within epsilon {target:g}",
        fix="allow a larger epsilon, fewer rounds or a smaller model",
    )


def _cost(release: Release, rounds: int, delta: float) -> float:
    return epsilon((release,) * rounds, delta)
