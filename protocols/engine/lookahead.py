"""Carries of r groups joined in one round, with products of random bits prepared beforehand.

Over r groups G = sum_j g_j prod_{i>j} p_i and P = prod_i p_i: products of up to r shared bits. Each factor v
is opened as d_v = v + m_v, m_v a random shared bit of this node alone, so d_v is uniform and says
nothing. Then prod_{v in S} v = prod (d_v + m_v) = sum over U in S of (prod_{v not in U} d_v) M_U, linear in
the prepared M_U = prod_{v in U} m_v (D. Beaver, CRYPTO 1991, for more than two factors). The M_U do not
depend on any input: their gates run in rounds that the comparison spends elsewhere.

Against the binary tree (`carry.Combine`) this halves the rounds of a tree and more, for about four times
the bits. `plan` chooses radices.

Symbols: m groups, r radix, G, P, g_j, p_i as in `carry`; V factors of a node, S a term, U its subset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from protocols.engine import bitshares, pieces
from protocols.engine.binary import Gate, product, summands, words_for
from protocols.engine.carry import WIDEST, groups
from protocols.engine.committee import Committee, Seat
from protocols.engine.program import Round, Values, Words

WIDEST_RADIX = 5
FIRST_RADIX = 4
"""Products of five need three rounds of gates, of four two: all that a first level leaves at t = 1."""

LOOKAHEAD_LANES = 1 << 14
"""Lanes above which the binary tree is used. Looking ahead saves r = 1 (t = 1) to 3 rounds and costs c =
0.3 us (3, 1), 1.7 us (5, 2), 5.5 us (7, 3) a lane and member: break-even at r RTT / c lanes, for an RTT
of 20 ms between 10,000 and 66,000. Higher suits slower links, lower faster ones."""
Subset = tuple[int, ...]


@cache
def terms(r: int) -> tuple[Subset, ...]:
    """Factors of each product: p_i is i, g_j is r + j; g_j with all p above it for j < r-1, then all p."""
    return (*((*range(j + 1, r), r + j) for j in range(r - 1)), tuple(range(r)))


@cache
def family(r: int) -> tuple[Subset, ...]:
    """All nonempty subsets of terms, smallest first: the M_U."""
    subsets = {
        subset for term in terms(r) for size in range(1, len(term) + 1) for subset in combinations(term, size)
    }
    return tuple(sorted(subsets, key=lambda subset: (len(subset), subset)))


def plan(m: int, lanes: int) -> tuple[int, ...]:
    """Radices that bring m groups to two: few rounds for few lanes, else the binary tree."""
    if lanes > LOOKAHEAD_LANES:
        return (2,) * max(0, (m - 1).bit_length() - 1)
    return _fewest_rounds(m, FIRST_RADIX)


@cache
def _fewest_rounds(m: int, widest: int) -> tuple[int, ...]:
    """Fewest levels, then fewest prepared products."""
    if m <= 2:
        return ()
    options = []
    for r in range(2, widest + 1):
        if -(-m // r) >= 2:
            radices = (r, *_fewest_rounds(-(-m // r), WIDEST_RADIX))
            options.append((len(radices), _products(m, radices), radices))
    return min(options)[2]


def _products(m: int, radices: tuple[int, ...]) -> int:
    """Prepared products of all levels."""
    total = 0
    for r in radices:
        m = -(-m // r)
        total += len(family(r)) * m
    return total


@cache
def best_width(k: int, lanes: int) -> int:
    """Group width w for two terms of k planes: fewest rounds, then fewest dealt and prepared bits."""

    def price(w: int) -> tuple[int, int]:
        m = groups(k, w)
        radices = plan(m, lanes)
        return len(radices), m * (2**w) + _products(m, radices)

    return min(range(1, WIDEST + 1), key=price)


def _up_to(r: int, degree: int) -> list[Subset]:
    return [subset for subset in family(r) if len(subset) <= degree]


@dataclass(frozen=True)
class Prepared(Gate):
    """M_U of degree up to `degree` from those up to half of it; the first one draws the m_v itself."""

    nodes: int
    r: int
    degree: int

    def _new(self) -> list[Subset]:
        return [u for u in _up_to(self.r, self.degree) if len(u) > self.degree // 2]

    def width(self) -> int:
        """A plane for each new product and node."""
        return len(self._new()) * self.nodes

    def prepared(self, seat: Seat, step: int, values: Values) -> Values:
        """Random bits m_v, drawn by the sets, when there are no products yet."""
        if values:
            return values
        shape = (2 * self.r - 1, self.nodes, words_for(self.lanes))
        return (bitshares.drawn(seat, shape, step, "factors", seat.keys.held),)

    def form(self, seat: Seat, values: Values) -> Words:
        """M_U = M_{first half} M_{second half}."""
        known = {u: at for at, u in enumerate(_up_to(self.r, self.degree // 2))}
        half = [(known[u[: len(u) // 2]], known[u[len(u) // 2 :]]) for u in self._new()]
        left, right = values[0][:, [a for a, _ in half]], values[0][:, [b for _, b in half]]
        return product(seat, left, right).reshape(self.width(), -1)

    def complete(self, seat: Seat, values: Values, form: Words) -> Values:
        """(rows, subsets so far, nodes, words)."""
        del seat
        fresh = form.reshape(form.shape[0], -1, self.nodes, form.shape[2])
        return (np.concatenate([values[0], fresh], axis=1),)


@dataclass(frozen=True)
class Lookahead(Round):
    """((G, P) of m groups, prepared products) -> (G, P) of ceil(m / r)."""

    lanes: int
    m: int
    r: int

    @property
    def nodes(self) -> int:
        """Groups afterwards."""
        return -(-self.m // self.r)

    def portable(self) -> tuple[bool, ...]:
        """Shared bits are bound to the keys of this committee."""
        return (False,)

    def _size(self) -> int:
        return (2 * self.r - 1) * self.nodes * words_for(self.lanes)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """A bit a factor and node from each member of the quorum; in mode A a bit a piece."""
        del step
        return pieces.words(committee, point, self._size())

    def _split(self, gp: Words) -> tuple[Words, Words]:
        """g and p as (rows, r, nodes, words); missing low groups are zeros, which carry nothing."""
        rows, words, missing = gp.shape[0], gp.shape[2], self.nodes * self.r - self.m
        zeros = np.zeros((rows, missing + 1, words), dtype=np.uint64)
        carry = np.concatenate([zeros[:, 1:], gp[:, : self.m]], axis=1)
        propagate = np.concatenate([zeros, gp[:, self.m :]], axis=1)
        shape = (rows, self.nodes, self.r, words)
        return carry.reshape(shape).swapaxes(1, 2), propagate.reshape(shape).swapaxes(1, 2)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Open v + m_v."""
        carry, propagate = self._split(values[0])
        factors = np.concatenate([propagate, carry[:, :-1]], axis=1) ^ values[1][:, : 2 * self.r - 1]
        return pieces.publish(seat, step, self._size(), lambda part: summands(part, factors), fresh=False)

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """Sum over subsets; the product of all d_v is public."""
        del step, kept
        gp, masks = values
        d = pieces.collect(seat, self._size(), payloads).reshape(2 * self.r - 1, self.nodes, -1)
        index = {u: at for at, u in enumerate(family(self.r))}
        carry = self._split(gp)[0][:, -1].copy()
        for term in terms(self.r)[:-1]:
            carry ^= _expanded(seat, term, d, masks, index)
        propagate = _expanded(seat, terms(self.r)[-1], d, masks, index)
        return (np.concatenate([carry, propagate[:, 1:]], axis=1),)


def _expanded(seat: Seat, term: Subset, d: Words, masks: Words, index: dict[Subset, int]) -> Words:
    """prod over the term of (d_v + m_v): (rows, nodes, words)."""
    out = np.zeros((masks.shape[0], *masks.shape[2:]), dtype=np.uint64)
    for size in range(len(term) + 1):
        for subset in combinations(term, size):
            public = np.full(d.shape[1:], (1 << 64) - 1, dtype=np.uint64)
            for v in term:
                if v not in subset:
                    public = public & d[v]
            if subset:
                out ^= masks[:, index[subset]] & public
            else:
                for row in bitshares.public_rows(seat.committee, seat.point):
                    out[row] ^= public
    return out
