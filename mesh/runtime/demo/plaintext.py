"""The same statistics on the pooled rows, by numpy: what the private answers are compared with."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

BINS = 8


class Plaintext:
    """Columns of the parts, by owner. Values must be numbers."""

    def __init__(self, files: Mapping[str, Path], columns: Sequence[str]) -> None:
        self._parts: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
        for owner, file in files.items():
            with file.open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.DictReader(stream))
            self._parts[owner] = {c: np.array([float(row[c]) for row in rows]) for c in columns}
        self.rows = len(self._pooled(columns[0], tuple(files)))

    def _pooled(self, column: str, owners: Sequence[str]) -> npt.NDArray[np.float64]:
        return np.concatenate([self._parts[owner][column] for owner in owners])

    def edges(self, column: str) -> tuple[float, ...]:
        """Public bin edges: here from the pooled data, in earnest agreed beforehand."""
        values = self._pooled(column, tuple(self._parts))
        low, high = float(values.min()), float(values.max())
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        return tuple(round(float(edge), 6) for edge in edges)

    def value(self, statistic: str, column: str, owners: Sequence[str]) -> object:
        """The right answer over the rows of `owners`."""
        values = self._pooled(column, owners)
        match statistic:
            case "mean":
                return float(values.mean())
            case "sum":
                return float(values.sum())
            case "count":
                return len(values)
            case "variance":
                return float(values.var(ddof=1))
            case "histogram":
                return [int(count) for count in np.histogram(values, self.edges(column))[0]]
        raise KeyError(statistic)
