"""A check value that adds up like the vector itself, so that a damaged sum is noticed.

Decides the redundancy of a masked vector: with weights from the public seed,

    check(x, w) = r w + sum_i u[i div W] v[i mod W] x_i   in AGG

It is dealt to the committee together with the mask key and opened with it. Being linear over the field, the
opened sum of checks equals the check of the sum and tells nothing else. (Checks sent as masked integers would
add up WITHOUT reduction, and the carries tell something about single devices; that is why they are not.)

What it catches: r, u, v are uniform and nonzero. A single wrong value is caught with certainty, hence so is
each flipped bit of a sent value; any error that does not depend on r, u, v passes with probability at most
2/(p-1) < 2^-59 (a nonzero polynomial of degree 2 in them). What it does not: an aggregator that knows the
seed can look for a small error of check zero. The spot checks of aggregators are for that (design section 7).

Exactness: v is cut into limbs of 21 bits and x, where needed, at bit 16; a row's float sums are below
2^21 2^21 W = 2^53.

Symbols: p = 2^61-1, W row length, u row weights, v column weights, r weight's weight, w the site's weight.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

ROW = 2048
MAX_BITS = 38

_LIMB = 21
_WHOLE_BITS = 21
_CUT = 16


class Checksum:
    """Running check of a vector that is given span by span; each span starts a fresh row."""

    __slots__ = ("_columns", "_seed", "_state")

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._columns = _limbs(_nonzero(Xof(seed, "mask-check-columns"), ROW))
        self._state = field.as_elements([0])

    def __repr__(self) -> str:
        return "Checksum(redacted)"

    def add(self, span: int, values: npt.NDArray[np.integer], magnitude_bits: int) -> None:
        """Take in the values of one span, 1-D integers at most 2^magnitude_bits in magnitude.

        Raises LocalMisuse for more than MAX_BITS magnitude bits: float sums would not be exact.
        """
        if magnitude_bits > MAX_BITS - 1:
            raise LocalMisuse(
                f"the check takes values of {MAX_BITS - 1} bits and a sign, not {magnitude_bits}"
            )
        rows = -(-values.size // ROW)
        table = np.zeros((rows, ROW), dtype=np.int64)
        table.reshape(-1)[: values.size] = values
        if magnitude_bits <= _WHOLE_BITS:
            sums = self._row_sums(table)
        else:
            high = (table + (1 << (_CUT - 1))) >> _CUT
            scaled = field.mul(self._row_sums(high), field.as_elements(1 << _CUT))
            sums = field.add(scaled, self._row_sums(table - (high << _CUT)))
        weights = _nonzero(Xof(self._seed, "mask-check-rows", span.to_bytes(8, "big")), rows)
        self._state = field.add(self._state, field.total(field.mul(weights, sums)).reshape(1))

    def _row_sums(self, table: npt.NDArray[np.int64]) -> Elements:
        """sum_j v[j] x[row, j]: (rows, W) integers up to 2^21 in magnitude -> (rows,) elements."""
        products = (table.astype(np.float64) @ self._columns).astype(np.int64)
        scale = field.as_elements([1 << (_LIMB * i) for i in range(products.shape[1])])
        return field.total(field.mul(field.from_signed(products), scale), axis=1)

    def value(self, weight: int) -> Elements:
        """The check of all values so far and of `weight`, (1,) element."""
        factor = _nonzero(Xof(self._seed, "mask-check-weight"), 1)
        return field.add(self._state, field.mul(factor, field.as_elements([weight])))


def _limbs(elements: Elements) -> npt.NDArray[np.float64]:
    """(W,) elements as (W, 3) limbs of 21 bits."""
    mask = np.uint64((1 << _LIMB) - 1)
    limbs = [(elements >> np.uint64(_LIMB * i)) & mask for i in range(3)]
    return np.stack(limbs, axis=1).astype(np.float64)


def _nonzero(xof: Xof, count: int) -> Elements:
    """Uniform on 1 .. p-1 up to a bias of 2^-61: zero becomes one."""
    return np.maximum(xof.elements(count), np.uint64(1))
