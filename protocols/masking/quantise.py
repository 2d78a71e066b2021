"""Real vectors as the small integers that masks carry: clipping, stochastic rounding, weights folded in.

Decides the grid: one unit is clip * max_weight / (2^(b-1) - 1). A site of weight w sends, for each value x,

    y = floor(w clip(x) / unit + u),   u uniform on multiples of 2^-24 in [0, 1)

and deals w itself next to its mask key (`one_shot.dealing`), where sums are exact. It is not cut into digits
among the masked values: sums of digits tell more than the sum of weights. So the only error of a weighted
mean sum(w x) / sum(w) is that of the rounding:

  - always:  |error| <= n unit / sum(w)                       (each site is off by less than one unit)
  - except with probability 2 exp(-2 c^2):  |error| <= c sqrt(n) unit / sum(w) + bias
    (Hoeffding: independent errors of mean zero, each in an interval of one unit)
  - bias:  n 2^-24 unit / sum(w) at most, from the finite u; the rounding is otherwise unbiased.
Where w x / unit is an integer the mean is exact. Weights are never rounded.

Values beyond the clip are set to it and counted; NaN and infinity are refused and counted; nothing wraps.
Error texts carry counts and positions, never values.

Symbols: b value bits, n sites, w weight, x value, y sent integer, u rounding noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.masking.one_shot import MAX_WEIGHT

MIN_VALUE_BITS = 2
MAX_VALUE_BITS = 24

_ROUNDING_BITS = 24
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, repr=False)
class Quantised:
    """What a site masks: `values` (length,) int32; `clipped` is for the owner alone."""

    values: npt.NDArray[np.int32]
    clipped: int

    def __repr__(self) -> str:
        return f"Quantised({self.values.size} values, redacted)"


@dataclass(frozen=True, slots=True)
class Quantiser:
    """The grid of a session, the same at all sites. LocalMisuse for a clip or weight that makes none."""

    clip: float
    value_bits: int
    max_weight: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise LocalMisuse(
                f"clip {self.clip} is not a positive number", fix="give the largest |value| to keep"
            )
        if not MIN_VALUE_BITS <= self.value_bits <= MAX_VALUE_BITS:
            raise LocalMisuse(
                f"{self.value_bits} value bits; {MIN_VALUE_BITS} to {MAX_VALUE_BITS} are possible"
            )
        if not 1 <= self.max_weight <= MAX_WEIGHT:
            raise LocalMisuse(f"max_weight {self.max_weight} is not in 1 to {MAX_WEIGHT}")

    @property
    def unit(self) -> float:
        """Real value of one step of w x."""
        return self.clip * self.max_weight / ((1 << (self.value_bits - 1)) - 1)

    def quantise(self, values: npt.NDArray[np.floating], weight: int, xof: Xof) -> Quantised:
        """(length,) reals of a site with `weight` rows as integers.

        Raises LocalMisuse for a weight outside 1 to max_weight, a wrong shape, or any NaN or infinity.
        """
        if values.ndim != 1 or values.dtype.kind != "f":
            raise LocalMisuse(f"expected a vector of floats, not {values.dtype} of shape {values.shape}")
        if not 1 <= weight <= self.max_weight:
            raise LocalMisuse(
                f"a weight outside 1 to {self.max_weight} cannot be sent",
                fix="a site without rows takes no part; raise max_weight for larger sites",
            )
        _refuse_non_finite(values)
        result = np.empty(values.size, dtype=np.int32)
        clipped = 0
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].astype(np.float64)
            clipped += int(np.count_nonzero(np.abs(block) > self.clip))
            result[start : start + block.size] = self._round(block, weight, xof)
        return Quantised(result, clipped)

    def _round(self, block: npt.NDArray[np.float64], weight: int, xof: Xof) -> npt.NDArray[np.float64]:
        """floor(w x / unit + u). |w x / unit| < 2^23, so adding u cannot round up beyond the grid."""
        words = np.frombuffer(xof.read(4 * block.size), dtype="<u4") >> np.uint32(32 - _ROUNDING_BITS)
        largest = float((1 << (self.value_bits - 1)) - 1)
        np.clip(block, -self.clip, self.clip, out=block)
        block *= weight / self.unit
        np.clip(block, -largest, largest, out=block)
        block += words * 2.0**-_ROUNDING_BITS
        return np.floor(block, out=block)

    def weighted_sum(self, sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """sum(w x) up to rounding: (length,) sums -> (length,) float64."""
        return np.asarray(sums * self.unit, dtype=np.float64)

    def mean(self, sums: npt.NDArray[np.int64], weights: int) -> npt.NDArray[np.float64]:
        """sum(w x) / sum(w), (length,) float64. Raises LocalMisuse if the weights sum to nothing."""
        if weights < 1:
            raise LocalMisuse("the weights sum to zero", fix="take a mean over sites that have rows")
        return self.weighted_sum(sums) / weights

    def worst_error(self, sites: int, weights: int) -> float:
        """What a coordinate of the mean is never off by more than (float rounding aside)."""
        return sites * self.unit / weights

    def likely_error(self, sites: int, weights: int, failure: float = 2.0**-40) -> float:
        """What a coordinate of the mean exceeds with probability at most `failure`."""
        spread = math.sqrt(sites * math.log(2 / failure) / 2) + sites * 2.0**-_ROUNDING_BITS
        return min(spread * self.unit / weights, self.worst_error(sites, weights))


def _refuse_non_finite(values: npt.NDArray[np.floating]) -> None:
    """Block by block, so that no mask as long as the vector is made."""
    count, first = 0, -1
    for start in range(0, values.size, _BLOCK):
        bad = np.flatnonzero(~np.isfinite(values[start : start + _BLOCK]))
        if bad.size and first < 0:
            first = start + int(bad[0])
        count += bad.size
    if count:
        raise LocalMisuse(
            f"{count} of {values.size} values are NaN or infinite, the first at position {first}",
            fix="drop or impute those rows; a model that diverged needs a smaller step",
        )
