"""Programs over columns that different sites hold: vertical logistic regression, and graphs of one's own.

Vertical regression. All sites have the same rows in the same order, each column is held by one of them. A
site standardises its own columns over its rows, which nobody else needs to know of, and deals every column
of the job, zeros for those it does not hold; the committee adds the sites' matrices, which costs no round
and shows no committee member who holds what; the requester is told by willing owners, so that a column at two
sites is refused. The last column is the label, zeros and ones. Weights are in standard
deviations of the columns, the last one is the intercept.

A graph of one's own names its inputs "PLACE:NAME": the owner's place in the plan, and the column of its data
set that fills it, or several for a matrix, "PLACE:a|b|c" for (rows, 3). "PLACE:*" are all columns that the
job asks for, in its order, and the first rows of them, as many as the input's shape has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.circuits import jobs
from protocols.circuits.builder import Array
from protocols.circuits.graph import Graph
from protocols.circuits.lower import encoded_input
from protocols.engine.committee import Committee
from protocols.engine.numbers import SCALE, Calculator
from protocols.errors import LocalMisuse

Floats = npt.NDArray[np.float64]
MAGNITUDE_BITS = 24


def encoded(
    columns: Sequence[str], held: Mapping[str, Floats], limits: tuple[float, float]
) -> tuple[Residues, int]:
    """A site's flat input (2, rows * columns) to a vertical regression, and its number of rows.

    Raises LocalMisuse C-670, C-671 for a label that is not 0 or 1, or columns that do not fit together.
    """
    sizes = {np.asarray(values).size for values in held.values()}
    if len(sizes) != 1:
        raise LocalMisuse(
            "the columns have values missing in different rows",
            code="C-671",
            fix="fill them, or drop the rows",
        )
    (rows,) = sizes
    *features, label = columns
    matrix = np.zeros((rows, len(features)))
    for at, name in enumerate(features):
        if name in held:
            values = np.asarray(held[name], dtype=np.float64)
            spread = float(values.std())
            standard = (values - values.mean()) / spread if spread else np.zeros(rows)
            matrix[:, at] = np.clip(standard, *limits)
    labels = np.asarray(held.get(label, np.zeros(rows)), dtype=np.float64)
    if not np.isin(labels, (0.0, 1.0)).all():
        raise LocalMisuse(
            f"column {label!r} has a label outside its declared range {{0, 1}}",
            code="C-670",
            fix="the last column is the label: zeros and ones",
        )
    flat = np.concatenate([matrix.ravel(), labels])
    return rns.encode(flat, SCALE, MAGNITUDE_BITS), int(rows)


def regression(features: Sequence[Array], labels: Sequence[Array], iterations: int, rate: float) -> Array:
    """Weights from the sites' zero-padded matrices (rows, m) and labels (rows,). Raises LocalMisuse."""
    if len({x.shape for x in features}) != 1:
        rows = ", ".join(str(x.shape[0]) for x in features)
        raise LocalMisuse(
            f"the sites have {rows} rows: columns of the same rows are needed",
            code="C-671",
            fix="let every site add the rows they have in common, in the same order",
        )
    x, y = features[0], labels[0]
    for other, more in zip(features[1:], labels[1:], strict=True):
        x, y = x + other, y + more
    return jobs.logistic_regression([x], y, iterations=iterations, rate=rate)


def encoded_program(graph: Graph, place: int, values: Mapping[str, npt.ArrayLike]) -> Residues:
    """An owner's flat input (2, L) to a program of its own, checked against the declared ranges.

    Raises LocalMisuse naming the input, the index and the range.
    """
    calculator = Calculator(Committee(3, 1, (1, 2, 3)))
    parts = [np.zeros((2, 0), dtype=np.uint64)]
    for name, at in graph.inputs.items():
        if name.partition(":")[0] != str(place):
            continue
        node = graph.nodes[at]
        if name not in values:
            raise LocalMisuse(
                f"input {name!r} has no values", code="C-670", fix="give one array for each input"
            )
        number = calculator.given(node.shape, node.low, node.high, SCALE if node.kind == "fixed" else 0)
        parts.append(encoded_input(number, values[name], name).reshape(2, -1))
    return np.concatenate(parts, axis=1)


def columns_for(graph: Graph, place: int, held: Mapping[str, Floats]) -> dict[str, npt.NDArray[np.float64]]:
    """An owner's columns, in the job's order, as the inputs that its place names; see the module.

    Raises LocalMisuse C-670, C-671; what it says is for others as well: no value, and not where one is.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    for name, at in graph.inputs.items():
        owner, _, wanted = name.partition(":")
        if owner != str(place):
            continue
        names = list(held) if wanted == "*" else wanted.split("|")
        missing = [one for one in names if one not in held]
        if missing or not names:
            raise LocalMisuse(
                f"input {name!r} wants column {(missing or ['?'])[0]!r}", code="C-670", fix="name our columns"
            )
        columns = [np.asarray(held[one], dtype=np.float64) for one in names]
        if len({column.size for column in columns}) != 1:
            raise LocalMisuse(
                "the columns have values missing in different rows",
                code="C-671",
                fix="fill them, or drop the rows",
            )
        node = graph.nodes[at]
        table = np.stack(columns, axis=-1)
        if wanted == "*":
            table = _first_rows(table, node.shape)
        found[name] = table.reshape(node.shape) if table.size == math.prod(node.shape) else table
        if found[name].shape == node.shape and not ((table >= node.low) & (table <= node.high)).all():
            raise LocalMisuse(
                f"a value lies outside the declared range [{node.low:g}, {node.high:g}]",
                code="C-670",
                fix="clip it, or ask for a program with a wider range",
            )
    return found


def _first_rows(table: Floats, shape: tuple[int, ...]) -> Floats:
    """As many as the shape has. Raises LocalMisuse C-671 naming both if there are fewer, or other columns."""
    rows, width = shape[0] if shape else 1, math.prod(shape[1:])
    if table.shape[0] < rows or table.shape[1] != width:
        raise LocalMisuse(
            f"the program takes {rows} rows of {width} columns, here are {len(table)} of {table.shape[1]}",
            code="C-671",
            fix="ask for as many as there are",
        )
    return table[:rows]
