"""The few items of CBOR that messages are made of, in their one canonical form.

RFC 8949 §4.2.1 (core deterministic encoding): shortest heads, definite lengths, shortest float that
keeps the value, one NaN. The reader takes nothing else, never looks beyond the buffer and allocates
nothing before it has checked a length against the caller's bound and against the bytes that are there.

`Defect` is internal to the codec, which turns it into MalformedMessage (received bytes) or LocalMisuse
(our own value) together with the path of the field.
"""

from __future__ import annotations

import struct
from typing import Final

UNSIGNED: Final = 0
NEGATIVE: Final = 1
BYTES: Final = 2
TEXT: Final = 3
ARRAY: Final = 4
TAG: Final = 6

FALSE: Final = b"\xf4"
TRUE: Final = b"\xf5"
NULL: Final = b"\xf6"
NAN: Final = b"\xf9\x7e\x00"

_NAMES = {0: "an integer", 1: "an integer", 2: "a byte string", 3: "a text", 4: "an array", 6: "a tag"}
_FLOATS = {0xF9: (">e", 2), 0xFA: (">f", 4), 0xFB: (">d", 8)}


_SHORT: Final = tuple(bytes((first,)) for first in range(256))


class Defect(Exception):
    """What is wrong; `path` grows from the inside out while it passes the containers."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path: list[str] = []

    def sentence(self, root: str) -> str:
        """`Plan.stages[3].label: …`."""
        return f"{root}{''.join(reversed(self.path))}: {self.what}"


def head(major: int, argument: int) -> bytes:
    """Initial byte and argument in the shortest form."""
    if argument < 24:
        return _SHORT[major << 5 | argument]
    for info, size in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << (8 * size):
            return bytes((major << 5 | info,)) + argument.to_bytes(size, "big")
    return bytes((major << 5 | 27,)) + argument.to_bytes(8, "big")


def integer(value: int) -> bytes:
    """An int in [-2^64, 2^64)."""
    return head(UNSIGNED, value) if value >= 0 else head(NEGATIVE, -1 - value)


def number(value: float) -> bytes:
    """The shortest of half, single and double that keeps the value; every NaN becomes the one NaN."""
    if value != value:
        return NAN
    for first, (form, _) in _FLOATS.items():
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return bytes((first,)) + packed
    raise AssertionError("a double always keeps its own value")


class Reader:
    """A position in a message. Every method raises Defect for bytes an honest encoder does not write."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self.at + count
        if end > len(self.data):
            raise Defect(f"the message ends {end - len(self.data)} bytes too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def argument(self, major: int) -> int:
        """Argument of an item that must be of type `major`."""
        at = self.at
        first = self.data[at] if at < len(self.data) else self.take(1)[0]
        if first >> 5 != major:
            raise Defect(f"wants {_NAMES[major]}, found initial byte 0x{first:02x}")
        self.at = at + 1
        info = first & 31
        return info if info < 24 else self._argument(info)

    def _argument(self, info: int) -> int:
        if info > 27:
            raise Defect("indefinite lengths and reserved heads are not allowed")
        size = 1 << (info - 24)
        value = int.from_bytes(self.take(size), "big")
        if value < (24 if size == 1 else 1 << (4 * size)):
            raise Defect(f"{value} is not in its shortest form")
        return value

    def integer(self) -> int:
        """An int in [-2^64, 2^64)."""
        if self.at < len(self.data) and self.data[self.at] >> 5 == NEGATIVE:
            return -1 - self.argument(NEGATIVE)
        return self.argument(UNSIGNED)

    def number(self) -> float:
        """A float in its shortest form."""
        start = self.at
        first = self.take(1)[0]
        if first not in _FLOATS:
            raise Defect(f"wants a float, found initial byte 0x{first:02x}")
        form, size = _FLOATS[first]
        value = float(struct.unpack(form, self.take(size))[0])
        if number(value) != self.data[start : self.at]:
            raise Defect("the float is not in its shortest form")
        return value

    def boolean(self) -> bool:
        """True or false."""
        first = self.take(1)
        if first not in (FALSE, TRUE):
            raise Defect(f"wants a boolean, found initial byte 0x{first[0]:02x}")
        return first == TRUE

    def null(self) -> bool:
        """Step over a null if there is one."""
        if self.data[self.at : self.at + 1] != NULL:
            return False
        self.at += 1
        return True
