"""The carry of a sum of two (or more) shared numbers, bit-sliced: the heart of a comparison.

Layout "grouped by w" of numbers with planes 0..k: zero planes below plane 0 fill up groups of w
planes; a group is held as its 2^w - 1 nonempty monomials (products of its planes; monomial mu at
index mu - 1), which whoever knows the number computes before sharing; plane k, the top, comes last.
With w = 1 the layout is the planes themselves.

Group carry. For two numbers in this layout the carry G out of a group and its propagate P are
bilinear in the monomials of the two sides (algebraic normal form), so one round gives the (G, P) of
all groups. Tree: (G, P) of a pair is (Gh + Ph Gl, Ph Pl); `lookahead` joins more than two.
Carry save: three numbers become two, sum and carry, in one round.

Symbols: k planes that carry, w group width, m groups, a, b numbers, G, P, h high, l low.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from protocols.engine.binary import Gate, product
from protocols.engine.committee import Seat
from protocols.engine.program import Values, Words

WIDEST = 5
"""2^5 - 1 monomials a group: one more halves the groups but doubles what is dealt and computed."""


def groups(k: int, w: int) -> int:
    """Groups of the layout; at least two, because the last pair is joined in the final opening."""
    return max(2, -(-k // w))


def layout_planes(k: int, w: int) -> int:
    """Planes of the layout, the top included."""
    return groups(k, w) * ((1 << w) - 1) + 1


def grouped(planes: Words, w: int) -> Words:
    """Plain planes (k+1, words) of a number known here, in the layout."""
    k, words = planes.shape[0] - 1, planes.shape[1]
    m = groups(k, w)
    padded = np.zeros((m * w, words), dtype=np.uint64)
    padded[m * w - k :] = planes[:k]
    bits = padded.reshape(m, w, words)
    out = np.empty((m, (1 << w) - 1, words), dtype=np.uint64)
    for mask in range(1, 1 << w):
        rest = mask & (mask - 1)
        low = bits[:, (mask ^ rest).bit_length() - 1]
        out[:, mask - 1] = low & out[:, rest - 1] if rest else low
    return np.concatenate([out.reshape(-1, words), planes[k:]])


@cache
def _normal_forms(w: int) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """For carry and propagate: for each b-monomial beta, the a-monomials it is multiplied with."""
    size = 1 << w
    b, a = np.indices((size, size))
    forms = []
    for truth in (a + b >= size, a ^ b == size - 1):
        table = truth.astype(np.uint8)
        for axis in (0, 1):
            for bit in range(w):
                for x in range(size):
                    if x >> bit & 1:
                        rows = table if axis == 0 else table.T
                        rows[x] ^= rows[x ^ (1 << bit)]
        forms.append(tuple(tuple(int(a) for a in np.flatnonzero(row)) for row in table))
    return forms[0], forms[1]


@dataclass(frozen=True)
class GroupCarry(Gate):
    """(a, b) in the layout -> their (G, P): planes G_0..G_{m-1}, P_1..P_{m-1}."""

    k: int
    w: int

    def width(self) -> int:
        """P of the lowest group is never needed."""
        return 2 * groups(self.k, self.w) - 1

    def _split(self, x: Words) -> Words:
        m = groups(self.k, self.w)
        return x[:, :-1].reshape(x.shape[0], m, (1 << self.w) - 1, x.shape[2])

    def form(self, seat: Seat, values: Values) -> Words:
        """Sum over beta of (sum over its alpha of a_alpha) b_beta."""
        a, b = self._split(values[0]), self._split(values[1])
        carry, propagate = _normal_forms(self.w)
        out = []
        for form, lowest in ((carry, 0), (propagate, 1)):
            total = np.zeros((a.shape[1] - lowest, a.shape[3]), dtype=np.uint64)
            for beta in range(1, 1 << self.w):
                alphas = [alpha - 1 for alpha in form[beta] if alpha]
                if not alphas:
                    continue
                left = a[:, lowest:, alphas[0]]
                for alpha in alphas[1:]:
                    left = left ^ a[:, lowest:, alpha]
                total ^= product(seat, left, b[:, lowest:, beta - 1])
            out.append(total)
        return np.concatenate(out)

    def complete(self, seat: Seat, values: Values, form: Words) -> Values:
        """Propagates also have terms in one side alone."""
        del seat
        a, b = self._split(values[0]), self._split(values[1])
        m = a.shape[1]
        out = form.copy()
        _, propagate = _normal_forms(self.w)
        for alpha in propagate[0]:
            out[:, m:] ^= a[:, 1:, alpha - 1]
        for beta in range(1, 1 << self.w):
            if 0 in propagate[beta]:
                out[:, m:] ^= b[:, 1:, beta - 1]
        return (out,)


@dataclass(frozen=True)
class CarrySave(Gate):
    """(x, y, z) in the layout of w = 1 -> (sum, carry) with x + y + z = sum + carry mod 2^(k+1)."""

    k: int

    def width(self) -> int:
        """The carry out of the top is dropped."""
        return groups(self.k, 1)

    def form(self, seat: Seat, values: Values) -> Words:
        """majority = (x + z)(y + z) + z."""
        x, y, z = (v[:, :-1] for v in values)
        return product(seat, x ^ z, y ^ z)

    def complete(self, seat: Seat, values: Values, form: Words) -> Values:
        """Carries move up one plane."""
        del seat
        x, y, z = values
        carry = np.concatenate([np.zeros_like(x[:, :1]), form ^ z[:, :-1]], axis=1)
        return x ^ y ^ z, carry


def halves(gp: Words, m: int) -> tuple[Words, Words, Words, Words]:
    """(G, P) planes of m groups -> G low, G high, P low (from pair 1), P high of the pairs."""
    carry, propagate = gp[:, :m], gp[:, m:]
    pairs = m // 2
    return (
        carry[:, 0 : 2 * pairs : 2],
        carry[:, 1 : 2 * pairs : 2],
        propagate[:, 1 : 2 * pairs - 1 : 2],
        propagate[:, 0 : 2 * pairs - 1 : 2],
    )


@dataclass(frozen=True)
class Combine(Gate):
    """(G, P) of m groups -> of ceil(m / 2)."""

    m: int

    def width(self) -> int:
        """A carry a pair, a propagate a pair but the lowest."""
        return 2 * (self.m // 2) - 1

    def form(self, seat: Seat, values: Values) -> Words:
        """Ph Gl and Ph Pl."""
        low, _, below, above = halves(values[0], self.m)
        return np.concatenate([product(seat, above, low), product(seat, above[:, 1:], below)])

    def complete(self, seat: Seat, values: Values, form: Words) -> Values:
        """Gh + Ph Gl; an odd highest group passes."""
        del seat
        gp, pairs = values[0], self.m // 2
        carry = form[:, :pairs] ^ halves(gp, self.m)[1]
        if self.m % 2 == 0:
            return (np.concatenate([carry, form[:, pairs:]], axis=1),)
        top, last = gp[:, self.m - 1 : self.m], gp[:, -1:]
        return (np.concatenate([carry, top, form[:, pairs:], last], axis=1),)
