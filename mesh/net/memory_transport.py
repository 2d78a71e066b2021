"""The transport interface inside one process: for tests of everything above it under a virtual clock.

Decides nothing of its own: gate, guest limits, events and errors are those of `libp2p_transport`; only
time (trio's clock, hence MockClock works) and failures (`MemoryNetwork`) are in the test's hand.

Invariants: frames of one (sender, receiver, lane) arrive in order and at most once; every LinkUp is
followed by exactly one LinkDown; after `run` ended nothing of the transport is reachable.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from mesh.net.admission import GuestAllowance, check_outgoing, judge, own_hello, told_reason
from mesh.net.memory_link import End, MemoryLink
from mesh.net.profile import LAN, LinkProfile
from mesh.net.transport import (
    Admission,
    Frame,
    Gate,
    Lane,
    LinkDown,
    LinkEvent,
    LinkInfo,
    LinkUp,
    Tap,
    Verdict,
)
from protocols.errors import LocalMisuse, TransportError
from protocols.identifiers import PartyId

if TYPE_CHECKING:
    from trio_typing import TaskStatus

FRAMES_BUFFERED = 8
EVENTS_BUFFERED = 4096


class MemoryNetwork:
    """The wires between the transports of one test: latency, cuts and kills."""

    def __init__(self, *, latency_s: float = 0.001, profile: LinkProfile = LAN) -> None:
        self.latency_s = latency_s
        self.profile = profile
        self._nodes: dict[PartyId, MemoryTransport] = {}
        self._cuts: dict[frozenset[PartyId], trio.Event] = {}

    def transport(self, me: PartyId, gate: Gate, *, tap: Tap | None = None) -> MemoryTransport:
        """A new transport of `me`; its `run` puts it on the network."""
        return MemoryTransport(self, me, gate, tap)

    def cut(self, a: PartyId, b: PartyId, *, abrupt: bool = False) -> None:
        """Drop every packet between a and b; `abrupt`: both notice now, else after `detect_s`."""
        pair = frozenset((a, b))
        self._cuts.setdefault(pair, trio.Event())
        node = self._nodes.get(a)
        link = node._links.get(b) if node is not None else None
        if link is None:
            return
        if abrupt:
            link.close("connection reset")
            return
        for end in link.ends.values():
            if end.owner._nursery is not None:
                end.owner._nursery.start_soon(self._notice, link, end.owner.me, pair)

    def heal(self, a: PartyId, b: PartyId) -> None:
        """Packets flow again; what waited less than `detect_s` is delivered late."""
        event = self._cuts.pop(frozenset((a, b)), None)
        if event is not None:
            event.set()

    def isolate(self, node: PartyId) -> None:
        """Cut `node` from everyone silently: a stopped process or a pulled cable."""
        for other in self._nodes:
            if other != node:
                self.cut(node, other)

    def rejoin(self, node: PartyId) -> None:
        """Undo `isolate`."""
        for pair in [pair for pair in self._cuts if node in pair]:
            self.heal(*pair)

    def kill(self, node: PartyId) -> None:
        """SIGKILL: `run` of that transport is cancelled and every peer notices at once."""
        victim = self._nodes.get(node)
        if victim is not None and victim._nursery is not None:
            victim._killed = True
            victim._nursery.cancel_scope.cancel()

    def _is_cut(self, a: PartyId, b: PartyId) -> bool:
        return frozenset((a, b)) in self._cuts

    async def _flowing(self, a: PartyId, b: PartyId) -> None:
        while (event := self._cuts.get(frozenset((a, b)))) is not None:
            await event.wait()

    async def _notice(self, link: MemoryLink, me: PartyId, pair: frozenset[PartyId]) -> None:
        with trio.move_on_after(self.profile.detect_s):
            await self._flowing(*pair)
            return
        link.close_end(me, f"nothing received for {self.profile.detect_s:g} s")


class MemoryTransport:
    """`Transport` over a MemoryNetwork; made by `MemoryNetwork.transport`."""

    def __init__(self, network: MemoryNetwork, me: PartyId, gate: Gate, tap: Tap | None) -> None:
        self.me = me
        self._network = network
        self._gate = gate
        self._tap = tap
        self._frames_in, self.frames = trio.open_memory_channel[Frame](FRAMES_BUFFERED)
        self._events_in, self.events = trio.open_memory_channel[LinkEvent](EVENTS_BUFFERED)
        self._links: dict[PartyId, MemoryLink] = {}
        self._wanted: dict[PartyId, tuple[str, ...]] = {}
        self._troubles: dict[PartyId, str] = {}
        self._told: dict[PartyId, str] = {}
        self._pursued: set[PartyId] = set()
        self._wake = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._killed = False

    # --- the Transport interface ------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled or killed. Raises LocalMisuse if `me` already runs."""
        if self.me in self._network._nodes:
            raise LocalMisuse(f"{self.me.short()} runs on this network already")
        self._network._nodes[self.me] = self
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._pursue_wanted()
                task_status.started()
                await trio.sleep_forever()
        finally:
            del self._network._nodes[self.me]
            self._nursery = None
            for link in list(self._links.values()):
                link.close("connection reset" if self._killed else "closed by peer")
            self._frames_in.close()
            self._events_in.close()

    async def send(self, to: PartyId, payload: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Hand a frame to the link, waiting for credit. Raises TransportError, LocalMisuse."""
        link = self._links.get(to)
        if link is None:
            why = self._troubles.get(to, "not linked")
            raise TransportError(f"no link to {to.short()}: {why}", code="C-501")
        check_outgoing(payload, limited=link.limited)
        end = link.ends[self.me]
        try:
            await end.pipes[lane].send((trio.current_time() + self._network.latency_s, bytes(payload)))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise TransportError(f"the link to {to.short()} broke", code="C-502") from None
        end.sent_bytes += len(payload)
        if self._tap is not None:
            self._tap("sent", to, bytes(payload))

    def want(self, peers: Mapping[PartyId, Sequence[str]]) -> None:
        """Keep links to exactly these peers up; a link that neither side wants is closed."""
        if self.me in peers:
            raise LocalMisuse("a node does not link to itself")
        self._wanted = {peer: tuple(addresses) for peer, addresses in peers.items()}
        self._troubles = {peer: why for peer, why in self._troubles.items() if peer in self._wanted}
        self._kick()
        self._pursue_wanted()
        for peer, link in list(self._links.items()):
            if peer not in self._wanted and self.me not in link.other(self.me).owner._wanted:
                link.close("no longer wanted")

    def links(self) -> Mapping[PartyId, LinkInfo]:
        """Working links now."""
        return {peer: self._info(peer, link) for peer, link in self._links.items()}

    def addresses(self) -> Sequence[str]:
        """One made-up address that names this node."""
        return (memory_address(self.me),)

    def troubles(self) -> Mapping[PartyId, str]:
        """Why each wanted peer that has no link has none."""
        return {
            peer: self._troubles.get(peer, "dialling") for peer in self._wanted if peer not in self._links
        }

    def reintroduce(self) -> None:
        """Make the links on which we are a guest anew."""
        for link in list(self._links.values()):
            if link.other(self.me).guest:
                link.close("hello changed")
        self._kick()

    def drop(self, peer: PartyId, reason: str) -> None:
        """End the link to `peer`, telling it why."""
        link = self._links.get(peer)
        if link is not None:
            link.close(told_reason(reason))

    # --- links ------------------------------------------------------------------------------------

    def _info(self, peer: PartyId, link: MemoryLink) -> LinkInfo:
        end = link.ends[self.me]
        return LinkInfo(
            peer=peer,
            guest=end.guest,
            direct=True,
            rtt_s=2 * self._network.latency_s,
            bytes_sent=end.sent_bytes,
            bytes_received=end.received_bytes,
            address=memory_address(peer),
        )

    def _kick(self) -> None:
        self._wake.set()
        self._wake = trio.Event()

    def _pursue_wanted(self) -> None:
        if self._nursery is None:
            return
        for peer in self._wanted:
            if peer not in self._pursued:
                self._pursued.add(peer)
                self._nursery.start_soon(self._pursue, peer)

    async def _pursue(self, peer: PartyId) -> None:
        """Redial while wanted; pauses double, and end early when something changed."""
        pauses = self._pauses()
        try:
            while peer in self._wanted:
                wake = self._wake
                pause = math.inf
                if peer not in self._links:
                    try:
                        await self._dial(peer)
                        pauses = self._pauses()
                    except TransportError as error:
                        self._troubles[peer] = str(error.args[0])
                        pause = next(pauses)
                with trio.move_on_after(pause):
                    await wake.wait()
        finally:
            self._pursued.discard(peer)

    def _pauses(self) -> Iterator[float]:
        pause = self._network.profile.backoff_first_s
        while True:
            yield pause
            pause = min(2 * pause, self._network.profile.backoff_most_s)

    async def _dial(self, peer: PartyId) -> None:
        """One attempt. Raises TransportError with the reason for people."""
        network = self._network
        if memory_address(peer) not in self._wanted.get(peer, ()):
            raise TransportError("no address that leads to this peer", code="C-503")
        await trio.sleep(3 * network.latency_s)
        if network._is_cut(self.me, peer):
            await trio.sleep(network.profile.dial_timeout_s)
            raise TransportError("no answer", code="C-503")
        target = network._nodes.get(peer)
        if target is None or target._nursery is None or self._nursery is None:
            raise TransportError("connection refused: nobody listens there", code="C-503")
        if peer not in self._links:
            self._meet(target)

    def _meet(self, target: MemoryTransport) -> None:
        """Hello both ways. Raises TransportError if either gate refuses."""
        mine = judge(self._gate, target.me, own_hello(target._gate))
        theirs = target._capped(judge(target._gate, self.me, own_hello(self._gate)))
        for judging, judged, verdict in ((self, target, mine), (target, self, theirs)):
            if verdict.admission is Admission.REFUSED:
                reason = told_reason(verdict.reason) or "refused"
                judging._refusal(judged.me, f"refused by us: {reason}")
                judged._refusal(judging.me, f"refused by them: {reason}")
                side = "us" if judging is self else "them"
                raise TransportError(f"refused by {side}: {reason}", code="C-505")
        link = MemoryLink(self._end(mine), target._end(theirs))
        for end in link.ends.values():
            end.owner._linked(link)

    def _capped(self, verdict: Verdict) -> Verdict:
        guests = sum(link.ends[self.me].guest for link in self._links.values())
        if verdict.admission is Admission.GUEST and guests >= self._network.profile.max_guests:
            return Verdict(Admission.REFUSED, "too many guests at the moment, try again later")
        return verdict

    def _end(self, verdict: Verdict) -> End:
        guest = verdict.admission is Admission.GUEST
        return End(self, verdict, GuestAllowance(self._network.profile.guest_frames) if guest else None)

    def _refusal(self, peer: PartyId, reason: str) -> None:
        if self._told.get(peer) != reason:
            self._told[peer] = reason
            self._emit(LinkDown(peer, reason))

    def _linked(self, link: MemoryLink) -> None:
        peer = link.other(self.me).owner.me
        self._links[peer] = link
        self._troubles.pop(peer, None)
        self._told.pop(peer, None)
        self._emit(LinkUp(peer, link.ends[self.me].guest))
        if self._nursery is not None:
            self._nursery.start_soon(self._receive, link, peer)

    def lost(self, link: MemoryLink, peer: PartyId, reason: str) -> None:
        if self._links.get(peer) is link:
            del self._links[peer]
            if peer in self._wanted:
                self._troubles[peer] = reason
            self._emit(LinkDown(peer, reason))
            self._kick()

    def _emit(self, event: LinkEvent) -> None:
        try:
            self._events_in.send_nowait(event)
        except trio.WouldBlock:
            raise LocalMisuse("nobody reads the link events") from None
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass

    async def _receive(self, link: MemoryLink, peer: PartyId) -> None:
        end = link.ends[self.me]
        with end.scope:
            try:
                with trio.move_on_after(self._network.profile.guest_s if end.guest else math.inf):
                    async with trio.open_nursery() as nursery:
                        for lane in Lane:
                            nursery.start_soon(self._receive_lane, end, peer, lane)
                if end.guest:
                    link.close("guest time is over")
            except* TransportError as group:
                link.close(_first_words(group))

    async def _receive_lane(self, end: End, peer: PartyId, lane: Lane) -> None:
        async for due, payload in end.inbox[lane]:
            await trio.sleep_until(due)
            await self._network._flowing(self.me, peer)
            if end.allowance is not None:
                end.allowance.spend(len(payload))
            end.received_bytes += len(payload)
            if self._tap is not None:
                self._tap("received", peer, payload)
            try:
                await self._frames_in.send(Frame(peer, payload, end.guest))
            except trio.BrokenResourceError:
                return


def _first_words(group: BaseExceptionGroup[TransportError]) -> str:
    pending: deque[BaseException] = deque(group.exceptions)
    while isinstance(pending[0], BaseExceptionGroup):
        pending.extend(pending.popleft().exceptions)  # type: ignore[attr-defined]  # narrowed above
    return str(pending[0].args[0])


def memory_address(node: PartyId) -> str:
    """The address under which a MemoryNetwork knows `node`."""
    return f"/memory/{node.hex()}"
