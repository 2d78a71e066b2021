"""The links a node has, what it wants, and what it was told: the bookkeeping between sockets and the runtime.

Invariant: at most one link a peer; each LinkUp is followed by exactly one LinkDown; a refusal is reported
once per peer and reason, whoever repeats it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import trio

from mesh.net.admission import GuestAllowance, judge, own_hello, told_reason
from mesh.net.framing import Hello
from mesh.net.link import Introduction, Lanes, Link, RefusedByUs
from mesh.net.profile import LinkProfile
from mesh.net.transport import Admission, Frame, Gate, LinkDown, LinkEvent, LinkUp, Tap, Verdict
from protocols.errors import TransportError
from protocols.identifiers import PartyId

logger = logging.getLogger(__name__)

FRAMES_BUFFERED = 8
EVENTS_BUFFERED = 4096
MAX_TOLD = 1024
"""Peers whose last refusal is remembered, so that it is reported once."""


class LinkBook:
    """State of all links; `changed` wakes whoever waits for any of it."""

    def __init__(self, me: PartyId, gate: Gate, profile: LinkProfile, tap: Tap | None) -> None:
        self.me = me
        self.links: dict[PartyId, Link] = {}
        self.wanted: dict[PartyId, tuple[str, ...]] = {}
        self.troubles: dict[PartyId, str] = {}
        self.changed = trio.lowlevel.ParkingLot()
        self._gate = gate
        self._profile = profile
        self._tap = tap
        self._told: OrderedDict[PartyId, str] = OrderedDict()
        self._frames_in, self.frames = trio.open_memory_channel[Frame](FRAMES_BUFFERED)
        self._events_in, self.events = trio.open_memory_channel[LinkEvent](EVENTS_BUFFERED)

    def close(self) -> None:
        """No more frames and events; readers see the end."""
        self._frames_in.close()
        self._events_in.close()

    def want(self, peers: Mapping[PartyId, Sequence[str]]) -> set[PartyId]:
        """Replace the wanted set, tell linked peers; returns those no longer wanted."""
        before = set(self.wanted)
        self.wanted = {peer: tuple(addresses) for peer, addresses in peers.items()}
        gone = before - set(self.wanted)
        for peer in gone:
            self.troubles.pop(peer, None)
        for peer, link in list(self.links.items()):
            if link.wants_told != (peer in self.wanted):
                link.say_wants(peer in self.wanted)
            self.close_unwanted(link)
        self.changed.unpark_all()
        return gone

    def hello(self, peer: PartyId) -> Hello:
        """Our half of the introduction."""
        return Hello(own_hello(self._gate), peer in self.wanted)

    def judge(self, peer: PartyId, blob: bytes) -> Verdict:
        """The gate's verdict within our own limits."""
        if peer == self.me:
            return Verdict(Admission.REFUSED, "this is you: two nodes run with one identity")
        verdict = judge(self._gate, peer, blob)
        if verdict.admission is Admission.REFUSED:
            return Verdict(Admission.REFUSED, told_reason(verdict.reason) or "refused")
        others = [link for other, link in self.links.items() if other != peer]
        if len(others) >= self._profile.max_links:
            return Verdict(Admission.REFUSED, "no room for more links")
        guests = sum(link.guest for link in others)
        if verdict.admission is Admission.GUEST and guests >= self._profile.max_guests:
            return Verdict(Admission.REFUSED, "too many guests at the moment, try again later")
        return verdict

    def refusal(self, peer: PartyId, error: TransportError) -> None:
        """Report a refused introduction, once per reason; `error` gets the full sentence."""
        side = "us" if isinstance(error, RefusedByUs) else "them"
        reason = f"refused by {side}: {error.args[0]}"
        error.args = (reason,)
        if self._told.get(peer) != reason:
            self._told[peer] = reason
            self._told.move_to_end(peer)
            if len(self._told) > MAX_TOLD:
                self._told.popitem(last=False)
            self._emit(LinkDown(peer, reason))

    async def serve(self, lanes: Lanes, introduction: Introduction) -> None:
        """From LinkUp to LinkDown."""
        guest = introduction.mine.admission is Admission.GUEST
        allowance = GuestAllowance(self._profile.guest_frames) if guest else None
        link = Link(lanes, introduction, allowance, self._deliver, self.close_unwanted)
        peer = link.peer
        old = self.links.get(peer)
        if old is not None:
            self._lost(old, "replaced by a new connection")
            old.end("replaced by a new connection", tell=False)
        self.links[peer] = link
        self.troubles.pop(peer, None)
        self._told.pop(peer, None)
        self._emit(LinkUp(peer, guest))
        self.changed.unpark_all()
        link.ping()
        if link.wants_told != (peer in self.wanted):
            link.say_wants(peer in self.wanted)
        self.close_unwanted(link)
        try:
            await link.serve()
        finally:
            self._lost(link, link.reason or "closed")

    def _lost(self, link: Link, reason: str) -> None:
        if self.links.get(link.peer) is link:
            del self.links[link.peer]
            if link.peer in self.wanted:
                self.troubles[link.peer] = reason
            self._emit(LinkDown(link.peer, reason))
            self.changed.unpark_all()

    def close_unwanted(self, link: Link) -> None:
        """End the link if neither side wants it."""
        if not link.remote_wants and link.peer not in self.wanted:
            link.end("no longer wanted", tell=True)

    async def _deliver(self, link: Link, payload: bytes) -> None:
        if self._tap is not None:
            self._tap("received", link.peer, payload)
        with contextlib.suppress(trio.BrokenResourceError):
            await self._frames_in.send(Frame(link.peer, payload, link.guest))

    def _emit(self, event: LinkEvent) -> None:
        """Never blocks; a reader that lost 4096 events is our bug and is told so in the log."""
        with contextlib.suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            try:
                self._events_in.send_nowait(event)
            except trio.WouldBlock:
                logger.error("nobody reads the link events; one is lost")
