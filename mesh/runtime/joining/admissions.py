"""Letting others in: tickets, join requests, the operator's yes. Only where the operator key is.

A request of a guest is judged at once. Without confirmation the ticket's holder is admitted; with it the
request waits for this person, survives a restart, and the guest asks again until it is answered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

from mesh.api.shapes import Invitation, InviteSpec, RequestInfo
from mesh.overlay import joining
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.joining import JoinGrant, JoinRefusal, JoinRequest, TicketBook, TicketIssued, TicketSpent
from mesh.overlay.ticket import MAX_ADDRESSES, Ticket
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.journal import Journal
from mesh.settings import Config
from protocols.errors import LocalMisuse, MeshError, ProtocolError, Refused
from protocols.identifiers import PartyId
from protocols.machine import Effect, Persist
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Exactly

MAX_PENDING = 64
WAITING = "C-227"


@dataclass(frozen=True, slots=True)
class ConfirmTicket:
    """Stored: requests with this ticket wait for the person's yes."""

    ticket: Annotated[bytes, Exactly(16)]


@dataclass(frozen=True, slots=True)
class PendingJoin:
    """Stored: a request that waits for the person."""

    request: JoinRequest
    verdict: Annotated[str, AtMost(16)]


class Admissions:
    """Tickets and requests of an operator's node."""

    def __init__(
        self,
        identity: NodeIdentity,
        config: Config,
        journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._config = config
        self._journal = journal
        self._clock = clock
        self._owed: list[Effect] = []
        self._confirm: set[bytes] = set()
        self._requests: dict[str, tuple[JoinRequest, RequestInfo]] = {}
        self._book: TicketBook | None = None
        if identity.keys.operator is None:
            return
        spent = [codec.decode(TicketSpent, body) for body in journal.recall(TicketSpent.__name__)]
        serial = 1 + max((record.certificate.certificate.serial for record in spent), default=0)
        founder = identity.certificate.certificate if identity.certificate else None
        self._book = TicketBook(identity.keys.operator.reveal(), serial, founder)
        for body in journal.recall(TicketIssued.__name__):
            self._book.restore(codec.decode(TicketIssued, body))
        for record in spent:
            self._book.restore(record)
        for body in journal.recall(ConfirmTicket.__name__):
            self._confirm.add(codec.decode(ConfirmTicket, body).ticket)
        for body in journal.recall(PendingJoin.__name__):
            pending = codec.decode(PendingJoin, body)
            self._note(pending.request, pending.verdict)

    @property
    def admits_guests(self) -> bool:
        """Whether strangers may ask: only while a ticket is open."""
        return self._book is not None and self._book.expects_guests(self._clock())

    @property
    def requests(self) -> list[RequestInfo]:
        """Join requests, those that wait first."""
        return sorted((info for _, info in self._requests.values()), key=lambda info: info.state != "waiting")

    async def invite(self, spec: InviteSpec, addresses: tuple[str, ...]) -> Invitation:
        """A new ticket, stored before it is shown. Raises Refused on a node without the operator key."""
        if self._book is None:
            raise Refused(
                "this node cannot invite: only the node that founded the mesh holds its operator key",
                reasons={},
                fix="run coppice invite on the founding node",
            )
        now = self._clock()
        valid_s = spec.expires_s if spec.expires_s is not None else self._config.ticket_s
        ticket = Ticket(
            id=os.urandom(16),
            operator=self._identity.mesh.operator,
            inviter=self._identity.party,
            addresses=addresses[:MAX_ADDRESSES],
            issued_s=int(now),
            expires_s=int(now + valid_s),
            network_key=self._identity.network_key,
            secret=os.urandom(16),
        )
        confirm = spec.confirm if spec.confirm is not None else self._config.confirm_joins
        text, effects = self._book.issue(now, ticket)
        await self._store(effects)
        if confirm:
            await self._journal.remember(ConfirmTicket(ticket.id))
            self._confirm.add(ticket.id)
        return Invitation(text, ticket.id.hex()[:8], float(valid_s), confirm, ticket.addresses)

    async def asked(self, message: JoinRequest, record: EpochRecord) -> JoinGrant | JoinRefusal:
        """Answer a guest's request; the spent ticket is stored before the grant is returned."""
        if self._book is None:
            return JoinRefusal("C-226", "this node cannot admit anybody", True)
        refusal = self._book.judge(self._clock(), message)
        if refusal is not None:
            return refusal
        if message.ticket in self._confirm:
            known = self._requests.get(_name(message))
            if known is None:
                await self._wait_for_person(message)
                return JoinRefusal(WAITING, "the inviter has been asked and has yet to accept", False)
            if known[0].applicant != message.applicant:
                return JoinRefusal("C-225", "somebody else asked under this name; make new keys", True)
            if known[1].state == "waiting":
                return JoinRefusal(WAITING, "the inviter has yet to accept", False)
            if known[1].state == "denied":
                return JoinRefusal("C-228", "the inviter said no", True)
        try:
            certificate, effects = self._book.accept(self._clock(), message)
        except ProtocolError as error:
            return JoinRefusal(error.code, str(error.args[0]), True)
        self._owed += effects
        await self._pay()
        return JoinGrant(certificate, (), record)

    async def answer(self, name: str, verdict: str) -> RequestInfo:
        """The person's word on a request. Raises LocalMisuse C-404."""
        found = self._requests.get(name)
        if found is None:
            raise LocalMisuse(f"there is no request {name}", code="C-404", fix="see: coppice requests")
        state = "denied" if verdict == "deny" else "accepted"
        await self._journal.remember(PendingJoin(found[0], state))
        self._requests[name] = (found[0], replace(found[1], state=state))
        return self._requests[name][1]

    async def _wait_for_person(self, message: JoinRequest) -> None:
        if sum(info.state == "waiting" for _, info in self._requests.values()) >= MAX_PENDING:
            raise MeshError("too many requests wait for an answer", fix="answer some: coppice requests")
        await self._journal.remember(PendingJoin(message, "waiting"))
        self._note(message, "waiting")

    def _note(self, message: JoinRequest, state: str) -> None:
        ticket = self._book.ticket(message.ticket) if self._book else None
        phrase = joining.phrase(ticket, message.applicant) if ticket else ""
        applicant = message.applicant
        what = f"{applicant.name} at {applicant.site} asks to join"
        info = RequestInfo(_name(message), "join", state, applicant.name, what, phrase, self._clock())
        self._requests[_name(message)] = (message, info)

    async def _pay(self) -> None:
        """Store what a full disk left unstored: no grant leaves before its spent ticket is on disk."""
        while self._owed:
            await self._store(self._owed[:1])
            del self._owed[0]

    async def _store(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                await self._journal.remember(effect.record)


def _name(message: JoinRequest) -> str:
    return PartyId(message.applicant.party).short()
