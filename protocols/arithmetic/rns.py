"""Vectors of integers mod M = p q, p = 2^61-1 and q = 2^61-31, held as two residues (profile ML).

Decides how numbers of up to 121 bits are held: uint64 arrays of shape (2, *shape), row 0 mod p and
row 1 mod q, both canonical. Each residue is a field with at least 13 nonzero points, so a Shamir
sharing mod M is two sharings side by side, and row 0 of it is a sharing over AGG (`field`).

Products mod q: with a = a1 2^31 + a0 as in `field`, 2^61 = 31 mod q, hence 2^62 h = 64 h - 2 h + ...
is folded as 31 (h >> 55) + ((h mod 2^55) << 6) - 2 h, which stays inside 64 bits.

Chinese remainder: p - q = 30, so x = v0 + p k with k = (v1 - v0) 30^-1 mod q, 0 <= k < q, is the one
x in [0, M) with these residues. It is handed out as limbs (high, low) = x div 2^61, x mod 2^61.

Symbols: p, q the moduli; M = p q; a, b operands; k a public integer; f fraction bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field, matrices
from protocols.arithmetic.field import P
from protocols.errors import LocalMisuse

Q = (1 << 61) - 31
MODULI = (P, Q)
MODULUS = P * Q
Residues: TypeAlias = npt.NDArray[np.uint64]

BLOCK = 1 << 14
"""Elements a kernel handles at once, so that its scratch stays in the second-level cache."""

_P, _Q = np.uint64(P), np.uint64(Q)
_FOLD = (np.uint64(1), np.uint64(31))
_M61, _M55 = np.uint64((1 << 61) - 1), np.uint64((1 << 55) - 1)
_M6 = np.uint64(63)
_M31, _M30 = np.uint64((1 << 31) - 1), np.uint64((1 << 30) - 1)
_1, _6, _30, _31, _55, _61 = (np.uint64(bits) for bits in (1, 6, 30, 31, 55, 61))
_INVERSE_30 = np.uint64(pow(30, -1, Q))
_BOTH = np.array(MODULI, dtype=np.uint64)
_BOTH_FOLD = np.array([1, 31], dtype=np.uint64)


def _column(values: Residues, ndim: int) -> Residues:
    """(2,) -> (2, 1, ..., 1) of `ndim` axes."""
    return values.reshape((2,) + (1,) * (ndim - 1))


def fold(x: Residues) -> Residues:
    """Any uint64 in rows (2, ...) to canonical."""
    reduced, high = np.asarray(x & _M61), np.asarray(x >> _61)
    reduced += high
    high[1] *= _30  # 1 and 31 times
    reduced[1] += high[1]  # < 2^61 + 2^8
    np.subtract(reduced, _column(_BOTH, x.ndim), out=high)
    return np.asarray(np.minimum(reduced, high, out=reduced))


def align(a: Residues, ndim: int) -> Residues:
    """Put length-1 axes behind the residue axis until there are `ndim` axes: numpy's broadcasting rule."""
    return a if a.ndim == ndim else a.reshape(a.shape[:1] + (1,) * (ndim - a.ndim) + a.shape[1:])


def _pair(a: Residues, b: Residues) -> tuple[Residues, Residues]:
    ndim = max(a.ndim, b.ndim)
    return align(a, ndim), align(b, ndim)


def add(a: Residues, b: Residues) -> Residues:
    """a + b, broadcast behind the residue axis."""
    a, b = _pair(a, b)
    total = np.asarray(a + b)
    return np.asarray(np.minimum(total, total - _column(_BOTH, total.ndim)))


def sub(a: Residues, b: Residues) -> Residues:
    """a - b, broadcast behind the residue axis."""
    a, b = _pair(a, b)
    difference = np.asarray(a - b)
    return np.asarray(np.minimum(difference, difference + _column(_BOTH, difference.ndim)))


def neg(a: Residues) -> Residues:
    """-a."""
    return sub(np.zeros((2,) + (1,) * (a.ndim - 1), dtype=np.uint64), a)


def total(a: Residues, axis: int) -> Residues:
    """Sum along `axis` of the array behind the residue axis (0 is its first), up to 2^32 terms."""
    at = axis + 1 if axis >= 0 else axis
    if a.shape[at] <= 7:
        return fold(np.asarray(a.sum(axis=at, dtype=np.uint64)))
    low = fold(np.asarray((a & _M31).sum(axis=at, dtype=np.uint64)))
    high = fold(np.asarray((a >> _31).sum(axis=at, dtype=np.uint64)))
    return add(low, scale(high, 1 << 31))


def mul(a: Residues, b: Residues) -> Residues:
    """a * b, broadcast behind the residue axis; about 25 ns an element."""
    a, b = _pair(a, b)
    if max(a.size, b.size) <= _FEW and a.ndim > 1:
        return _mul_few(a, b)
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), dtype=np.uint64)
    out[0] = field.mul(a[0], b[0])
    out[1] = mul_q(a[1], b[1])
    return out


_FEW = 1 << 10
"""Words up to which both rows go through one formula: numpy's overhead a call counts, not the words."""


def _mul_few(a: Residues, b: Residues) -> Residues:
    """As `mul`: 2^61 = f a row, 2^62 top = 2 f (top mod 2^55) + 2^55 u, u = 2 f (top div 2^55) < 2^11."""
    a0, a1, b0, b1 = a & _M31, a >> _31, b & _M31, b >> _31
    f = _column(_BOTH_FOLD, a.ndim)
    top = np.asarray(a1 * b1)  # < 2^60, stands for 2^62
    middle = np.asarray(a1 * b0)
    middle += a0 * b1  # < 2^62, stands for 2^31
    upper = (top >> _55) * (f + f)
    out = np.asarray(a0 * b0)  # < 2^62
    out += (top & _M55) * (f + f)  # < 2^61
    out += (upper & _M6) << _55  # < 2^61
    out += ((upper >> _6) + (middle >> _30)) * f  # < 2^38
    out += (middle & _M30) << _31  # < 2^61: the sum is below 2^64
    return fold(out)


def mul_q(a: Residues, b: Residues) -> Residues:
    """a * b mod q of one residue row, broadcast."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    size = int(np.prod(shape, dtype=np.int64))
    if size <= BLOCK:
        return _mul_q_block(a, b)
    left = a.ravel() if a.size == 1 else np.broadcast_to(a, shape).ravel()
    right = b.ravel() if b.size == 1 else np.broadcast_to(b, shape).ravel()
    out = np.empty(size, dtype=np.uint64)
    for start in range(0, size, BLOCK):
        cut = slice(start, start + BLOCK)
        out[cut] = _mul_q_block(left if a.size == 1 else left[cut], right if b.size == 1 else right[cut])
    return out.reshape(shape)


def _mul_q_block(a: Residues, b: Residues) -> Residues:
    a0, a1, b0, b1 = a & _M31, a >> _31, b & _M31, b >> _31
    top = np.asarray(a1 * b1)  # < 2^60, stands for 2^62
    middle = np.asarray(a1 * b0)
    middle += a0 * b1  # < 2^62
    out = np.asarray(a0 * b0)  # < 2^62
    out += (top & _M55) << _6  # < 2^61
    out += _Q - (top << _1) + (top >> _55) * _FOLD[1]  # modulo 2^64; the sum of the line is in [0, 2^62)
    out += (middle >> _30) * _FOLD[1]
    out += (middle & _M30) << _31  # < 2^61
    return _settle_q(out)


def _settle_q(x: Residues) -> Residues:
    reduced = np.asarray((x & _M61) + (x >> _61) * _FOLD[1])
    return np.asarray(np.minimum(reduced, reduced - _Q))


@lru_cache(maxsize=1 << 12)
def constants(k: int | Fraction) -> Residues:
    """Residues (2,) of an integer, or of a fraction whose denominator is prime to M; read-only."""
    exact = Fraction(k)
    found = np.array([exact.numerator * pow(exact.denominator, -1, m) % m for m in MODULI], dtype=np.uint64)
    found.setflags(write=False)
    return found


def scale(a: Residues, k: int | Fraction) -> Residues:
    """k a for a public k; cheap for |k| <= 7."""
    if k.denominator == 1 and -7 <= k <= 7:
        scaled = fold(a * np.uint64(abs(int(k))))
        return neg(scaled) if k < 0 else scaled
    return mul(a, _column(constants(k), a.ndim))


def weighted(rows: Sequence[Residues], weights: Sequence[int]) -> Residues:
    """sum_i w_i x_i for canonical rows (2, count) and public integers; cheap while they are small."""
    more, less = sum(w for w in weights if w > 0), -sum(w for w in weights if w < 0)
    if max(more, less) <= 7:  # seven words below 2^61 fill 64 bits
        sides = [np.zeros_like(rows[0]), np.zeros_like(rows[0])]
        for row, weight in zip(rows, weights, strict=True):
            if weight:
                sides[weight < 0] += row if abs(weight) == 1 else row * np.uint64(abs(weight))
        return sub(fold(sides[0]), fold(sides[1])) if less else fold(sides[0])
    if sum(abs(weight) for weight in weights) >= 1 << 29:
        out = np.zeros_like(rows[0])
        for row, weight in zip(rows, weights, strict=True):
            out = add(out, scale(row, weight))
        return out
    limbs = np.zeros((2, *rows[0].shape), dtype=np.int64)
    for row, weight in zip(rows, weights, strict=True):
        if weight:
            limbs[0] += (row & _M31).view(np.int64) * weight
            limbs[1] += (row >> _31).view(np.int64) * weight
    moduli = _column(_BOTH, rows[0].ndim).view(np.int64)
    positive = (limbs + moduli).view(np.uint64)  # in (0, 2^62)
    return fold(shift_left(fold(positive[1]), 31) + positive[0])


def shift_left(a: Residues, bits: int) -> Residues:
    """2^bits a, 0 <= bits <= 50, without a product."""
    low = (a & np.uint64((1 << (61 - bits)) - 1)) << np.uint64(bits)
    high = (a >> np.uint64(61 - bits)) * _column(_BOTH_FOLD, a.ndim)
    return fold(np.asarray(low + high))


def matmul(a: Residues, b: Residues) -> Residues:
    """Matrix product (2, m, k) @ (2, k, n) -> (2, m, n); 1-D operands as numpy does."""
    if a.ndim == 2:
        return matmul(a[:, None, :], b)[:, 0]
    if b.ndim == 2:
        return matmul(a, b[:, :, None])[:, :, 0]
    if a.shape[2] != b.shape[1]:
        raise LocalMisuse(f"matmul: shapes {a.shape[1:]} and {b.shape[1:]} do not fit")
    return np.stack([matrices.product(a[row], b[row], int(_FOLD[row])) for row in (0, 1)])


def to_limbs(a: Residues) -> tuple[Residues, Residues]:
    """(2, *shape) -> (high, low), each (*shape): x = high 2^61 + low is the representative in [0, M)."""
    if a.ndim == 1:  # numpy warns of wrapping scalars, not of wrapping arrays
        high, low = to_limbs(a[:, None])
        return high[0], low[0]
    difference = a[1] - np.minimum(a[0], a[0] - _Q)
    k = mul_q(np.asarray(np.minimum(difference, difference + _Q)), np.asarray(_INVERSE_30))
    low = a[0] - k  # x = k 2^61 + (v0 - k)
    borrow = low >> np.uint64(63)
    return np.asarray(k - borrow), np.asarray(low + (borrow << _61))


def from_limbs(high: Residues, low: Residues) -> Residues:
    """Residues (2, *shape) of high 2^61 + low for limbs below 2^61."""
    return fold(np.stack([low + high, _settle_q(low) + (high & _M55) * _FOLD[1] + _high_fold(high)]))


def _high_fold(high: Residues) -> Residues:
    """31 (high - high mod 2^55) mod q, below 2^61 + 2^11."""
    top = (high >> _55) * _FOLD[1]  # < 2^11, stands for 2^55
    return ((top & np.uint64(63)) << _55) + (top >> _6) * _FOLD[1]


def floor_shift(high: Residues, low: Residues, bits: int) -> Residues:
    """Residues of floor(x / 2^bits), 0 <= bits <= 60, x = high 2^61 + low."""
    if bits == 0:
        return from_limbs(high, low)
    carried = (high & np.uint64((1 << bits) - 1)) << np.uint64(61 - bits)
    return from_limbs(high >> np.uint64(bits), carried + (low >> np.uint64(bits)))


def from_ints(values: npt.ArrayLike | Sequence[Any]) -> Residues:
    """Integers of any size or sign, or an integer array, to residues (2, *shape). Raises LocalMisuse."""
    array = np.asarray(values)
    if array.dtype.kind in "iu" and array.dtype != np.uint64:
        signed = array.astype(np.int64)
        size = np.abs(signed).view(np.uint64)  # |-2^63| wraps to 2^63, which is right here
        reduced = fold(np.stack([size, size]))
        return np.asarray(np.where(signed < 0, neg(reduced), reduced))
    objects = np.array(values, dtype=object)
    flat = objects.ravel().tolist()
    if not all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in flat):
        raise LocalMisuse("residues are made from integers only", fix="use rns.encode for floats")
    rows = [np.array([int(value) % m for value in flat], dtype=np.uint64) for m in MODULI]
    return np.stack(rows).reshape((2, *objects.shape))


def to_ints(a: Residues) -> npt.NDArray[np.object_]:
    """The representatives in (-M/2, M/2) as Python integers; for small arrays and tests."""
    high, low = to_limbs(a)
    exact = (high.astype(object) << 61) + low.astype(object)
    return np.asarray(np.where(exact > MODULUS // 2, exact - MODULUS, exact), dtype=object)


def encode(values: npt.ArrayLike, fraction_bits: int, magnitude_bits: int = 24) -> Residues:
    """Reals to round(x 2^f), residues (2, *shape), ties to even; exact for float64.

    Raises LocalMisuse naming the first value that is not finite or not below 2^magnitude_bits.
    """
    array = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(array) < 2.0**magnitude_bits)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise LocalMisuse(
            f"value at index {at} is not finite or not below 2^{magnitude_bits}",
            fix="clip the input or declare a wider range",
        )
    if magnitude_bits + fraction_bits > 62:
        raise LocalMisuse(f"{magnitude_bits}+{fraction_bits} bits do not fit an input word", fix="use fewer")
    return from_ints(np.rint(np.ldexp(array, fraction_bits)).astype(np.int64))


def decode(a: Residues, fraction_bits: int) -> npt.NDArray[np.float64]:
    """The signed representative divided by 2^f, rounded to float64."""
    doubled = add(a, a)  # the sign is the parity of 2x mod the odd M
    low = to_limbs(doubled)[1]
    negative = (low & _1).astype(bool)
    size = np.where(negative, neg(a), a)
    high, low = to_limbs(size)
    real = np.ldexp(high.astype(np.float64), 61 - fraction_bits) + np.ldexp(
        low.astype(np.float64), -fraction_bits
    )
    return np.asarray(np.where(negative, -real, real))
