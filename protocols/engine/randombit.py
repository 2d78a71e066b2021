"""Random bits shared in the field and over Z_2 at once, two openings of 61 bits each.

I. Damgård, M. Fitzi, E. Kiltz, J. Nielsen, T. Toft, TCC 2006 (a bit from a square's root). In the field
mod p alone: r uniform and shared, a = r^2 opened; r / sqrt(a) is 1 or -1 and, as a says nothing about
which, a uniform sign; rho = (r / sqrt(a) + 1) / 2. a = 0 happens with probability 2^-61 an element and
would give a rho that is no bit; it is not handled. The inverse root is a^((p-3)/4) = a^(2^59 - 1), because
(a^((p-3)/4))^2 a = a^((p-1)/2) = 1 for a square.
Then c = rho + m is opened in the same field, m = sum_A m_A with m_A < 2^bits and |sets| 2^bits < p - 1, so
over the integers; c hides rho up to 2^-bits, bits >= 50 up to (13, 4), >= 47 in all. As integers
rho = c - m, hence [rho] mod M = c - [m], and over Z_2 rho = c + sum_A m_A: bits known to sets (`bitshares`).

Symbols: rho the bit, r random, a its square, m mask, m_A its summands, c opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arithmetic import field, rns
from protocols.engine import bitshares
from protocols.engine.binary import pack, words_for, xor_public
from protocols.engine.checked import opened_elements
from protocols.engine.committee import Committee, Seat, lagrange
from protocols.engine.opening import blocks
from protocols.engine.program import Local, Round, Values, Words
from protocols.sharing import replicated

FEW = 128
"""Up to here Python's own power is faster than 66 products of short vectors; the squares are public."""


def _weight(senders: tuple[int, ...], point: int) -> Words:
    return rns.constants(lagrange(senders, point))[:1]


def _opened(seat: Seat, degree: int, payloads: Mapping[int, Words]) -> Words:
    """Sum of summands, or in mode A the value of checked shares."""
    if seat.committee.checked:
        return opened_elements(seat.committee, degree, payloads)
    return field.total(np.stack(list(payloads.values())))


def inverse_root(a: Words) -> Words:
    """1 / sqrt(a) of squares mod p: a^(2^59 - 1) with 58 squarings and 8 products."""

    def squared(x: Words, times: int) -> Words:
        for _ in range(times):
            x = field.mul(x, x)
        return x

    if a.size <= FEW:
        return np.array([pow(x, (1 << 59) - 1, field.P) for x in a.tolist()], dtype=np.uint64)
    chain = {1: a}
    for size, low in ((2, 1), (3, 1), (6, 3), (7, 1), (14, 7), (28, 14), (29, 1), (58, 29), (59, 1)):
        chain[size] = field.mul(squared(chain[size - low], low), chain[low])
    return chain[59]


@dataclass(frozen=True)
class Signs(Round):
    """Opens r^2; the output is the share mod p of rho."""

    count: int

    def portable(self) -> tuple[bool, ...]:
        """A share mod p alone; not worth carrying over."""
        return (False,)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """One word an element from 2t+1 members."""
        return self.count if point in committee.product_senders(step) else 0

    def canonical(self, payload: Words) -> bool:
        """Elements mod p."""
        return field.is_canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send lambda_i r_i^2 + z_i; keep r_i."""
        del values
        senders = seat.committee.product_senders(step)
        masks = seat.field_masks(step)
        sending = seat.point in senders
        checked = seat.committee.checked
        weight = field.as_elements([1]) if checked else _weight(senders, seat.point) if sending else None
        kept = np.empty(self.count, dtype=np.uint64)
        payload = np.empty(self.count if sending else 0, dtype=np.uint64)
        zeros = (seat.zero_shares(step) if checked else seat.zeros(step, senders)) if sending else None
        for part in blocks(self.count):
            kept[part] = masks.draw(part.stop - part.start, senders)[0][0]
            if zeros is not None and weight is not None:
                square = field.mul(field.mul(kept[part], kept[part]), weight)
                payload[part] = field.add(square, zeros.elements(part.stop - part.start))
        return payload, kept

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """(r / sqrt(a) + 1) / 2."""
        del step, values
        half, one = field.as_elements([pow(2, -1, field.P)]), field.as_elements([1])
        out = np.empty(self.count, dtype=np.uint64)
        for part in blocks(self.count):
            square = _opened(seat, 2 * seat.committee.t, {p: w[part] for p, w in payloads.items()})
            sign = field.mul(inverse_root(square), kept[part])
            out[part] = field.mul(field.add(sign, one), half)
        return (out,)


@dataclass(frozen=True)
class Spread(Round):
    """rho mod p -> ([rho] mod M, rho's bits over Z_2)."""

    count: int

    def portable(self) -> tuple[bool, ...]:
        """The share is, the bits are not."""
        return (True, False)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """One word an element from t+1 members."""
        return self.count if point in committee.linear_senders(step) else 0

    def canonical(self, payload: Words) -> bool:
        """Elements mod p."""
        return field.is_canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send lambda_i rho_i + m_i + z_i; keep [m] and the m_A's low bits."""
        senders = seat.committee.linear_senders(step)
        bits = 60 - len(seat.committee.sets.sets).bit_length()
        masks = seat.masks(step, bits).draw(self.count)
        ones = [pack(word & np.uint64(1)) for word in masks.words[:, 0]]
        low = bitshares.from_sets(seat, ones[0].shape, zip(seat.keys.held, ones, strict=True))
        kept = (replicated.to_shamir(seat.keys, masks), low[:, None])
        if seat.point not in senders:
            return np.zeros(0, dtype=np.uint64), kept
        if seat.committee.checked:
            return field.add(values[0], kept[0][0]), kept
        value = field.mul(values[0], _weight(senders, seat.point))
        value = field.add(value, replicated.additive(seat.keys, masks, senders)[0])
        return field.add(value, seat.zeros(step, senders).elements(self.count)), kept

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """c - [m], and c's low bit with those of the m_A."""
        del step, values
        opened = _opened(seat, seat.committee.t, payloads)
        share = rns.sub(rns.fold(np.stack([opened, opened])), kept[0])
        bits = xor_public(seat, kept[1], pack(opened & np.uint64(1)).reshape(1, words_for(self.count)))
        return share, bits


@dataclass(frozen=True)
class BitShare(Local):
    """(e, [rho]) -> [b] for b = e + rho over Z_2: rho, or 1 - rho where e is set."""

    def run(self, seat: Seat, values: Values) -> Values:
        """A choice by public bits."""
        del seat
        opened, rho = values
        flipped = rns.sub(np.ones((2, 1), dtype=np.uint64), rho)
        return (np.where(opened[None], flipped, rho),)


@dataclass(frozen=True)
class BitTimes(Local):
    """(e, [rho v], [v]) -> [b v]: rho v, or v - rho v where e is set. The product came earlier."""

    def run(self, seat: Seat, values: Values) -> Values:
        """A choice by public bits."""
        del seat
        opened, product, value = values
        return (np.where(opened[None], rns.sub(value, product), product),)
