"""Records: what one side writes into a lane's stream, and the parser that trusts nobody.

    record = kind (1 byte), length (3 bytes, big-endian), body (length bytes, at most MAX_BODY_BYTES)

A frame is any number of DATA records and one LAST record on one lane; everything else is service.
Pure: no clock, no socket.

Invariant: the parser holds at most one incomplete record; an unknown kind or a long body ends the link.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mesh.net.transport import MAX_HELLO_BYTES, Admission, Lane, Verdict
from protocols.errors import MalformedMessage

HEADER_BYTES = 4
MAX_BODY_BYTES = 64 * 1024
VERSION = 1


class Kind(IntEnum):
    """What a record is."""

    DATA = 0
    LAST = 1
    CREDIT = 2
    PING = 3
    PONG = 4
    HELLO = 5
    VERDICT = 6
    WANT = 7
    BYE = 8


LANE_NUMBER = {Lane.CONTROL: 0, Lane.BULK: 1}
LANE_BY_NUMBER = {number: lane for lane, number in LANE_NUMBER.items()}
ADMISSION_NUMBER = {Admission.MEMBER: 0, Admission.GUEST: 1, Admission.REFUSED: 2}
DUPLICATE = 3
"""Fourth verdict, below the gate: "I am dialling you already, and my connection is the one we keep"."""


def header(kind: Kind, length: int) -> bytes:
    """The four bytes before a body."""
    return (kind << 24 | length).to_bytes(HEADER_BYTES, "big")


def record(kind: Kind, body: bytes = b"") -> bytes:
    """A whole record."""
    return header(kind, len(body)) + body


class RecordParser:
    """Cuts a byte stream into records."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Records completed by `data`. Raises MalformedMessage on an unknown kind or a long body."""
        self._held += data
        start = 0
        try:
            while len(self._held) - start >= HEADER_BYTES:
                word = int.from_bytes(self._held[start : start + HEADER_BYTES], "big")
                kind, length = word >> 24, word & 0xFFFFFF
                if kind > Kind.BYE or length > MAX_BODY_BYTES:
                    raise MalformedMessage(f"record of kind {kind} and {length} bytes")
                end = start + HEADER_BYTES + length
                if len(self._held) < end:
                    break
                body = bytes(memoryview(self._held)[start + HEADER_BYTES : end])
                start = end
                yield Kind(kind), body
        finally:
            del self._held[:start]


@dataclass(frozen=True, slots=True)
class Hello:
    """First record of each side: the gate's blob, and whether the sender wants this link to stay."""

    blob: bytes
    wants: bool

    def body(self) -> bytes:
        """Bytes of the HELLO record."""
        return bytes((VERSION, self.wants)) + self.blob


def parse_hello(body: bytes) -> Hello:
    """Raises MalformedMessage."""
    if not 2 <= len(body) <= MAX_HELLO_BYTES + 2 or body[1] > 1:
        raise MalformedMessage("malformed hello")
    if body[0] != VERSION:
        raise MalformedMessage(f"the other side speaks link version {body[0]}, we speak {VERSION}")
    return Hello(body[2:], bool(body[1]))


def verdict_body(verdict: Verdict) -> bytes:
    """Bytes of the VERDICT record."""
    return bytes((ADMISSION_NUMBER[verdict.admission],)) + verdict.reason.encode()


def parse_verdict(body: bytes) -> tuple[Verdict, bool]:
    """The verdict and whether it is DUPLICATE. Raises MalformedMessage."""
    if not body or body[0] > DUPLICATE or len(body) > 1024:
        raise MalformedMessage("malformed verdict")
    reason = body[1:].decode("utf-8", "replace")
    if body[0] == DUPLICATE:
        return Verdict(Admission.REFUSED, "the other side is connecting to us already"), True
    admission = next(a for a, number in ADMISSION_NUMBER.items() if number == body[0])
    return Verdict(admission, reason), False


def credit_body(lane: Lane, amount: int) -> bytes:
    """Bytes of a CREDIT record."""
    return struct.pack("!BI", LANE_NUMBER[lane], amount)


def parse_credit(body: bytes) -> tuple[Lane, int]:
    """Raises MalformedMessage."""
    if len(body) != 5 or body[0] not in LANE_BY_NUMBER:
        raise MalformedMessage("malformed credit")
    number, amount = struct.unpack("!BI", body)
    return LANE_BY_NUMBER[number], int(amount)
