"""The only source of randomness in the pure rooms: a seed and a domain label make a stream of bytes.

Key: SHAKE256 (FIPS 202) over the length-framed seed, label and context. Stream: ChaCha20 (RFC 8439)
as libsodium's `randombytes_buf_deterministic` runs it, a fresh key for each segment of the stream;
segments double from 512 bytes to 64 KiB so that a small draw is cheap and a bulk draw fast.

Invariants: the stream is a function of (seed, label, context) alone and does not depend on how it is
cut into reads; different labels or contexts give independent streams; `repr` shows the label only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from nacl.utils import randombytes_deterministic

from protocols.arithmetic.field import Elements, P
from protocols.errors import LocalMisuse

MIN_SEED_BYTES = 16
_FIRST_SEGMENT = 512
_LAST_SEGMENT = 1 << 16
_P64 = np.uint64(P)


def derive(seed: bytes, label: str, *context: bytes) -> bytes:
    """32 bytes bound to `seed`, `label` and every part of `context` in order.

    Raises LocalMisuse for a short seed.
    """
    if len(seed) < MIN_SEED_BYTES:
        raise LocalMisuse(f"a seed of {len(seed)} bytes is guessable", fix="give 32 bytes of a random source")
    framed = [b"coppice/xof/1"]
    for part in (label.encode(), seed, *context):
        framed += (len(part).to_bytes(8, "big"), part)
    return hashlib.shake_256(b"".join(framed)).digest(32)


class Xof:
    """A stream of pseudorandom bytes that starts anew for every (seed, label, context)."""

    __slots__ = ("_buffer", "_key", "_label", "_offset", "_segment")

    def __init__(self, seed: bytes, label: str, *context: bytes) -> None:
        self._key = derive(seed, label, *context)
        self._label = label
        self._segment = 0
        self._buffer = memoryview(b"")
        self._offset = 0

    def __repr__(self) -> str:
        return f"Xof({self._label!r}, …)"

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count < 0:
            raise LocalMisuse(f"cannot read {count} bytes")
        return b"".join(self._pieces(count))

    def uint64(self, count: int) -> npt.NDArray[np.uint64]:
        """`count` uniform 64-bit words, (count,) uint64."""
        if not self._segment and count:
            self._next_segment()
        end = self._offset + 8 * count
        if end <= len(self._buffer):  # the common small draw: one copy, no loop
            start, self._offset = self._offset, end
            return np.frombuffer(self._buffer[start:end], dtype="<u8").astype(np.uint64)
        words = np.empty(count, dtype="<u8")
        raw, done = words.view(np.uint8).data, 0
        for piece in self._pieces(8 * count):
            raw[done : done + len(piece)] = piece
            done += len(piece)
        return words.astype(np.uint64, copy=False)

    def _pieces(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes in as many pieces as there are segments."""
        while count > 0:
            if self._offset == len(self._buffer):
                self._next_segment()
            piece = self._buffer[self._offset : self._offset + count]
            self._offset += len(piece)
            count -= len(piece)
            yield piece

    def _next_segment(self) -> None:
        size = min(_LAST_SEGMENT, _FIRST_SEGMENT << min(self._segment, 16))
        key = hashlib.blake2b(self._segment.to_bytes(8, "big"), key=self._key, digest_size=32).digest()
        self._buffer = memoryview(randombytes_deterministic(size, key))
        self._offset = 0
        self._segment += 1

    def elements(self, shape: int | tuple[int, ...]) -> Elements:
        """Uniform field elements: 61 bits of a word each, the one value p thrown away and drawn again."""
        dims = (shape,) if isinstance(shape, int) else shape
        count = math.prod(dims)
        drawn = self._words61(count)
        while drawn.size < count:
            drawn = np.concatenate([drawn, self._words61(count - drawn.size)])
        return drawn.reshape(dims)

    def _words61(self, count: int) -> Elements:
        words = self.uint64(count)
        np.bitwise_and(words, _P64, out=words)
        return words if count == 0 or int(words.max()) != P else words[words != P]
