"""Opening a value of degree t or 2t as a sum of summands hidden by an additive zero.

With senders S (t+1 or 2t+1 points) and Lagrange weights lambda_i, v = sum over S of lambda_i v_i.
Sender i publishes lambda_i v_i + m_i + z_i, where the m_i add up to a mask and the z_i to zero. What
honest senders publish is uniform but for its sum (`replicated.ZeroStream`), so the opening shows
v + mask and nothing else, although v_i may lie on a polynomial of degree 2t that is not random.

Symbols: S senders, lambda_i weights, v the value, m mask, z zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.engine.program import Words

BLOCK = 1 << 13
"""Elements a step handles at once: its dozen temporaries of 16 bytes stay in the second-level cache."""


def blocks(count: int) -> list[slice]:
    """Cuts of a vector into pieces of BLOCK."""
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def added(payloads: Mapping[int, Words], part: slice) -> Residues:
    """Sum mod M of the senders' flat (2, count) payloads on a piece of them."""
    rows = [payload.reshape(2, -1)[:, part] for payload in payloads.values()]
    total = np.array(rows[0])
    for done, row in enumerate(rows[1:], start=2):
        total += row
        if done % 7 == 0:
            total = rns.fold(total)
    return rns.fold(total)


def canonical(payload: Words) -> bool:
    """Whether a flat (2, count) payload holds residues only."""
    rows = payload.reshape(2, -1)
    return bool(rows.size == 0 or (rows.max(axis=1) < np.array(rns.MODULI, dtype=np.uint64)).all())
