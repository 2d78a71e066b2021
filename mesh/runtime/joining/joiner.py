"""Performing a stored join: reach the inviter as a guest, ask, keep the certificate, come back as a member.

The request is the same bytes each time, so asking again after a lost answer, a restart or "not yet" does no
harm. Ends when the certificate is stored, or with the inviter's final no, which clears the ticket.
"""

from __future__ import annotations

import trio

from mesh.net.transport import Frame, LinkUp, Transport
from mesh.overlay import joining
from mesh.overlay.agreement import BallotCast
from mesh.overlay.epoch_messages import HeadMoved
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.joining import JoinGrant, JoinRefusal
from mesh.runtime import identity as identities
from mesh.runtime.home import Home
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.joining.gatekeeper import Gatekeeper
from mesh.runtime.joining.known import Known, KnownMembers
from mesh.runtime.journal import Journal
from mesh.runtime.postman import Postman
from protocols.errors import MalformedMessage, MeshError, Refused, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.wire import codec, envelope

ASK_AGAIN_S = 5.0
_ANSWERS: dict[str, type] = {JoinGrant.KIND: JoinGrant, JoinRefusal.KIND: JoinRefusal}


class Joiner:
    """One join. `state` and `reason` are what `status` shows meanwhile."""

    def __init__(
        self,
        home: Home,
        identity: NodeIdentity,
        journal: Journal,
        transport: Transport,
        gate: Gatekeeper,
        postman: Postman,
    ) -> None:
        if identity.ticket is None:
            raise UnexpectedMessage("there is no ticket to join with")
        self.state = "waiting"
        self.reason = "looking for the inviter"
        self.phrase = joining.phrase(identity.ticket, identity.applicant)
        self.inviter = identity.ticket.inviter.short()
        self._home = home
        self._identity = identity
        self._ticket = identity.ticket
        self._journal = journal
        self._transport = transport
        self._gate = gate
        self._postman = postman
        self._answer: JoinGrant | None = None
        self._failure: MeshError | None = None

    async def run(self) -> tuple[NodeIdentity, EpochRecord]:
        """Our certified identity and the epoch to follow from. Raises Refused after a final no."""
        self._transport.want({self._ticket.inviter: self._ticket.addresses})
        seed = self._identity.keys.identity.reveal()
        request = joining.request(self._ticket, self._identity.applicant, seed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            while True:
                if self._ticket.inviter in self._transport.links():
                    self.state, self.reason = (
                        "asked",
                        self.reason if self.state == "asked" else "asked the inviter",
                    )
                    self._postman.post((self._ticket.inviter,), request)
                    await trio.sleep(ASK_AGAIN_S)
                else:
                    await self._next_link()
        if self._failure is not None:
            self._home.clear_pending_join()
            raise self._failure
        assert self._answer is not None
        return await self._keep(self._answer)

    def sighted(self, party: PartyId, addresses: tuple[str, ...]) -> None:
        """A node of the mesh was seen on the local network: the inviter may have moved."""
        if party == self._ticket.inviter:
            known = tuple(dict.fromkeys((*addresses, *self._ticket.addresses)))
            self._transport.want({party: known})

    async def _next_link(self) -> None:
        """Wait for any link event, telling meanwhile what is in the way."""
        with trio.move_on_after(1.0):
            while not isinstance(await self._transport.events.receive(), LinkUp):
                pass
        trouble = self._transport.troubles().get(self._ticket.inviter)
        if trouble:
            self.reason = f"cannot reach the inviter: {trouble}"

    async def _listen(self, done: trio.CancelScope) -> None:
        async for frame in self._transport.frames:
            try:
                self._receive(frame)
            except MeshError:
                continue  # members speak to us before we are one; only the inviter's answer matters
            if self._answer is not None or self._failure is not None:
                done.cancel()
                return

    def _receive(self, frame: Frame) -> None:
        letter = envelope.verify(frame.payload, mesh=self._identity.mesh.mesh)
        if letter.sender != frame.sender or letter.sender != self._ticket.inviter:
            raise UnexpectedMessage("not from the inviter")
        cls = _ANSWERS.get(letter.kind)
        if cls is None:
            raise UnexpectedMessage("no answer to a join")
        message: object = codec.decode(cls, letter.body)
        if isinstance(message, JoinGrant):
            self._answer = message
        elif isinstance(message, JoinRefusal):
            self.reason = message.reason
            if message.final:
                self.state = "refused"
                what = f"the inviter refused: {message.reason}"
                self._failure = Refused(
                    what, reasons={letter.sender: message.reason}, fix="ask for a new ticket"
                )
                self._failure.code = message.code
        else:
            raise MalformedMessage("no answer to a join", blame=letter.sender)

    async def _keep(self, grant: JoinGrant) -> tuple[NodeIdentity, EpochRecord]:
        """Store what a member starts from; the inviter is the one way into the mesh that it knows so far."""
        before = (HeadMoved, BallotCast)  # of a mesh that it founded and was alone in
        await self._journal.remember(grant.record, keep=1, instead_of=before)
        inviter = Known(self._ticket.inviter, self._ticket.addresses)
        await self._journal.remember(KnownMembers((inviter,)), keep=1)
        identity = identities.admitted(self._home, self._identity, grant.certificate)
        self._gate.certificate = identity.certificate
        self._transport.reintroduce()
        self.state, self.reason = "granted", ""
        return identity, grant.record
