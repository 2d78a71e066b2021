"""Exact sums of float64 columns and of their squares, as integers on a fixed binary grid.

A float64 is an integer times a power of two, so that a sum of them is an integer on a fine enough
grid and needs no rounding at all. Sums are taken on the 2^-96 grid and sums of squares on the 2^-192
grid. The variance then comes from exact integers, n*Q - S^2, and does not cancel however large the
mean is against the spread. Only digits below 2^-96 (1.3e-29) are lost: every float64 of magnitude
2^-44 or more is exact, and a spread of 1e-22 still gives a variance to 1e-6.

Bounds: |x| <= 2^62 and fewer than 2^32 rows a site, hence |S| < 2^190 and Q < 2^348, which
`names.SUM_LIMBS` and `names.SQUARE_LIMBS` hold with a sign bit to spare.

Symbols: x*2^96 = m * 2^e with |m| < 2^53; m = h*2^27 + l.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.errors import ConfigError

GRID_BITS = 96
MAX_MAGNITUDE = 2.0**62
MAX_ROWS = 2**32

_HALF = 27
_LOW = (1 << _HALF) - 1
_CHUNK = 1 << 20

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def check_values(column: str, values: Floats) -> None:
    """Refuse NaN, infinity and magnitudes above 2^62 in values (m,) float64.

    Raises ConfigError C-632, which names the row.
    """
    if values.ndim != 1 or len(values) >= MAX_ROWS:
        raise ConfigError(f"column {column!r} must be one column of fewer than 2^32 rows", code="C-632")
    bad = ~(np.abs(values) <= MAX_MAGNITUDE)
    if bad.any():
        row = int(np.argmax(bad))
        what = "is too large (at most 2^62)" if np.isfinite(values[row]) else "is not a finite number"
        raise ConfigError(
            f"row {row + 1}, column {column!r}: the value {what}",
            code="C-632",
            fix="correct the row, or give the column limits in the data set's schema",
        )


def exact_sum(values: Floats) -> int:
    """Sum of round(x * 2^96) over values (m,) float64, exactly. The values have passed `check_values`."""
    return sum(_sum_chunk(values[first : first + _CHUNK]) for first in range(0, len(values), _CHUNK))


def exact_squares(values: Floats) -> int:
    """Sum of round(x * 2^96)^2 over values (m,) float64, exactly: the sum of squares times 2^192."""
    return sum(_square_chunk(values[first : first + _CHUNK]) for first in range(0, len(values), _CHUNK))


def _on_grid(values: Floats) -> tuple[Integers, Integers]:
    """m and e >= 0 of each value, both (m,) int64."""
    scaled = np.ldexp(values, GRID_BITS)
    small = np.abs(scaled) < 2.0**52
    mantissa, exponent = np.frexp(scaled)
    m = np.where(small, np.rint(scaled), np.ldexp(mantissa, 53)).astype(np.int64)
    return m, np.where(small, 0, exponent.astype(np.int64) - 53)


def _sum_chunk(values: Floats) -> int:
    m, e = _on_grid(values)
    return _weighted(m & _LOW, e) + (_weighted(m >> _HALF, e) << _HALF)


def _square_chunk(values: Floats) -> int:
    m, e = _on_grid(values)
    m = np.abs(m)
    high, low, e = m >> _HALF, m & _LOW, 2 * e
    total = 0
    for product, shift in ((low * low, 0), (2 * high * low, _HALF), (high * high, 2 * _HALF)):
        total += _weighted(product & _LOW, e) << shift
        total += _weighted(product >> _HALF, e) << (shift + _HALF)
    return total


def _weighted(parts: Integers, exponents: Integers) -> int:
    """sum parts * 2^exponents. |parts| <= 2^29 and at most 2^20 of them keep float64 bins below 2^53."""
    bins = np.bincount(exponents, weights=parts)
    return sum(int(value) << shift for shift, value in enumerate(bins.tolist()) if value)
