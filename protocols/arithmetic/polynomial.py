"""Polynomials mod p: evaluation, interpolation and the Lagrange weights of a set of points.

Symbols: d degree, m number of points, L number of polynomials handled side by side,
lambda_i = prod_{j != i} (at - x_j) / (x_i - x_j).
Invariant: coefficients are stored lowest degree first, along axis 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements, P
from protocols.errors import LocalMisuse

_COLUMNS = 1 << 13


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
    return np.array(lagrange_weights([int(x) for x in points], at), dtype=np.uint64)


def lagrange_weights(points: Sequence[int], at: int = 0, modulus: int = P) -> list[int]:
    """The same weights as integers modulo any prime, such as the order of a group.

    Raises LocalMisuse for equal points.
    """
    return list(_weights_at(tuple(_distinct(points, modulus)), at, modulus))


@lru_cache(maxsize=4096)
def _weights_at(xs: tuple[int, ...], at: int, modulus: int) -> tuple[int, ...]:
    """Kept: a committee's points are few and asked for with every opening."""
    weights = []
    for i, x in enumerate(xs):
        above = below = 1
        for j, other in enumerate(xs):
            if j != i:
                above = above * (at - other) % modulus
                below = below * (x - other) % modulus
        weights.append(above * pow(below, -1, modulus) % modulus)
    return tuple(weights)


def _distinct(points: Sequence[int] | Elements, modulus: int = P) -> list[int]:
    xs = [int(x) % modulus for x in points]
    if len(set(xs)) != len(xs) or not xs:
        raise LocalMisuse(f"interpolation needs distinct points, not {xs}")
    return xs


def evaluate(coefficients: Elements, points: Sequence[int] | Elements) -> Elements:
    """Values of L polynomials at m points: (d+1, L) -> (m, L); (d+1,) -> (m,)."""
    if coefficients.ndim == 1:
        return evaluate(coefficients[:, None], points)[:, 0]
    weights = vandermonde(points, coefficients.shape[0])
    values = np.empty((len(points), coefficients.shape[1]), dtype=np.uint64)
    for row, weight in zip(values, weights, strict=True):
        row[:] = field.combine(weight, coefficients)
    return values


def evaluate_first(coefficients: Elements, m: int) -> Elements:
    """Values at the points 1..m: (d+1, L) -> (m, L), by finite differences: d additions a value.

    With D_k the k-th forward difference, D_k(x+1) = D_k(x) + D_{k+1}(x), and D_d is constant.
    """
    width, length = coefficients.shape
    values = np.empty((m, length), dtype=np.uint64)
    weights = _difference_weights(width)
    for first in range(0, length, _COLUMNS):
        cut = slice(first, first + _COLUMNS)
        differences = [field.combine_small(row, coefficients[:, cut]) for row in weights]
        values[0, cut] = differences[0]
        for x in range(1, m):
            field.add(values[x - 1, cut], differences[1], out=values[x, cut])
            for k in range(1, width - 1):
                field.add(differences[k], differences[k + 1], out=differences[k])
    return values


def _difference_weights(width: int) -> list[list[int]]:
    """Row k, column j: the k-th forward difference of x^j at x = 1."""
    row_by_point = [[x**j for j in range(width)] for x in range(1, width + 1)]
    weights = []
    while row_by_point:
        weights.append(row_by_point[0])
        row_by_point = [
            [b - a for a, b in zip(low, high, strict=True)] for low, high in pairwise(row_by_point)
        ]
    return weights


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
