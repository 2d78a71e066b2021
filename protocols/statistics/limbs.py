"""Integers wider than the field, as vectors whose sum gives away the total and nothing else.

A signed integer of 8*w bits becomes w limbs of 8 bits, each in its own field element; the vectors of
all sites are added and the total read off as sum_j S_j 2^(8j). Plain limbs would reveal more than
the total: S_0 is the integer sum of all lowest bytes, and its carry into S_1 tells something about
single sites. So each site hides its carries: it draws r_j uniform below 2^39 and moves r_j times 2^8
from limb j into limb j+1 (`+ r_j 2^8` here, `- r_j` there). The represented integer is unchanged.

What the sums show beyond the total V is R_j + c_j for each j, R_j the sum of the r_j, c_j < m the
carry, m the honest sites among the summands. R_j + c_j and R_j are within m/2^39 in statistical
distance (a shift by c_j of a unimodal distribution with no value likelier than 2^-39), so for w = 44
and four sites the view differs from one made from V alone by less than 2^-31.

No overflow: a limb is below 2^47 + 2^40 in magnitude and at most 4096 = 2^12 sites are added, so a
sum stays below 2^60 = (p+1)/2 and its centred representative is the integer.

Symbols: S_j limb sum, r_j blinding carry, w limbs, p = 2^61-1.
"""

from __future__ import annotations

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, UnattributableFault

LIMB_BITS = 8
BLIND_BITS = 39
MAX_SITES = 4096


def encode(value: int, width: int, xof: Xof) -> Elements:
    """Limbs of `value` with hidden carries, (width,) uint64.

    Raises LocalMisuse if it does not fit in 8*width bits.
    """
    try:
        raw = value.to_bytes(width, "little", signed=True)
    except OverflowError:
        raise LocalMisuse(f"an integer of {value.bit_length()} bits was put into {width} limbs") from None
    limbs = np.frombuffer(raw, dtype=np.uint8).astype(np.int64)
    limbs[-1] = np.frombuffer(raw[-1:], dtype=np.int8)[0]
    carry = (xof.uint64(width - 1) & np.uint64((1 << BLIND_BITS) - 1)).astype(np.int64)
    limbs[:-1] += carry << LIMB_BITS
    limbs[1:] -= carry
    return field.from_signed(limbs)


def decode(total: Elements, sites: int) -> int:
    """The sum of the integers behind the sum of `sites` limb vectors; total (width,) uint64.

    Raises UnattributableFault if no `sites` honest vectors add up to `total`; LocalMisuse beyond 4096 sites.
    """
    if not 1 <= sites <= MAX_SITES:
        raise LocalMisuse(f"limb vectors of {sites} sites cannot be added; the limit is {MAX_SITES}")
    sums: list[int] = field.to_signed(total).tolist()
    largest = sites << (LIMB_BITS + BLIND_BITS + 1)
    value = sum(limb << (LIMB_BITS * place) for place, limb in enumerate(sums))
    if any(abs(limb) > largest for limb in sums) or abs(value) > sites << (LIMB_BITS * len(sums) - 1):
        raise UnattributableFault(
            "the total is outside what honest contributions can add up to", code="C-633"
        )
    return value
