"""Opening a sharing although some of the shares are lies: Reed-Solomon decoding over the points.

`decode` is Gao's algorithm (S. Gao, A new algorithm for decoding Reed-Solomon codes, 2002): with m
values of a polynomial of degree t, up to a = (m-t-1)//2 wrong ones are corrected and named. It never
returns a polynomial that disagrees with more than a of the values: two different polynomials of degree
t agree on at most t points, so the answer is the only one there is.

`open_vectors` decodes one random combination of the columns instead of all L (protocols.md §2): a liar in
any column is a liar in the combination unless its error vector is orthogonal to the challenge (1/p).
The liars' rows are erased, the rest interpolated, and the surplus rows checked in all columns against it.

Symbols: m points, t degree, L columns, a number of liars.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements, P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, UnattributableFault

Poly = list[int]


def decode(points: Sequence[int] | Elements, values: Elements, t: int) -> tuple[Elements, tuple[int, ...]]:
    """Coefficients (t+1,) of the polynomial behind `values` (m,), and the indices of those that lie.

    Raises UnattributableFault when no polynomial is within (m-t-1)//2 lies, LocalMisuse when m <= t.
    """
    xs, ys = [int(x) % P for x in points], [int(y) for y in values]
    m = len(xs)
    if len(ys) != m or m <= t or len(set(xs)) != m:
        raise LocalMisuse(f"decoding degree {t} needs more than {t} values at distinct points, not {m}")
    found = _through_all(xs, ys, t) or _gao(xs, ys, t)
    if found is not None:
        liars = tuple(i for i in range(m) if _at(found, xs[i]) != ys[i])
        if len(liars) <= (m - t - 1) // 2:  # follows from Gao's theorem; all rests on it, so look
            padded = found + [0] * (t + 1 - len(found))
            return np.array(padded, dtype=np.uint64), liars
    raise UnattributableFault(
        f"{m} shares of degree {t} disagree and more than {(m - t - 1) // 2} of them lie"
    )


def _through_all(xs: list[int], ys: list[int], t: int) -> Poly | None:
    """The polynomial through all values if nobody lied, as mostly: what Gao's algorithm would find too."""
    basis, surplus = _weights(tuple(xs), t)
    head = ys[: t + 1]
    for weights, y in zip(surplus, ys[t + 1 :], strict=True):
        if sum([w * v for w, v in zip(weights, head, strict=True)]) % P != y:
            return None
    return [sum([b * v for b, v in zip(row, head, strict=True)]) % P for row in basis]


@lru_cache(maxsize=1024)
def _weights(xs: tuple[int, ...], t: int) -> tuple[list[list[int]], list[list[int]]]:
    """From values at the first t+1 points to coefficients (rows), and to the values at the other points."""
    head = list(xs[: t + 1])
    unit = np.eye(t + 1, dtype=np.uint64)
    basis = polynomial.interpolate(head, unit).tolist()
    return basis, [polynomial.lagrange_weights(head, at=x) for x in xs[t + 1 :]]


def _gao(xs: list[int], ys: list[int], t: int) -> Poly | None:
    """Partial extended Euclid on prod (x - x_i) and the interpolant; None if nothing divides out."""
    vanishing: Poly = [1]
    for x in xs:
        vanishing = _sub([0, *vanishing], [c * x % P for c in vanishing])
    interpolant = polynomial.interpolate(xs, np.array(ys, dtype=np.uint64))
    before, now = vanishing, _trim([int(c) for c in interpolant])
    cofactor_before: Poly = []
    cofactor: Poly = [1]
    while 2 * (len(now) - 1) >= len(xs) + t + 1:
        quotient, rest = _divide(before, now)
        before, now = now, rest
        cofactor_before, cofactor = cofactor, _sub(cofactor_before, _times(quotient, cofactor))
    result, rest = _divide(now, cofactor)
    return result if not rest and len(result) <= t + 1 else None


def _trim(a: Poly) -> Poly:
    while a and a[-1] == 0:
        a = a[:-1]
    return a


def _sub(a: Poly, b: Poly) -> Poly:
    width = max(len(a), len(b))
    a, b = a + [0] * (width - len(a)), b + [0] * (width - len(b))
    return _trim([(x - y) % P for x, y in zip(a, b, strict=True)])


def _times(a: Poly, b: Poly) -> Poly:
    out = [0] * (len(a) + len(b))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] = (out[i + j] + x * y) % P
    return _trim(out)


def _divide(a: Poly, b: Poly) -> tuple[Poly, Poly]:
    """Quotient and remainder; b is not zero."""
    rest, quotient = list(a), [0] * max(0, len(a) - len(b) + 1)
    inverse = pow(b[-1], -1, P)
    for shift in range(len(quotient) - 1, -1, -1):
        factor = rest[shift + len(b) - 1] * inverse % P
        quotient[shift] = factor
        for i, c in enumerate(b):
            rest[shift + i] = (rest[shift + i] - factor * c) % P
    return _trim(quotient), _trim(rest)


def _at(a: Poly, x: int) -> int:
    value = 0
    for c in reversed(a):
        value = (value * x + c) % P
    return value


def open_vectors(
    points: Sequence[int] | Elements, shares: Elements, t: int, xof: Xof
) -> tuple[Elements, tuple[int, ...]]:
    """The secrets (L,) behind `shares` (m, L), and the indices of the rows that lie.

    `xof` must be unpredictable to the senders when they sent. Raises UnattributableFault when the liars are
    too many, LocalMisuse for fewer than t+1 rows.
    """
    xs = [int(x) for x in points]
    if shares.ndim != 2 or shares.shape[0] != len(xs):
        raise LocalMisuse(f"{len(xs)} points for shares of shape {shares.shape}")
    weights = xof.elements(shares.shape[1])
    _, liars = decode(xs, field.matmul(shares, weights), t)
    honest = [i for i in range(len(xs)) if i not in liars]
    base, surplus = honest[: t + 1], honest[t + 1 :]
    base_points = [xs[i] for i in base]
    for i in surplus:
        expected = field.combine(polynomial.lagrange(base_points, at=xs[i]), shares[base])
        if not np.array_equal(expected, shares[i]):
            raise UnattributableFault("shares agree in a random combination but not in every column")
    return field.combine(polynomial.lagrange(base_points), shares[base]), liars
