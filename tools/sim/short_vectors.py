"""The same field arithmetic with Python integers, for the vectors of a few dozen elements that sessions deal.

numpy pays for itself from some hundred elements on; below that its calls cost more than the products. Each
function here gives bit by bit what the one it stands in for gives (tests/sim/test_stand_ins.py), and
hands longer vectors on to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements, P
from protocols.sharing import consistency

SHORT: Final = 2048
_P64: Final = np.uint64(P)
_combine = field.combine
_total = field.total
_mul = field.mul
_masked_combination = consistency.masked_combination
_evaluate_first = polynomial.evaluate_first
_matmul = field.matmul


def _horner(values: list[int], rho: int) -> int:
    accumulator = 0
    for value in reversed(values):
        accumulator = (accumulator + value) * rho % P
    return accumulator


def combine(coefficients: Elements, rows: Elements) -> Elements:
    """As `field.combine`."""
    if rows.size > SHORT or rows.ndim != 2 or coefficients.shape != rows.shape[:1]:
        return _combine(coefficients, rows)
    weights = coefficients.tolist()
    sums = [sum([w * v for w, v in zip(weights, column, strict=True)]) % P for column in rows.T.tolist()]
    return np.array(sums, dtype=np.uint64)


def total(a: Elements, axis: int = 0) -> Elements:
    """As `field.total`."""
    if axis != 0 or a.ndim != 2 or a.shape[0] > 7 or a.dtype != np.uint64:
        return _total(a, axis)
    return np.asarray(np.add.reduce(a, axis=0) % _P64)


def mul(a: Elements, b: Elements) -> Elements:
    """As `field.mul`."""
    if a.ndim != 1 or a.shape != b.shape or a.size > 64:
        return _mul(a, b)
    return np.array([x * y % P for x, y in zip(a.tolist(), b.tolist(), strict=True)], dtype=np.uint64)


def masked_combination(shares: Elements, rho: Elements) -> Elements:
    """As `consistency.masked_combination`."""
    if shares.ndim == 1:
        return np.asarray(masked_combination(shares[None, :], rho)[0])
    length = shares.shape[1] - consistency.REPETITIONS
    if length < 0 or shares.size > SHORT:
        return _masked_combination(shares, rho)
    challenges = rho.tolist()
    rows = [
        [(_horner(row[:length], r) + mask) % P for r, mask in zip(challenges, row[length:], strict=True)]
        for row in shares.tolist()
    ]
    return np.array(rows, dtype=np.uint64)


def holds(share: Elements, point: int, rho: Elements, response: Elements) -> bool:
    """As `consistency.holds`."""
    row = share.tolist()
    masks = row[-consistency.REPETITIONS :]
    secrets = row[: -consistency.REPETITIONS]
    for r, mask, polynomial_r in zip(rho.tolist(), masks, response.tolist(), strict=True):
        claimed = 0
        for coefficient in reversed(polynomial_r):
            claimed = (claimed * point + coefficient) % P
        if claimed != (_horner(secrets, r) + mask) % P:
            return False
    return True


def evaluate_first(coefficients: Elements, m: int) -> Elements:
    """As `polynomial.evaluate_first`."""
    if coefficients.size * m > SHORT:
        return _evaluate_first(coefficients, m)
    *lower, top = coefficients.tolist()
    lower.reverse()
    rows = []
    for x in range(1, m + 1):
        values = top
        for coefficient in lower:
            values = [value * x + c for value, c in zip(values, coefficient, strict=True)]
        rows.append([value % P for value in values])
    return np.array(rows, dtype=np.uint64)


def matmul(a: Elements, b: Elements) -> Elements:
    """As `field.matmul`, for a matrix times a vector."""
    if a.ndim != 2 or b.ndim != 1 or a.size > SHORT or a.shape[1] != b.shape[0]:
        return _matmul(a, b)
    column = b.tolist()
    sums = [sum([v * w for v, w in zip(row, column, strict=True)]) % P for row in a.tolist()]
    return np.array(sums, dtype=np.uint64)


REPLACED: Final[tuple[tuple[object, str, Callable[..., object]], ...]] = (
    (field, "combine", combine),
    (field, "total", total),
    (field, "mul", mul),
    (field, "matmul", matmul),
    (consistency, "masked_combination", masked_combination),
    (consistency, "holds", holds),
    (polynomial, "evaluate_first", evaluate_first),
)
