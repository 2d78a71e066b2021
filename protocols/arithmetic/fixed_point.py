"""The only door for real numbers into the field: x becomes round(x 2^f), negative numbers p - |.|.

Invariant: nothing wraps and nothing is dropped silently. What does not fit, and NaN and infinity, raise
with the position of the culprit (never with its value, which is private). A vector of N encoded values
adds up correctly as long as the sum of the magnitudes stays below `largest(f)`: the caller's budget.

Rounding is to nearest, ties to even; the scaling by a power of two is exact, so |decode - x| is at most
2^-(f+1), plus half an ulp when the result has more than 53 bits.

Symbols: f fraction bits, p = 2^61-1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse

_HALF = float(1 << 60)
"""Magnitudes below it have a place: (p-1)/2 = 2^60 - 1."""


def largest(fraction_bits: int) -> float:
    """Magnitudes must stay below this. Raises LocalMisuse unless 0 <= fraction_bits <= 60."""
    if not 0 <= fraction_bits <= 60:
        raise LocalMisuse(f"{fraction_bits} fraction bits; the field holds 0 to 60")
    return float(np.ldexp(_HALF, -fraction_bits))


def encode(values: npt.ArrayLike, fraction_bits: int) -> Elements:
    """Floats of any shape to field elements of the same shape.

    Raises LocalMisuse naming the first index that is NaN, infinite or out of range.
    """
    limit = largest(fraction_bits)
    floats = np.asarray(values, dtype=np.float64)
    good = np.abs(floats) < limit  # False for NaN
    if not good.all():
        index = tuple(int(i) for i in np.argwhere(~good)[0])
        raise LocalMisuse(
            f"value {', '.join(map(str, index)) or 'given'} is not a number of magnitude below {limit:g}",
            fix=f"remove or clip it, or use fewer than {fraction_bits} fraction bits",
        )
    # A double of 2^53 and more is an integer: rounding cannot carry a value up to the limit.
    return field.from_signed(np.rint(np.ldexp(floats, fraction_bits)).astype(np.int64))


def decode(elements: Elements, fraction_bits: int) -> npt.NDArray[np.float64]:
    """Field elements, read as centred residues, to floats of the same shape."""
    largest(fraction_bits)
    return np.asarray(np.ldexp(field.to_signed(elements).astype(np.float64), -fraction_bits))
