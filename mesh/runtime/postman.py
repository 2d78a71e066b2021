"""Outgoing mail: sign once, queue for each peer, never let a slow peer hold up anybody else.

Each peer has one bounded queue and one task. A message for a peer without a link, or beyond the bound,
is dropped and counted: sessions survive lost messages, memory does not survive unbounded queues.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import trio
from nacl.signing import SigningKey

from mesh.net.transport import Lane, Transport
from protocols.errors import MeshError
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.wire import codec, envelope

if TYPE_CHECKING:
    from trio_typing import TaskStatus


log = structlog.get_logger("coppice.mail")

NO_SESSION = SessionId(bytes(32))
MAX_QUEUED_BYTES = 32 * 1024 * 1024
BULK_BYTES = 128 * 1024
"""Messages from this size on travel in the bulk lane."""


@dataclass(slots=True)
class _Queue:
    mail: deque[tuple[bytes, Lane]] = field(default_factory=deque)
    size_bytes: int = 0
    wake: trio.Event = field(default_factory=trio.Event)
    idle: trio.Event = field(default_factory=trio.Event)
    sending: bool = False
    closed: bool = False


class Postman:
    """Signs and sends. `run` must be running."""

    def __init__(self, transport: Transport, signing_seed: bytes, mesh: Digest) -> None:
        self.counters: Counter[str] = Counter()
        self._transport = transport
        self._key = SigningKey(signing_seed)
        self._mesh = mesh
        self._queues: dict[PartyId, _Queue] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def post(
        self,
        to: Iterable[PartyId],
        message: object,
        *,
        session: SessionId = NO_SESSION,
        epoch: int = 0,
        stage: int = -1,
    ) -> int:
        """Queue one signed message for each of `to`; bytes queued for all."""
        recipients = tuple(to)
        if not recipients:
            return 0
        data = self.signed(message, session=session, epoch=epoch, stage=stage)
        lane = Lane.BULK if len(data) >= BULK_BYTES else Lane.CONTROL
        self.counters["messages_sent"] += len(recipients)
        return sum(self._enqueue(peer, data, lane) for peer in recipients)

    def signed(
        self, message: object, *, session: SessionId = NO_SESSION, epoch: int = 0, stage: int = -1
    ) -> bytes:
        """The message as it travels; may be called from any thread."""
        kind: str = message.KIND  # type: ignore[attr-defined]  # every message class names its kind
        body = codec.encode(message)
        return envelope.sign(
            self._key, mesh=self._mesh, session=session, epoch=epoch, stage=stage, kind=kind, body=body
        )

    async def stream(self, to: PartyId, data: bytes) -> int:
        """Send one bulk frame, as it is, at the pace of the link; bytes sent. Raises TransportError."""
        await self._transport.send(to, data, Lane.BULK)
        self.counters["bytes_sent"] += len(data)
        return len(data)

    async def flush(self, patience_s: float) -> None:
        """Wait until all queues are empty, at most `patience_s`."""
        with trio.move_on_after(patience_s):
            for queue in list(self._queues.values()):
                while queue.mail or queue.sending:
                    await queue.idle.wait()

    def forget(self, peer: PartyId) -> None:
        """The link to `peer` is down: what waits for it is dropped, and the queue is closed."""
        queue = self._queues.pop(peer, None)
        if queue is not None:
            self.counters["messages_dropped"] += len(queue.mail)
            queue.mail.clear()
            queue.size_bytes = 0
            queue.closed = True
            queue.wake.set()

    def _enqueue(self, peer: PartyId, data: bytes, lane: Lane) -> int:
        queue = self._queues.get(peer)
        if queue is None:
            if self._nursery is None:
                return 0
            queue = self._queues[peer] = _Queue()
            self._nursery.start_soon(self._serve, peer, queue)
        if queue.size_bytes + len(data) > MAX_QUEUED_BYTES:
            self.counters["messages_dropped"] += 1
            log.warning("queue full, message dropped", peer=peer.short(), bytes=len(data))
            return 0
        queue.mail.append((data, lane))
        queue.size_bytes += len(data)
        queue.wake.set()
        return len(data)

    async def _serve(self, peer: PartyId, queue: _Queue) -> None:
        while True:
            while queue.mail:
                data, lane = queue.mail.popleft()
                queue.size_bytes -= len(data)
                queue.sending = True
                try:
                    await self._transport.send(peer, data, lane)
                    self.counters["bytes_sent"] += len(data)
                except MeshError as error:
                    self.counters["messages_dropped"] += 1
                    log.debug("not sent", peer=peer.short(), why=str(error))
            queue.sending = False
            queue.idle.set()
            if queue.closed:
                return
            queue.wake, queue.idle = trio.Event(), trio.Event()
            await queue.wake.wait()
