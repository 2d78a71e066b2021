"""Discrete Gaussian noise on the integers, from a table, in time that does not depend on the values.

Decides the noise of lattice masks: P(x) proportional to exp(-x^2 / (2 sigma^2)), sigma = 6.4. One
64-bit word of the XOF makes one sample (inversion of the cumulative table, "CDT"; Peikert, CRYPTO
2010): the low bit is the sign, the other 63 are compared with EVERY entry of the table and the outcomes
added. There is no search, no branch and no lookup by a secret, so neither instruction
count nor memory addresses depend on the sample.

Invariants: each probability is off by less than 2^-62, so the statistical distance from the ideal is
below 2^-56 for a sample; and |x| <= TAIL = 58 always (an ideal sample lies beyond with probability below
2^-62). Discrete Gaussians centred at 0 are sub-Gaussian with parameter sigma (Micciancio-Peikert 2012),
hence P(|sum of n samples| > c sigma sqrt(n)) <= 2 exp(-c^2/2); all bounds use that.

The table is computed at import with 50 decimal digits, not copied, so that it can be checked.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof

SIGMA = 6.4
"""Two samples of which the sum becomes known keep sigma/2 = 3.2 (Hint-LWE), the value that the
homomorphic-encryption standard's tables assume; twice as much would cost a bit of the modulus."""

BLOCK = 1 << 15
"""Samples handled at once: a word and a counter each, so that about 60 passes stay in the cache."""


def cumulative_table() -> npt.NDArray[np.int64]:
    """Entry m is floor(2^63 P(|x| <= m)), up to the last below 2^63 - 1; ascending int64."""
    with localcontext() as context:
        context.prec = 50
        scale = 2 * Decimal(str(SIGMA)) ** 2
        weights = [(-(Decimal(m) ** 2) / scale).exp() for m in range(160)]
        mass = weights[0] + 2 * sum(weights[1:])
        entries: list[int] = []
        reached = -weights[0]
        for weight in weights:
            reached += 2 * weight
            entry = int(reached / mass * 2**63)
            if entry >= 2**63 - 1:
                break
            entries.append(entry)
    return np.array(entries, dtype=np.int64)


_TABLE = cumulative_table()
_ENTRIES = tuple(_TABLE)
TAIL = len(_ENTRIES)
"""Largest magnitude that the sampler can return."""


def sample(xof: Xof, count: int) -> npt.NDArray[np.int8]:
    """`count` independent samples, (count,) int8; takes exactly 8 * count bytes of the stream."""
    result = np.empty(count, dtype=np.int8)
    exceeded = np.empty(min(count, BLOCK), dtype=np.bool_)
    for start in range(0, count, BLOCK):
        part = result[start : start + BLOCK]
        words = np.frombuffer(xof.read(8 * part.size), dtype="<u8")
        _invert(words, part, exceeded[: part.size])
    return result


def _invert(
    words: npt.NDArray[np.uint64], out: npt.NDArray[np.int8], exceeded: npt.NDArray[np.bool_]
) -> None:
    """Magnitude = number of entries not above the word; then the sign by (x ^ -b) + b."""
    uniform = (words >> np.uint64(1)).view(np.int64)
    outcome = exceeded.view(np.int8)
    out[:] = 0
    for entry in _ENTRIES:
        np.greater_equal(uniform, entry, out=exceeded)
        out += outcome
    sign = (words & np.uint64(1)).astype(np.int8)
    out ^= -sign
    out += sign
