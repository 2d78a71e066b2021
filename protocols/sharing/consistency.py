"""Proof by a dealer that what it dealt are values of polynomials of degree t, without interaction.

The dealer shares L secrets and, in the last REPETITIONS columns, as many uniform masks. It commits to
all shares (in the caller's binding: plan, dealer, and the hashes or sealed bytes of every member's
share), and the challenge rho_r is a hash of that commitment (Fiat-Shamir 1986). It publishes, for
each repetition r, the polynomial

    g_r = sum_{k<L} rho_r^{k+1} f_k + f_{L+r}.

Member i accepts if g_r(i) equals the same combination of its own shares for every r.

Soundness. Suppose the shares of the honest members (at least t+1 of them) are not on polynomials of
degree t. The defect of column k is a syndrome vector e_k, linear in the shares, e_k != 0 for some k.
Acceptance by all the honest needs sum rho_r^{k+1} e_k + e_{L+r} = 0 in each coordinate: a nonzero
polynomial in rho_r of degree at most L (if only e_{L+r} is nonzero it never vanishes and dealing is
refused outright, if the other masks are wrong the bound holds for the repetition concerned), hence
at most L roots among p. With the two challenges independent the chance is (L/p)^2: 2^-96 at
L = 2^13, the longest vector of a plan, 2^-82 at L = 2^20. A dealer that regrinds its commitment
multiplies this by the number of hashes it can compute. One repetition would leave 2^-48, within reach
of an afternoon of hashing; that is what the second one is for.

Zero knowledge. f_{L+r} is uniform of degree t, so g_r is uniform whatever the secrets are and tells
nothing, as long as a masked batch is proven once: a second challenge over the same columns would
reveal sum (rho^{k+1} - rho'^{k+1}) f_k. The binding must therefore never change for a batch.

Symbols: t degree, L secrets, rho challenges, m members.
"""

from __future__ import annotations

import hashlib

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

REPETITIONS = 2


def challenge(binding: bytes) -> Elements:
    """Challenges (REPETITIONS,) that nobody could choose: a hash of `binding`, all that is committed to."""
    seed = hashlib.sha3_256(b"coppice/degree-check/1" + binding).digest()
    return Xof(seed, "degree-check").elements(REPETITIONS)


def respond(polynomials: Elements, rho: Elements) -> Elements:
    """The dealer's g_r, coefficients lowest first: (t+1, L+2) and (2,) -> (2, t+1)."""
    return masked_combination(polynomials, rho).T.copy()


def masked_combination(shares: Elements, rho: Elements) -> Elements:
    """sum_{k<L} rho_r^{k+1} s_k + s_{L+r} for each r: (L+2,) -> (2,), or (m, L+2) -> (m, 2).

    Raises LocalMisuse when there is no room for the masks.
    """
    length = shares.shape[-1] - REPETITIONS
    if length < 0:
        raise LocalMisuse(f"a batch of {shares.shape[-1]} columns holds no {REPETITIONS} masks")
    weights = np.stack([field.powers(int(r), length) for r in rho], axis=1)
    return field.add(field.matmul(shares[..., :length], weights), shares[..., length:])


def holds(share: Elements, point: int, rho: Elements, response: Elements) -> bool:
    """Whether a member's own share (L+2,) at `point` lies on the published polynomials (2, t+1)."""
    claimed = polynomial.evaluate(response.T, [point])[0]
    return bool(np.array_equal(claimed, masked_combination(share, rho)))
