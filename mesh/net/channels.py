"""One lane of a link: whole frames in, whole frames out, credit in between.

The sender may have at most WINDOW bytes (plus FRAME_COST a frame) on the way or unread above; the receiver
grants what the layer above took. Credit is smaller than the Yamux window that `open_window` asks for, and
our reader always drains the stream, so that Yamux never meets its zero window (fatal after 5 s there) and
memory is bounded whatever the other side does.

One reader and one writer task per stream, ended only together with the link: a cancelled read or write
would desynchronise Noise. Timeouts and cancellation of callers act on our queues.

Source: credits as in RFC 9113 section 5.2, with frames handed over atomically.
Invariant: a caller cancelled inside `put` leaves either the whole frame queued or nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio

from mesh.net.framing import HEADER_BYTES, Kind, RecordParser, header, record
from mesh.net.parts import DEFAULT_WINDOW_SIZE, IMuxedStream, YamuxStream
from mesh.net.secure_channel import HardenedYamux
from mesh.net.transport import MAX_FRAME_BYTES
from protocols.errors import MalformedMessage, TransportError

GRANT_BYTES = 256 * 1024
"""Credit is returned in portions of this size."""
WINDOW = MAX_FRAME_BYTES + 2 * GRANT_BYTES
"""Credit at the start: a largest frame and what may be owed, so that no frame waits for itself."""
FRAME_COST = 128
"""What a frame costs beside its bytes, so that empty frames are not free."""
OUTBOX_BYTES = 512 * 1024
"""Frames queued before `put` waits."""
MAX_SERVICE_RECORDS = 64
UPDATE_BYTES = 64 * 1024


class MuxStream:
    """A Yamux stream read without a window update per read."""

    def __init__(self, stream: IMuxedStream) -> None:
        assert isinstance(stream, YamuxStream)
        assert isinstance(stream.conn, HardenedYamux)
        self._stream = stream
        self._mux = stream.conn
        self._owed = 0

    async def open_window(self) -> None:
        """Let the other side send all its credit without waiting for Yamux."""
        await self._enlarge(WINDOW)

    async def _enlarge(self, amount: int) -> None:
        self._stream.recv_window += amount
        await self._stream.send_window_update(amount)

    async def write(self, data: bytes) -> None:
        """All of it. Raises what libp2p raises when the connection is gone."""
        await self._stream.write(data)

    async def beat(self) -> None:
        """A sign of life below the streams: costs the reader neither a task switch nor a window update."""
        await self._mux.beat()

    async def read(self) -> bytes:
        """Whatever arrived. Raises what libp2p raises at the end of the stream.

        Raises MalformedMessage if the other side overran the Yamux window.
        """
        data = await self._mux.read_stream(self._stream.stream_id, -1)
        self._owed += len(data)
        if len(data) > WINDOW + DEFAULT_WINDOW_SIZE:
            raise MalformedMessage("more bytes than the stream's window")
        if self._owed >= UPDATE_BYTES:
            owed, self._owed = self._owed, 0
            await self._enlarge(owed)
        return data

    async def expect(self, wanted: bytes) -> bytes:
        """Read these very bytes, return what came after. Raises MalformedMessage at the first other byte."""
        data = b""
        while len(data) < len(wanted):
            data += await self.read()
            if not (wanted.startswith(data) or data.startswith(wanted)):
                raise MalformedMessage("the stream speaks another protocol")
        return data[len(wanted) :]


class Outbox:
    """Frames and service records on their way into one stream."""

    def __init__(self, stream: MuxStream, write_bytes: int) -> None:
        self._stream = stream
        self._write_bytes = write_bytes
        self._credit = WINDOW
        self._service: deque[bytes] = deque()
        self._frames: deque[memoryview] = deque()
        self._queued = 0
        self._turn = trio.Lock()
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = ""
        self._beat_due = False
        self._writing = False

    async def put(self, payload: bytes) -> None:
        """Queue a frame, waiting for room behind earlier callers. Raises TransportError once closed."""
        async with self._turn:
            while not self._closed and self._queued and self._queued + len(payload) > OUTBOX_BYTES:
                await self._changed.park()
            if self._closed:
                raise TransportError(f"the link broke: {self._closed}", code="C-502")
            self._frames.append(memoryview(payload))
            self._queued += len(payload) + FRAME_COST
            self._changed.unpark_all()

    def say(self, kind: Kind, body: bytes = b"") -> None:
        """Queue a service record ahead of all frames. Raises MalformedMessage if the other side makes us
        answer more than it reads."""
        if len(self._service) >= MAX_SERVICE_RECORDS:
            raise MalformedMessage("service records are not being read")
        self._service.append(record(kind, body))
        self._changed.unpark_all()

    def beat(self) -> None:
        """Write a sign of life if there is nothing else to write."""
        self._beat_due = True
        self._changed.unpark_all()

    def grant(self, amount: int) -> None:
        """The other side took `amount`. Raises MalformedMessage if it never had that much."""
        self._credit += amount
        if self._credit > WINDOW:
            raise MalformedMessage("more credit than was ever used")
        self._changed.unpark_all()

    def close(self, reason: str) -> None:
        """Wake everybody who waits; `put` raises from now on."""
        self._closed = reason or "closed"
        self._changed.unpark_all()

    async def flushed(self) -> None:
        """Wait until the service records are written."""
        while self._service or self._writing:
            await self._changed.park()

    async def run(self) -> None:
        """Write until the stream breaks; then raises what libp2p raises."""
        while True:
            batch = self._next_write()
            if not batch and not self._beat_due:
                await self._changed.park()
                continue
            self._beat_due = False
            if not batch:
                await self._stream.beat()
                continue
            self._writing = True
            await self._stream.write(batch)
            self._writing = False
            self._changed.unpark_all()

    def _next_write(self) -> bytes:
        """Service records first, then frames up to `write_bytes` as far as credit goes."""
        parts: list[bytes | memoryview] = list(self._service)
        self._service.clear()
        room = self._write_bytes
        while self._frames and self._credit > 0 and room > 0:
            frame = self._frames.popleft()
            size = min(len(frame), room, self._credit)
            last = size == len(frame)
            parts += (header(Kind.LAST if last else Kind.DATA, size), frame[:size])
            cost = size + (FRAME_COST if last else 0)
            if not last:
                self._frames.appendleft(frame[size:])
            self._credit -= cost
            self._queued -= cost
            room -= size + HEADER_BYTES
        return b"".join(parts)


class Inbox:
    """Bytes from one stream, made into frames and handed up as fast as they are taken there."""

    def __init__(
        self,
        stream: MuxStream,
        limit: int,
        accept: Callable[[int], None],
        service: Callable[[Kind, bytes], None],
        deliver: Callable[[bytes], Awaitable[None]],
        taken: Callable[[int], None],
    ) -> None:
        """`accept(size)` may refuse a complete frame by raising; `taken(amount)` returns credit."""
        self._stream = stream
        self._limit = limit
        self._accept = accept
        self._service = service
        self._deliver = deliver
        self._taken = taken
        self._parser = RecordParser()
        self._pieces: list[bytes] = []
        self._partial = 0
        self._outstanding = 0
        self._frames: deque[bytes] = deque()
        self._arrived = trio.lowlevel.ParkingLot()

    def feed(self, data: bytes) -> None:
        """Take bytes in. Raises MalformedMessage, TransportError when the other side breaks a limit."""
        for kind, body in self._parser.feed(data):
            if kind is Kind.DATA or kind is Kind.LAST:
                self._data(body, last=kind is Kind.LAST)
            else:
                self._service(kind, body)

    def _data(self, body: bytes, *, last: bool) -> None:
        self._partial += len(body)
        self._outstanding += len(body)
        if self._partial > self._limit:
            raise MalformedMessage(f"a frame above {self._limit} bytes")
        if self._outstanding > WINDOW:
            raise MalformedMessage("more bytes than there was credit for")
        if not body and not last:
            raise MalformedMessage("an empty piece of a frame")
        self._pieces.append(body)
        if last:
            self._accept(self._partial)
            self._outstanding += FRAME_COST
            self._frames.append(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
            self._pieces = []
            self._partial = 0
            self._arrived.unpark()

    async def read(self) -> None:
        """Drain the stream for ever; raises what libp2p raises at its end."""
        while True:
            self.feed(await self._stream.read())

    async def hand_up(self) -> None:
        """Deliver frames in order and return credit for what was taken."""
        owed = 0
        while True:
            while not self._frames:
                await self._arrived.park()
            frame = self._frames.popleft()
            await self._deliver(frame)
            owed += len(frame) + FRAME_COST
            if owed >= GRANT_BYTES:
                self._outstanding -= owed
                self._taken(owed)
                owed = 0
