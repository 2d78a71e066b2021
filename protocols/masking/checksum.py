"""Check values that add up like the vector itself, so that a damaged sum is noticed.

Decides the redundancy of a masked vector: check c of a vector x is
sum_i u[i div W, c] v[i mod W, c] x_i mod m, with m = 65521 (prime, fits 16-bit values), sent as a centred
residue in the slots after x. Being linear, the sum of the devices' checks equals the check of the summed
vector, mod m.

What it catches: u and v are nonzero residues derived from the public seed. A single wrong value x_i + d is
caught with certainty unless m divides d, so every flipped bit of a sent value is; an error that does not
depend on u and v passes one check with probability at most 2/(m-1) (a nonzero polynomial of degree 2 in them)
and all CHECKS = 4 below 2^-60. What it does not: a malicious aggregator knows the seed and can add an
error with matching checks. That is what the spot checks of aggregators are for (design section 7).

Symbols: m check modulus, W row length, u row weights, v column weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof
from protocols.masking.layout import CHECKS

MODULUS = 65521
ROW = 2048
EXACT_BITS = 26
"""Values below 2^26 in magnitude need no reduction first: 2^26 * 2^15 * ROW = 2^52 is exact in a float."""

Integers = npt.NDArray[np.int64]


class Checksum:
    """Running checks of a vector that is given span by span; each span starts a fresh row."""

    __slots__ = ("_columns", "_seed", "_state")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._columns = _weights(Xof(seed, "mask-check-columns"), ROW).astype(np.float64)
        self._state = np.zeros(CHECKS, dtype=np.int64)

    def __repr__(self) -> str:
        return "Checksum(redacted)"

    def add(self, span: int, values: npt.NDArray[np.integer], magnitude_bits: int) -> None:
        """Take in the values of one span, 1-D integers below 2^magnitude_bits (at most 52) in magnitude."""
        rows = -(-values.size // ROW)
        table = np.zeros(rows * ROW, dtype=np.float64)
        table[: values.size] = values
        if magnitude_bits > EXACT_BITS:
            table -= np.rint(table * (1 / MODULUS)) * MODULUS
        partial = (table.reshape(rows, ROW) @ self._columns).astype(np.int64) % MODULUS
        weights = _weights(Xof(self._seed, "mask-check-rows", span.to_bytes(8, "big")), rows)
        self._state = (self._state + (partial * weights).sum(axis=0)) % MODULUS

    def values(self) -> Integers:
        """The checks as centred residues, (CHECKS,) int64 in [-32760, 32760]."""
        return centred(self._state)


def centred(residues: Integers) -> Integers:
    """Representatives mod 65521 in [-32760, 32760] of integers of any size."""
    half = MODULUS // 2
    return (residues + half) % MODULUS - half


def _weights(xof: Xof, rows: int) -> Integers:
    """Nonzero centred residues, (rows, CHECKS); with 2^64 so far above m no value is preferred."""
    words = xof.uint64(rows * CHECKS) % np.uint64(MODULUS - 1)
    return centred(words.astype(np.int64) + 1).reshape(rows, CHECKS)
