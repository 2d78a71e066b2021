"""What the network layer offers upwards: authenticated frames between admitted peers, nothing else.

Nothing above this interface knows libp2p. Two implementations: `libp2p_transport` (real) and
`memory_transport` (tests of the runtime under a virtual clock).

Admission: after the transport handshake proved a peer's key, both sides exchange a `hello` blob
(for us: the membership certificate). `Gate.admit` decides what the peer may do. A guest may only
exchange a few small frames (joining with a ticket); a refused peer is disconnected with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import trio

from protocols.identifiers import PartyId

if TYPE_CHECKING:  # libp2p installs old stubs that hide trio's own types and lack trio.TaskStatus
    from trio_typing import TaskStatus

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Largest frame of a member; longer messages are chunked above this layer."""

MAX_GUEST_FRAME_BYTES = 16 * 1024
MAX_HELLO_BYTES = 4 * 1024


class Lane(Enum):
    """Two classes that never block each other: small urgent frames, and bulk."""

    CONTROL = "control"
    BULK = "bulk"


class Admission(Enum):
    """What a peer that proved its key may do."""

    MEMBER = "member"
    GUEST = "guest"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Admission of one peer; `reason` is told to a refused peer."""

    admission: Admission
    reason: str = ""


class Gate(Protocol):
    """The runtime's say in who may talk to us."""

    def hello(self) -> bytes:
        """Our own blob for the other side, at most MAX_HELLO_BYTES."""

    def admit(self, peer: PartyId, hello: bytes) -> Verdict:
        """Judge a peer whose key was proved by the handshake. Must not block or raise."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One authenticated frame as it arrived."""

    sender: PartyId
    payload: bytes
    guest: bool


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link to `peer` works (hello exchanged, verdict not REFUSED on either side)."""

    peer: PartyId
    guest: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """No working link to `peer` remains, and why. Follows every LinkUp once.

    Also the answer when one side's gate refused: then without a LinkUp, and once per new reason.
    """

    peer: PartyId
    reason: str


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """For people and the planner."""

    peer: PartyId
    guest: bool
    direct: bool
    rtt_s: float | None
    bytes_sent: int
    bytes_received: int
    address: str


LinkEvent = LinkUp | LinkDown
Tap = Callable[[str, PartyId, bytes], None]
"""Called with "sent" or "received", the peer and the clear frame. For tests that read everything."""


class Transport(Protocol):
    """Frames in, frames out, and who is reachable."""

    me: PartyId
    frames: trio.MemoryReceiveChannel[Frame]
    events: trio.MemoryReceiveChannel[LinkEvent]

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; `started()` once listening. Closes everything on the way out."""

    async def send(self, to: PartyId, payload: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Hand a frame to the link, waiting for credit; delivery is not confirmed.

        Raises TransportError (no link, or it broke), LocalMisuse (frame too large).
        """

    def want(self, peers: Mapping[PartyId, Sequence[str]]) -> None:
        """Keep links to exactly these peers up, by their addresses ("/ip4/…/tcp/…"); replaces the last call.

        A link ends when neither side wants it any more.
        """

    def links(self) -> Mapping[PartyId, LinkInfo]:
        """Working links now."""

    def addresses(self) -> Sequence[str]:
        """Where we listen, for certificates and tickets."""

    def troubles(self) -> Mapping[PartyId, str]:
        """Why each wanted peer that has no link has none, in words for people."""

    def reintroduce(self) -> None:
        """Our hello changed (we were admitted): links on which we are a guest are made anew at once."""

    def drop(self, peer: PartyId, reason: str) -> None:
        """End the link to `peer`, if any, telling it `reason`; its next hello is judged afresh."""
