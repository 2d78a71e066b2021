"""Long parts of a program's messages on their way out, each peer's at the pace of its link.

A layer vector, a dealing or a state that is handed over may be many times what a link takes at once. Parts of
them wait here as references, are encoded and signed one by one when their turn comes, in a thread, and go
straight to the bulk lane, which waits for credit. Short messages do not come this way and overtake them.

Invariant: of one peer there wait at most `most_bytes`; encodings that are kept because another peer needs the
same bytes take at most SHARED_BYTES, beyond that a part is encoded again. A peer that takes nothing delays
nobody else. Parts of an attempt that is over are dropped as soon as one of a newer attempt is sent.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import structlog
import trio

from mesh.runtime.postman import BULK_BYTES, Postman
from protocols.errors import MeshError
from protocols.identifiers import PartyId, SessionId
from protocols.programs.messages import InputPart, Layer, OutputShare, RecoveryPart

log = structlog.get_logger("coppice.program")

SHARED_BYTES = 16 << 20
"""Of encodings that wait for a further peer."""


@dataclass(slots=True, eq=False)
class _Part:
    """One message, and for how many peers it still waits."""

    message: object
    size_bytes: int
    peers: int
    encoded: bytes | None = None
    turn: trio.Lock = field(default_factory=trio.Lock)


@dataclass(slots=True, eq=False)
class _Peer:
    parts: deque[_Part] = field(default_factory=deque)
    size_bytes: int = 0
    wake: trio.Event = field(default_factory=trio.Event)


def length_of(message: object) -> int:
    """Bytes of a message that may come in long parts; 0 of any other."""
    if isinstance(message, Layer):
        return int(message.words.nbytes)
    return len(message.sealed) if isinstance(message, InputPart | RecoveryPart | OutputShare) else 0


def is_long(message: object) -> bool:
    """Whether it is sent through an outbox."""
    return length_of(message) >= BULK_BYTES


class Outbox:
    """The long parts of one session. Tasks run in the nursery given."""

    def __init__(
        self,
        postman: Postman,
        session: SessionId,
        epoch: int,
        most_bytes: int,
        counters: Counter[str],
        nursery: trio.Nursery,
    ) -> None:
        self.bytes_sent = 0
        self._postman = postman
        self._session = session
        self._epoch = epoch
        self._most_bytes = most_bytes
        self._counters = counters
        self._nursery = nursery
        self._peers: dict[PartyId, _Peer] = {}
        self._shared_bytes = 0
        self._attempt = 0

    def waiting_bytes(self, peer: PartyId) -> int:
        """What waits for one peer, the part on its way included."""
        return self._peers[peer].size_bytes if peer in self._peers else 0

    def put(self, to: tuple[PartyId, ...], message: object) -> None:
        """Send one part to each of `to`, when its link takes it; beyond the bound it is dropped, counted."""
        if isinstance(message, Layer) and message.attempt > self._attempt:
            self._attempt = message.attempt
            self._drop_old()
        part = _Part(message, length_of(message), 0)
        for party in to:
            peer = self._peers.get(party)
            if peer is None:
                peer = self._peers[party] = _Peer()
                self._nursery.start_soon(self._serve, party, peer)
            if peer.size_bytes + part.size_bytes > self._most_bytes:
                self._counters["outbox_full"] += 1
                log.warning("a peer takes nothing, part dropped", peer=party.short())
                continue
            part.peers += 1
            peer.parts.append(part)
            peer.size_bytes += part.size_bytes
            peer.wake.set()

    def _drop_old(self) -> None:
        for peer in self._peers.values():
            kept = deque[_Part]()
            for part in peer.parts:
                if isinstance(part.message, Layer) and part.message.attempt < self._attempt:
                    peer.size_bytes -= part.size_bytes
                    self._left(part)
                else:
                    kept.append(part)
            peer.parts = kept

    async def _serve(self, party: PartyId, peer: _Peer) -> None:
        while True:
            while peer.parts:
                part = peer.parts.popleft()
                try:
                    sent = await self._postman.stream(party, await self._encoded(part))
                    self.bytes_sent += sent
                except MeshError as error:
                    self._counters["parts_not_sent"] += 1
                    log.debug("not sent", peer=party.short(), why=str(error))
                finally:
                    peer.size_bytes -= part.size_bytes
                    self._left(part)
            peer.wake = trio.Event()
            await peer.wake.wait()

    async def _encoded(self, part: _Part) -> bytes:
        """The signed bytes; whoever comes second waits for the first's."""
        async with part.turn:
            if part.encoded is not None:
                return part.encoded
            data = await trio.to_thread.run_sync(
                lambda: self._postman.signed(part.message, session=self._session, epoch=self._epoch)
            )
            if part.peers > 1 and self._shared_bytes + len(data) <= SHARED_BYTES:
                part.encoded = data
                self._shared_bytes += len(data)
            return data

    def _left(self, part: _Part) -> None:
        """One peer less waits for it."""
        part.peers -= 1
        if part.peers <= 0 and part.encoded is not None:
            self._shared_bytes -= len(part.encoded)
            part.encoded = None
