"""From a shared number to the shared bits of its sign: a masked opening with few mask terms.

Any t corrupted members touch at most t of t+1 disjoint blocks of members. So r = r_1 + ... + r_t + r_B,
each r_j drawn by one member ("single") alone and r_B by the set B of all others (n-t members, a key
set), hides x once it is opened as c = x + 2^k + r, |x| < 2^k, each term below 2^(k+1+KAPPA): the term of
a block without corrupted members is uniform and KAPPA bits longer than x. Then
x + 2^k = (c - r_B) + (-r_1) + ... + (-r_t) mod 2^(k+1), and x < 0 iff plane k of this sum is 0.
  - c - r_B mod 2^(k+1) is known to B: a sharing of its bits without a message (`bitshares`);
  - -r_j mod 2^(k+1) does not depend on c: its single shares the bits in the round of the opening, as
    e_j = bits + sum over sets A of its own of R_A. A* is among them when j is honest, so e_j is uniform.
With t = 1 there are two terms, given as monomials of groups (`carry`): a comparison of 40 bits takes 4
rounds. With larger t carry-save layers come first. In mode A all key sets draw terms (`SetTerms`).

Shared bit to field: e = b + rho is opened, rho from `randombit` or `dealtbit`, in the round of the
last gate, because the opening needs no more than members' summands of that gate. [b] = rho or 1 - rho,
as e says.

Symbols: k magnitude bits, x secret, c opened, r mask, r_j its terms, B block, b result, rho random bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arithmetic import rns
from protocols.arithmetic.xof import Xof
from protocols.engine import bitshares, pieces
from protocols.engine.binary import known_to_set, planes, product, summands, unpack, words_for, xor_public
from protocols.engine.carry import grouped, layout_planes
from protocols.engine.checked import opened_residues
from protocols.engine.committee import KAPPA, Committee, Seat, lagrange
from protocols.engine.opening import added, canonical
from protocols.engine.program import Round, Values, Words
from protocols.errors import LocalMisuse
from protocols.sharing import replicated
from protocols.sharing.replicated import LOW_BITS

WIDEST_COMPARISON = LOW_BITS - 2
"""Most magnitude bits k: the sum's k+1 bits are taken from one word."""


@dataclass(frozen=True)
class Terms(Round):
    """Opens x + 2^k + r; outputs t dealt terms and the block's, bits in the layout of (planes - 1, w).

    With fewer planes than k + 1 the terms add up to the low planes of x + 2^k.
    """

    count: int
    k: int
    w: int
    planes: int

    def __post_init__(self) -> None:
        if not 1 <= self.k <= WIDEST_COMPARISON:
            raise LocalMisuse(
                f"a comparison of {self.k} bits is too wide",
                fix=f"truncate to {WIDEST_COMPARISON} bits first",
            )

    def portable(self) -> tuple[bool, ...]:
        """Shared bits are bound to the keys of this committee."""
        return (False,) * len(self.outputs)

    def roles(self, committee: Committee, step: int) -> tuple[tuple[int, ...], int, int]:
        """(singles, index of the block's key set, the block's member that sends)."""
        order = committee.rotated(step)
        singles = tuple(sorted(order[: committee.t]))
        block = tuple(point for point in range(1, committee.n + 1) if point not in singles)
        return singles, committee.sets.sets.index(block), order[committee.t]

    def layout_words(self) -> int:
        """Words of one set's summand of a term."""
        return layout_planes(self.planes - 1, self.w) * words_for(self.count)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """Two words an element from t+1 members, and from the singles the bits of their terms."""
        singles, _, speaker = self.roles(committee, step)
        if point in singles:
            return 2 * self.count + self.layout_words()
        return 2 * self.count if point == speaker else 0

    def canonical(self, payload: Words) -> bool:
        """The leading residues are reduced; bits are always fine."""
        return canonical(payload[: 2 * self.count])

    def _draw(self, stream: Xof) -> tuple[rns.Residues, Words]:
        """A term below 2^(k+1+KAPPA): its residues and its low word."""
        bits = self.k + 1 + KAPPA
        drawn = np.frombuffer(stream.read(16 * self.count), dtype="<u8").reshape(2, self.count)
        low = drawn[0] & np.uint64((1 << min(bits, LOW_BITS)) - 1)
        residues = rns.fold(np.stack([low, low]))
        if bits > LOW_BITS:
            high = drawn[1] & np.uint64((1 << (bits - LOW_BITS)) - 1)
            lifted = rns.shift_left(rns.shift_left(rns.fold(np.stack([high, high])), 31), 31)
            residues = rns.add(residues, lifted)
        return residues, low

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send the summand of c and, as a single, the masked bits of -r_j; keep the low word of r_B."""
        singles, index, speaker = self.roles(seat.committee, step)
        block_low = None
        term: rns.Residues | None = None
        dealt = np.zeros(0, dtype=np.uint64)
        if index in seat.keys.held:
            term, block_low = self._draw(seat.set_stream(index, step, "block"))
        if seat.point in singles:
            term, low = self._draw(seat.private_stream(step, "single"))
            bits = grouped(planes(np.uint64(0) - low, self.planes), self.w)
            dealt = bits.ravel() ^ self._mask(seat, step)
        if seat.point not in (*singles, speaker):
            return np.zeros(0, dtype=np.uint64), block_low
        assert term is not None
        senders = tuple(sorted((*singles, speaker)))
        value = rns.scale(values[0].reshape(2, -1), lagrange(senders, seat.point))
        zeros = seat.zeros(step, senders).residues(self.count)
        return np.concatenate([rns.add(rns.add(value, term), zeros).ravel(), dealt]), block_low

    def _fresh(self, seat: Seat, step: int, dealer: int) -> Words:
        """The sharing of R = sum of the R_A of the sets that have the dealer in them."""
        shape = (layout_planes(self.planes - 1, self.w), words_for(self.count))
        sets = seat.committee.sets.sets
        among = [index for index in seat.keys.held if dealer in sets[index]]
        return bitshares.drawn(seat, shape, step, f"dealt by {dealer}", among)

    def _mask(self, seat: Seat, step: int) -> Words:
        """The R under which this seat deals: it is in every set that draws for it."""
        size = self.layout_words()
        mask = np.zeros(size, dtype=np.uint64)
        for index in seat.keys.held:
            stream = seat.set_stream(index, step, f"dealt by {seat.point}")
            mask ^= np.frombuffer(stream.read(8 * size), dtype="<u8")
        return mask

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """Each single's term from its e_j, the block's from c."""
        del values
        singles, index, _ = self.roles(seat.committee, step)
        shape = (layout_planes(self.planes - 1, self.w), words_for(self.count))
        terms = []
        for single in singles:
            masked = payloads[single][2 * self.count :].reshape(shape)
            terms.append(xor_public(seat, self._fresh(seat, step, single), masked))
        known = None
        if kept is not None:
            opened = added({p: m[: 2 * self.count] for p, m in payloads.items()}, slice(None))
            _, low = rns.to_limbs(rns.add(opened, rns.constants(1 << self.k)[:, None]))
            known = grouped(planes(low - kept, self.planes), self.w)
        terms.append(known_to_set(seat, index, known, *shape))
        return tuple(terms)


@dataclass(frozen=True)
class SetTerms(Round):
    """Mode A: opens x + 2^k + r as checked shares, r = sum_A x_A; outputs a term for each key set.

    x + 2^k = (c - x_A0) + (-x_A1) + ... mod 2^planes, and each term is known to the members of its set.
    No member could deal a term of its own without a proof, so there are more terms than in mode P.
    """

    count: int
    k: int
    planes: int

    def portable(self) -> tuple[bool, ...]:
        """Shared bits are bound to the keys of this committee."""
        return (False,) * len(self.outputs)

    def layout_words(self) -> int:
        """Words of one set's summand of a term."""
        return layout_planes(self.planes - 1, 1) * words_for(self.count)

    def words(self, committee: Committee, step: int, point: int) -> int:
        """Two words an element from each member."""
        return 2 * self.count if point in committee.linear_senders(step) else 0

    def canonical(self, payload: Words) -> bool:
        """Residues only."""
        return canonical(payload)

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """Send x_i + [r]_i; keep the low words of the x_A."""
        masks = seat.masks(step, self.k + 1 + KAPPA).draw(self.count)
        low = np.array(masks.words[:, 0])
        if seat.point not in seat.committee.quorum:
            return np.zeros(0, dtype=np.uint64), low
        hidden = replicated.to_shamir(seat.keys, masks)
        return rns.add(values[0].reshape(2, -1), hidden).ravel(), low

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """Bits of c - x_A0 and of -x_A."""
        del step, values
        shape = (layout_planes(self.planes - 1, 1), words_for(self.count))
        c = opened_residues(seat.committee, seat.committee.t, payloads, slice(None))
        _, low = rns.to_limbs(rns.add(c, rns.constants(1 << self.k)[:, None]))
        terms = []
        for index in range(len(seat.committee.sets.sets)):
            known = None
            if index in seat.keys.held:
                mine = kept[seat.keys.held.index(index)]
                summand = low - mine if index == 0 else np.uint64(0) - mine
                known = grouped(planes(summand, self.planes), 1)
            terms.append(known_to_set(seat, index, known, *shape))
        return tuple(terms)


@dataclass(frozen=True)
class OpenSign(Round):
    """(G, P of two groups; a, b; rho's bits) -> e = (x < 0) + rho as public booleans (count,)."""

    count: int

    def words(self, committee: Committee, step: int, point: int) -> int:
        """A bit an element from each member of the quorum; in mode A a bit a piece."""
        del step
        return pieces.words(committee, point, words_for(self.count))

    def begin(self, seat: Seat, step: int, values: Values) -> tuple[Words, Any]:
        """1 + a_k + b_k + G1 + P1 G0 + rho."""
        gp, a, b, rho = values
        linear = gp[:, 1] ^ a[:, -1] ^ b[:, -1] ^ rho[:, 0]
        linear = xor_public(seat, linear, np.uint64((1 << 64) - 1))

        def form(part: Seat) -> Words:
            return np.asarray(summands(part, linear) ^ product(part, gp[:, 2], gp[:, 0]))

        return pieces.publish(seat, step, words_for(self.count), form, fresh=False)

    def finish(
        self, seat: Seat, step: int, values: Values, kept: Any, payloads: Mapping[int, Words]
    ) -> Values:
        """All lanes, public."""
        del step, values, kept
        return (unpack(pieces.collect(seat, words_for(self.count), payloads), self.count),)
