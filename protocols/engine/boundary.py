"""Where values enter and leave a program: dealing to a committee, and opening its results.

An owner shares residues (2, *shape) with polynomials of degree t mod both primes and sends each member
its share. A result leaves as a degree-t sharing. Row 0 of it is a sharing over AGG, so a result below 2^59
in magnitude is opened, corrected and resharded by the machinery for sums without conversion; wider
results are opened here, where lies are detected but not attributed.

Symbols: n members, t threshold = degree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from protocols.arithmetic import rns
from protocols.arithmetic.field import Elements
from protocols.arithmetic.rns import Residues
from protocols.arithmetic.xof import Xof
from protocols.engine.committee import lagrange
from protocols.engine.numbers import Number
from protocols.engine.opening import blocks
from protocols.errors import LocalMisuse, UnattributableFault
from protocols.sharing.prss import elements

SEEDED = "coppice/engine/seeded-share/1"

WIDEST_AGG = 59
"""Magnitude bits that a signed number may have mod 2^61-1."""


def deal(values: Residues, n: int, t: int, xof: Xof) -> Residues:
    """Shares of fresh random polynomials: (2, *shape) -> (n, 2, *shape), row i for point i+1."""
    flat = values.reshape(2, -1)
    shares = np.empty((n, *flat.shape), dtype=np.uint64)
    for part in blocks(flat.shape[1]):
        rows = [flat[:, part]] + [elements(xof, part.stop - part.start) for _ in range(t)]
        for point in range(1, n + 1):
            shares[point - 1, :, part] = rns.weighted(rows, [point**power for power in range(t + 1)])
    return shares.reshape(n, *values.shape)


def deal_seeded(values: Residues, n: int, t: int, seeds: Mapping[int, bytes]) -> dict[int, Residues]:
    """Shares (2, *shape) of the members without a seed; the t others draw theirs (`seeded_share`).

    The t seeded shares and the value fix a polynomial of degree t, uniform as the seeds' streams are. Only
    n - t vectors need to be sent. Raises LocalMisuse unless there are exactly t seeds of members.
    """
    if len(seeds) != t or not all(1 <= point <= n for point in seeds):
        raise LocalMisuse(f"{len(seeds)} seeds for a sharing of degree {t}", fix="seed exactly t members")
    flat = values.reshape(2, -1)
    streams = {point: Xof(seed, SEEDED) for point, seed in sorted(seeds.items())}
    base = (0, *streams)
    others = [point for point in range(1, n + 1) if point not in seeds]
    lines = {point: _integer_weights(base, point) for point in others}
    shares = {point: np.empty_like(flat) for point in others}
    for part in blocks(flat.shape[1]):
        drawn = [elements(stream, part.stop - part.start) for stream in streams.values()]
        for point, (denominator, weights) in lines.items():
            share = rns.weighted([flat[:, part], *drawn], weights)
            whole = denominator == 1
            shares[point][:, part] = share if whole else rns.scale(share, Fraction(1, denominator))
    return {point: share.reshape(values.shape) for point, share in shares.items()}


def seeded_share(seed: bytes, shape: tuple[int, ...]) -> Residues:
    """The share (2, *shape) of a member that got a seed."""
    count, stream = int(np.prod(shape, dtype=np.int64)), Xof(seed, SEEDED)
    out = np.empty((2, count), dtype=np.uint64)
    for part in blocks(count):
        out[:, part] = elements(stream, part.stop - part.start)
    return out.reshape(2, *shape)


def _integer_weights(base: tuple[int, ...], at: int) -> tuple[int, tuple[int, ...]]:
    """(D, D times the Lagrange weights for the value at a point)."""
    weights = [math.prod((Fraction(at - j, i - j) for j in base if j != i), start=Fraction(1)) for i in base]
    common = math.lcm(*(weight.denominator for weight in weights))
    return common, tuple(int(weight * common) for weight in weights)


def reconstruct(shares: Mapping[int, Residues], t: int) -> Residues:
    """The value (2, *shape) from shares by point, all of which must lie on one polynomial of degree t.

    Raises LocalMisuse for fewer than t+1 shares, UnattributableFault when they disagree.
    """
    points = tuple(sorted(shares))
    if len(points) <= t:
        raise LocalMisuse(f"{len(points)} shares cannot open degree {t}")
    base = points[: t + 1]
    for other in points[t + 1 :]:
        if not np.array_equal(_at(shares, base, other), shares[other]):
            raise UnattributableFault("the shares of a result do not lie on one polynomial")
    return _at(shares, base, 0)


def _at(shares: Mapping[int, Residues], base: tuple[int, ...], at: int) -> Residues:
    """Value at a point: shift the points so that it becomes 0."""
    total = np.zeros_like(shares[base[0]])
    moved = tuple(point - at for point in base)
    for point, place in zip(base, moved, strict=True):
        total = rns.add(total, rns.scale(shares[point], lagrange(moved, place)))
    return total


def agg_share(number: Number, share: Residues) -> Elements:
    """Row 0: a share mod 2^61-1 of the same signed integer. Raises LocalMisuse when it could wrap."""
    if number.bits > WIDEST_AGG:
        raise LocalMisuse(
            f"a result of {number.bits} bits does not fit 2^61-1", fix="truncate it, or open both residues"
        )
    return np.ascontiguousarray(share[0])
