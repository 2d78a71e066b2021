"""Random bits shared in the field and over Z_2 for t = 1 in mode P: a word dealt, a product opened.

Every key set A draws a bit R_A, and rho = xor_A R_A: bits known to sets, shared over Z_2 without a message
(`bitshares`). In the field: one member j ("dealer") is in all sets but one, B, because t = 1. It knows
b1 = xor of the R_A with j in A; b2 = R_B is known to all others. rho = b1 + b2 - 2 b1 b2.
  - [b2]: member i's share is f_B(i) b2, degree t, no message (`prss`).
  - [b1]: the sets with j draw x_A < 2^bits, j publishes e = b1 + sum x_A, an integer; [b1] = e - [sum x_A].
  - c = b1 b2 + r' is opened mod p, r' = sum of integers of all sets; [b1 b2] = c - [r'].
Everything opened is below |sets| 2^bits + 2 < p, so it is right over the integers and mod M.

Privacy. The one corrupted member misses what A* draws. If it is not j, j is in A*: x_{A*} hides b1 up to
2^-bits, bits >= 52. c is hidden by x'_{A*} the same way and the summands by additive zeros. R_{A*} is
uniform to it, hence rho is. In mode A a dealer could publish an e that makes rho no bit: `randombit` is used.

Against `randombit` (Signs, Spread) this has as many rounds and words, and none of its 66 products.

Symbols: rho the bit, R_A, x_A, x'_A drawn by set A, j dealer, B the set without j, e, c opened, f_B weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arithmetic import field, rns
from protocols.engine import bitshares
from protocols.engine.binary import unpack, words_for
from protocols.engine.committee import Committee, Seat, lagrange
from protocols.engine.program import Round, Values, Words
from protocols.sharing import replicated


def applies(committee: Committee) -> bool:
    """Whether this committee makes its random bits so."""
    return committee.t == 1 and not committee.checked


def _bits(committee: Committee) -> int:
    """Of an integer mask: the sum over all sets, and two, stay below p."""
    return 60 - len(committee.sets.sets).bit_length()


@dataclass(frozen=True)
class Dealt(Round):
    """Publishes e; outputs are [b1], [b2] and the register of rho over Z_2."""

    count: int

    def portable(self) -> tuple[bool, ...]:
        """The shares are, the bits are not."""
        return (True, True, False)

    def dealer(self, committee: Committee, step: int) -> int:
        """j."""
        return committee.rotated(step)[0]

    def words(self, committee: Committee, step: int, point: int) -> int:
        """One word an element from the dealer."""
        return self.count if point == self.dealer(committee, step) else 0

    def canonical(self, payload: Words) -> bool:
        """Integers below p."""
        return field.is_canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Draw; the dealer sends b1 + sum x_A, the others keep [sum x_A], all keep [b2] and the bits."""
        del values
        dealer, held = self.dealer(seat.committee, step), seat.keys.held
        size = words_for(self.count)
        planes = {
            index: np.frombuffer(seat.set_stream(index, step, "bit").read(8 * size), dtype="<u8")
            for index in held
        }
        bits = bitshares.from_sets(seat, (size,), planes.items())[:, None]
        masks = seat.masks(step, _bits(seat.committee)).draw(self.count)
        other = np.zeros((2, self.count), dtype=np.uint64)
        if seat.point == dealer:
            total = np.asarray(masks.words[:, 0].sum(axis=0, dtype=np.uint64))
            mine = np.bitwise_xor.reduce(np.stack(list(planes.values())), axis=0)
            sent = total + unpack(mine, self.count)
        else:
            (block,) = (index for index in held if dealer not in seat.committee.sets.sets[index])
            masks.words[held.index(block)] = 0
            weight = rns.constants(seat.committee.sets.weight(block, seat.point))
            other = unpack(planes[block], self.count) * weight[:, None]
            sent = np.zeros(0, dtype=np.uint64)
        return sent, (replicated.to_shamir(seat.keys, masks), other, bits)

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """[b1] = e - [sum x_A]."""
        del values
        mask, other, bits = kept
        opened = payloads[self.dealer(seat.committee, step)]
        return rns.sub(rns.fold(np.stack([opened, opened])), mask), other, bits


@dataclass(frozen=True)
class Joined(Round):
    """([b1], [b2]) -> [b1 xor b2], one product opened mod p."""

    count: int

    def words(self, committee: Committee, step: int, point: int) -> int:
        """One word an element from 2t+1 members."""
        return self.count if point in committee.product_senders(step) else 0

    def canonical(self, payload: Words) -> bool:
        """Elements mod p."""
        return field.is_canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send lambda_i b1_i b2_i + m_i + z_i; keep [r']."""
        senders = seat.committee.product_senders(step)
        masks = seat.masks(step, _bits(seat.committee)).draw(self.count)
        kept = replicated.to_shamir(seat.keys, masks)
        if seat.point not in senders:
            return np.zeros(0, dtype=np.uint64), kept
        weight = rns.constants(lagrange(senders, seat.point))[:1]
        product = field.mul(field.mul(values[0][0], weight), values[1][0])
        product = field.add(product, replicated.additive(seat.keys, masks, senders)[0])
        return field.add(product, seat.zeros(step, senders).elements(self.count)), kept

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """b1 + b2 - 2 b1 b2."""
        del seat, step
        opened = field.total(np.stack(list(payloads.values())))
        product = rns.sub(rns.fold(np.stack([opened, opened])), kept)
        return (rns.sub(rns.add(*values), rns.add(product, product)),)
