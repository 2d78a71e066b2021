"""What a register of shared bits is made of: replicated summands, or Shamir shares over GF(2^m).

Both start from bits that key sets know (`prss`), x = xor over sets A of x_A, and both are kept as rows of
words, 64 lanes each. Only four things differ, and they are here: how many rows a member has, in which of
them the bits of a set appear, in which a public bit appears, and which products of rows a member answers
for when a bilinear form is opened.

Replicated: a row for each of the C(n-1, t) sets of a member. Small for (3, 1), but (7, 3) has 20 rows and
(13, 4) 495. Mode A needs them: its pieces are known to several members each (`pieces`).

Shamir over GF(2^m), m = bit length of n: points 1..n are distinct and not zero, so with f_A of `prss` over
this field the share of member i is s_i = sum_A f_A(i) x_A (R. Cramer, I. Damgard, Y. Ishai, TCC 2005), kept
as its m coefficients over GF(2): m rows, whatever the number of sets is. A public bit is the constant
polynomial: row 0. Addition is xor of rows. Products: xy = sum over the quorum of lambda_i s_i(x) s_i(y), as
2t < |quorum|; xy is a bit, so coefficient 0 of both sides is all that matters, and
w_i = (lambda_i s_i(x) s_i(y))_0 = xor of the x_a y_b over the pairs of rows (a, b) with
(lambda_i X^a X^b)_0 = 1. One bit a gate and member, as in the replicated case.

Privacy is that of the replicated gate, word for word: a member's rows are a function of the bits of its
sets and of what was opened, so it knows no more than there; what it opens is w_i hidden by an additive zero
of all members, and by R, whose summand R_{A*} the corrupted members miss. Nothing else leaves a member.

Symbols: n, t; A a set of n-t points; f_A; m degree of the field; X its generator; a, b rows; lambda_i
Lagrange weights at 0 over GF(2^m); w_i summand.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import numpy.typing as npt

from protocols.engine.committee import Committee, Duty, Seat
from protocols.sharing.replicated import owner

Words = npt.NDArray[np.uint64]

IRREDUCIBLE = (0, 0b11, 0b111, 0b1011, 0b10011, 0b100101, 0b1000011, 0b10000011, 0b100011011)
"""By degree: polynomials over GF(2) that define the fields; degree 8 is that of AES."""

WIDEST_COMMITTEE = 255
"""Points are nonzero elements of GF(2^8) at most."""


def degree(n: int) -> int:
    """m: the smallest field with n nonzero elements."""
    return n.bit_length()


def times(a: int, b: int, m: int) -> int:
    """a b in GF(2^m), elements as integers whose bit i is the coefficient of X^i."""
    out = 0
    while b:
        out ^= a if b & 1 else 0
        a, b = a << 1, b >> 1
        if a >> m:
            a ^= IRREDUCIBLE[m]
    return out


def inverse(a: int, m: int) -> int:
    """1 / a = a^(2^m - 2)."""
    out = 1
    for _ in range((1 << m) - 2):
        out = times(out, a, m)
    return out


def _ratios(points: Iterable[int], at: int, m: int) -> int:
    """prod (a - at) / a over the points, for which at = 0 gives 1 and at = a gives 0."""
    out = 1
    for a in points:
        out = times(out, times(a ^ at, inverse(a, m), m), m)
    return out


def lagrange_bits(senders: tuple[int, ...], point: int, m: int) -> int:
    """lambda of `point` in GF(2^m): the prod of j / (j - point) over the other senders."""
    return inverse(_ratios((j for j in senders if j != point), point, m), m)


@cache
def replicated_bits(committee: Committee) -> bool:
    """Whether members hold the summands of their sets themselves."""
    return committee.checked or len(committee.sets.held(1)) <= degree(committee.n)


@cache
def rows(committee: Committee, point: int) -> int:
    """Rows of a member's registers."""
    return len(committee.sets.held(point)) if replicated_bits(committee) else degree(committee.n)


@cache
def _places(committee: Committee, point: int) -> dict[int, tuple[int, ...]]:
    """By held set: the rows in which its bits appear."""
    held, m = committee.sets.held(point), degree(committee.n)
    if replicated_bits(committee):
        return {index: (row,) for row, index in enumerate(held)}
    everybody, places = set(range(1, committee.n + 1)), {}
    for index in held:
        weight = _ratios(everybody - set(committee.sets.sets[index]), point, m)
        places[index] = tuple(row for row in range(m) if weight >> row & 1)
    return places


@cache
def public_rows(committee: Committee, point: int) -> tuple[int, ...]:
    """Rows in which a public bit appears: with replicated bits, only at the members of set 0."""
    return _places(committee, point).get(0, ()) if replicated_bits(committee) else (0,)


def from_sets(seat: Seat, shape: tuple[int, ...], known: Iterable[tuple[int, Words]]) -> Words:
    """(index of a held set, its bits of `shape`) of each set that has any -> register (rows, *shape)."""
    places = _places(seat.committee, seat.point)
    out = np.zeros((rows(seat.committee, seat.point), *shape), dtype=np.uint64)
    for index, bits in known:
        for row in places[index]:
            out[row] ^= bits
    return out


def drawn(seat: Seat, shape: tuple[int, ...], step: int, purpose: str, among: Iterable[int]) -> Words:
    """Register of random bits that each of these held sets draws in a step."""
    size = 8 * int(np.prod(shape, dtype=np.int64))
    streams = ((index, seat.set_stream(index, step, purpose)) for index in among)
    return from_sets(
        seat,
        shape,
        ((index, np.frombuffer(s.read(size), dtype="<u8").reshape(shape)) for index, s in streams),
    )


def _present(committee: Committee, *indices: int) -> list[int]:
    """Of the quorum, in all these sets."""
    sets = committee.sets.sets
    return [point for point in committee.quorum if all(point in sets[index] for index in indices)]


@cache
def own_duty(committee: Committee, point: int) -> Duty:
    """The products of rows, and the rows of a linear value, that this member answers for alone."""
    if not replicated_bits(committee):
        return _shamir_duty(committee, point)
    sets, held = committee.sets, committee.sets.held(point)
    table = []
    for row, a in enumerate(held):
        others = []
        for other, b in enumerate(held):
            present = _present(committee, a, b)
            if present[(a + b) % len(present)] == point:
                others.append(other)
        if others:
            table.append((row, tuple(others)))
    single = tuple(row for row, a in enumerate(held) if owner(sets, a, committee.quorum) == point)
    return Duty(tuple(table), single)


def _shamir_duty(committee: Committee, point: int) -> Duty:
    """Coefficient 0 of lambda_i x y, and of lambda_i x."""
    m = degree(committee.n)
    if point not in committee.quorum:
        return Duty((), ())
    weight = lagrange_bits(committee.quorum, point, m)
    shifted = [times(weight, 1 << a, m) for a in range(m)]
    table = []
    for a in range(m):
        others = tuple(b for b in range(m) if times(shifted[a], 1 << b, m) & 1)
        if others:
            table.append((a, others))
    return Duty(tuple(table), tuple(a for a in range(m) if shifted[a] & 1))
