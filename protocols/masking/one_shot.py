"""One-shot masked aggregation: a device sends one message and may leave; only the sum of keys is ever opened.

Source: design section 3 (lineage: LERNA, OPA, Willow, ACORN). With public a from the session's seed:

    device      c = floor((a s + e) / 2^d) + 2^g x  mod 2^k        s, check, weight dealt over AGG
    adders      C = sum c  mod 2^64                                no secret involved
    committee   S = sum s                                          over the certified roster, nothing else
    anybody     sum x = round((C - round((a S - n (2^d-1)/2) / 2^d)) / 2^g)

n (2^d-1)/2 is the mean of what the n floors cut off: without it a bias of n/2 would eat the margin.
C is the integer sum as long as k + log2 n <= 64, and its residue mod 2^64 otherwise (two slots, 2^20).

With s go two elements more: the site's weight and the check of its vector (checksum.py). Field addition
reduces them, so that the opened sums tell the sum of weights and what the sum of vectors implies, only.

What is noticed, and never decoded into noise (UnattributableFault):
  - A key sum with a coefficient beyond `Parameters.key_bound`: a missing, foreign or false share makes the
    opened elements uniform mod 2^61-1, their digits (`digits`) but for a few uniform on 2^15 or 2^20 values;
    a coefficient stays in bounds with probability below 0.61, all N with less than 2^-1400.
  - Residual noise beyond `Parameters.noise_bound`: any other wrong key in bounds, a wrong seed, a device in
    the sum but not among the keys or the reverse. Each coefficient of a (S' - S) is uniform on the multiples
    of 2^v mod q, 2^v the largest power of two that divides S' - S. As 2^v <= 2 key_bound < 2^(d+g), the
    coordinate is beyond the bound with probability 12 % or more, and 2048 of them pass with 2^-380.
  - A check that does not match: damage that moves a value by a multiple of 2^g, as a flipped high bit of a
    sent coordinate does, or a damaged weight. A flip below 2^g that stays within the bound is noise: the sum
    is exact all the same.

Privacy rests on the rules of design section 3: one key, one session, one revealed set (`MaskKey` refuses a
second vector), at least two honest contributors, and never a subset's sum under the same keys.

Symbols: a public element, s key, e noise, x value, n contributors, N degree, k sent, d dropped, g scale bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import field, gaussian, ring
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, UnattributableFault
from protocols.masking import digits, packing
from protocols.masking.checksum import Checksum
from protocols.masking.layout import SPAN_COORDINATES, Layout, Span
from protocols.masking.packing import Packed, Words
from protocols.masking.parameters import Parameters

Integers = npt.NDArray[np.int64]
Values = npt.NDArray[np.signedinteger]

MAX_WEIGHT = 1 << 40
"""2^20 of them stay below 2^60 < p."""


class MaskKey:
    """A device's secret s for one session: N Gaussian integers, used for one vector. Never shown.

    The object refuses a second vector. A node that restarts within a session must do the same and send the
    bytes it journalled: a key derived again from the same seed does not know that it was used.
    """

    __slots__ = ("_s", "_spent", "parameters")

    def __init__(self, parameters: Parameters, xof: Xof) -> None:
        self.parameters = parameters
        self._s = gaussian.sample(xof, parameters.degree)
        self._spent = False

    def __repr__(self) -> str:
        return f"MaskKey({self.parameters.name!r}, redacted)"

    def __reduce__(self) -> str:
        raise LocalMisuse("a mask key is not to be stored or copied", fix="derive it again from its seed")

    def as_field(self) -> Elements:
        """s as (key_elements,) elements of AGG, to be dealt."""
        return digits.fold(self._s.astype(np.int64), self.parameters)

    def spend(self) -> ring.Factor:
        """s prepared for products, once. LocalMisuse the second time: two vectors under one key leak."""
        if self._spent:
            raise LocalMisuse(
                "this mask key has already masked a vector", fix="draw a new key for each session"
            )
        self._spent = True
        return ring.factor(self._s, self.parameters.limb_bits)


def public_blocks(parameters: Parameters, seed: bytes, span: int, blocks: int) -> ring.Limbs:
    """The first `blocks` ring elements a of a span, as uniform limbs (l, blocks, N) int32.

    Each limb has a stream of its own, so that a short last span draws no more than it needs.
    """
    if not 1 <= blocks <= SPAN_COORDINATES // parameters.degree:
        raise LocalMisuse(f"a span of {SPAN_COORDINATES} coordinates has no {blocks} blocks")
    shape = (parameters.limbs, blocks, parameters.degree)
    result = np.empty(shape, dtype=np.int32)
    for limb in range(parameters.limbs):
        stream = Xof(seed, "mask-public", span.to_bytes(8, "big"), limb.to_bytes(1, "big"))
        words = np.frombuffer(stream.read(4 * blocks * parameters.degree), dtype="<i4")
        np.right_shift(words.reshape(shape[1:]), np.int32(32 - parameters.limb_bits), out=result[limb])
    return result


def mask(layout: Layout, seed: bytes, key: MaskKey, values: Values, noise: Xof) -> Packed:
    """The whole message of a device: the pieces of `mask_spans` one after the other."""
    message = np.empty(layout.packed_bytes, dtype=np.uint8)
    start = 0
    for piece in mask_spans(layout, seed, key, values, noise):
        message[start : start + piece.size] = piece
        start += piece.size
    return message


def mask_spans(layout: Layout, seed: bytes, key: MaskKey, values: Values, noise: Xof) -> Iterator[Packed]:
    """Yield the packed pieces of a masked vector, `layout.span_bytes(i)` bytes each.

    `values`: (length,) signed integers (or a memory-mapped file of them) in [-2^(b-1), 2^(b-1)); `noise`: a
    stream used for nothing else. Raises LocalMisuse for a wrong length or type, or a value out of range (its
    position is named, not the value), or a key that was used.
    """
    if values.shape != (layout.length,) or values.dtype.kind != "i":
        raise LocalMisuse(
            f"expected {layout.length} signed integers, not {values.shape} of {values.dtype}",
            fix="quantise real numbers first",
        )
    if key.parameters is not layout.parameters:
        raise LocalMisuse(f"the key is for {key.parameters.name}, the vector for {layout.parameters.name}")
    return _masked(layout, seed, key.spend(), values, noise)


def _masked(layout: Layout, seed: bytes, key: ring.Factor, values: Values, noise: Xof) -> Iterator[Packed]:
    for index in range(layout.spans):
        span = layout.span(index)
        part = values[span.first : span.first + span.values]
        _check_range(part, span, layout.parameters)
        coordinates = _encode(part, span, layout.parameters)
        coordinates += _mask(layout.parameters, seed, key, span, noise)
        yield packing.pack(coordinates, layout.parameters.sent_bits)


def dealing(layout: Layout, seed: bytes, key: MaskKey, values: Values, weight: int = 1) -> Elements:
    """What the device deals to the committee, (dealt_length,): its key, the check of `values`, its weight.

    The values are those given to `mask`. Raises LocalMisuse for a weight outside 0 to 2^40.
    """
    if not 0 <= weight <= MAX_WEIGHT:
        raise LocalMisuse("a weight is between 0 and 2^40")
    checksum = Checksum(seed)
    for index in range(layout.spans):
        span = layout.span(index)
        part = values[span.first : span.first + span.values]
        checksum.add(index, part, layout.parameters.value_bits - 1)
    return np.concatenate([key.as_field(), checksum.value(weight), field.as_elements([weight])])


def _check_range(part: Values, span: Span, parameters: Parameters) -> None:
    limit = 1 << (parameters.value_bits - 1)
    if part.size and not (-limit <= int(part.min()) and int(part.max()) < limit):
        first = span.first + int(np.flatnonzero((part < -limit) | (part >= limit))[0])
        raise LocalMisuse(
            f"value {first} does not fit {parameters.value_bits} bits",
            fix="clip or quantise the vector first",
        )


def _encode(part: Values, span: Span, parameters: Parameters) -> Words:
    """2^g (x_0 + 2^w x_1) for each coordinate of the span, as words mod 2^64."""
    slots = np.zeros(span.coordinates * parameters.slots, dtype=np.int64)
    slots[: part.size] = part
    slots <<= np.int64(parameters.scale_bits)
    if parameters.slots == 2:
        slots = slots[0::2] + (slots[1::2] << np.int64(parameters.slot_bits))
    return slots.view(np.uint64)


def _mask(parameters: Parameters, seed: bytes, key: ring.Factor, span: Span, noise: Xof) -> Words:
    """floor((a s + e) / 2^d) for the coordinates of a span."""
    blocks = -(-span.coordinates // parameters.degree)
    public = public_blocks(parameters, seed, span.index, blocks)
    e = gaussian.sample(noise, blocks * parameters.degree).reshape(blocks, parameters.degree)
    masks = ring.product_high(public, key, parameters.dropped_bits, e)
    return masks.reshape(-1)[: span.coordinates]


def empty_total(layout: Layout, index: int) -> Words:
    """Running sum of one span, zero: (coordinates,) uint64."""
    return np.zeros(layout.span(index).coordinates, dtype=np.uint64)


def add_packed(layout: Layout, total: Words, packed: Packed) -> None:
    """Add one child's packed span, or another adder's packed sum, to a running sum in place.

    Raises MalformedMessage for a wrong number of bytes; `total` is then unchanged.
    """
    packing.unpack_add(total, packed, layout.parameters.sent_bits)


def span_sum(layout: Layout, index: int) -> packing.Sum:
    """What adds many children's packed spans in fewer operations than `add_packed`."""
    return packing.Sum(layout.span(index).coordinates, layout.parameters.sent_bits)


def pack_total(layout: Layout, total: Words) -> Packed:
    """A running sum mod 2^k in the form of a single device's message, for the next adder up the tree."""
    return packing.pack(total, layout.parameters.sent_bits)


@dataclass(frozen=True, slots=True)
class Opened:
    """What the committee opened: the sum of all dealings over the certified roster."""

    key: Integers
    check: int
    weight: int


def parse_opened(parameters: Parameters, opened: Elements, contributors: int) -> Opened:
    """The opened sum of dealings, (dealt_length,) field elements, taken apart.

    Raises UnattributableFault if it cannot be the sum of that many keys, LocalMisuse for a wrong size or more
    contributors than the set allows.
    """
    if opened.shape != (parameters.dealt_length,):
        raise LocalMisuse(f"a sum of dealings has {parameters.dealt_length} elements, not {opened.shape}")
    if not 1 <= contributors <= parameters.devices:
        raise LocalMisuse(f"{contributors} contributors; {parameters.name} holds 1 to {parameters.devices}")
    key = digits.unfold(opened[: parameters.key_elements], parameters)
    beyond = int(np.count_nonzero(np.abs(key) > parameters.key_bound(contributors)))
    if beyond:
        raise UnattributableFault(
            f"the opened value is not a sum of {contributors} mask keys: {beyond} of {key.size} "
            "coefficients are out of bounds, so a key share is missing or false"
        )
    return Opened(key, int(opened[-2]), int(opened[-1]))


class Unmasker:
    """Turns summed spans into sums of values, in order, and vouches for them in `finish`."""

    __slots__ = ("_checksum", "_contributors", "_factor", "_layout", "_next", "_opened", "_seed")

    def __init__(self, layout: Layout, seed: bytes, opened: Elements, contributors: int) -> None:
        self._layout = layout
        self._seed = seed
        self._contributors = contributors
        self._opened = parse_opened(layout.parameters, opened, contributors)
        self._factor = ring.factor(self._opened.key, layout.parameters.limb_bits)
        self._checksum = Checksum(seed)
        self._next = 0

    def span(self, total: Words) -> Integers:
        """Exact sums of the next span's values, (values,) int64; not vouched for before `finish` returned.

        Raises UnattributableFault when noise exceeds what honest noise can be.
        """
        parameters = self._layout.parameters
        span = self._layout.span(self._next)
        if total.shape != (span.coordinates,):
            raise LocalMisuse(f"span {span.index} has {span.coordinates} coordinates, not {total.shape}")
        sums = _slots(self._decode(total, span), parameters)
        if np.any(sums[span.values :]):
            raise UnattributableFault(
                f"part {span.index} has a value after its end: a masked vector was damaged"
            )
        sums = sums[: span.values]
        self._checksum.add(span.index, sums, parameters.slot_bits - 1)
        self._next += 1
        return sums

    def _decode(self, total: Words, span: Span) -> Integers:
        """round((C - A) / 2^g) as signed numbers of k - g bits; the remainder is the noise."""
        parameters = self._layout.parameters
        dropped = parameters.dropped_bits
        blocks = -(-span.coordinates // parameters.degree)
        public = public_blocks(parameters, self._seed, span.index, blocks)
        cut_off = self._contributors * ((1 << dropped) - 1) // 2
        centre = (1 << dropped >> 1) - cut_off
        mask = ring.product_high(public, self._factor, dropped, centre).reshape(-1)[: span.coordinates]
        shifted = total - mask
        shifted += np.uint64(parameters.decoding_bound)
        noise = (shifted & np.uint64((1 << parameters.scale_bits) - 1)).view(np.int64)
        noise -= np.int64(parameters.decoding_bound)
        self._check_noise(noise, span.index)
        shifted <<= np.uint64(64 - parameters.sent_bits)
        return shifted.view(np.int64) >> np.int64(64 - parameters.sent_bits + parameters.scale_bits)

    def _check_noise(self, noise: Integers, index: int) -> None:
        bound = self._layout.parameters.noise_bound(self._contributors)
        largest = max(int(noise.max()), -int(noise.min()))
        if largest > bound:
            raise UnattributableFault(
                f"part {index} does not decode: noise of {largest} where {self._contributors} contributions "
                f"make at most {bound}; the keys are not those of the vectors in the sum"
            )

    def finish(self) -> int:
        """Compare the checks and return the sum of weights.

        Raises UnattributableFault if a sum was damaged, LocalMisuse if parts are missing.
        """
        if self._next != self._layout.spans:
            raise LocalMisuse(f"{self._next} of {self._layout.spans} parts were unmasked")
        weight = self._opened.weight
        if int(self._checksum.value(weight)[0]) != self._opened.check:
            raise UnattributableFault(
                "the check of the sum does not match: a masked vector or weight was damaged"
            )
        return weight


def _slots(coordinates: Integers, parameters: Parameters) -> Integers:
    """Sums of values in order. A coordinate is known mod 2^(2w), so that the high slot, too, is a centred
    residue: both slots at their least add up to less than -2^(2w-1)."""
    if parameters.slots == 1:
        return coordinates
    width = parameters.slot_bits
    result = np.empty(2 * coordinates.size, dtype=np.int64)
    result[0::2] = (coordinates << np.int64(64 - width)) >> np.int64(64 - width)
    result[1::2] = ((coordinates - result[0::2]) << np.int64(64 - 2 * width)) >> np.int64(64 - width)
    return result


def unmask(
    layout: Layout, seed: bytes, total: Words, opened: Elements, contributors: int
) -> tuple[Integers, int]:
    """Exact sums of all values, (length,) int64, and of the weights.

    `total`: (coordinates,) uint64 running sum; `opened`: (dealt_length,) sum of dealings. Raises as
    `parse_opened`, `Unmasker.span` and `Unmasker.finish`.
    """
    if total.shape != (layout.coordinates,):
        raise LocalMisuse(f"the sum has {total.shape} coordinates where the layout has {layout.coordinates}")
    unmasker = Unmasker(layout, seed, opened, contributors)
    result = np.empty(layout.length, dtype=np.int64)
    for index in range(layout.spans):
        span = layout.span(index)
        start = index * SPAN_COORDINATES
        result[span.first : span.first + span.values] = unmasker.span(total[start : start + span.coordinates])
    return result, unmasker.finish()
