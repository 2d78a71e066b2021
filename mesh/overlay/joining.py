"""Joining with a ticket: what the joiner asks, how the inviter judges, what the joiner gets.

    joiner                                inviter (holds the operator key)
    request(ticket, applicant)  ──────►   TicketBook.judge: known, unspent, unexpired, proof, signature
      both show phrase(...)               a person accepts (or the node does, if so configured)
                                ◄──────   JoinGrant | JoinRefusal(reason)

The proof is a MAC under the ticket's secret over the joiner's keys, so a relay that sees the request
cannot swap its own keys in. Invariant: a ticket admits one party; the same party may ask again (its
grant was lost) and gets the same certificate; the spent ticket is stored before the grant is sent. A name
belongs to one party until its certificate expires: policies may name requesters.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mesh.overlay import certificate as certificates
from mesh.overlay import ticket as tickets
from mesh.overlay.announcement import Announcement
from mesh.overlay.certificate import Certificate, Label, SignedCertificate, Weight
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.ticket import SignedTicket, Ticket, TicketId
from protocols.errors import LocalMisuse, MeshError, ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Effect, Persist
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Exactly, Key, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

MAX_OPEN_TICKETS = 256
MAX_GRANT_ANNOUNCEMENTS = 6
"""A grant travels in one guest frame of 16 KiB; the joiner learns the other members by gossip."""

_STATEMENT = "join"


@dataclass(frozen=True, slots=True)
class Applicant:
    """What the joiner says about itself."""

    party: PartyId
    name: Label
    site: Label
    sealing_key: Key
    vrf_key: Key
    gateway: bool


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Self-contained, so that a pending one survives a restart: `signature` is the applicant's."""

    KIND: ClassVar[str] = "join-request"
    ticket: TicketId
    applicant: Applicant
    proof: Annotated[bytes, Exactly(32)]
    signature: Signature


@dataclass(frozen=True, slots=True)
class JoinGrant:
    """Welcome: our certificate, some members to talk to, and the epoch record the chain goes on from."""

    KIND: ClassVar[str] = "join-grant"
    certificate: SignedCertificate
    announcements: Annotated[tuple[Announcement, ...], AtMost(MAX_GRANT_ANNOUNCEMENTS)]
    record: EpochRecord


@dataclass(frozen=True, slots=True)
class JoinRefusal:
    """No, and why. `final` is False while a person has yet to decide."""

    KIND: ClassVar[str] = "join-refusal"
    code: Annotated[str, AtMost(8)]
    reason: Annotated[str, AtMost(512)]
    final: bool


@dataclass(frozen=True, slots=True)
class TicketIssued:
    """Stored by the inviter before the ticket is shown."""

    signed: SignedTicket


@dataclass(frozen=True, slots=True)
class TicketSpent:
    """Stored by the inviter before the grant is sent."""

    id: TicketId
    certificate: SignedCertificate


def request(ticket: Ticket, applicant: Applicant, identity_seed: bytes) -> JoinRequest:
    """The joiner's message for this ticket."""
    payload = _payload(ticket.id, applicant)
    return JoinRequest(
        ticket.id, applicant, _proof(ticket, applicant), sign_statement(identity_seed, _STATEMENT, payload)
    )


def phrase(ticket: Ticket, applicant: Applicant) -> str:
    """Four groups of four digits that both sides compare: equal only if ticket and keys are."""
    number = int.from_bytes(digest("join-phrase", ticket.secret, _payload(ticket.id, applicant))[:8], "big")
    digits = f"{number % 10**16:016d}"
    return " ".join(digits[start : start + 4] for start in range(0, 16, 4))


def _payload(ticket_id: bytes, applicant: Applicant) -> bytes:
    return ticket_id + codec.encode(applicant)


def _proof(ticket: Ticket, applicant: Applicant) -> bytes:
    payload = _payload(ticket.id, applicant)
    return hashlib.blake2b(payload, key=ticket.secret, digest_size=32, person=b"join-proof").digest()


def _plain(name: str) -> str:
    """Names that people read as the same are the same."""
    return unicodedata.normalize("NFKC", name).casefold()


class TicketBook:
    """The inviter's tickets: open ones, and spent ones until they expire."""

    def __init__(
        self, operator_seed: bytes, next_serial: int = 1, founder: Certificate | None = None
    ) -> None:
        self._operator_seed = operator_seed
        self._named: dict[str, Certificate] = {}
        if founder is not None:
            self._named[_plain(founder.name)] = founder
        self._open: dict[bytes, SignedTicket] = {}
        self._spent: dict[bytes, SignedCertificate] = {}
        self._next_serial = next_serial

    def restore(self, record: TicketIssued | TicketSpent) -> None:
        """Replay a stored record, in the order of storing."""
        if isinstance(record, TicketIssued):
            self._open[record.signed.ticket.id] = record.signed
        else:
            self._spent[record.id] = record.certificate
            self._named[_plain(record.certificate.certificate.name)] = record.certificate.certificate
            self._next_serial = max(self._next_serial, record.certificate.certificate.serial + 1)

    def issue(self, now: float, ticket: Ticket) -> tuple[str, list[Effect]]:
        """(the text to give away, what to store first). Raises LocalMisuse when too many are open."""
        self._forget_expired(now)
        if len(self._open) >= MAX_OPEN_TICKETS:
            raise LocalMisuse(f"{MAX_OPEN_TICKETS} tickets are open", fix="wait until some expire")
        signed = tickets.issue(self._operator_seed, ticket)
        self._open[ticket.id] = signed
        return tickets.to_text(signed), [Persist(TicketIssued(signed))]

    def expects_guests(self, now: float) -> bool:
        """Whether some ticket has not expired; its holder may also come again for a grant that was lost."""
        return any(now < signed.ticket.expires_s for signed in self._open.values())

    def ticket(self, ticket_id: bytes) -> Ticket | None:
        """The ticket with this id, for showing the phrase of a pending request."""
        signed = self._open.get(ticket_id)
        return signed.ticket if signed else None

    def judge(self, now: float, message: JoinRequest) -> JoinRefusal | None:
        """Why this request cannot be granted, or None if only a person's yes is missing."""
        try:
            self._check(now, message)
        except MeshError as error:
            return JoinRefusal(error.code, str(error.args[0])[:500], True)
        return None

    def _check(self, now: float, message: JoinRequest) -> None:
        signed, applicant = self._open.get(message.ticket), message.applicant
        if signed is None:
            raise ProtocolError(
                "the ticket is not known here: it was never issued, or it expired", code="C-223"
            )
        tickets.check_expiry(signed.ticket, now)
        if not hmac.compare_digest(_proof(signed.ticket, applicant), message.proof):
            raise ProtocolError(
                "the request is forged: it does not prove knowledge of the ticket", code="C-224"
            )
        payload = _payload(message.ticket, applicant)
        if not check_statement(applicant.party, _STATEMENT, payload, message.signature):
            raise ProtocolError("the request is forged: the applicant did not sign it", code="C-225")
        spent = self._spent.get(message.ticket)
        if spent is not None and spent.certificate.party != applicant.party:
            raise ProtocolError(
                f"the ticket was already used by {spent.certificate.name}, {spent.certificate.party.short()}",
                code="C-226",
            )
        namesake = self._named.get(_plain(applicant.name))
        if namesake is not None and namesake.party != applicant.party and now < namesake.expires_s:
            raise ProtocolError(
                f"the name {applicant.name} belongs to another member, {namesake.party.short()}; "
                "choose another one",
                code="C-229",
            )
        certificates.check_label("name", applicant.name)
        certificates.check_label("site", applicant.site)

    def accept(
        self,
        now: float,
        message: JoinRequest,
        *,
        weight: Weight = 1,
        valid_s: int = certificates.DEFAULT_VALID_S,
    ) -> tuple[SignedCertificate, list[Effect]]:
        """(the joiner's certificate, what to store before sending it). Raises ProtocolError as in `judge`."""
        self._check(now, message)
        spent = self._spent.get(message.ticket)
        if spent is not None:
            return spent, []
        applicant, signed = message.applicant, self._open[message.ticket]
        certificate = Certificate(
            mesh=signed.ticket.identity.mesh,
            party=applicant.party,
            name=applicant.name,
            site=applicant.site,
            sealing_key=applicant.sealing_key,
            vrf_key=applicant.vrf_key,
            gateway=applicant.gateway,
            weight=weight,
            serial=self._next_serial,
            issued_s=int(now),
            expires_s=int(now) + valid_s,
        )
        self._next_serial += 1
        granted = certificates.issue(self._operator_seed, certificate)
        self._spent[message.ticket] = granted
        self._named[_plain(applicant.name)] = certificate
        return granted, [Persist(TicketSpent(message.ticket, granted))]

    def _forget_expired(self, now: float) -> None:
        for ticket_id in [i for i, signed in self._open.items() if now >= signed.ticket.expires_s]:
            del self._open[ticket_id]
            self._spent.pop(ticket_id, None)
