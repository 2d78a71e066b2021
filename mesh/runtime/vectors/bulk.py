"""Moves masked vectors between the stores of a session's parties, beside the machine's small messages.

The receiver asks: an offer is a small message that waits with the others until the receiver is in the
session; pieces flow only after its request, in the bulk lane, at the pace of the link's credit.

A link that breaks costs the pieces that were on it and no more: when it is back, or the machine sends again,
the same vector is offered again, and the receiver asks for the pieces that it lacks. Every piece is checked
against the offer's digests whenever it comes, so that it does not matter how many times, from which of two
senders and in what order pieces arrive. Invariant: one party gets a vector at most MAX_ASKED times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
import trio

from mesh.runtime import background
from mesh.runtime.postman import Postman
from mesh.runtime.vectors.running import RunningSum
from mesh.runtime.vectors.store import VectorOffer, VectorPiece, VectorRequest, VectorStore
from protocols.errors import MeshError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Combine, Fingerprint, Transfer
from protocols.sessions.auditor import MAX_OPENED
from protocols.sessions.bulk_messages import Fingerprinted, VectorsAdded, VectorStored
from protocols.sessions.plan import Plan

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("coppice.bulk")

MAX_ASKED = 8
"""How often a party is asked for one vector, or sends it to one: a link that breaks more often loses it."""

BULK_MESSAGES: tuple[type, ...] = (VectorOffer, VectorRequest)
"""Signed ones; pieces are bare frames."""


def sum_arrivals(store: VectorStore, plan: Plan, me: PartyId) -> None:
    """If we are to add what the devices of a cluster send, let the store begin when it arrives."""
    leaf = next((stage for stage in plan.stages if stage.dealers and stage.adders[0] == me), None)
    if leaf is not None:
        store.sum_arrivals(frozenset(leaf.dealers))


class BulkLane:
    """One session's vectors on the move. `tell` takes local messages for the machine."""

    def __init__(
        self,
        plan: Plan,
        store: VectorStore,
        postman: Postman,
        tell: Callable[[object], None],
        audits: bool = False,
    ) -> None:
        """`audits`: we are the initiator, whom adders may show vectors of devices (see `auditor`)."""
        self.store = store
        self.bytes_sent = 0
        self._plan = plan
        self._postman = postman
        self._tell = tell
        self._audits = audits
        self._offers: dict[PartyId, set[Digest]] = {}
        self._offered: set[tuple[PartyId, Digest]] = set()
        self._asked: Counter[tuple[PartyId, Digest]] = Counter()
        self._served: Counter[tuple[PartyId, Digest]] = Counter()
        self._streams: dict[tuple[PartyId, Digest], trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def transfer(self, effect: Transfer) -> None:
        """The machine wants these parties to have a vector."""
        offer = self.store.offer(effect.name)
        for peer in effect.to:
            self._offered.add((peer, effect.name))
        self._post(effect.to, offer)

    def offer_again(self, peer: PartyId) -> None:
        """The link to `peer` is new: what it was sent on an earlier one may not have arrived."""
        for to, name in self._offered:
            if to == peer:
                self._post((peer,), self.store.offer(name))

    def combine(self, effect: Combine) -> None:
        """The machine wants stored vectors added."""
        self._soon(self._add, effect, self.store.begun())

    async def _add(self, effect: Combine, begun: RunningSum | None) -> None:
        name = await background.run(self.store.add, effect.parts, begun)
        self._tell(VectorsAdded(effect.stage, name))

    def fingerprint(self, effect: Fingerprint) -> None:
        """The machine wants a stored vector fingerprinted."""
        self._soon(self._fingerprint, effect)

    async def _fingerprint(self, effect: Fingerprint) -> None:
        words = await background.run(self.store.fingerprint, effect.challenge, effect.name)
        self._tell(Fingerprinted(effect.challenge, effect.name, words))

    def receive(self, sender: PartyId, message: object) -> None:
        """An offer, a request or a piece. Raises ProtocolError, SpoolFull."""
        if sender not in self._plan.parties:
            raise UnexpectedMessage("a stranger's vector")
        match message:
            case VectorOffer():
                self._note_offer(sender, message.name)
                if self.store.expect(sender, message):
                    _count(self._asked, sender, message.name)
                    self._post((sender,), self.store.request(message.name))
                else:
                    self._tell(VectorStored(message.name))
            case VectorRequest():
                self._serve(sender, message)
            case VectorPiece():
                if self.store.take(sender, message):
                    self._tell(VectorStored(message.name))

    def _note_offer(self, sender: PartyId, name: Digest) -> None:
        """A device has one vector, an adder the sums of its stages and the total, and hands on no others, but
        in an audit a few of its devices' to the initiator, who fingerprints them."""
        adds = sum(sender in stage.adders for stage in self._plan.stages)
        names = self._offers.setdefault(sender, set())
        names.add(name)
        shown = MAX_OPENED if adds and self._audits else 0
        if len(names) > 1 + (adds + 1 if adds else 0) + shown:
            names.discard(name)
            raise UnexpectedMessage("more vectors than this party can have")

    def _serve(self, to: PartyId, request: VectorRequest) -> None:
        """Stream what is asked for; who asks again while a stream runs lost what that one sent."""
        key = (to, request.name)
        if key not in self._offered:
            raise UnexpectedMessage("a vector is asked for that was not offered")
        pieces = self.store.wanted(to, request)
        _count(self._served, *key)
        if key in self._streams:
            self._streams[key].cancel()
        self._streams[key] = trio.CancelScope()
        self._soon(self._stream, to, request.name, pieces, self._streams[key])

    async def _stream(
        self, to: PartyId, name: Digest, pieces: Sequence[int], scope: trio.CancelScope
    ) -> None:
        with scope:
            for index in pieces:
                piece = await trio.to_thread.run_sync(self.store.piece_of, name, index)
                sent = await self._postman.stream(to, piece.frame(self._plan.session))
                self.bytes_sent += sent  # and not in one line: streams run side by side

    def _post(self, to: tuple[PartyId, ...], message: object) -> None:
        plan = self._plan
        self.bytes_sent += self._postman.post(to, message, session=plan.session, epoch=plan.epoch)

    def _soon(self, function: Callable[..., object], *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._guarded, function, *arguments)

    async def _guarded(self, function: Callable[..., object], *arguments: object) -> None:
        """A lost link or a full disk ends one transfer, not the session."""
        try:
            await function(*arguments)  # type: ignore[misc]  # always an async function
        except MeshError as error:
            log.warning("vector not moved", why=error.sentence())


def _count(counts: Counter[tuple[PartyId, Digest]], party: PartyId, name: Digest) -> None:
    """Raise UnexpectedMessage beyond MAX_ASKED."""
    counts[party, name] += 1
    if counts[party, name] > MAX_ASKED:
        raise UnexpectedMessage(f"a vector is wanted more than {MAX_ASKED} times")
