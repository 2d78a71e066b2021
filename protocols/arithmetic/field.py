"""Vectors of integers mod p = 2^61-1, the field of every sharing ("AGG" profile).

Decides how field elements are held: numpy uint64, always canonical (0 <= x < p), never object
dtype. p is a Mersenne prime, so 2^61 = 1: a number is reduced by adding its high bits to its low
ones, and three bits of headroom stay free in a word.

Products: a = a1 2^31 + a0 and b = b1 2^31 + b0 with a0, b0 < 2^31 and a1, b1 < 2^30. Because
2^62 = 2 mod p, ab = 2 a1 b1 + (a1 b0 + a0 b1) 2^31 + a0 b0, and no sum leaves 64 bits. The work goes
through blocks of BLOCK elements that stay in the cache, without a Python loop per element.

No function branches on, or indexes by, the value of an element (except the canonical check and the
ZeroDivisionError of `inv`), so time does not depend on secrets beyond what numpy itself does.

Symbols: p modulus; a, b operands; m, k, n, L array sizes; rho a challenge.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalMisuse

P = (1 << 61) - 1
Elements: TypeAlias = npt.NDArray[np.uint64]

BLOCK = 1 << 14
"""Elements handled at once by `mul`: seven words of scratch each must fit the second-level cache."""

_P = np.uint64(P)
_LOW31 = np.uint64((1 << 31) - 1)
_LOW30 = np.uint64((1 << 30) - 1)
_LOW32 = np.uint64((1 << 32) - 1)
_1, _30, _31, _32, _61 = (np.uint64(bits) for bits in (1, 30, 31, 32, 61))


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
        return _fold(array.astype(np.uint64))
    if array.dtype.kind == "i":
        return from_signed(array.astype(np.int64))
    raise LocalMisuse(f"cannot make field elements of {array.dtype}", fix="use fixed_point.encode for floats")


def from_signed(values: npt.NDArray[np.int64]) -> Elements:
    """Residues of an int64 array of any shape; every int64 is legal."""
    signed = np.asarray(values, dtype=np.int64)
    return np.mod(signed, np.int64(P)).astype(np.uint64)


def to_signed(a: Elements) -> npt.NDArray[np.int64]:
    """The representative of each element in [-(p-1)/2, (p-1)/2], int64, same shape."""
    signed = a.astype(np.int64)
    return np.where(signed > P // 2, signed - np.int64(P), signed)


def is_canonical(a: Elements) -> bool:
    """Whether every element is below p."""
    return bool(a.size == 0 or a.max() < _P)


def _fold(x: Elements) -> Elements:
    """Any uint64 to canonical, in place on a fresh array."""
    high = np.right_shift(x, _61)
    low = np.bitwise_and(x, _P)
    return _settle(np.asarray(np.add(low, high)))


def _settle(x: Elements) -> Elements:
    """[0, 2p) to [0, p): of x and x-p (mod 2^64) the smaller one is right."""
    return np.asarray(np.minimum(x, np.subtract(x, _P)))


def add(a: Elements, b: Elements) -> Elements:
    """a + b, broadcast."""
    return _settle(np.asarray(np.add(a, b)))


def sub(a: Elements, b: Elements) -> Elements:
    """a - b, broadcast."""
    difference = np.asarray(np.subtract(a, b))
    return np.asarray(np.minimum(difference, np.add(difference, _P)))


def neg(a: Elements) -> Elements:
    """-a."""
    return _settle(np.asarray(np.subtract(_P, a)))


def mul(a: Elements, b: Elements) -> Elements:
    """a * b, broadcast; about 10 ns an element."""
    a, b = np.asarray(a, dtype=np.uint64), np.asarray(b, dtype=np.uint64)
    if a.shape == b.shape and a.ndim > 1 and a.flags.c_contiguous and b.flags.c_contiguous:
        return mul(a.ravel(), b.ravel()).reshape(a.shape)
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), dtype=np.uint64)
    _mul_blocks(a, b, out)
    return out


def _mul_blocks(a: Elements, b: Elements, out: Elements) -> None:
    """Cut the first axis (and, below it, the next) until a block fits the cache."""
    if out.size <= BLOCK:
        _mul_block(a, b, out)
        return
    a = a.reshape((1,) * (out.ndim - a.ndim) + a.shape)
    b = b.reshape((1,) * (out.ndim - b.ndim) + b.shape)
    rows = max(1, BLOCK // (out.size // out.shape[0]))
    for start in range(0, out.shape[0], rows):
        cut = slice(start, start + rows)
        part_a = a if a.shape[0] == 1 else a[cut]
        part_b = b if b.shape[0] == 1 else b[cut]
        if rows == 1 and out.ndim > 1:
            _mul_blocks(part_a[0], part_b[0], out[start])
        else:
            _mul_block(part_a, part_b, out[cut])


class _Scratch(local):
    """Work space of one thread."""

    def __init__(self) -> None:
        self.words = np.empty((3, BLOCK), dtype=np.uint64)

    def take(self, shape: tuple[int, ...], size: int) -> tuple[Elements, Elements, Elements]:
        """Three arrays of `shape`."""
        x, y, z = self.words[:, :size]
        return x.reshape(shape), y.reshape(shape), z.reshape(shape)


_scratch = _Scratch()


def _mul_block(a: Elements, b: Elements, out: Elements) -> None:
    a0, a1 = a & _LOW31, a >> _31
    b0, b1 = b & _LOW31, b >> _31
    middle, product, carry = _scratch.take(out.shape, out.size)
    np.multiply(a1, b0, out=middle)
    np.multiply(a0, b1, out=product)
    np.add(middle, product, out=middle)  # < 2^62
    np.multiply(a0, b0, out=out)  # < 2^62
    np.multiply(a1, b1, out=product)
    np.left_shift(product, _1, out=product)  # < 2^61
    np.add(out, product, out=out)
    np.right_shift(middle, _30, out=carry)
    np.add(out, carry, out=out)
    np.bitwise_and(middle, _LOW30, out=middle)
    np.left_shift(middle, _31, out=middle)  # < 2^61
    np.add(out, middle, out=out)  # < 2^64
    np.right_shift(out, _61, out=carry)
    np.bitwise_and(out, _P, out=out)
    np.add(out, carry, out=out)
    np.subtract(out, _P, out=carry)
    np.minimum(out, carry, out=out)


def power(a: Elements, exponent: int) -> Elements:
    """a^exponent; a negative exponent inverts. Raises ZeroDivisionError for 0 to a negative power."""
    a = np.asarray(a, dtype=np.uint64)
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
    a = np.asarray(a, dtype=np.uint64)
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
    a = np.asarray(a, dtype=np.uint64)
    if a.shape[axis] <= 8:
        return _fold(np.asarray(a.sum(axis=axis, dtype=np.uint64)))
    low = np.asarray((a & _LOW32).sum(axis=axis, dtype=np.uint64))
    high = np.asarray((a >> _32).sum(axis=axis, dtype=np.uint64))
    return add(_fold(low), mul(_fold(high), np.asarray(np.uint64(1 << 32))))


def dot(a: Elements, b: Elements) -> Elements:
    """Sum of a_i b_i of two vectors of equal length, 0-d."""
    return total(mul(a, b))


def powers(rho: int | Elements, count: int, first: int = 1) -> Elements:
    """[rho^first, rho^(first+1), ...], `count` of them."""
    base = int(rho) % P
    out = np.empty(count, dtype=np.uint64)
    if count == 0:
        return out
    out[0] = pow(base, first, P)
    done = 1
    while done < count:
        more = min(done, count - done)
        out[done : done + more] = mul(out[:more], np.asarray(np.uint64(pow(base, done, P))))
        done += more
    return out


def combine(coefficients: Elements, rows: Elements) -> Elements:
    """Sum over i of c_i rows_i: coefficients (m,), rows (m, L) -> (L,)."""
    if rows.ndim < 1 or coefficients.shape != rows.shape[:1]:
        raise LocalMisuse(f"combine: {coefficients.shape} coefficients for rows of shape {rows.shape}")
    if rows.ndim == 1:
        return dot(coefficients, rows)
    result = np.zeros(rows.shape[1:], dtype=np.uint64)
    for coefficient, row in zip(coefficients, rows, strict=True):
        result = add(result, mul(np.asarray(coefficient), row))
    return result


LIMB_BITS = 21
_LIMB = np.uint64((1 << LIMB_BITS) - 1)
_MATMUL_INNER = 1 << 9
"""Inner products of this length: 6 limb products of 42 bits, 3 of them added, stay below 2^53."""


def matmul(a: Elements, b: Elements) -> Elements:
    """Matrix product (m, k) @ (k, n) -> (m, n); 1-D operands as numpy does."""
    if a.ndim == 1:
        return matmul(a[None, :], b)[0]
    if b.ndim == 1:
        return matmul(a, b[:, None])[:, 0]
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise LocalMisuse(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    result = np.zeros((a.shape[0], b.shape[1]), dtype=np.uint64)
    for start in range(0, a.shape[1], _MATMUL_INNER):
        cut = slice(start, start + _MATMUL_INNER)
        result = add(result, _matmul_part(a[:, cut], b[cut]))
    return result


def _limbs(x: Elements) -> list[npt.NDArray[np.float64]]:
    """Three limbs of 21, 21 and 19 bits as floats."""
    return [((x >> np.uint64(i * LIMB_BITS)) & _LIMB).astype(np.float64) for i in range(3)]


def _matmul_part(a: Elements, b: Elements) -> Elements:
    """Schoolbook on limbs; weight w stands for 2^(21 w) mod p."""
    left, right = _limbs(a), _limbs(b)
    result = np.zeros((a.shape[0], b.shape[1]), dtype=np.uint64)
    for weight in range(5):
        pairs = [(i, weight - i) for i in range(3) if 0 <= weight - i < 3]
        exact = sum((left[i] @ right[j] for i, j in pairs), start=np.zeros(result.shape))
        scale = np.asarray(np.uint64(pow(2, weight * LIMB_BITS, P)))
        result = add(result, mul(exact.astype(np.uint64), scale))
    return result
