"""The invitation: one line of text (or a QR code) that lets one device join, once, for a day.

Text form: "coppice1:" and base32 of  length(2) | canonical CBOR of the signed ticket | checksum(4).
Base32 because QR codes hold upper case densely and people read it aloud; case, spaces and dashes do
not matter. The length tells a ticket that was cut off from one that was mistyped.

A ticket is a bearer secret: `network_key` opens the transport, `secret` proves to the inviter that a
request comes from whoever holds the ticket. Hence single use, expiry, and the comparison phrase that
binds the ticket to the joiner's keys, so that people notice when somebody else used it first.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Annotated

from mesh.overlay.certificate import MeshIdentity, UnixSeconds
from protocols.errors import MalformedMessage, ProtocolError
from protocols.identifiers import PartyId
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Exactly, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

PREFIX = "coppice1:"
DEFAULT_VALID_S = 24 * 3600
"""A day: long enough to carry a ticket to a colleague, short enough that a lost one is soon worthless."""

MAX_ADDRESSES = 8
MAX_TEXT = 8192

Address = Annotated[str, AtMost(128)]
TicketId = Annotated[bytes, Exactly(16)]

_STATEMENT = "ticket"
_CHECKSUM_BYTES = 4


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the joiner must know: whose mesh, how to get in, whom to ask, until when."""

    id: TicketId
    operator: PartyId
    inviter: PartyId
    addresses: Annotated[tuple[Address, ...], AtMost(MAX_ADDRESSES)]
    issued_s: UnixSeconds
    expires_s: UnixSeconds
    network_key: Annotated[bytes, AtMost(32)] = field(repr=False)
    secret: Annotated[bytes, Exactly(16)] = field(repr=False)

    @property
    def identity(self) -> MeshIdentity:
        """The mesh this ticket leads to."""
        return MeshIdentity(self.operator)


@dataclass(frozen=True, slots=True)
class SignedTicket:
    """A ticket with the operator's detached signature."""

    ticket: Ticket
    signature: Signature


def issue(operator_seed: bytes, ticket: Ticket) -> SignedTicket:
    """Sign `ticket` with the operator's 32-byte seed."""
    return SignedTicket(ticket, sign_statement(operator_seed, _STATEMENT, codec.encode(ticket)))


def to_text(signed: SignedTicket) -> str:
    """The line a person copies."""
    body = codec.encode(signed)
    framed = len(body).to_bytes(2, "big") + body
    framed += digest("ticket-sum", framed)[:_CHECKSUM_BYTES]
    return PREFIX + base64.b32encode(framed).decode().rstrip("=").lower()


def from_text(text: str) -> SignedTicket:
    """Read the line back; checks form, not signature or time (see `verify`).

    Raises ProtocolError C-220 saying whether it is no ticket, cut off, or mistyped.
    """
    compact = "".join(text.split()).replace("-", "").lower()
    if not compact.startswith(PREFIX):
        raise _damaged(f"this is not a ticket: it does not start with {PREFIX}")
    if len(compact) > MAX_TEXT:
        raise _damaged("this is not a ticket: it is too long")
    encoded = compact[len(PREFIX) :].upper()
    framed = _base32(encoded)
    want = 2 + int.from_bytes(framed[:2], "big") + _CHECKSUM_BYTES
    if len(framed) < 2 or len(framed) < want:
        raise _damaged("the ticket is cut off: its end is missing")
    body, checksum = framed[: want - _CHECKSUM_BYTES], framed[want - _CHECKSUM_BYTES :]
    if digest("ticket-sum", body)[:_CHECKSUM_BYTES] != checksum:
        raise _damaged("the ticket is damaged: a character is wrong, missing or added")
    try:
        return codec.decode(SignedTicket, body[2:])
    except MalformedMessage as error:
        raise _damaged(f"the ticket is not of a version this program reads ({error.args[0]})") from error


def verify(signed: SignedTicket, now: float) -> Ticket:
    """The ticket, if its operator signed it and it has not expired.

    Raises ProtocolError C-221 forged, C-222 expired.
    """
    ticket = signed.ticket
    if not check_statement(ticket.operator, _STATEMENT, codec.encode(ticket), signed.signature):
        raise ProtocolError(
            "the ticket is forged: its operator did not sign it",
            code="C-221",
            fix="ask the inviter for a new ticket",
        )
    check_expiry(ticket, now)
    return ticket


def check_expiry(ticket: Ticket, now: float) -> None:
    """Raises ProtocolError C-222 with how long ago it expired."""
    if now >= ticket.expires_s:
        raise ProtocolError(
            f"the ticket expired {int(now - ticket.expires_s)} s ago (it was valid until {ticket.expires_s})",
            code="C-222",
            fix="ask the inviter for a new ticket: coppice invite",
        )


def _base32(encoded: str) -> bytes:
    """Characters at the end that fill no byte belong to a ticket that was cut off: keep what is whole."""
    whole = encoded[: len(encoded) - (0 if len(encoded) % 8 in (0, 2, 4, 5, 7) else 1)]
    try:
        return base64.b32decode(whole + "=" * (-len(whole) % 8))
    except (binascii.Error, ValueError):
        raise _damaged("the ticket is damaged: it holds a character that no ticket has") from None


def _damaged(message: str) -> ProtocolError:
    return ProtocolError(message, code="C-220", fix="copy the whole ticket again, or ask for a new one")
