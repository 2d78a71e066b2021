"""One link: a secure channel with two lanes, introduced on both sides.

    dialler                          acceptor
    HELLO(blob, wants)       ->      judges
                             <-      VERDICT, HELLO          (or VERDICT refused / duplicate, then closed)
    judges, VERDICT          ->      up
    up

Both streams carry the multistream-select preamble in one write, so that a stranger to our protocol is
told apart at the first bytes and no negotiation code runs on input from outside.

Invariant: no frame is delivered before both verdicts; after `serve` returned the socket is closed.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from mesh.net.admission import GuestAllowance, check_outgoing, frame_limit, told_reason
from mesh.net.channels import Inbox, MuxStream, Outbox
from mesh.net.framing import (
    DUPLICATE,
    Hello,
    Kind,
    credit_body,
    parse_credit,
    parse_hello,
    parse_verdict,
    record,
    verdict_body,
)
from mesh.net.secure_channel import SecureChannel
from mesh.net.transport import Admission, Lane, LinkInfo, Verdict
from protocols.errors import MalformedMessage, MeshError, TransportError
from protocols.identifiers import PartyId

PROTOCOL = {Lane.CONTROL: "/coppice/control/1", Lane.BULK: "/coppice/bulk/1"}
FAREWELL_S = 0.3
"""How long a link waits for its last record to be read before the socket is closed."""


def preamble(lane: Lane) -> bytes:
    """multistream-select/1.0.0 for our one protocol: the same bytes both ways."""
    lines = (b"/multistream/1.0.0\n", PROTOCOL[lane].encode() + b"\n")
    return b"".join(bytes((len(line),)) + line for line in lines)


class Duplicate(TransportError):
    """The other side's own dial is the connection that stays."""

    code = "C-507"


@dataclass(slots=True)
class Introduction:
    """What the hello exchange settled."""

    mine: Verdict
    theirs: Verdict
    remote_wants: bool
    wants_told: bool

    @property
    def limited(self) -> bool:
        """Whether either side is a guest of the other."""
        return Admission.GUEST in (self.mine.admission, self.theirs.admission)


class Lanes:
    """The two streams of a channel, before and after the introduction."""

    def __init__(self, channel: SecureChannel, dialled: bool, streams: dict[Lane, MuxStream]) -> None:
        self.channel = channel
        self.dialled = dialled
        self.streams = streams
        self.out = {lane: Outbox(stream, channel.pipe.write_bytes) for lane, stream in streams.items()}
        self.rest = dict.fromkeys(Lane, b"")

    @classmethod
    async def open(cls, channel: SecureChannel) -> Lanes:
        """The dialler's half."""
        streams = {lane: MuxStream(await channel.mux.open_stream()) for lane in Lane}
        for lane, stream in streams.items():
            await stream.write(preamble(lane))
            await stream.open_window()
        return cls(channel, True, streams)

    @classmethod
    async def accept(cls, channel: SecureChannel) -> Lanes:
        """The acceptor's half. Raises MalformedMessage if the streams are not ours."""
        streams = {lane: MuxStream(await channel.mux.accept_stream()) for lane in Lane}
        for lane, stream in streams.items():
            await stream.write(preamble(lane))
            await stream.open_window()
        return cls(channel, False, streams)

    async def check_preamble(self, lane: Lane) -> None:
        """Read the other side's preamble. Raises MalformedMessage."""
        self.rest[lane] = await self.streams[lane].expect(preamble(lane))

    async def next_record(self, *expected: Kind) -> tuple[Kind, bytes]:
        """One record of the introduction from the control lane. Raises MalformedMessage."""
        held = self.rest[Lane.CONTROL]
        while len(held) < 4 or len(held) < 4 + int.from_bytes(held[1:4], "big"):
            if len(held) > 16 * 1024:
                raise MalformedMessage("the introduction is too long")
            held += await self.streams[Lane.CONTROL].read()
        end = 4 + int.from_bytes(held[1:4], "big")
        self.rest[Lane.CONTROL] = held[end:]
        if held[0] not in expected:
            raise MalformedMessage(f"record of kind {held[0]} during the introduction")
        return Kind(held[0]), held[4:end]

    async def say(self, kind: Kind, body: bytes) -> None:
        """Write one record of the introduction."""
        await self.streams[Lane.CONTROL].write(record(kind, body))

    async def refuse(self, number: int, reason: str) -> None:
        """Tell a refusal and let it arrive before the socket is closed."""
        await self.say(Kind.VERDICT, bytes((number,)) + told_reason(reason).encode())
        self.channel.pipe.finish_writing()
        with trio.move_on_after(FAREWELL_S):
            await self.channel.mux.event_shutting_down.wait()


async def introduce_dialler(lanes: Lanes, hello: Hello, judge: Callable[[bytes], Verdict]) -> Introduction:
    """The left column above. Raises TransportError with the reason when refused, Duplicate."""
    await lanes.say(Kind.HELLO, hello.body())
    await lanes.check_preamble(Lane.CONTROL)
    _, body = await lanes.next_record(Kind.VERDICT)
    theirs, duplicate = parse_verdict(body)
    if duplicate:
        raise Duplicate(theirs.reason)
    if theirs.admission is Admission.REFUSED:
        raise RefusedByThem(theirs.reason)
    _, body = await lanes.next_record(Kind.HELLO)
    answer = parse_hello(body)
    mine = judge(answer.blob)
    if mine.admission is Admission.REFUSED:
        await lanes.refuse(2, mine.reason)
        raise RefusedByUs(mine.reason)
    await lanes.say(Kind.VERDICT, verdict_body(mine))
    await lanes.check_preamble(Lane.BULK)
    return Introduction(mine, theirs, answer.wants, hello.wants)


async def introduce_acceptor(
    lanes: Lanes,
    hello: Callable[[], Hello],
    judge: Callable[[bytes], Verdict],
    is_duplicate: Callable[[], bool],
) -> Introduction:
    """The right column above. Raises TransportError with the reason when refused, Duplicate."""
    await lanes.check_preamble(Lane.CONTROL)
    await lanes.check_preamble(Lane.BULK)
    _, body = await lanes.next_record(Kind.HELLO)
    theirs_hello = parse_hello(body)
    mine = judge(theirs_hello.blob)
    if mine.admission is Admission.REFUSED:
        await lanes.refuse(2, mine.reason)
        raise RefusedByUs(mine.reason)
    if is_duplicate():
        await lanes.refuse(DUPLICATE, "")
        raise Duplicate("our own dial is kept")
    await lanes.say(Kind.VERDICT, verdict_body(mine))
    answer = hello()
    await lanes.say(Kind.HELLO, answer.body())
    _, body = await lanes.next_record(Kind.VERDICT)
    theirs, _ = parse_verdict(body)
    if theirs.admission is Admission.REFUSED:
        raise RefusedByThem(theirs.reason)
    return Introduction(mine, theirs, theirs_hello.wants, answer.wants)


class RefusedByThem(TransportError):
    """Their gate said no; the message is their reason."""

    code = "C-505"


class RefusedByUs(TransportError):
    """Our gate said no; the message is our reason."""

    code = "C-505"


class Link:
    """An introduced link: send, serve, end."""

    def __init__(
        self,
        lanes: Lanes,
        introduction: Introduction,
        allowance: GuestAllowance | None,
        deliver: Callable[[Link, bytes], Awaitable[None]],
        wants_changed: Callable[[Link], None],
    ) -> None:
        self.peer: PartyId = lanes.channel.peer
        self.dialled = lanes.dialled
        self.pipe = lanes.channel.pipe
        self.introduction = introduction
        self.remote_wants = introduction.remote_wants
        self.wants_told = introduction.wants_told
        self.guest = introduction.mine.admission is Admission.GUEST
        self.rtt_s: float | None = None
        self.reason = ""
        self.last_ping = -1e9
        self.since = trio.current_time()
        self._channel = lanes.channel
        self._lanes = lanes
        self._allowance = allowance
        self._deliver = deliver
        self._wants_changed = wants_changed
        self._over = trio.Event()
        self._tell = False
        limit = frame_limit(introduction.limited)
        self._in = {
            lane: Inbox(
                lanes.streams[lane],
                limit,
                self._accept_frame,
                self._service,
                self._hand_up,
                lambda amount, lane=lane: self._say(Kind.CREDIT, credit_body(lane, amount)),  # type: ignore[misc]
            )
            for lane in Lane
        }

    # --- for the transport ------------------------------------------------------------------------

    async def send(self, payload: bytes, lane: Lane) -> None:
        """Queue a frame. Raises TransportError, LocalMisuse."""
        check_outgoing(payload, limited=self.introduction.limited)
        await self._lanes.out[lane].put(payload)

    def end(self, reason: str, *, tell: bool) -> None:
        """Close the link for `reason`; the first reason stays. `tell`: the other side hears it."""
        if not self._over.is_set():
            self.reason = reason
            self._tell = tell
            self._over.set()

    def info(self) -> LinkInfo:
        """For people and the planner."""
        return LinkInfo(
            peer=self.peer,
            guest=self.guest,
            direct=True,
            rtt_s=self.rtt_s,
            bytes_sent=self.pipe.bytes_written,
            bytes_received=self.pipe.bytes_read,
            address=self.pipe.remote,
        )

    def beat(self) -> None:
        """One-way sign of life."""
        self._lanes.out[Lane.CONTROL].beat()

    def ping(self) -> None:
        """Measure the round trip."""
        self.last_ping = trio.current_time()
        self._say(Kind.PING, struct.pack("!d", self.last_ping))

    def say_wants(self, wants: bool) -> None:
        """Tell the other side whether we still want this link."""
        self.wants_told = wants
        self._say(Kind.WANT, bytes((wants,)))

    async def serve(self) -> None:
        """Run the lanes until the link ends; `reason` says why. Closes the socket in any case."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, self._intruders)
                for lane in Lane:
                    nursery.start_soon(self._guard, self._lanes.out[lane].run)
                    nursery.start_soon(self._guard, self._read, lane)
                    nursery.start_soon(self._guard, self._in[lane].hand_up)
                await self._over.wait()
                if self._tell:
                    await self._farewell()
                self.pipe.abort()
                nursery.cancel_scope.cancel()
        finally:
            self.pipe.abort()
            for out in self._lanes.out.values():
                out.close(self.reason)

    # --- inside -----------------------------------------------------------------------------------

    async def _guard(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Whatever one lane meets ends this link and nothing else."""
        try:
            await work(*args)
        except MeshError as error:
            self.end(f"broke the link protocol: {error.args[0]}", tell=True)
        except trio.Cancelled:
            raise
        except Exception:
            self.end("connection lost", tell=False)

    async def _read(self, lane: Lane) -> None:
        rest, self._lanes.rest[lane] = self._lanes.rest[lane], b""
        self._in[lane].feed(rest)
        await self._in[lane].read()

    async def _intruders(self) -> None:
        await self._channel.mux.accept_stream()
        raise MalformedMessage("a third stream")

    async def _farewell(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL_S):
            control = self._lanes.out[Lane.CONTROL]
            self._say(Kind.BYE, told_reason(self.reason).encode())
            await control.flushed()
            await trio.lowlevel.checkpoint()
            self.pipe.finish_writing()
            await self._channel.mux.event_shutting_down.wait()

    def _say(self, kind: Kind, body: bytes = b"") -> None:
        try:
            self._lanes.out[Lane.CONTROL].say(kind, body)
        except MalformedMessage as error:
            self.end(str(error.args[0]), tell=False)

    def _accept_frame(self, size: int) -> None:
        if self._allowance is not None:
            self._allowance.spend(size)

    async def _hand_up(self, payload: bytes) -> None:
        await self._deliver(self, payload)

    def _service(self, kind: Kind, body: bytes) -> None:
        """Act on a service record. Raises MalformedMessage."""
        match kind:
            case Kind.CREDIT:
                lane, amount = parse_credit(body)
                self._lanes.out[lane].grant(amount)
            case Kind.PING if len(body) == 8:
                self._say(Kind.PONG, body)
            case Kind.PONG if body != struct.pack("!d", self.last_ping):
                return  # the answer to an earlier ping, overtaken by a later one
            case Kind.PONG:
                sample = trio.current_time() - self.last_ping
                self.rtt_s = sample if self.rtt_s is None else min(sample, 0.75 * self.rtt_s + 0.25 * sample)
            case Kind.WANT if len(body) == 1:
                self.remote_wants = bool(body[0])
                self._wants_changed(self)
            case Kind.BYE:
                self.end(told_reason(body[:1024].decode("utf-8", "replace")) or "closed by peer", tell=False)
            case _:
                raise MalformedMessage(f"unexpected record of kind {kind.name}")
