"""Linear fingerprints of masked vectors: those of the parts add up to that of the sum, or the sum is wrong.

Decides what a device says of its masked vector when an adder's sum is audited (design section 7, `audit`).
Sums of masked vectors are taken mod 2^k, so the fingerprint is linear over that ring, not over a prime field,
where the carries that are cut off would be in the way. A span's coordinates are rows c[a] of ROW words. From
the challenge come bits V[j, b] and, for each row, bits U[a, b, s]:

    R[a, b] = sum_j c[a, j] V[j, b]        F[s] = sum_a sum_b R[a, b] U[a, b, s]        mod 2^64,  s < WORDS

Soundness. Let the claimed sum be off by e, not 0 mod 2^k, with V and U drawn after e was fixed. Let 2^v be
the largest power of two that divides all of e mod 2^k; e / 2^v is odd somewhere, in row a. R[a] / 2^v is a
random bit sum in each of WORDS columns: all are even with probability 2^-WORDS. If one is odd, each
F[s] / 2^v is odd with probability 1/2, independently. So F = 0 mod 2^k with probability at most
2^(1-WORDS) = 2^-63 a try; a try is a new vector with its digest, since the challenge is the hash of the claim
(`challenge`).

Secrecy: it is a function of the masked vector, which adders see anyway.

Exactness: c is cut into limbs of 32 bits, and so is R; sums of ROW of them, or of the WORDS ROW / 2 that one
span has, are below 2^53, products with bits are exact.

Cost: one product of (2 rows, ROW) with (ROW, WORDS) floats; 6 ms for a million values in two slots.

Symbols: k bits sent, c coordinates, e error of a sum, F fingerprint, V columns, U rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof
from protocols.identifiers import Digest, SessionId
from protocols.masking.packing import Words
from protocols.wire.digest import digest

WORDS = 64
ROW = 1 << 13

_LIMB = np.uint64(32)


def challenge(session: SessionId, stage: int, roster: Digest, name: Digest) -> Digest:
    """What weights are drawn from: fixed by the claim that `name` is the sum of the vectors in `roster`."""
    return digest("audit challenge", session, stage.to_bytes(4, "big"), roster, name)


class Fingerprint:
    """Fingerprint of a vector that is given span by span."""

    __slots__ = ("_columns", "_seed", "_state")

    def __init__(self, seed: bytes) -> None:
        """`seed`: the challenge."""
        self._seed = seed
        self._columns = _bits(Xof(seed, "audit columns"), ROW)
        self._state: Words = np.zeros(WORDS, dtype=np.uint64)

    def add(self, span: int, coordinates: Words) -> None:
        """Take in the (m,) words of one span."""
        rows = -(-coordinates.size // ROW)
        table = np.zeros((2, rows * ROW), dtype=np.float64)
        table[:, : coordinates.size] = coordinates.astype("<u8", copy=False).view("<u4").reshape(-1, 2).T
        sums = _join(table.reshape(2 * rows, ROW) @ self._columns).reshape(rows * WORDS)
        weights = _bits(Xof(self._seed, "audit rows", span.to_bytes(8, "big")), rows * WORDS)
        limbs = sums.astype("<u8", copy=False).view("<u4").reshape(-1, 2).T.astype(np.float64)
        self._state += _join(limbs @ weights).reshape(WORDS)

    def value(self) -> npt.NDArray[np.uint64]:
        """(WORDS,) words mod 2^64, of which the low k bits count."""
        return self._state.copy()


def _bits(stream: Xof, rows: int) -> npt.NDArray[np.float64]:
    """(rows, WORDS) uniform bits."""
    random = np.frombuffer(stream.read(rows * WORDS // 8), dtype=np.uint8)
    return np.unpackbits(random).reshape(rows, WORDS).astype(np.float64)


def _join(limbs: npt.NDArray[np.float64]) -> Words:
    """(2 r, w) sums of low limbs, then of high ones, as (r, w) words mod 2^64."""
    low, high = limbs.astype(np.uint64).reshape(2, -1, limbs.shape[1])
    return low + (high << _LIMB)


def agree(parts: npt.NDArray[np.uint64], total: npt.NDArray[np.uint64], bits: int) -> bool:
    """Whether fingerprints (n, WORDS) of parts add up to that of their sum mod 2^bits, (WORDS,)."""
    off = parts.sum(axis=0, dtype=np.uint64) - total
    return not bool((off & np.uint64((1 << bits) - 1)).any())
