"""Shared bits, 64 lanes to a word, and the gate that multiplies them.

A register of bits is uint64 (rows, planes, words): the rows of a sharing over Z_2 (`bitshares`) of
`planes` bits of every lane. Lane e of `count` is bit e div words of word e mod words, so a plane is
packed and unpacked by shifts of whole rows. Xor is local.

Gate, replicated (for the other sharing see `bitshares`). xy = xor over pairs (A, B) of x_A y_B.
|A and B| >= n-2t and the quorum misses at most n-2t-1 members, so some member of the quorum knows both;
one is appointed for each pair. Member i thus has a summand w_i of xy. Sets draw R_A; members open
e = xor of (w_i + zero_i + the R_A they answer for)
= xy + R to all; then R, with the public e xor-ed in, is a fresh sharing of xy.
R_{A*} is uniform to the corrupted members, hence e is, and the summands are hidden but for their sum.
One bit a gate to each member, one round, any local bilinear form for the price of its output.

Symbols: A, B sets; x_A, y_B summands; R mask; e opened.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.engine import bitshares, pieces
from protocols.engine.bitshares import own_duty
from protocols.engine.committee import Committee, Duty, Seat
from protocols.engine.program import Round, Values, Words

_STAGES = [
    (32, 0x00000000FFFFFFFF),
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
]


def words_for(count: int) -> int:
    """Words in a plane of `count` lanes."""
    return max(1, -(-count // 64))


def planes(values: Words, width: int) -> Words:
    """Low `width` bits of (count,) integers as planes (width, words): 64 x 64 transpositions in six swaps."""
    words = words_for(values.size)
    flat = np.zeros(64 * words, dtype=np.uint64)
    flat[: values.size] = values
    grid = flat.reshape(64, words)
    for distance, mask in _STAGES:
        pairs = grid.reshape(32 // distance, 2, distance, words)
        first, second, shift = pairs[:, 0], pairs[:, 1], np.uint64(distance)
        swap = ((first >> shift) ^ second) & np.uint64(mask)
        second ^= swap
        first ^= swap << shift
    return np.ascontiguousarray(grid[:width])


def pack(bits: npt.NDArray[Any]) -> Words:
    """Zeros and ones (count,) as one plane (words,)."""
    words = words_for(bits.size)
    grid = np.zeros(64 * words, dtype=np.uint64)
    grid[: bits.size] = bits
    lanes = grid.reshape(64, words) << np.arange(64, dtype=np.uint64)[:, None]
    return np.asarray(np.bitwise_or.reduce(lanes, axis=0))


def unpack(plane: Words, count: int) -> npt.NDArray[np.bool_]:
    """One plane (words,) as booleans (count,)."""
    lanes = (plane[None, :] >> np.arange(64, dtype=np.uint64)[:, None]) & np.uint64(1)
    return lanes.ravel()[:count].astype(np.bool_)


def xor_public(seat: Seat, bits: Words, public: Words | np.uint64) -> Words:
    """A copy of `bits` with public planes (or one word for all) xor-ed in."""
    out = bits.copy()
    for row in bitshares.public_rows(seat.committee, seat.point):
        out[row] ^= public
    return out


def known_to_set(seat: Seat, index: int, known: Words | None, count: int, words: int) -> Words:
    """Planes that the members of one set know, as a sharing; others pass None."""
    return bitshares.from_sets(seat, (count, words), [] if known is None else [(index, known)])


def summands(seat: Seat, bits: Words) -> Words:
    """(rows, ...) -> what this seat answers for (...) of shared bits."""
    rows = list(_duty(seat).rows)
    return np.asarray(np.bitwise_xor.reduce(bits[rows], axis=0))


def product(seat: Seat, x: Words, y: Words) -> Words:
    """What this seat answers for of x & y: (rows, ...) and (rows, ...) -> (...)."""
    out = np.zeros(x.shape[1:], dtype=np.uint64)
    for row, others in _duty(seat).pairs:
        factor = y[others[0]]
        for other in others[1:]:
            factor = factor ^ y[other]
        out ^= x[row] & factor
    return out


def _duty(seat: Seat) -> Duty:
    return seat.duty or own_duty(seat.committee, seat.point)


@dataclass(frozen=True)
class Gate(Round):
    """A bilinear form of shared bits with `width` output planes of `lanes` lanes."""

    lanes: int

    def portable(self) -> tuple[bool, ...]:
        """Shared bits are bound to the keys of this committee."""
        return (False,) * len(self.outputs)

    @abstractmethod
    def width(self) -> int:
        """Planes of the form."""

    @abstractmethod
    def form(self, seat: Seat, values: Values) -> Words:
        """Own summands (width, words), by `product`."""

    @abstractmethod
    def complete(self, seat: Seat, values: Values, form: Words) -> Values:
        """Outputs from the form's fresh sharing (rows, width, words) and linear terms."""

    def prepared(self, seat: Seat, step: int, values: Values) -> Values:
        """What `form` and `complete` get as values; a gate of random bits draws them here."""
        del seat, step
        return values

    def words(self, committee: Committee, step: int, point: int) -> int:
        """A bit a gate from each member of the quorum; in mode A a bit a piece."""
        del step
        return pieces.words(committee, point, self.width() * words_for(self.lanes))

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Open w + R; keep the sharing of R."""
        known = self.prepared(seat, step, values)
        size = self.width() * words_for(self.lanes)
        return pieces.publish(seat, step, size, lambda part: self.form(part, known), fresh=True)

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """Add the opened word to the mask's sharing."""
        shape = (self.width(), words_for(self.lanes))
        values = self.prepared(seat, step, values)
        opened = pieces.collect(seat, shape[0] * shape[1], payloads).reshape(shape)
        return self.complete(seat, values, xor_public(seat, kept.reshape(-1, *shape), opened))


def two_input_xor(*terms: Words) -> Words:
    """Xor of equally shaped registers."""
    return np.asarray(np.bitwise_xor.reduce(np.stack(terms), axis=0))
