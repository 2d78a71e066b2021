"""Statistics that count rows: count and histogram. Exact, one field element a number.

A site has fewer than 2^32 rows and there are at most 4096 sites, so no count reaches p = 2^61-1; a
total above that bound was not made by honest sites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import UnattributableFault
from protocols.statistics import exact
from protocols.statistics.statistic import Answer, Floats

if TYPE_CHECKING:
    from protocols.sessions.plan import Query


def read_count(element: np.uint64 | int, sites: int) -> int:
    """A number of rows from a total. Raises UnattributableFault C-633 if no `sites` sites have so many."""
    count = int(element)
    if count > sites * exact.MAX_ROWS:
        raise UnattributableFault(f"the total counts more rows than {sites} sites can hold", code="C-633")
    return count


class Count:
    """Number of values present."""

    def encode(self, query: Query, values: Floats, xof: Xof) -> Elements:  # noqa: ARG002 - same shape for all
        """(1,) uint64."""
        exact.check_values(query.column, values)
        return np.array([len(values)], dtype=np.uint64)

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Value and n are both the count."""
        n = read_count(total[0], sites)
        return Answer(query.statistic, query.column, n, n, sites)


class Histogram:
    """Values per bin. Bins are [low, high), the last one [low, high], as numpy.histogram's."""

    def encode(self, query: Query, values: Floats, xof: Xof) -> Elements:  # noqa: ARG002 - same shape for all
        """(edges + 1,) uint64: below the first edge, the bins, above the last edge."""
        exact.check_values(query.column, values)
        edges = np.array(query.parameters, dtype=np.float64)
        place = np.searchsorted(edges, values, side="right")
        place[values == edges[-1]] = len(edges) - 1
        return np.bincount(place, minlength=len(edges) + 1).astype(np.uint64)

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Value is the tuple of bin counts; n includes the values outside."""
        counts = [read_count(element, sites) for element in total.tolist()]
        n = read_count(sum(counts), sites)
        return Answer(
            query.statistic,
            query.column,
            tuple(counts[1:-1]),
            n,
            sites,
            edges=query.parameters,
            under=counts[0],
            over=counts[-1],
        )
