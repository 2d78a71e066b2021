"""Coordinates of k bits as dense bytes, and adding such bytes to running sums.

Decides the wire form: k is written as a sum of powers of two (34 = 32 + 2, 60 = 32 + 16 + 8 + 4, low bits
first) and each power is a plane. Planes of 8 bits and more are little-endian words, one a coordinate.
In a plane of 4, 2 or 1 bits a byte holds coordinates j, j + m w/8, j + 2 m w/8 ... from its low bits up, so
that packing shifts whole stretches of the array. m is a multiple of 8, hence m k / 8 bytes, no padding.

k = 60, which long vectors use, has a form that adds faster: 16 coordinates in 15 words of 64 bits. Of each
16 h coordinates the first 15 h are the low 60 bits of a word; bits 4 j to 4 j + 3 of the last h of them
stand on top of words j h to (j + 1) h. Sums mod 2^60 need no mask: sum W has them in its low bits, and the
rest is sum (W >> 60). That is three passes over the packed words (measured: 0.5 ms for a million values in
two slots, where planes take 1.6). What does not fill 16 coordinates follows in planes.

Invariant: unpack(pack(x)) = x mod 2^k, and every byte string of the right length is a legal packing.

Symbols: k bits of a coordinate, m coordinates, w bits of a plane, h a sixteenth of the coordinates, W words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import scratch
from protocols.errors import LocalMisuse, MalformedMessage

Words = npt.NDArray[np.uint64]
Packed = npt.NDArray[np.uint8]

_TOPPED = 60
_WORD_TYPES: dict[int, np.dtype[np.unsignedinteger]] = {16: np.dtype("<u2"), 8: np.dtype("u1")}


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` coordinates. Raises LocalMisuse unless count is a multiple of 8 and bits 1 to 63."""
    if count < 0 or count % 8 or not 1 <= bits <= 63:
        raise LocalMisuse(f"cannot pack {count} coordinates of {bits} bits: the count is a multiple of 8")
    return count // 8 * bits


def pack(coordinates: Words, bits: int) -> Packed:
    """The low `bits` of each of (m,) words as (m * bits / 8,) bytes."""
    result = np.empty(packed_size(coordinates.size, bits), dtype=np.uint8)
    whole = coordinates.size // 16 * 16 if bits == _TOPPED else 0
    if whole:
        _pack_topped(coordinates[:whole], result[: packed_size(whole, bits)].view("<u8"))
    _pack_planes(coordinates[whole:], bits, result[packed_size(whole, bits) :])
    return result


def _pack_topped(coordinates: Words, words: Words) -> None:
    """(16 h,) coordinates into (15 h,) words."""
    words[:] = coordinates[: words.size]
    words &= np.uint64((1 << _TOPPED) - 1)
    last = coordinates[words.size :]
    for j, stretch in enumerate(words.reshape(15, -1)):
        stretch |= (last >> np.uint64(4 * j)) << np.uint64(_TOPPED)


def _pack_planes(coordinates: Words, bits: int, result: Packed) -> None:
    count = coordinates.size
    start = 4 * count if bits & 32 else 0
    result[:start].view("<u4")[:] = coordinates[: start // 4]
    rest = scratch.take("packing_rest", (count,), np.uint64)
    np.right_shift(coordinates, np.uint64(bits & 32), out=rest)
    for width in _rest_planes(bits):
        plane = result[start : start + count // 8 * width]
        if width >= 8:
            plane.view(_WORD_TYPES[width])[:] = rest
        else:
            _pack_narrow(rest, width, plane)
        rest >>= np.uint64(width)
        start += plane.size


def unpack(packed: Packed, count: int, bits: int) -> Words:
    """The (count,) words below 2^bits that `pack` was given; MalformedMessage as for `unpack_add`."""
    result = np.zeros(count, dtype=np.uint64)
    unpack_add(result, packed, bits)
    return result


def unpack_add(total: Words, packed: Packed, bits: int) -> None:
    """Add packed coordinates to (m,) running sums in place, mod 2^64.

    Raises MalformedMessage if the number of bytes is not that of m coordinates.
    """
    count = total.size
    due = packed_size(count, bits)
    if packed.dtype != np.uint8 or packed.shape != (due,):
        raise MalformedMessage(
            f"a masked part of {packed.size} bytes where {due} are due ({count} coordinates of {bits} bits)"
        )
    if bits == _TOPPED:
        running = Sum(count, bits)
        running.add(packed)
        total += running.words()
    else:
        _add_planes(total, packed, bits)


def _add_planes(total: Words, packed: Packed, bits: int) -> None:
    count = total.size
    start = shift = 0
    if bits & 32:
        start, shift = 4 * count, 32
        total += packed[:start].view("<u4")
    wide = scratch.take("packing_wide", (count,), np.uint64)
    for width in _rest_planes(bits):
        plane = packed[start : start + count // 8 * width]
        if width >= 8:
            wide[:] = plane.view(_WORD_TYPES[width])
        else:
            _unpack_narrow(plane, width, wide)
        wide <<= np.uint64(shift)
        total += wide
        shift += width
        start += plane.size


class Sum:
    """The running sum of the packed coordinates of many children, mod 2^60 for that k, else mod 2^64."""

    __slots__ = ("_bits", "_rest", "_sums", "_tops")

    def __init__(self, count: int, bits: int) -> None:
        """Of `count` coordinates of `bits` bits, as `packed_size` takes them."""
        whole = count // 16 if bits == _TOPPED else 0
        self._bits = bits
        self._sums: Words = np.zeros(15 * whole, dtype=np.uint64)
        self._tops: Words = np.zeros(15 * whole, dtype=np.uint64)
        self._rest: Words = np.zeros(count - 16 * whole, dtype=np.uint64)

    def add(self, packed: Packed) -> None:
        """Add one child's bytes. Raises MalformedMessage for a wrong number; nothing is changed then."""
        size = 8 * self._sums.size
        due = size + packed_size(self._rest.size, self._bits)
        if packed.dtype != np.uint8 or packed.shape != (due,):
            raise MalformedMessage(f"a masked part of {packed.size} bytes where {due} are due")
        if size:
            words = packed[:size].view("<u8")
            top = scratch.take("packing_top", (words.size,), np.uint64)
            self._sums += words
            np.right_shift(words, np.uint64(_TOPPED), out=top)
            self._tops += top
        if self._rest.size:
            _add_planes(self._rest, packed[size:], self._bits)

    def words(self) -> Words:
        """The sum so far, (m,) uint64."""
        whole = self._sums & np.uint64((1 << _TOPPED) - 1)
        last = np.zeros(self._tops.size // 15, dtype=np.uint64)
        for j, stretch in enumerate(self._tops.reshape(15, -1)):
            last += stretch << np.uint64(4 * j)
        last &= np.uint64((1 << _TOPPED) - 1)
        return np.concatenate([whole, last, self._rest])


def _rest_planes(bits: int) -> tuple[int, ...]:
    """Widths of the planes after the one of 32 bits, in the order of the wire."""
    return tuple(width for width in (16, 8, 4, 2, 1) if bits & width)


def _pack_narrow(rest: Words, width: int, plane: Packed) -> None:
    """Several coordinates a byte; bits above the plane are cut off first."""
    low = scratch.take("packing_low", (rest.size,), np.uint8)
    low[:] = rest
    low &= np.uint8((1 << width) - 1)
    stretch = plane.size
    plane[:] = low[:stretch]
    for i in range(1, 8 // width):
        part = low[i * stretch : (i + 1) * stretch]
        part <<= np.uint8(i * width)
        plane |= part


def _unpack_narrow(plane: Packed, width: int, out: Words) -> None:
    stretch = plane.size
    mask = np.uint8((1 << width) - 1)
    for i in range(8 // width):
        out[i * stretch : (i + 1) * stretch] = (plane >> np.uint8(i * width)) & mask
