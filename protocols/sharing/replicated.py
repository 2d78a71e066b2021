"""Replicated ("CNF") sharings of integers and of bits, and what they convert to without a message.

A replicated sharing of x is one summand x_A for each set A of n-t parties, known to the members of A
(`prss`). Over the integers and mod M the summands add up, over Z_2 they are xor-ed. Two uses:

Masks. Each set draws an integer x_A below 2^bits; r = sum_A x_A is below |sets| 2^bits. Opening
v + r hides |v| < 2^m up to a statistical distance of 2^(m - bits) an element, because the summand of
the set without corrupted members is added to it. The masks are handed out
  - as Shamir shares of r, or of sum_A floor(x_A / 2^s), by `to_shamir`,
  - as additive shares of r (each set's summand goes to one member that takes part), `additive`,
  - as bits: the low bits of x_A are bits known to A, hence a trivial replicated sharing over Z_2.

Additive zero sharings. Parties i < j of a quorum draw z_ij together; i adds it, j takes it away. Any
two honest parties share a stream the corrupted ones do not have, so the honest parties' summands are
uniform but for their sum. Adding one to additive shares makes an opening show the sum and nothing else;
it needs exactly the quorum to answer.

Symbols: A a set of n-t points, x_A its summand, r a mask, D and weights as in `prss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field, rns
from protocols.arithmetic.rns import Residues
from protocols.errors import LocalMisuse
from protocols.sharing.prss import KeySets, SetKeys, raw_elements

Words = npt.NDArray[np.uint64]
LOW_BITS = 62
"""Bits in the first of the two words that hold a mask."""


@dataclass(frozen=True, slots=True, repr=False)
class Masks:
    """Integers below 2^bits of every held set: words (held, 1 or 2, count), low 62 bits first."""

    bits: int
    words: Words

    @property
    def count(self) -> int:
        """How many masks."""
        return int(self.words.shape[2])

    def cut(self, part: slice) -> Masks:
        """Some of the masks, a view."""
        return Masks(self.bits, self.words[:, :, part])


_M31 = np.uint64((1 << 31) - 1)
_M61 = np.uint64((1 << 61) - 1)
_61 = np.uint64(61)


def owner(sets: KeySets, index: int, quorum: Sequence[int]) -> int:
    """The member of the quorum that answers for a set's summand; spread over the quorum.

    Raises LocalMisuse when no member takes part, which needs a quorum of at most t.
    """
    present = [point for point in sets.sets[index] if point in quorum]
    if not present:
        raise LocalMisuse(f"a quorum of {len(quorum)} misses a key set", fix="take at least t+1 members")
    return present[index % len(present)]


class MaskStream:
    """The integers below 2^bits that the held sets draw, in pieces; no cut changes what is drawn.

    Raises LocalMisuse when the sum of all sets could reach M/2.
    """

    __slots__ = ("_keys", "_streams", "bits")

    def __init__(self, keys: SetKeys, bits: int, *context: bytes) -> None:
        if not 1 <= bits <= 120 - len(keys.sets.sets).bit_length():
            raise LocalMisuse(
                f"a mask of {bits} bits does not fit the modulus", fix="declare narrower ranges"
            )
        self._keys = keys
        self.bits = bits
        words = 1 if bits <= LOW_BITS else 2
        self._streams = [
            [keys.stream(index, f"coppice/replicated/mask/{word}/1", *context) for word in range(words)]
            for index in keys.held
        ]

    def __repr__(self) -> str:
        return f"MaskStream(bits={self.bits}, …)"

    def draw(self, count: int) -> Masks:
        """The next `count` integers of each held set."""
        out = np.empty((len(self._streams), len(self._streams[0]), count), dtype=np.uint64)
        for row in range(len(self._streams)):
            for word, drawn in enumerate(self._row(row, count)):
                out[row, word] = drawn
        return Masks(self.bits, out)

    def _row(self, row: int, count: int) -> list[Words]:
        """One set's next integers: low 62 bits, and the bits above if there are any."""
        words = []
        for word, xof in enumerate(self._streams[row]):
            bits = min(self.bits - LOW_BITS * word, LOW_BITS)
            size = 4 if bits <= 32 and word else 8  # a short high part takes half a word
            drawn = np.frombuffer(xof.read(size * count), dtype=f"<u{size}")
            words.append(np.bitwise_and(drawn, np.uint64((1 << bits) - 1), dtype=np.uint64))
        return words

    def shared(self, count: int, shift: int, quorum: Sequence[int]) -> tuple[Residues, Residues]:
        """(`to_shamir` by shift, `additive` among the quorum) of the next integers, set by set."""
        keys = self._keys
        denominator, weights = keys.sets.scaled_weights(keys.point)
        if not _small(weights, self.bits):
            masks = self.draw(count)
            return to_shamir(keys, masks, shift), additive(keys, masks, quorum)
        total, mine = _IntegerSum(count, shift), _IntegerSum(count, 0)
        for row, (index, weight) in enumerate(zip(keys.held, weights, strict=True)):
            words = self._row(row, count)
            total.add(words, weight)
            if owner(keys.sets, index, quorum) == keys.point:
                mine.add(words, np.int64(1))
        return rns.scale(total.residues(), Fraction(1, denominator)), mine.residues()


def _small(weights: npt.NDArray[np.int64], bits: int) -> bool:
    """Whether weighted sums of limbs stay below 2^60."""
    return int(np.abs(weights).sum()) << max(31, bits - LOW_BITS) < 1 << 60


class _IntegerSum:
    """sum_A w_A floor(x_A / 2^shift): limbs at 2^0, 2^31 and 2^(62-shift) in int64, reduced at the end."""

    __slots__ = ("_shift", "_sums")

    def __init__(self, count: int, shift: int) -> None:
        self._shift = shift
        self._sums = np.zeros((3, count), dtype=np.int64)

    def add(self, words: Sequence[Words] | Words, weight: np.int64) -> None:
        """Add one set's integers, low word first."""
        low = words[0] >> np.uint64(self._shift)
        self._sums[0] += (low & _M31).view(np.int64) * weight
        self._sums[1] += (low >> np.uint64(31)).view(np.int64) * weight
        if len(words) > 1:
            self._sums[2] += words[1].view(np.int64) * weight

    def residues(self) -> Residues:
        """The sum mod M."""
        moduli = np.array(rns.MODULI, dtype=np.int64)[:, None, None]
        limbs = (self._sums[None] + moduli).view(np.uint64)  # congruent and in [0, 2^62)
        result = rns.fold(np.ascontiguousarray(limbs[:, 2]))
        if self._shift <= 31:
            result = rns.fold(rns.shift_left(result, 31 - self._shift) + limbs[:, 1])
            return rns.fold(rns.shift_left(result, 31) + limbs[:, 0])
        # what is left of the low word is one limb
        return rns.fold(rns.shift_left(result, LOW_BITS - self._shift) + limbs[:, 0])


def to_shamir(keys: SetKeys, masks: Masks, shift: int = 0) -> Residues:
    """Degree-t share (2, count) of sum_A floor(x_A / 2^shift), 0 <= shift <= 60."""
    denominator, weights = keys.sets.scaled_weights(keys.point)
    if not _small(weights, masks.bits):
        return _to_shamir_wide(keys, masks.words, shift)
    out = np.empty((2, masks.count), dtype=np.uint64)
    for start in range(0, masks.count, rns.BLOCK):
        cut = slice(start, min(start + rns.BLOCK, masks.count))
        total = _IntegerSum(cut.stop - cut.start, shift)
        for row, weight in enumerate(weights):
            total.add(masks.words[row, :, cut], weight)
        out[:, cut] = rns.scale(total.residues(), Fraction(1, denominator))
    return out


def _to_shamir_wide(keys: SetKeys, masks: Words, shift: int) -> Residues:
    """As `to_shamir` with full products, for the large weights of large committees."""
    result = np.zeros((2, masks.shape[2]), dtype=np.uint64)
    for row, index in enumerate(keys.held):
        weight = keys.sets.weight(index, keys.point)
        low = masks[row, 0] >> np.uint64(shift)
        value = rns.fold(np.stack([low, low]))
        if masks.shape[1] > 1:
            high = rns.fold(np.stack([masks[row, 1]] * 2))
            value = rns.add(value, rns.scale(high, 1 << (LOW_BITS - shift)))
        result = rns.add(result, rns.scale(value, weight))
    return result


def additive(keys: SetKeys, masks: Masks, quorum: Sequence[int]) -> Residues:
    """Additive share (2, count) of sum_A x_A among the quorum."""
    sums = np.zeros((2, masks.words.shape[1], masks.count), dtype=np.uint64)
    for row, index in enumerate(keys.held):
        if owner(keys.sets, index, quorum) == keys.point:
            sums = rns.fold(sums + masks.words[row])
    if masks.words.shape[1] == 1:
        return np.ascontiguousarray(sums[:, 0])
    return rns.add(sums[:, 0], rns.shift_left(rns.shift_left(sums[:, 1], 31), 31))


class FieldStream:
    """The residues that the held sets draw, uniform mod M, in pieces; masks that hide perfectly."""

    __slots__ = ("_keys", "_streams")

    def __init__(self, keys: SetKeys, *context: bytes) -> None:
        self._keys = keys
        self._streams = [keys.stream(i, "coppice/replicated/field/1", *context) for i in keys.held]

    def __repr__(self) -> str:
        return "FieldStream(…)"

    def draw(self, count: int, quorum: Sequence[int]) -> tuple[Residues, Residues]:
        """(degree-t share, additive share among the quorum) of the next `count` numbers, (2, count) each.

        The number shared is sum_A D_A x_A (`KeySets.own_weights`).
        """
        keys = self._keys
        scales, weights = keys.sets.own_weights(keys.point)
        share, mine = WeightedSum(count, weights), np.zeros((2, count), dtype=np.uint64)
        for index, whole, weight, xof in zip(keys.held, scales, weights, self._streams, strict=True):
            drawn = raw_elements(xof, count)
            share.add(drawn, weight)
            if owner(keys.sets, index, quorum) == keys.point:
                mine = rns.add(mine, rns.scale(drawn, whole))
        return share.residues(), mine


class WeightedSum:
    """sum of w_i x_i for words below 2^61 that come one after the other, (2, count), and small integers."""

    __slots__ = ("_direct", "_sums")

    def __init__(self, count: int, weights: Sequence[int]) -> None:
        signs = sum(w for w in weights if w > 0), -sum(w for w in weights if w < 0)
        self._direct = max(signs) <= 7  # seven words below 2^61 fill 64 bits
        if not self._direct and sum(signs) >= 1 << 29:
            raise LocalMisuse("the weights of a sum are too large", fix="take a smaller committee")
        self._sums = np.zeros((2, 2, count), dtype=np.uint64)

    def add(self, words: Residues, weight: int) -> None:
        """Add w x."""
        if self._direct:
            self._sums[int(weight < 0)] += words if abs(weight) == 1 else words * np.uint64(abs(weight))
            return
        limbs = self._sums.view(np.int64)
        limbs[0] += (words & _M31).view(np.int64) * weight
        limbs[1] += (words >> np.uint64(31)).view(np.int64) * weight

    def residues(self) -> Residues:
        """The sum mod M."""
        if self._direct:
            return rns.sub(rns.fold(self._sums[0]), rns.fold(self._sums[1]))
        positive = self._sums + np.array(rns.MODULI, dtype=np.uint64)[:, None]
        return rns.fold(rns.shift_left(rns.fold(positive[1]), 31) + positive[0])


class ZeroShares:
    """Degree-2t sharings of zero that are uniform otherwise (`prss.zero_shares`), in pieces.

    Share of i: D sum_A f_A(i) (i x_A1 + ... + i^t x_At). Honest shares are uniform among those that lie on a
    polynomial of degree 2t through zero and through what the corrupted members know.
    """

    __slots__ = ("_streams", "_weights")

    def __init__(self, keys: SetKeys, *context: bytes) -> None:
        _, weights = keys.sets.scaled_weights(keys.point)
        powers = range(1, keys.sets.t + 1)
        self._weights = [int(weight) * keys.point**power for weight in weights for power in powers]
        self._streams = [
            keys.stream(index, f"coppice/replicated/zero-shares/{power}/1", *context)
            for index in keys.held
            for power in powers
        ]

    def __repr__(self) -> str:
        return "ZeroShares(…)"

    def residues(self, count: int) -> Residues:
        """Shares mod M, (2, count)."""
        return rns.weighted([raw_elements(stream, count) for stream in self._streams], self._weights)

    def elements(self, count: int) -> Words:
        """Shares mod p alone, (count,)."""
        total = np.zeros(count, dtype=np.uint64)
        for stream, weight in zip(self._streams, self._weights, strict=True):
            drawn = field.as_elements(np.frombuffer(stream.read(8 * count), dtype="<u8") & _M61)
            total = field.add(total, field.mul(drawn, rns.constants(weight)[:1]))
        return total


class ZeroStream:
    """An additive sharing of zero among a quorum, drawn piece by piece."""

    __slots__ = ("_quorum", "_streams")

    def __init__(self, keys: SetKeys, quorum: Sequence[int], *context: bytes) -> None:
        named = (*context, bytes(quorum))
        self._quorum = len(quorum)
        self._streams = [
            (keys.point < other, keys.pair_stream(other, "coppice/replicated/zero/1", *named))
            for other in quorum
            if other != keys.point
        ]

    def __repr__(self) -> str:
        return f"ZeroStream(of {self._quorum}, …)"

    def residues(self, count: int) -> Residues:
        """Summands mod M, (2, count)."""
        sums = np.zeros((2, 2, count), dtype=np.uint64)
        for done, (plus, stream) in enumerate(self._streams):
            sums[int(plus)] += raw_elements(stream, count)
            if done % 6 == 5:  # seven words below 2^61 fill 64 bits
                sums = np.stack([rns.fold(sums[0]), rns.fold(sums[1])])
        return rns.sub(rns.fold(sums[1]), rns.fold(sums[0]))

    def elements(self, count: int) -> Words:
        """Summands mod p alone, (count,)."""
        sums = np.zeros((2, count), dtype=np.uint64)
        for done, (plus, stream) in enumerate(self._streams):
            sums[int(plus)] += np.frombuffer(stream.read(8 * count), dtype="<u8") & _M61
            if done % 6 == 5:
                sums = (sums & _M61) + (sums >> _61)
        return field.sub(field.as_elements(sums[1]), field.as_elements(sums[0]))

    def words(self, count: int) -> Words:
        """Summands over Z_2, 64 to a word, (count,)."""
        result = np.zeros(count, dtype=np.uint64)
        for _, stream in self._streams:
            result ^= np.frombuffer(stream.read(8 * count), dtype="<u8")
        return result
