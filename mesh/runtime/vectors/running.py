"""The sum of vectors that are still arriving: each piece is added while it is in the cache, not read again.

An adder will most probably be asked for the sum of all that its devices sent. So it adds what arrives, and
when the certified roster names other vectors, or one of them came in part only, it adds them from the spool
as if it had not. Invariant: a piece is added once, since a store takes each piece once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protocols.identifiers import Digest


class SpanSum(Protocol):
    """What adds packed spans."""

    def add(self, packed: npt.NDArray[np.uint8]) -> None:
        """Add one vector's span."""

    def words(self) -> npt.NDArray[np.uint64]:
        """The sum so far."""


class RunningSum:
    """Of whole vectors, and at times of parts of others; as long in memory as two vectors."""

    def __init__(self, spans: int, new: Callable[[int], SpanSum]) -> None:
        """`new` makes the sum of one span, zero."""
        self._spans = spans
        self._new = new
        self._sums: dict[int, SpanSum] = {}
        self._added: Counter[Digest] = Counter()

    def add(self, name: Digest, index: int, data: bytes | memoryview) -> None:
        """Add one piece."""
        if index not in self._sums:
            self._sums[index] = self._new(index)
        self._sums[index].add(np.frombuffer(data, dtype=np.uint8))
        self._added[name] += 1

    def within(self, parts: tuple[Digest, ...]) -> frozenset[Digest] | None:
        """The vectors this is the sum of; None if one of them is not whole or not among the parts."""
        whole = set(parts)
        usable = all(name in whole and pieces == self._spans for name, pieces in self._added.items())
        return frozenset(self._added) if usable and self._added else None

    def span(self, index: int) -> SpanSum:
        """The sum of one span, given away."""
        return self._sums.pop(index)
