"""The real transport: admitted links over TCP, Noise and Yamux, kept up by our own dialler.

Decides which connection becomes the link to a peer, and says so in events. Everything about bytes is below
(`secure_channel`, `channels`, `link`), everything about meaning above.

Two nodes that dial each other at the same moment keep the connection dialled by the smaller id: its
acceptor gives up its own dial, its dialler answers DUPLICATE to the other's hello; nobody starts a dial to a
peer whose own is being introduced. A connection from a peer
that is linked already means that the peer lost the old one (it would not dial otherwise): it replaces it.

Invariant: at most one link a peer; each LinkUp is followed by exactly one LinkDown; when `run` has returned
no socket, listener or task of ours is left.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from mesh.net.admission import told_reason
from mesh.net.dialler import Pauses, connect
from mesh.net.link import (
    Lanes,
    RefusedByThem,
    RefusedByUs,
    introduce_acceptor,
    introduce_dialler,
)
from mesh.net.link_book import LinkBook
from mesh.net.listening import listen_on, published
from mesh.net.liveness import watch
from mesh.net.profile import LAN, LinkProfile
from mesh.net.secure_channel import MUX_ERRORS, ChannelMaker, SecureChannel
from mesh.net.transport import (
    Admission,
    Gate,
    Lane,
    LinkInfo,
    Tap,
)
from protocols.errors import LocalMisuse, MalformedMessage, TransportError
from protocols.identifiers import PartyId

if TYPE_CHECKING:
    from trio_typing import TaskStatus

logger = logging.getLogger(__name__)

GOODBYE_S = 1.0


class Libp2pTransport:
    """`Transport` over the network. One `run` per object."""

    def __init__(
        self,
        identity_seed: bytes,
        network_key: bytes | None,
        listen: Sequence[str],
        gate: Gate,
        profile: LinkProfile = LAN,
        tap: Tap | None = None,
    ) -> None:
        """Raises ConfigError for keys of the wrong size."""
        self._maker = ChannelMaker(identity_seed, network_key, profile)
        self.me = self._maker.me
        self._listen = tuple(listen)
        self._profile = profile
        self._tap = tap
        self._book = LinkBook(self.me, gate, profile, tap)
        self.frames = self._book.frames
        self.events = self._book.events
        self._last_good: dict[PartyId, str] = {}
        self._pursued: set[PartyId] = set()
        self._dialling: dict[PartyId, trio.CancelScope] = {}
        self._arriving: set[PartyId] = set()
        self._pending: OrderedDict[object, trio.CancelScope] = OrderedDict()
        self._dial_slots = trio.CapacityLimiter(profile.parallel_dials)
        self._stop = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._addresses: tuple[str, ...] = ()

    # --- the Transport interface ------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Raises ConfigError if an address cannot be listened on."""
        listeners = await listen_on(self._listen)
        self._addresses = published(listeners)
        try:
            async with trio.open_nursery() as outer:
                await outer.start(self._serve, listeners)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._stop.set()
        finally:
            for listener in listeners:
                listener.socket.close()
            self._book.close()

    async def send(self, to: PartyId, payload: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Hand a frame to the link, waiting for credit. Raises TransportError, LocalMisuse."""
        link = self._book.links.get(to)
        if link is None:
            why = self._book.troubles.get(to, "not linked")
            raise TransportError(f"no link to {to.short()}: {why}", code="C-501")
        await link.send(bytes(payload), lane)
        if self._tap is not None:
            self._tap("sent", to, bytes(payload))

    def want(self, peers: Mapping[PartyId, Sequence[str]]) -> None:
        """Keep links to exactly these peers up; a link that neither side wants is closed."""
        if self.me in peers:
            raise LocalMisuse("a node does not link to itself")
        for peer in self._book.want(peers):
            self._last_good.pop(peer, None)
            if peer in self._dialling:
                self._dialling[peer].cancel()
        self._pursue_wanted()

    def links(self) -> Mapping[PartyId, LinkInfo]:
        """Working links now."""
        return {peer: link.info() for peer, link in self._book.links.items()}

    def addresses(self) -> Sequence[str]:
        """Where we listen, wildcards expanded; empty before `run` has started."""
        return self._addresses

    def troubles(self) -> Mapping[PartyId, str]:
        """Why each wanted peer that has no link has none."""
        book = self._book
        missing = [peer for peer in book.wanted if peer not in book.links]
        return {peer: book.troubles.get(peer, "dialling") for peer in missing}

    def reintroduce(self) -> None:
        """Make the links on which we are a guest anew, and retry at once where we were refused."""
        for link in list(self._book.links.values()):
            if link.introduction.theirs.admission is Admission.GUEST:
                link.end("hello changed", tell=True)
        self._book.changed.unpark_all()

    def drop(self, peer: PartyId, reason: str) -> None:
        """End the link to `peer`, telling it why."""
        link = self._book.links.get(peer)
        if link is not None:
            link.end(told_reason(reason), tell=True)

    # --- serving ----------------------------------------------------------------------------------

    async def _serve(self, listeners: list[trio.SocketListener], *, task_status: TaskStatus[None]) -> None:
        """All tasks; shielded, so that on the way out peers hear a goodbye instead of a timeout."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(watch, lambda: list(self._book.links.values()), self._profile)
                for listener in listeners:
                    nursery.start_soon(self._accept, listener)
                self._pursue_wanted()
                task_status.started()
                await self._stop.wait()
                self._nursery = None
                for listener in listeners:
                    listener.socket.close()
                with trio.move_on_after(GOODBYE_S):
                    await self._say_goodbye()
                nursery.cancel_scope.cancel()

    async def _say_goodbye(self) -> None:
        self._book.wanted = {}
        self._book.changed.unpark_all()
        for scope in [*self._dialling.values(), *self._pending.values()]:
            scope.cancel()
        for link in list(self._book.links.values()):
            link.end("closed by peer", tell=True)
        while self._book.links:
            await self._book.changed.park()

    async def _accept(self, listener: trio.SocketListener) -> None:
        """Accept for ever; out of file descriptors means a pause, not the end."""
        while self._nursery is not None:
            try:
                stream = await listener.accept()
            except OSError as error:
                logger.warning("cannot accept connections: %s", error.strerror)
                await trio.sleep(0.1)
                continue
            except trio.ClosedResourceError:
                return
            if self._nursery is not None:
                self._nursery.start_soon(self._inbound, stream)

    async def _inbound(self, stream: trio.SocketStream) -> None:
        """One connection that somebody made to us, to its end."""
        token = object()
        scope = trio.CancelScope()
        while len(self._pending) >= self._profile.max_pending:
            self._pending.popitem(last=False)[1].cancel()
        self._pending[token] = scope
        try:
            with scope:
                await self._inbound_link(stream, scope, token)
        except (TransportError, MalformedMessage) as error:
            logger.info("connection from outside ended: %s", error.args[0])
        except MUX_ERRORS:
            logger.info("connection from outside broke while being set up")
        except Exception:
            logger.exception("a connection from outside ended with an error of ours")
        finally:
            self._pending.pop(token, None)
            stream.socket.close()

    async def _inbound_link(self, stream: trio.SocketStream, scope: trio.CancelScope, token: object) -> None:
        scope.deadline = trio.current_time() + self._profile.dial_timeout_s
        channel = await self._maker.inbound(stream)
        peer = channel.peer
        self._start_mux(channel)
        lanes = await Lanes.accept(channel)
        try:
            introduction = await introduce_acceptor(
                lanes,
                lambda: self._book.hello(peer),
                lambda blob: self._book.judge(peer, blob),
                lambda: self._yields(peer),
            )
        except (RefusedByThem, RefusedByUs) as error:
            self._book.refusal(peer, error)
            raise
        finally:
            self._arriving.discard(peer)
            self._book.changed.unpark_all()
        self._pending.pop(token, None)
        scope.deadline = math.inf
        await self._book.serve(lanes, introduction)

    def _yields(self, peer: PartyId) -> bool:
        """Whether an inbound connection gives way to our own dial; otherwise our dial gives way to it."""
        own = self._dialling.get(peer)
        if own is not None and self.me < peer:
            return True
        if own is not None:
            own.cancel()
        self._arriving.add(peer)
        return False

    # --- dialling ---------------------------------------------------------------------------------

    def _pursue_wanted(self) -> None:
        if self._nursery is not None:
            for peer in self._book.wanted:
                if peer not in self._pursued:
                    self._pursued.add(peer)
                    self._nursery.start_soon(self._pursue, peer)

    async def _pursue(self, peer: PartyId) -> None:
        """Keep the link to one wanted peer up."""
        pauses = Pauses(self._profile)
        try:
            while peer in self._book.wanted:
                if peer in self._book.links:
                    pauses.reset()
                    await self._book.changed.park()
                    continue
                try:
                    await self._dial(peer)
                except (TransportError, MalformedMessage) as error:
                    self._book.troubles[peer] = str(error.args[0])
                except Exception:
                    logger.exception("a dial ended with an error of ours")
                if peer in self._book.wanted and peer not in self._book.links:
                    with trio.move_on_after(pauses.pause_s()):
                        await self._book.changed.park()
        finally:
            self._pursued.discard(peer)

    async def _dial(self, peer: PartyId) -> None:
        """One try, and the link's whole life if it works. Raises TransportError with the reason."""
        known = self._book.wanted.get(peer, ())
        addresses = sorted(known, key=lambda address: address != self._last_good.get(peer))
        scope = trio.CancelScope()
        slot = object()
        stream: trio.SocketStream | None = None
        late = "no answer within the time limit"

        def settled() -> None:
            if self._dialling.get(peer) is scope:
                del self._dialling[peer]
                self._dial_slots.release_on_behalf_of(slot)

        await self._dial_slots.acquire_on_behalf_of(slot)
        self._dialling[peer] = scope
        try:
            if peer in self._book.links or peer in self._arriving or peer not in self._book.wanted:
                return
            with scope:
                scope.deadline = trio.current_time() + self._profile.dial_timeout_s
                stream, address = await connect(addresses)
                late = "connected, but no handshake: another network key, or not a node of ours"
                channel = await self._maker.outbound(stream, peer)
                late = "the other side did not introduce itself in time"
                self._start_mux(channel)
                lanes = await Lanes.open(channel)
                introduction = await introduce_dialler(
                    lanes, self._book.hello(peer), lambda blob: self._book.judge(peer, blob)
                )
                settled()
                scope.deadline = math.inf
                self._last_good[peer] = address
                await self._book.serve(lanes, introduction)
        except (RefusedByThem, RefusedByUs) as error:
            self._book.refusal(peer, error)
            raise
        except (TransportError, MalformedMessage):
            raise
        except MUX_ERRORS as error:
            raise TransportError("the connection broke while being set up", code="C-506") from error
        finally:
            settled()
            if stream is not None:
                stream.socket.close()
        if scope.cancelled_caught and peer not in self._book.links:
            self._book.troubles[peer] = late

    # --- links ------------------------------------------------------------------------------------

    def _start_mux(self, channel: SecureChannel) -> None:
        """Run the multiplexer in the background; it ends when its socket is closed."""

        async def run_mux() -> None:
            try:
                await channel.mux.start()
            except Exception as error:
                logger.info("the multiplexer ended: %s", type(error).__name__)
            finally:
                channel.pipe.abort()

        if self._nursery is None:
            raise TransportError("this node is closing", code="C-501")
        self._nursery.start_soon(run_mux)
