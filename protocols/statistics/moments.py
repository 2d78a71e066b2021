"""Statistics made of sums: sum, mean, variance, standard deviation.

Each site gives its number of rows, its exact sum and, where needed, its exact sum of squares. All that
follows is done on the totals in integer arithmetic and rounded to float64 once, at the end.

Symbols: n rows, S sum times 2^96, Q sum of squares times 2^192; Cauchy-Schwarz: n*Q >= S^2.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import UnattributableFault
from protocols.statistics import exact, limbs, names
from protocols.statistics.counts import read_count
from protocols.statistics.statistic import Answer, Floats

if TYPE_CHECKING:
    from protocols.sessions.plan import Query

_UNIT = 1 << exact.GRID_BITS


class Sum:
    """Sum of the values."""

    def encode(self, query: Query, values: Floats, xof: Xof) -> Elements:
        """(1 + SUM_LIMBS,) uint64: n, S."""
        exact.check_values(query.column, values)
        rows = np.array([len(values)], dtype=np.uint64)
        return np.concatenate((rows, limbs.encode(exact.exact_sum(values), names.SUM_LIMBS, xof)))

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """S / 2^96."""
        n, sum_ = _read_sum(total, sites)
        return Answer(query.statistic, query.column, float(Fraction(sum_, _UNIT)), n, sites)


class Mean(Sum):
    """Sum divided by the number of values."""

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """S / (n 2^96); None if there is no row."""
        n, sum_ = _read_sum(total, sites)
        if n == 0:
            return Answer(query.statistic, query.column, None, n, sites, note="no rows")
        return Answer(query.statistic, query.column, float(Fraction(sum_, n * _UNIT)), n, sites)


class Variance:
    """Sample variance (divisor n-1), or the population's (divisor n) if the parameter is 0."""

    def encode(self, query: Query, values: Floats, xof: Xof) -> Elements:
        """(1 + SUM_LIMBS + SQUARE_LIMBS,) uint64: n, S, Q."""
        first = Sum().encode(query, values, xof)
        return np.concatenate((first, limbs.encode(exact.exact_squares(values), names.SQUARE_LIMBS, xof)))

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """(n Q - S^2) / (n (n - ddof) 2^192); None if there are too few rows."""
        n, sum_ = _read_sum(total[: 1 + names.SUM_LIMBS], sites)
        squares = limbs.decode(total[1 + names.SUM_LIMBS :], sites)
        spread = n * squares - sum_ * sum_
        if spread < 0 or squares < 0:
            raise UnattributableFault("the totals belong to no set of rows: n*Q < S^2", code="C-633")
        ddof = int(query.parameters[0]) if query.parameters else 1
        if n <= ddof:
            note = "no rows" if n == 0 else "one row has no sample variance"
            return Answer(query.statistic, query.column, None, n, sites, note=note)
        value = float(Fraction(spread, n * (n - ddof) * _UNIT * _UNIT))
        return Answer(query.statistic, query.column, self.finish(value), n, sites)

    def finish(self, variance: float) -> float:
        """What is reported of a variance."""
        return variance


class StandardDeviation(Variance):
    """Square root of the variance."""

    def finish(self, variance: float) -> float:
        """sqrt."""
        return math.sqrt(variance)


def _read_sum(total: Elements, sites: int) -> tuple[int, int]:
    n = read_count(total[0], sites)
    sum_ = limbs.decode(total[1:], sites)
    if abs(sum_) > n << (exact.GRID_BITS + 62):
        raise UnattributableFault("the totals belong to no set of rows: the sum is too large", code="C-633")
    return n, sum_
