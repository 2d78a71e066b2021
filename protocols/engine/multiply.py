"""Products, inner products and matrix products by one opening, truncated in the same opening.

I. Damgård, J. Nielsen, "Scalable and unconditionally secure multiparty computation", CRYPTO 2007
(opening of xy + r); O. Catrina, A. Saxena, FC 2010 (probabilistic truncation). The local product of
two degree-t shares is a share of degree 2t; an inner product or a matrix product is a local sum of
such products, so only outputs are opened.

Without truncation: e = xy + r is opened, r uniform mod M; [xy] = e - [r]. Perfectly hidden.

With truncation by f bits: sets draw x_A < 2^(bits+1+KAPPA), r = sum_A x_A. Opened is
c = v + 2^bits + o + r with |v| < 2^bits and o = (1 - |sets|) 2^(f-1), and
[v / 2^f] = floor(c / 2^f) - sum_A [floor(x_A / 2^f)] - 2^(bits-f).
The result is floor((v + o + sum_A (x_A mod 2^f)) / 2^f); the low parts have mean (2^f-1)/2 each, so it is
v / 2^f rounded, without bias beyond |sets| 2^-(f+1), off by at most (|sets| + 1) / 2 units.
What is computed is this randomised rounding, not v / 2^f: whoever sees the result exactly sees one draw of
it. `decompose.floor_to` computes the exact floor where that matters.
c hides v up to a distance of 2^-KAPPA: x_{A*} alone has KAPPA + 1 bits more than v, and its low bits
are uniform as well. c never wraps as |sets| 2^(bits+1+KAPPA) + 2^(bits+1) < M.

In mode A (`checked`) all members send shares of v + r + zero instead, on a polynomial of degree 2t.

Symbols: v value, f shift, r mask, x_A summand of set A, A* the set without corrupted members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from protocols.arithmetic import field, rns
from protocols.arithmetic.rns import Residues
from protocols.engine.checked import opened, opened_elements, opened_residues
from protocols.engine.committee import KAPPA, Committee, Seat, lagrange
from protocols.engine.opening import added, blocks, canonical
from protocols.engine.program import Round, Values, Words
from protocols.sharing import replicated
from protocols.sharing.replicated import ZeroShares, ZeroStream

Product = Literal["each", "matmul", "inner", "identity"]


WIDEST_ROW = 59
"""Magnitude bits of a signed value that mod 2^61-1 alone holds."""


def largest_bits(committee: Committee) -> int:
    """Most bits a value to be truncated may have: its mask must not wrap."""
    return 119 - KAPPA - len(committee.sets.sets).bit_length()


@dataclass(frozen=True)
class Opened(Round):
    """Opens a product of its inputs (or its one input, for "identity"), masked; output has `shape`.

    bits  |value| < 2^bits, the product before truncation
    shift bits to truncate; 0 masks in the field instead, and then bits does not matter
    """

    product: Product
    shape: tuple[int, ...]
    bits: int = 0
    shift: int = 0

    @property
    def _count(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def senders(self, committee: Committee, step: int) -> tuple[int, ...]:
        """Whose summands open it."""
        if self.product == "identity":
            return committee.linear_senders(step)
        return committee.product_senders(step)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """Two words an element from each sender."""
        return 2 * self._count if point in self.senders(committee, step) else 0

    def canonical(self, payload: Words) -> bool:
        """Residues only."""
        return canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send lambda_i v_i + m_i + z_i; keep the share of what must be taken off afterwards."""
        senders = self.senders(seat.committee, step)
        sending = seat.point in senders
        count = self._count
        payload = np.empty((2, count if sending else 0), dtype=np.uint64)
        kept = np.empty((2, count), dtype=np.uint64)
        factors = self._factors(values)
        checked = seat.committee.checked
        masks = _Masks(seat, step, senders, self.bits, self.shift)
        weight = lagrange(senders, seat.point) if sending and not checked else 1
        zeros = self._zeros(seat, step, senders) if sending else None
        for part in blocks(count):
            kept[:, part], mine = masks.draw(part.stop - part.start)
            if zeros is None:
                continue
            value = factors[0][:, part]
            if len(factors) == 2:
                value = rns.mul(value, factors[1][:, part])
            hidden = rns.add(value if checked else rns.scale(value, weight), mine)
            if not checked or self.product != "identity":
                hidden = rns.add(hidden, zeros.residues(part.stop - part.start))
            payload[:, part] = hidden
        return payload.ravel(), kept

    def _zeros(self, seat: Seat, step: int, senders: tuple[int, ...]) -> ZeroShares | ZeroStream:
        return seat.zero_shares(step) if seat.committee.checked else seat.zeros(step, senders)

    def _factors(self, values: Values) -> list[Residues]:
        """What is multiplied element by element, flat; sums of products are finished here."""
        if self.product == "matmul":
            return [rns.matmul(values[0], values[1]).reshape(2, -1)]
        if self.product == "inner":
            return [rns.total(rns.mul(*values), -1).reshape(2, -1)]
        full = (2, *self.shape)
        return [np.broadcast_to(rns.align(v, len(full)), full).reshape(2, -1) for v in values]

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """Take the mask off the opened value; the share is of degree t again."""
        del step, values
        out = np.empty((2, self._count), dtype=np.uint64)
        sets = len(seat.committee.sets.sets)
        raised = (1 << self.bits) + ((1 - sets) << self.shift >> 1)
        for part in blocks(self._count):
            value = self._value(seat.committee, payloads, part)
            if self.shift:
                high, low = rns.to_limbs(rns.add(value, rns.constants(raised)[:, None]))
                value = rns.floor_shift(high, low, self.shift)
            out[:, part] = rns.sub(value, kept[:, part])
        if self.shift:
            out = rns.sub(out, rns.constants(1 << (self.bits - self.shift))[:, None])
        return (out.reshape(2, *self.shape),)

    def _value(self, committee: Committee, payloads: Mapping[int, Words], part: slice) -> Residues:
        if committee.checked:
            degree = committee.t if self.product == "identity" else 2 * committee.t
            return opened_residues(committee, degree, payloads, part)
        return added(payloads, part)


class _Masks:
    """Draws (share to take off, own summand of the mask; its share in mode A), a piece at a time."""

    def __init__(self, seat: Seat, step: int, senders: tuple[int, ...], bits: int, shift: int) -> None:
        self._seat, self._senders, self._shift = seat, senders, shift
        self._integers = seat.masks(step, bits + 1 + KAPPA) if shift else None
        self._field = None if shift else seat.field_masks(step)

    def draw(self, count: int) -> tuple[Residues, Residues]:
        keys, checked = self._seat.keys, self._seat.committee.checked
        if self._field is not None:
            share, mine = self._field.draw(count, self._senders)
            return share, share if checked else mine
        assert self._integers is not None
        if not checked:
            return self._integers.shared(count, self._shift, self._senders)
        masks = self._integers.draw(count)
        return replicated.to_shamir(keys, masks, self._shift), replicated.to_shamir(keys, masks)


@dataclass(frozen=True)
class Reveal(Round):
    """Opens a shared value of `shape` to all members: the output is public residues.

    The senders send their shares as they are: the value and the shares of t corrupted members fix the whole
    polynomial of degree t, so the other shares say nothing more. A value below 2^WIDEST_ROW in magnitude is
    opened mod p alone (`narrow`), a word an element.
    """

    shape: tuple[int, ...]
    narrow: bool = False

    def _cuts(self, committee: Committee, step: int) -> list[tuple[slice, tuple[int, ...]]]:
        """Pieces of the flat value with the senders of each: they rotate, so that all send about as much."""
        count, turns = int(np.prod(self.shape, dtype=np.int64)), len(committee.quorum)
        ends = [count * turn // turns for turn in range(turns + 1)]
        return [
            (slice(ends[turn], ends[turn + 1]), committee.linear_senders(step + turn))
            for turn in range(turns)
        ]

    def words(self, committee: Committee, step: int, point: int) -> int:
        """Two words an element, or one, from t+1 members."""
        cuts = self._cuts(committee, step)
        mine = sum(int(part.stop - part.start) for part, senders in cuts if point in senders)
        return mine * (1 if self.narrow else 2)

    def canonical(self, payload: Words) -> bool:
        """Residues only."""
        return field.is_canonical(payload) if self.narrow else canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send pieces of the share, side by side."""
        rows = values[0].reshape(2, -1)[: 1 if self.narrow else 2]
        cuts = self._cuts(seat.committee, step)
        mine = [rows[:, part] for part, senders in cuts if seat.point in senders]
        return np.concatenate(mine, axis=1).ravel() if mine else np.zeros(0, dtype=np.uint64), None

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """The value at 0, piece by piece."""
        del values, kept
        rows = {point: words.reshape(1 if self.narrow else 2, -1) for point, words in payloads.items()}
        used = dict.fromkeys(rows, 0)
        out = np.empty((2, int(np.prod(self.shape, dtype=np.int64))), dtype=np.uint64)
        for part, senders in self._cuts(seat.committee, step):
            size = part.stop - part.start
            pieces = {point: rows[point][:, used[point] : used[point] + size] for point in senders if size}
            used.update({point: used[point] + size for point in pieces})
            for cut in blocks(size):
                out[:, part.start + cut.start : part.start + cut.stop] = self._opened(seat, pieces, cut)
        return (out.reshape(2, *self.shape),)

    def _opened(self, seat: Seat, pieces: Mapping[int, Words], cut: slice) -> Residues:
        committee, t = seat.committee, seat.committee.t
        if not self.narrow:
            return opened(committee, t, {point: rows[:, cut] for point, rows in pieces.items()})
        row = opened_elements(committee, t, {point: rows[0, cut] for point, rows in pieces.items()})
        return rns.from_ints(field.to_signed(row))
