"""Checking and recombining a sum that came over from another committee: the algebra, without messages.

Old member j holds F(j), a vector whose last two columns are masks M_1, M_2 (sums of masks that every
device dealt, so uniform and unknown to all). It shares F(j) to the new committee. New member l:

    1. z_jl = (sum_k rho_r^k s_jl,k + mask_r)_{r=1,2} for each old member j of the certified roster;
       rho = H(roster), fixed only after every sub-sharing was; z is published to the new committee.
    2. Over l, z_jl is a codeword of degree t' (new): decode; lying *new* members are named.
       This gives y_j, the same combination of what old member j really shared.
    3. Over j, y_j is a codeword of degree t (old): decode; lying *old* members are named.
    4. The new share of F(0) is sum_j lambda_j s_jl over the t+1 lowest points that did not lie.

Privacy: y lies on sum_k rho^k F_k + M, masked by the uniform polynomial M, and those two columns are
dropped afterwards: nothing about F(0) is learned, not even one linear combination of it.
Soundness: an old member that shares another vector than F(j) passes with probability (W/p)^2 a try
(Fiat-Shamir over the roster). All honest members decode the same codewords, hence drop the same liars.

Source: committee resharing with a batched random-linear-combination check, as in Goyal et al., "Storing
and Retrieving Secrets on a Blockchain" (PKC 2022), with dealt masks in place of a separate randomness phase.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import UnattributableFault
from protocols.identifiers import Digest
from protocols.sharing import consistency, robust
from protocols.wire.digest import digest

_ROWS = consistency.REPETITIONS


@dataclass(frozen=True, slots=True)
class Incoming:
    """One source as a new member holds it: points of the old members, its sub-shares (m, W), the old t."""

    points: tuple[int, ...]
    shares: Elements
    threshold: int


@dataclass(frozen=True, slots=True)
class Checked:
    """Verdict on all sources: seats of the new committee that lied, and old liars by source index."""

    new_liars: tuple[int, ...]
    old_liars: tuple[tuple[int, ...], ...]


def combinations(roster: Digest, incoming: Sequence[Incoming]) -> Elements:
    """Step 1: two elements for each sub-share of each source, concatenated."""
    rho = _challenge(roster)
    parts = [consistency.masked_combination(source.shares, rho).reshape(-1) for source in incoming]
    return np.concatenate(parts)


def check(
    roster: Digest, incoming: Sequence[Incoming], published: dict[int, Elements], threshold: int, seed: bytes
) -> Checked:
    """Steps 2 and 3. `published` maps new points to their combinations.

    Raises UnattributableFault when the redundancy does not suffice.
    """
    points = tuple(sorted(published))
    matrix = np.stack([published[point] for point in points])
    xof = Xof(seed, "check opening", roster)
    flat, new_liars = robust.open_vectors(points, matrix, threshold, xof)
    bounded(len(points), threshold, new_liars)
    old_liars = []
    start = 0
    for source in incoming:
        count = len(source.points)
        y = flat[start : start + _ROWS * count].reshape(count, _ROWS)
        start += _ROWS * count
        liars: set[int] = set()
        for row in range(_ROWS):
            _, wrong = robust.decode(source.points, y[:, row], source.threshold)
            liars.update(wrong)
        bounded(count, source.threshold, liars)
        old_liars.append(tuple(sorted(liars)))
    return Checked(tuple(new_liars), tuple(old_liars))


def recombine(incoming: Incoming, liars: Sequence[int]) -> Elements:
    """Step 4: our share of the source's sum without the used mask columns, shape (W - 2,)."""
    good = [index for index in range(len(incoming.points)) if index not in liars]
    good.sort(key=lambda index: incoming.points[index])
    chosen = good[: incoming.threshold + 1]
    if len(chosen) <= incoming.threshold:
        raise UnattributableFault("too few old members told the truth")
    weights = polynomial.lagrange([incoming.points[index] for index in chosen])
    return field.combine(weights, incoming.shares[chosen])[:-_ROWS]


def bounded(answers: int, threshold: int, liars: Collection[int]) -> None:
    """Raise UnattributableFault if t liars among `answers` could have forged the codeword that was decoded.

    A code of m values and degree t has distance m-t. If e <= t values lie and the decoder corrects a, it
    can land on a wrong codeword only if e + a >= m - t; so a <= m - 2t - 1 never does, and m <= 2t proves
    nothing.
    """
    if answers <= 2 * threshold or len(liars) > answers - 2 * threshold - 1:
        raise UnattributableFault(f"{answers} answers cannot tell {threshold} liars from honest members")


def _challenge(roster: Digest) -> Elements:
    return consistency.challenge(digest("resharing rho", roster))
