"""Vectors of integers mod p = 2^61-1, the field of every sharing ("AGG" profile).

Decides how field elements are held: numpy uint64, always canonical (0 <= x < p), never object
dtype. Reduction and products of single words are in `words`; here they become vectors and matrices.

No function branches on, or indexes by, the value of an element (except the canonical check and the
ZeroDivisionError of `inv`), so time does not depend on secrets beyond what numpy itself does.

Symbols: p modulus; a, b operands; m, k, n, L array sizes; rho a challenge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import words
from protocols.arithmetic.words import BLOCK, Elements, P
from protocols.errors import LocalMisuse

__all__ = ["BLOCK", "Elements", "P"]

_LOW32 = np.uint64((1 << 32) - 1)
_2_32 = np.array(1 << 32, dtype=np.uint64)
_30, _31, _32 = (np.uint64(bits) for bits in (30, 31, 32))
_WIDE = 256
"""From this row length on, rows are added seven at a time instead of in two halves."""


def as_elements(values: npt.ArrayLike | Sequence[Any]) -> Elements:
    """Integers of any size or sign, or an integer array of any shape, reduced mod p.

    Raises LocalMisuse for anything that is not an integer: real numbers enter by `fixed_point.encode`.
    """
    if isinstance(values, np.ndarray | np.generic) and values.dtype.kind != "O":
        return _from_array(np.asarray(values))
    objects = np.array(values, dtype=object)
    flat = objects.ravel().tolist()
    if not all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in flat):
        raise LocalMisuse(
            "field elements are made from integers only", fix="use fixed_point.encode for floats"
        )
    reduced = np.array([int(value) % P for value in flat], dtype=np.uint64)
    return reduced.reshape(objects.shape)


def _from_array(array: npt.NDArray[Any]) -> Elements:
    if array.dtype.kind == "u":
        return words.fold(array.astype(np.uint64))
    if array.dtype.kind == "i":
        return from_signed(array.astype(np.int64))
    raise LocalMisuse(f"cannot make field elements of {array.dtype}", fix="use fixed_point.encode for floats")


def from_signed(values: npt.NDArray[np.int64]) -> Elements:
    """Residues of an int64 array of any shape; every int64 is legal. Raises LocalMisuse for other numbers."""
    array = np.asarray(values)
    if array.size and not np.can_cast(array.dtype, np.int64):
        raise LocalMisuse(
            f"{array.dtype} is not a signed integer", fix="use as_elements or fixed_point.encode"
        )
    signed = array.astype(np.int64)
    folded = np.asarray(np.add(signed & np.int64(P), signed >> np.int64(61)))  # [-4, p+3]
    return words.settle(words.least(folded.view(np.uint64), np.add))


def to_signed(a: Elements) -> npt.NDArray[np.int64]:
    """The representative of each element in [-(p-1)/2, (p-1)/2], int64, same shape."""
    negative = a >> np.uint64(60)  # a - p and a + 1 are the same mod 2^61, whose sign is bit 60
    signed = np.asarray((a + negative) << np.uint64(3)).view(np.int64)
    return np.asarray(signed >> np.int64(3))


def is_canonical(a: Elements) -> bool:
    """Whether every element is below p."""
    return bool(a.size == 0 or a.max() < words.P64)


def add(a: Elements, b: Elements, out: Elements | None = None) -> Elements:
    """a + b, broadcast; into `out` (which may be a or b) if given."""
    return words.settle(np.asarray(np.add(words.checked(a), words.checked(b), out=out)))


def sub(a: Elements, b: Elements) -> Elements:
    """a - b, broadcast."""
    return words.least(np.asarray(np.subtract(words.checked(a), words.checked(b))), np.add)


def neg(a: Elements) -> Elements:
    """-a."""
    return words.settle(np.asarray(np.subtract(words.P64, words.checked(a))))


def mul(a: Elements, b: Elements) -> Elements:
    """a * b, broadcast; about 10 ns an element."""
    a, b = words.checked(a), words.checked(b)
    if a.shape == b.shape and a.ndim > 1 and a.flags.c_contiguous and b.flags.c_contiguous:
        return mul(a.ravel(), b.ravel()).reshape(a.shape)
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), dtype=np.uint64)
    words.mul_blocks(a, b, out)
    return out


def power(a: Elements, exponent: int) -> Elements:
    """a^exponent; a negative exponent inverts. Raises ZeroDivisionError for 0 to a negative power."""
    a = words.checked(a)
    if exponent < 0:
        return power(inv(a), -exponent)
    result = np.ones(a.shape, dtype=np.uint64)
    for bit in bin(exponent)[2:]:
        result = mul(result, result)
        if bit == "1":
            result = mul(result, a)
    return result


def inv(a: Elements) -> Elements:
    """1 / a, any shape; about three products an element and one power. Raises ZeroDivisionError."""
    a = words.checked(a)
    if not a.all():
        raise ZeroDivisionError("0 has no inverse mod 2^61-1")
    return _inverses(a.ravel()).reshape(a.shape)


def _inverses(a: Elements) -> Elements:
    """Pair the first half with the second, invert the products, take them apart again."""
    if a.size <= 4:
        return np.array([pow(int(value), -1, P) for value in a], dtype=np.uint64)
    half = a.size // 2
    left, right = a[:half], a[half : 2 * half]
    joint = _inverses(np.concatenate([mul(left, right), a[2 * half :]]))
    return np.concatenate([mul(joint[:half], right), mul(joint[:half], left), joint[half:]])


def total(a: Elements, axis: int = 0) -> Elements:
    """Sum along `axis`, up to 2^32 terms."""
    rows = np.moveaxis(words.checked(a), axis, 0)
    if rows[:1].size >= _WIDE:
        return _total_of_rows(rows)
    low = np.asarray((rows & _LOW32).sum(axis=0, dtype=np.uint64))
    high = np.asarray((rows >> _32).sum(axis=0, dtype=np.uint64))
    return add(words.fold(low), mul(words.fold(high), _2_32))


def _total_of_rows(rows: Elements) -> Elements:
    """Seven rows and the sum so far fit 64 bits."""
    result = np.zeros(rows.shape[1:], dtype=np.uint64)
    for start in range(0, rows.shape[0], 7):
        np.add(result, rows[start : start + 7].sum(axis=0, dtype=np.uint64), out=result)
        words.fold(result)
    return result


def dot(a: Elements, b: Elements) -> Elements:
    """Sum of a_i b_i of two vectors of equal length, 0-d."""
    return total(mul(a, b))


def powers(rho: int | Elements, count: int, first: int = 1) -> Elements:
    """[rho^first, rho^(first+1), ...], `count` of them: small steps times large steps."""
    base = int(rho) % P
    width = min(count, 64)
    small = np.array(_power_list(base, pow(base, first, P), width), dtype=np.uint64)
    if count <= width:
        return small
    large = powers(pow(base, width, P), -(-count // width), 0)
    return mul(large[:, None], small[None, :]).ravel()[:count]


def _power_list(base: int, start: int, count: int) -> list[int]:
    values = [start]
    while len(values) < count:
        values.append(values[-1] * base % P)
    return values[:count]


def combine(coefficients: Elements, rows: Elements) -> Elements:
    """Sum over i of c_i rows_i: coefficients (m,), rows (m, L) -> (L,); about 5 ns a summand.

    Raises LocalMisuse when the shapes do not fit.
    """
    coefficients, rows = words.checked(coefficients), words.checked(rows)
    if rows.ndim != 2 or coefficients.shape != rows.shape[:1]:
        raise LocalMisuse(f"combine: {coefficients.shape} coefficients for rows of shape {rows.shape}")
    out = np.zeros(rows.shape[1], dtype=np.uint64)
    for start in range(0, rows.shape[1], BLOCK):
        cut = slice(start, start + BLOCK)
        for first in range(0, rows.shape[0], 3):
            _combine_block(coefficients[first : first + 3], rows[first : first + 3, cut], out[cut])
    return out


def _combine_block(coefficients: Elements, rows: Elements, out: Elements) -> None:
    """Add at most three products to `out`, reduced only once: p + 3 2^62 and 2^31 (3 2^62) fit."""
    middle, high = words.scratch.take(4, out)
    product, _ = words.scratch.take(2, out)
    middle[...] = 0
    high[...] = 0
    for coefficient, row in zip(coefficients, rows, strict=True):
        c0, c1 = coefficient & words.LOW31, coefficient >> _31
        r0, r1 = words.split(row, 0)
        for factor, limb, target in ((c0, r0, out), (c0, r1, middle), (c1, r0, middle), (c1, r1, high)):
            np.multiply(limb, factor, out=product)
            np.add(target, product, out=target)
    words.fold(out)
    words.assemble(out, middle, high)


def combine_small(weights: Sequence[int], rows: Elements) -> Elements:
    """Sum of w_i rows_i for integers w_i >= 0 whose sum is below 2^20: (m,), (m, L) -> (L,).

    Raises LocalMisuse for other weights.
    """
    if sum(weights) >= 1 << 20 or min(weights, default=0) < 0:
        raise LocalMisuse("combine_small takes small nonnegative weights", fix="use field.combine")
    used = [(np.uint64(w), row) for w, row in zip(weights, rows, strict=True) if w]
    if sum(weights) <= 8:  # 8 (p-1) fits a word
        return words.fold(_weighted(used, rows.shape[1]))
    low = _weighted([(w, row & words.LOW31) for w, row in used], rows.shape[1])  # < 2^51
    high = _weighted([(w, row >> _31) for w, row in used], rows.shape[1])
    np.add(low, high >> _30, out=low)
    np.bitwise_and(high, words.LOW30, out=high)
    np.left_shift(high, _31, out=high)
    return words.fold(np.add(low, high, out=low))


def _weighted(terms: list[tuple[np.uint64, Elements]], length: int) -> Elements:
    result = np.zeros(length, dtype=np.uint64)
    for weight, row in terms:
        np.add(result, row if weight == 1 else row * weight, out=result)
    return result


_LIMB_BITS = 21
_LIMB = np.int64((1 << _LIMB_BITS) - 1)
_INNER = 1 << 9
"""Longest inner product in floats: (2^22)^2 2^9 = 2^53, the largest integer a double counts to."""


def matmul(a: Elements, b: Elements) -> Elements:
    """Matrix product (m, k) @ (k, n) -> (m, n); 1-D operands as numpy does.

    Raises LocalMisuse when the shapes do not fit.
    """
    a, b = words.checked(a), words.checked(b)
    if a.ndim == 1:
        return np.asarray(matmul(a[None, :], b)[0])
    if b.ndim == 1:
        return np.asarray(matmul(a, b[:, None])[:, 0])
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise LocalMisuse(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    (m, k), n = a.shape, b.shape[1]
    depth = max(1, BLOCK // (_INNER * max(1, m, n)))
    whole = k - k % _INNER
    result = np.zeros((m, n), dtype=np.uint64)
    if n == 1:  # one product an element beats six limb products
        return add(result, _times_column(a, b[:, 0])[:, None])
    for start in range(0, whole, depth * _INNER):
        cut = slice(start, min(whole, start + depth * _INNER))
        left = a[:, cut].reshape(m, -1, _INNER).transpose(1, 0, 2)
        result = add(result, total(_matmul_stack(left, b[cut].reshape(-1, _INNER, n))))
    if whole < k:
        result = add(result, _matmul_stack(a[None, :, whole:], b[None, whole:])[0])
    return result


def matmul_each(a: Elements, b: Elements) -> Elements:
    """K matrix products at once: (K, m, k) @ (K, k, n) -> (K, m, n), k at most 512.

    Raises LocalMisuse when the shapes do not fit.
    """
    a, b = words.checked(a), words.checked(b)
    if a.ndim != 3 or b.ndim != 3 or (a.shape[0], a.shape[2]) != b.shape[:2] or a.shape[2] > _INNER:
        raise LocalMisuse(f"matmul_each: shapes {a.shape} and {b.shape} do not fit")
    return _matmul_stack(a, b)


def _times_column(a: Elements, column: Elements) -> Elements:
    result = np.zeros(a.shape[0], dtype=np.uint64)
    for start in range(0, column.size, BLOCK):
        cut = slice(start, start + BLOCK)
        result = add(result, total(mul(a[:, cut], column[cut]), axis=1))
    return result


def _limbs(x: Elements) -> list[npt.NDArray[np.float64]]:
    """Three limbs of 21, 21 and 19 bits as floats."""
    signed = x.view(np.int64)
    return [((signed >> np.int64(i * _LIMB_BITS)) & _LIMB).astype(np.float64) for i in range(3)]


def _matmul_stack(a: Elements, b: Elements) -> Elements:
    """(s, m, k) @ (s, k, n) -> (s, m, n), k <= 512; Karatsuba: six float products instead of nine.

    The product is sum_w C_w 2^(21 w), every C_w an exact integer below 2^53.
    """
    x, y = _limbs(a), _limbs(b)
    d0, d1, d2 = (u @ v for u, v in zip(x, y, strict=True))
    c1 = (x[0] + x[1]) @ (y[0] + y[1]) - d0 - d1
    c2 = (x[0] + x[2]) @ (y[0] + y[2]) - d0 - d2 + d1
    c3 = (x[1] + x[2]) @ (y[1] + y[2]) - d1 - d2
    low, mid, top, c3w, c4w = (c.astype(np.uint64) for c in (d0, c1, c2, c3, d2))
    low += c3w << np.uint64(2)  # 2^63 = 2^2
    mid += c4w << np.uint64(2)  # 2^84 = 2^21 2^2
    low += (mid >> np.uint64(40)) + ((mid & np.uint64((1 << 40) - 1)) << np.uint64(21))
    low += (top >> np.uint64(19)) + ((top & np.uint64((1 << 19) - 1)) << np.uint64(42))
    return words.fold(low)
