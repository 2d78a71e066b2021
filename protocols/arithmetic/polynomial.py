"""Polynomials mod p: evaluation, interpolation and the Lagrange weights of a set of points.

Symbols: d degree, m number of points, L number of polynomials handled side by side,
lambda_i = prod_{j != i} (at - x_j) / (x_i - x_j).
Invariant: coefficients are stored lowest degree first, along axis 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements, P
from protocols.errors import LocalMisuse


def vandermonde(points: Sequence[int] | Elements, width: int) -> Elements:
    """Matrix of x_i^k, k < width: (m, width)."""
    return np.array([_powers_of(int(x), width) for x in points], dtype=np.uint64).reshape(len(points), width)


def _powers_of(x: int, width: int) -> list[int]:
    row = [1]
    while len(row) < width:
        row.append(row[-1] * x % P)
    return row[:width]


def lagrange(points: Sequence[int] | Elements, at: int = 0) -> Elements:
    """Weights (m,) by which values at `points` give the value at `at`.

    Raises LocalMisuse for equal points.
    """
    xs = _distinct(points)
    weights = []
    for i, x in enumerate(xs):
        above = below = 1
        for j, other in enumerate(xs):
            if j != i:
                above = above * (at - other) % P
                below = below * (x - other) % P
        weights.append(above * pow(below, -1, P) % P)
    return np.array(weights, dtype=np.uint64)


def _distinct(points: Sequence[int] | Elements) -> list[int]:
    xs = [int(x) % P for x in points]
    if len(set(xs)) != len(xs) or not xs:
        raise LocalMisuse(f"interpolation needs distinct points, not {xs}")
    return xs


def evaluate(coefficients: Elements, points: Sequence[int] | Elements) -> Elements:
    """Values of L polynomials at m points: (d+1, L) -> (m, L); (d+1,) -> (m,)."""
    columns = coefficients.reshape(coefficients.shape[0], -1)
    values = np.empty((len(points), columns.shape[1]), dtype=np.uint64)
    for i, x in enumerate(points):
        point = np.asarray(np.uint64(int(x) % P))
        row = columns[-1]
        for lower in columns[-2::-1]:
            row = field.add(field.mul(row, point), lower)
        values[i] = row
    return values.reshape((len(points), *coefficients.shape[1:]))


def interpolate(points: Sequence[int] | Elements, values: Elements) -> Elements:
    """Coefficients (m,) or (m, L) of the polynomial of degree < m through `values` at `points`."""
    return field.matmul(_inverse_vandermonde(_distinct(points)), values)


def _inverse_vandermonde(xs: list[int]) -> Elements:
    """(m, m): column i holds the coefficients of the i-th Lagrange basis polynomial."""
    columns = []
    for i, x in enumerate(xs):
        basis, below = [1], 1
        for j, other in enumerate(xs):
            if j != i:
                shifted = [0, *basis]
                basis = [(s - other * b) % P for s, b in zip(shifted, [*basis, 0], strict=True)]
                below = below * (x - other) % P
        scale = pow(below, -1, P)
        columns.append([b * scale % P for b in basis])
    return np.array(columns, dtype=np.uint64).T.copy()
