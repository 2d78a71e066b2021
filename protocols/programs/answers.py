"""What the outputs of a job's program mean: numbers for people.

Invariant: `read` uses the job and the opened outputs only, so every recipient reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.engine.numbers import Number
from protocols.programs.questions import Asked, asked
from protocols.sessions.plan import Job

Value = float | int | tuple[float | int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of a result."""

    statistic: str
    column: str
    value: Value
    n: int | None
    edges: tuple[float, ...] = ()


def numbers(number: Number, opened: Residues) -> npt.NDArray[np.float64]:
    """An opened output as reals; whole numbers of any size are exact up to float64."""
    flat = opened.reshape(2, -1)
    reals = rns.to_ints(flat).astype(np.float64) if number.scale == 0 else rns.decode(flat, number.scale)
    return reals.reshape(opened.shape[1:])


def read(
    job: Job, outputs: Mapping[str, npt.NDArray[np.float64]], rows: int, sites: int = 1
) -> tuple[Answer, ...]:
    """Answers from the opened outputs by name; `rows` of all `sites` together."""
    what = asked(job)
    if what.statistic == "program":
        return tuple(Answer("program", name, _plain(values), None) for name, values in outputs.items())
    return tuple(_read(what, outputs, rows, sites))


def _read(what: Asked, outputs: Mapping[str, npt.NDArray[np.float64]], rows: int, sites: int) -> list[Answer]:
    name, column = what.statistic, what.columns[-1]
    if name == "median":
        twice = float(outputs["median"].ravel()[0])
        return [Answer(name, column, _decimal(twice, what, 2.0), rows)]
    if name in ("minimum", "maximum"):
        return [Answer(name, column, _decimal(float(outputs[name].ravel()[0]), what), rows)]
    if name in ("quantiles", "top"):
        values = tuple(_decimal(float(value), what) for value in outputs[name].ravel())
        return [Answer(name, column, values, rows, what.rest if name == "quantiles" else ())]
    if name == "at_least":
        counts = tuple(round(float(outputs[f"at_least:{at}"])) for at in range(len(what.rest)))
        return [Answer(name, column, counts, rows, what.rest)]
    if name == "group_by":
        groups = what.rest[1:]
        shown = tuple(round(value) for value in outputs["rows"].ravel())
        sums = tuple(_decimal(float(value), what) for value in outputs["sums"].ravel())
        key = what.columns[0]
        return [
            Answer(f"rows by {key}", column, shown, None, groups),
            Answer(f"sum by {key}", column, sums, None, groups),
        ]
    if name == "overlap":
        return [Answer(name, column, round(float(outputs["overlap"].ravel()[0])), None)]
    if name == "flagged":
        found = np.flatnonzero(outputs["flagged"].ravel() > 0.5) + int(what.low)
        return [Answer(name, column, tuple(int(item) for item in found), None)]
    if name == "logistic":
        weights = tuple(float(value) for value in outputs["weights"].ravel())
        return [Answer(name, column, weights, rows // max(1, sites))]
    return [Answer(name, column, _plain(values), rows) for values in outputs.values()]


def _decimal(whole: float, what: Asked, halves: float = 1.0) -> float:
    return whole / what.unit / halves


def _plain(values: npt.NDArray[np.float64]) -> Value:
    flat = tuple(float(value) for value in values.ravel())
    return flat[0] if values.ndim == 0 else flat
