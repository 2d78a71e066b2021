"""One word per element: reduction and products mod p = 2^61-1 on blocks of uint64.

What `field` is built from. p is a Mersenne prime, so 2^61 = 1: a number is reduced by adding its high
bits to its low ones, and three bits of headroom stay free in a word.

Products: a = a1 2^31 + a0 and b = b1 2^31 + b0 with a0, b0 < 2^31 and a1, b1 < 2^30. Because
2^62 = 2 mod p, ab = 2 a1 b1 + (a1 b0 + a0 b1) 2^31 + a0 b0, and no sum leaves 64 bits. The work goes
through blocks of BLOCK elements that stay in the cache, without a Python loop per element.

Invariant: nothing here branches on, or indexes by, the value of an element.

Symbols: p modulus; a, b operands; x a word, not necessarily below p.
"""

from __future__ import annotations

from threading import local
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalMisuse

P = (1 << 61) - 1
Elements: TypeAlias = npt.NDArray[np.uint64]

BLOCK = 1 << 15
"""Elements handled at once: large enough that numpy's 0.5 us a call is lost in it, small enough that the
seven words of scratch (1.75 MB) stay in the cache."""

P64 = np.uint64(P)
LOW31 = np.uint64((1 << 31) - 1)
LOW30 = np.uint64((1 << 30) - 1)
_1, _30, _31, _61 = (np.uint64(bits) for bits in (1, 30, 31, 61))


def checked(a: Elements) -> Elements:
    """`a` itself. Raises LocalMisuse for another dtype, which numpy would turn into floats without a word."""
    if getattr(a, "dtype", None) != np.uint64:
        raise LocalMisuse("arithmetic takes uint64 field elements only", fix="use field.as_elements")
    return np.asarray(a)


def fold(x: Elements) -> Elements:
    """Any uint64 to canonical, in place."""
    high = np.asarray(np.right_shift(x, _61))
    np.bitwise_and(x, P64, out=x)
    np.add(x, high, out=x)
    return settle(x)


def settle(x: Elements) -> Elements:
    """[0, 2p) to [0, p), in place: of x and x-p (mod 2^64) the smaller one is right."""
    return least(x, np.subtract)


def least(x: Elements, shift: np.ufunc) -> Elements:
    """min(x, shift(x, p)) in place, block by block."""
    if x.size <= BLOCK or not x.flags.c_contiguous:
        np.minimum(x, shift(x, P64), out=x)
        return x
    flat = x.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        piece = flat[start : start + BLOCK]
        shifted = shift(piece, P64, out=scratch.words[-1, : piece.size])
        np.minimum(piece, shifted, out=piece)
    return x


def mul_blocks(a: Elements, b: Elements, out: Elements) -> None:
    """Cut the first axis (and, below it, the next) until a block fits the cache."""
    if out.size <= BLOCK:
        mul_block(a, b, out)
        return
    a = a.reshape((1,) * (out.ndim - a.ndim) + a.shape)
    b = b.reshape((1,) * (out.ndim - b.ndim) + b.shape)
    rows = max(1, BLOCK // (out.size // out.shape[0]))
    for start in range(0, out.shape[0], rows):
        cut = slice(start, start + rows)
        part_a = a if a.shape[0] == 1 else a[cut]
        part_b = b if b.shape[0] == 1 else b[cut]
        if rows == 1 and out.ndim > 1:
            mul_blocks(part_a[0], part_b[0], out[start])
        else:
            mul_block(part_a, part_b, out[cut])


class Scratch(local):
    """Work space of one thread."""

    def __init__(self) -> None:
        self.words = np.empty((7, BLOCK), dtype=np.uint64)

    def take(self, first: int, like: Elements) -> tuple[Elements, Elements]:
        """Words `first` and the one after it, in the shape of `like`."""
        x, y = self.words[first : first + 2, : like.size]
        return x.reshape(like.shape), y.reshape(like.shape)


scratch = Scratch()


def split(x: Elements, first: int) -> tuple[Elements, Elements]:
    """(low 31 bits, high 30 bits) in scratch words `first` and first+1."""
    low, high = scratch.take(first, x)
    return np.bitwise_and(x, LOW31, out=low), np.right_shift(x, _31, out=high)


def mul_block(a: Elements, b: Elements, out: Elements) -> None:
    """a * b of at most BLOCK elements into `out`, which is neither of them."""
    a0, a1 = split(a, 0)
    b0, b1 = split(b, 2)
    middle, product = scratch.take(4, out)
    np.multiply(a1, b0, out=middle)
    np.multiply(a0, b1, out=product)
    np.add(middle, product, out=middle)  # < 2^62
    np.multiply(a0, b0, out=out)  # < 2^62
    np.multiply(a1, b1, out=product)  # < 2^60
    assemble(out, middle, product)


def assemble(out: Elements, middle: Elements, high: Elements) -> None:
    """out + 2^31 middle + 2^62 high into `out`, if out + 2 high < 7 2^61; the other two are overwritten."""
    np.left_shift(high, _1, out=high)
    np.add(out, high, out=out)  # 2^62 = 2
    np.right_shift(middle, _30, out=high)
    np.add(out, high, out=out)  # 2^31 2^30 = 1
    np.bitwise_and(middle, LOW30, out=middle)
    np.left_shift(middle, _31, out=middle)  # < 2^61
    np.add(out, middle, out=out)  # < 2^64
    np.right_shift(out, _61, out=high)
    np.bitwise_and(out, P64, out=out)
    np.add(out, high, out=out)
    np.subtract(out, P64, out=high)
    np.minimum(out, high, out=out)
