"""Security mode A: openings in which every lie is noticed, by every honest member it reaches, at once.

Setting. n >= 3t+1 members take part, at most t of them corrupted: they may send anything, different things
to different members, and after having seen the others' messages. A member that notices stops for good.

Shares of degree d <= 2t. In mode A an opening shows Shamir shares, not summands: each of the m >= 3t+1
members sends s_i = v_i + [mask]_i + [zero]_i, where [mask] is a degree-t sharing out of the PRSS keys and
[zero] a degree-2t sharing of zero (only where v_i is of degree 2t). The receiver checks that all m lie on
one polynomial of degree d, and takes its value at 0.
  Soundness, perfect. The m - t >= 2t+1 > d honest shares fix the polynomial. A share on it is the right
  share, one off it is noticed. So an honest member takes the right value or stops: no probability, no
  challenge, no difference between what two honest members accept, hence nothing to gain from equivocation.
Bits are opened as pieces that each t+1 members know and vouch for (`pieces`), with the same property up to
a second preimage of a digest. Nothing else crosses the network, every message is one of these two kinds.

Why at once, and not one random combination of a batch before the outputs. Integer masks (truncation,
comparison) hide values of the promised range only. After an accepted lie d the value x y becomes x y + d y',
too large for its mask, and the next truncation would show its upper part before any later check; a random
bit that is no bit would show the comparison it masks. Checked at once, every mask does what the passive
proof says of it.

Privacy. Let no honest member have stopped. All their registers are then those of an honest run, so their
next messages are: uniform degree-2t (or t) polynomials through the opened value and through the corrupted
members' own points, and the opened value is uniform or within 2^-KAPPA of independent of the secrets
(`engine`, mode P). A simulator draws that value, the corrupted members' shares follow from keys they know,
and the polynomial is completed at random. A lie changes who stops, as a function of what the liar knows.
Precondition: the keys and the inputs are consistent among honest members, which `prss` fingerprints and the
dealers' proofs (`sharing.consistency`) establish. An input that lies on no polynomial of degree t would make
honest members stop depending on other secrets.

Outputs. A program ends with `Confirm`: every member sends a word, after everything it received was in order.
Only then are outputs handed out, so a lie told to a single member keeps every output closed: whoever noticed
is silent in all later rounds, and a round takes all members' messages.

What B and C add. B: degree-t openings have m - t - 1 >= 2t surplus shares, enough to decode and name the
liars; products would be opened as degree t with checked triples. C: m >= 4t+1 decodes products as well.
`Deviation` carries the step, for a rerun of the layer in another mode from intact shares.

Symbols: m members that take part, d degree, s_i shares, t threshold, x_j points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from protocols.arithmetic import field, rns
from protocols.arithmetic.rns import Residues
from protocols.engine.committee import Committee, Seat
from protocols.engine.program import Round, Values, Words
from protocols.errors import UnattributableFault


class Deviation(UnattributableFault):
    """Mode A: what members sent cannot all be honest. Nothing was opened, and nothing may be from now on."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a member of the committee deviates: {what}; nothing is opened")


@cache
def _rows(points: tuple[int, ...], degree: int) -> tuple[int, tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """(D, D times the weights at 0, integer checks): each check is a combination that must be zero."""
    base = points[: degree + 1]

    def weights(at: int) -> list[Fraction]:
        return [math.prod((Fraction(at - j, i - j) for j in base if j != i), start=Fraction(1)) for i in base]

    rest = (Fraction(0),) * (len(points) - len(base))
    lines = [(*weights(0), *rest)]
    for other in points[degree + 1 :]:
        lines.append((*weights(other), *(Fraction(-1 if j == other else 0) for j in points[degree + 1 :])))
    scaled = []
    for line in lines:
        common = math.lcm(*(w.denominator for w in line))
        scaled.append((common, tuple(int(w * common) for w in line)))
    return scaled[0][0], scaled[0][1], tuple(line for _, line in scaled[1:])


def _present(committee: Committee, degree: int, rows: Mapping[int, Any]) -> tuple[int, ...]:
    """Points whose shares are there: enough in mode P, all of the quorum in mode A."""
    points = tuple(sorted(rows))
    if (committee.checked and points != committee.quorum) or len(points) <= degree:
        raise Deviation("a share is missing")
    return points


def opened(committee: Committee, degree: int, rows: Mapping[int, Residues]) -> Residues:
    """The value (2, count) at 0 of shares (2, count) by point. Raises Deviation if they disagree.

    In mode P there may be no surplus share, and then nothing is checked.
    """
    points = _present(committee, degree, rows)
    shares = [rows[point] for point in points]
    denominator, at_zero, checks = _rows(points, degree)
    for check in checks:
        if rns.weighted(shares, check).any():
            raise Deviation(f"opened shares do not lie on a polynomial of degree {degree}")
    value = rns.weighted(shares, at_zero)
    return value if denominator == 1 else rns.scale(value, Fraction(1, denominator))


def opened_residues(
    committee: Committee, degree: int, payloads: Mapping[int, Words], part: slice
) -> Residues:
    """`opened` for a piece of flat (2, count) payloads."""
    return opened(committee, degree, {p: w.reshape(2, -1)[:, part] for p, w in payloads.items()})


def opened_elements(committee: Committee, degree: int, payloads: Mapping[int, Words]) -> Words:
    """`opened` mod p alone: (count,) of payloads (count,)."""
    points = _present(committee, degree, payloads)
    denominator, at_zero, checks = _rows(points, degree)

    def combined(weights: tuple[int, ...]) -> Words:
        return _weighted_elements([payloads[point] for point in points], weights)

    if any(combined(check).any() for check in checks):
        raise Deviation(f"opened shares do not lie on a polynomial of degree {degree}")
    value = combined(at_zero)
    if denominator == 1:
        return value
    return field.mul(value, rns.constants(Fraction(1, denominator))[:1])


def _weighted_elements(rows: list[Words], weights: tuple[int, ...]) -> Words:
    """sum_i w_i x_i mod p; weights up to 7 cost no product."""
    total = np.zeros_like(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        if weight and abs(weight) <= 7:
            scaled = field.as_elements(row * np.uint64(abs(weight)))
            total = field.add(total, scaled) if weight > 0 else field.sub(total, scaled)
        elif weight:
            total = field.add(total, field.mul(row, rns.constants(weight)[:1]))
    return total


@dataclass(frozen=True)
class Confirm(Round):
    """Outputs pass through once all members have said that they noticed nothing."""

    def words(self, committee: Committee, step: int, point: int) -> int:
        """A word from each member of the quorum."""
        del step
        return 1 if point in committee.quorum else 0

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Whoever gets here received nothing wrong."""
        del values
        return np.full(int(seat.point in seat.committee.quorum), step, dtype=np.uint64), None

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """The inputs, unchanged."""
        del kept
        if sorted(payloads) != list(seat.committee.quorum) or any(w[0] != step for w in payloads.values()):
            raise Deviation("a member does not confirm the run")
        return values
