"""How well a classifier ranks rows, from counts alone: the area under the precision-recall curve.

Each site counts its rows of either class in bins of the model's raw score (log odds), of equal width from
-LIMIT to LIMIT; what lies beyond is in the outermost. The counts of all sites add up to those of the
pooled rows, so that precision and recall at every edge are those of the pooled rows, exactly:

    area = sum over edges, from the highest down, of (recall gained) * precision      (average precision)

Rows of one bin count as one threshold, as equal scores do. Against the exact area that errs by what ties in
a bin of width 2 LIMIT / bins do: a test bounds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.statistics.counts import read_count
from protocols.statistics.statistic import Answer, Floats

if TYPE_CHECKING:
    from protocols.sessions.plan import Query

LIMIT = 12.0
"""Log odds of one in 160,000."""


def encode(scores: Floats, labels: Floats, bins: int) -> Elements:
    """(2 bins,) uint64 from scores (m,) and labels (m,) of 0 and 1: counts of class 0, then of class 1."""
    places = np.clip(((scores + LIMIT) * (bins / (2 * LIMIT))).astype(np.int64), 0, bins - 1)
    counts = [np.bincount(places[labels == label], minlength=bins) for label in (0, 1)]
    return np.concatenate(counts).astype(np.uint64)


def area(negatives: Floats, positives: Floats) -> float | None:
    """Average precision of rows counted in rising bins, (bins,) each; None without a row of class 1."""
    hits, false = np.cumsum(positives[::-1]), np.cumsum(negatives[::-1])
    if hits[-1] == 0:
        return None
    seen = hits + false
    precision = np.divide(hits, seen, out=np.zeros(len(hits)), where=seen > 0)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


class Ranking:
    """Area under the precision-recall curve."""

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Value is the area, None without a row of class 1; n the rows."""
        counts = np.array([read_count(count, sites) for count in total], dtype=np.float64)
        bins = len(counts) // 2
        value = area(counts[:bins], counts[bins:])
        note = "" if value is not None else "there is no row of class 1"
        return Answer(query.statistic, query.column, value, int(counts.sum()), sites, note=note)
