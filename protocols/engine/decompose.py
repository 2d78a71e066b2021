"""Shared bits of a shared number, and exact truncation by them.

The low planes of x + 2^k are the sum of the terms of `compare.Terms`, of which only those planes are
shared. All carries come from a parallel prefix of (G, P) pairs (J. Sklansky, 1960): in level d each
position with bit d set joins the group that ends below its block. The sum bits, xor-ed with random
bits, are opened together. Two's complement: for k >= f the low f planes of x + 2^k are those of x.

floor(x / 2^f) = (x - sum_i 2^i b_i) 2^-f, exact in the field because the difference is a multiple.

Symbols: k magnitude bits, f planes wanted, G, P carry and propagate, b_i bits, rho random bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from protocols.arithmetic import rns
from protocols.engine import pieces
from protocols.engine.assembler import Bit
from protocols.engine.binary import Gate, product, summands, unpack, words_for
from protocols.engine.carry import GroupCarry, groups
from protocols.engine.committee import Committee, Seat
from protocols.engine.compare import WIDEST_COMPARISON
from protocols.engine.local import Factor, Take
from protocols.engine.numbers import Calculator, Number
from protocols.engine.program import Round, Values, Words
from protocols.errors import LocalMisuse


@dataclass(frozen=True)
class Prefix(Gate):
    """One level of the prefix over m positions: planes G_0..G_{m-1}, P_1..P_{m-1}."""

    m: int
    level: int

    def _joined(self) -> tuple[list[int], list[int]]:
        """(positions, the positions they join)."""
        here = [i for i in range(self.m) if i >> self.level & 1]
        return here, [(i >> self.level << self.level) - 1 for i in here]

    def width(self) -> int:
        """A carry each, and a propagate where the joined group does not reach the bottom."""
        return len(self._joined()[0]) + len(self._upper()[0])

    def _upper(self) -> tuple[list[int], list[int]]:
        pairs = [(i, j) for i, j in zip(*self._joined(), strict=True) if i >= 1 << (self.level + 1)]
        return [i for i, _ in pairs], [j for _, j in pairs]

    def form(self, seat: Seat, values: Values) -> Words:
        """P_i G_j and P_i P_j."""
        carry, propagate = values[0][:, : self.m], values[0][:, self.m :]
        (here, below), (upper, under) = self._joined(), self._upper()
        parts = [product(seat, propagate[:, [i - 1 for i in here]], carry[:, below])]
        if upper:
            left, right = propagate[:, [i - 1 for i in upper]], propagate[:, [j - 1 for j in under]]
            parts.append(product(seat, left, right))
        return np.concatenate(parts)

    def complete(self, seat: Seat, values: Values, form: Words) -> Values:
        """G_i + P_i G_j; the new P_i."""
        del seat
        out = values[0].copy()
        here, upper = self._joined()[0], self._upper()[0]
        out[:, here] ^= form[:, : len(here)]
        out[:, [self.m + i - 1 for i in upper]] = form[:, len(here) :]
        return (out,)


@dataclass(frozen=True)
class OpenSum(Round):
    """(prefix carries; a, b; rho's bits) -> the sum's planes + rho, public booleans (planes * count,)."""

    count: int
    planes: int

    def _size(self) -> int:
        return self.planes * words_for(self.count)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """A bit a plane and element from each member of the quorum; in mode A a bit a piece."""
        del step
        return pieces.words(committee, point, self._size())

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Open a + b + carry from below + rho."""
        gp, a, b, rho = values
        lowest = a.shape[1] - self.planes  # padding of the layout, zeros
        bits = a[:, lowest:] ^ b[:, lowest:] ^ rho.reshape(rho.shape[0], self.planes, -1)
        carries = gp[:, : a.shape[1] - 1]
        bits[:, 1:] ^= carries[:, lowest:]
        return pieces.publish(seat, step, self._size(), lambda part: summands(part, bits), fresh=False)

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """All planes, public."""
        del step, values, kept
        rows = pieces.collect(seat, self._size(), payloads).reshape(self.planes, -1)
        return (np.concatenate([unpack(row, self.count) for row in rows]),)


def low_bits(c: Calculator, x: Number, f: int) -> Number:
    """The low f bits of the integer behind x (two's complement), shape (f, *x.shape), lowest first."""
    k = max(x.bits, f)
    if f < 2 or k > WIDEST_COMPARISON:
        raise LocalMisuse(f"cannot take {f} bits of a number of {x.bits}", fix="truncate it first")
    terms = c.masked_terms(x.register, x.count, k, 1, f)
    while len(terms) > 2:
        terms = c.carry_saved(terms, x.count, f - 1)
    m = groups(f - 1, 1)
    gp = c.append(GroupCarry(terms, (c.register(),), x.count, f - 1, 1))
    for level in range((m - 1).bit_length()):
        gp = c.append(Prefix((gp,), (c.register(),), x.count, m, level))
    words = words_for(x.count)
    rho, bits = c.random_bits(64 * words * f)
    opened = c.append(OpenSum((gp, *terms, bits), (c.register(),), x.count, f))
    lanes = np.arange(x.count)
    chosen = (lanes // words) * (f * words) + lanes % words + words * np.arange(f)[:, None]
    shared = c.append(Take((rho,), (c.register(),), chosen.ravel()))
    bit = Bit(opened, shared, f * x.count)
    flat = Number(c.bit_share(bit), (f * x.count,), 0, 0.0, 1.0, bit)
    return c.reshape(flat, (f, *x.shape))


def floor_to(c: Calculator, x: Number, scale: int) -> Number:
    """x rounded down to a multiple of 2^-scale, exactly."""
    f = x.scale - scale
    if f <= 0:
        return x
    bits = low_bits(c, x, max(f, 2))
    used = c.take(bits, np.arange(f * x.count).reshape(f, *x.shape))
    weights = np.array([1 << i for i in range(f)]).reshape(f, *(1 for _ in x.shape))
    rest = c.sum(c.times_public(used, weights), 0)
    whole = c.add(x, c.rescaled(rest, x.scale), -1)
    inverse = rns.constants(Fraction(1, 1 << f)).reshape(2, *(1 for _ in x.shape))
    register = c.append(Factor((whole.register,), (c.register(),), inverse))
    return Number(register, x.shape, scale, x.low - 2.0**-scale, x.high)
