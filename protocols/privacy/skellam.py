"""Noise for differential privacy that nobody knows: each site adds a share, the shares add up to one law.

Skellam noise is the difference of two Poisson variables. It lives on the integers, which is what is summed
here, and a sum of Skellam variables of variances v_i is one of variance sum v_i (Agarwal, Kairouz, Liu,
NeurIPS 2021), so that the total noise is exactly of a known law while each site knows its own share only.

P(k) = exp(-v) I_k(v) for an integer variance v. The modified Bessel function comes from its downward
recurrence I_(k-1) = I_(k+1) + (2k/v) I_k (Miller), in integers of more than 150 bits, normalised by
I_0 + 2 sum I_k = exp(v): no exponential, no floating point. Sampling inverts the cumulative table with one
64-bit word: the low bit is the sign, the rest the magnitude. Floating-point samplers leak through the gaps
between their outputs (Mironov, CCS 2012); this has none.

Invariant: each probability is off by less than 2^-62, so the statistical distance of a sample from the law
is below 2^-46 for variances up to 2^24, which `accountant` takes off delta. The search in the table takes
time that depends on the sample; it runs on the site's own machine, about its own noise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

MAX_VARIANCE = 1 << 24
DISTANCE = 2.0**-46
"""Bound of a sample's statistical distance from the law."""

_START_BITS = 160


@lru_cache(maxsize=8)
def cumulative_table(variance: int) -> npt.NDArray[np.int64]:
    """Entry m is floor(2^63 P(|x| <= m)), ascending int64, up to the last below 2^63 - 1.

    Raises LocalMisuse unless 1 <= variance <= MAX_VARIANCE.
    """
    if not 1 <= variance <= MAX_VARIANCE:
        raise LocalMisuse(f"noise of variance {variance}; 1 to {MAX_VARIANCE} are possible")
    start = 14 * (int(variance**0.5) + 1) + 60
    above, here = 0, 1 << _START_BITS
    weights = [0] * (start + 1)
    for k in range(start, -1, -1):
        weights[k] = here
        above, here = here, above + 2 * k * here // variance
    mass = weights[0] + 2 * sum(weights[1:])
    entries: list[int] = []
    reached = -weights[0]
    for weight in weights:
        reached += 2 * weight
        entry = (reached << 63) // mass
        if entry >= 2**63 - 1:
            break
        entries.append(entry)
    return np.array(entries, dtype=np.int64)


def sample(variance: int, xof: Xof, count: int) -> npt.NDArray[np.int64]:
    """`count` independent samples of mean 0, (count,) int64."""
    words = xof.uint64(count)
    magnitudes = np.searchsorted(cumulative_table(variance), (words >> np.uint64(1)).view(np.int64), "right")
    signs = 1 - 2 * (words & np.uint64(1)).astype(np.int64)
    return np.asarray(magnitudes.astype(np.int64) * signs)
