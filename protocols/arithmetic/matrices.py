"""Products of matrices mod 2^61 - f for a small f, exact, by float64 BLAS on limbs of 21 bits.

An entry below 2^61 is x0 + x1 2^21 + x2 2^42. The products of limbs that stand for 2^(21 w) are added up in
floats: three products below 2^42 each, 2^9 times, stay below 2^53, so every sum is the exact integer. The
smaller operand's limbs are put side by side, so that each limb of the larger one is made and used once;
pieces of the operands keep all temporaries in the cache and peak memory near the result's.

Reduction: 2^61 = f, hence 2^63 = 4 f and 2^84 = 4 f 2^21.

Symbols: f = 2^61 mod the modulus (1 or 31); m, k, n sizes; C_w the sums; x, y limbs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import scratch

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

INNER = 1 << 9
"""Longest inner product at once."""

PIECE = 1 << 15
"""Entries of the larger operand that are split at once: one limb of them is 256 kB."""

RESULT = 1 << 13
"""Entries of the result that are added up at once: five sums of them are 320 kB."""

_LIMB = np.int64((1 << 21) - 1)
_2, _19, _21, _40, _42, _61 = (np.uint64(bits) for bits in (2, 19, 21, 40, 42, 61))
_M19, _M40, _M61 = (np.uint64((1 << bits) - 1) for bits in (19, 40, 61))


def product(a: Words, b: Words, f: int) -> Words:
    """(m, k) @ (k, n) -> (m, n) mod 2^61 - f, canonical in and out, f < 32."""
    (m, k), n = a.shape, b.shape[1]
    out = np.zeros((m, n), dtype=np.uint64)
    flat = m <= n
    long = n if flat else m
    for start in range(0, k, INNER):
        inner = slice(start, min(start + INNER, k))
        small = _stacked(a[:, inner], b[inner], flat)
        wide = max(1, min(PIECE // (inner.stop - inner.start), RESULT // min(m, n)))
        for at in range(0, long, wide):
            cut = slice(at, min(at + wide, long))
            sums = _sums(small, b[inner, cut], flat) if flat else _sums(small, a[cut, inner], flat)
            target = out[:, cut] if flat else out[cut]
            target[...] = _settled(target + _reduced(sums, np.uint64(f)), np.uint64(f))
    return out


def _limb(x: Words, i: int, out: Floats) -> Floats:
    """Limb i of all entries as floats."""
    shifted = scratch.take("matrices limb", x.shape, np.int64)
    np.right_shift(x.view(np.int64), np.int64(21 * i), out=shifted)
    np.bitwise_and(shifted, _LIMB, out=shifted)
    np.copyto(out, shifted)
    return out


def _stacked(a: Words, b: Words, flat: bool) -> Floats:
    """The limbs of the smaller operand side by side: (3 m, k) or (k, 3 n)."""
    source = a if flat else b
    rows, columns = source.shape
    if flat:
        stacked = np.empty((3, rows, columns))
        for i in range(3):
            _limb(source, i, stacked[i])
        return stacked.reshape(3 * rows, columns)
    beside = np.empty((rows, 3, columns))
    for i in range(3):
        _limb(source, i, beside[:, i])
    return beside.reshape(rows, 3 * columns)


def _sums(small: Floats, piece: Words, flat: bool) -> list[Any]:
    """C_0 to C_4, uint64, of the smaller operand with a piece of the other."""
    limb = scratch.take("matrices piece", piece.shape, np.float64)
    sums: list[Any] = [None] * 5
    for j in range(3):
        _limb(piece, j, limb)
        if flat:
            each = (small @ limb).reshape(3, -1, piece.shape[1])
        else:
            each = (limb @ small).reshape(piece.shape[0], 3, -1).swapaxes(0, 1)
        for i in range(3):
            sums[i + j] = each[i] if sums[i + j] is None else sums[i + j] + each[i]
    return [c.astype(np.int64).view(np.uint64) for c in sums]


def _reduced(sums: list[Any], f: np.uint64) -> Words:
    """sum_w C_w 2^(21 w), below 2^63."""
    c0, c1, c2, c3, c4 = sums
    fold = f << _2
    c0 += c3 * fold  # < 2^53 + 2^60
    c1 += c4 * fold
    c0 += (c1 >> _40) * f
    c0 += (c1 & _M40) << _21
    c0 += (c2 >> _19) * f
    c0 += (c2 & _M19) << _42
    return np.asarray(c0)


def _settled(x: Words, f: np.uint64) -> Words:
    """Any uint64 to canonical."""
    reduced = (x & _M61) + (x >> _61) * f
    return np.asarray(np.minimum(reduced, reduced - (np.uint64(1 << 61) - f)))
