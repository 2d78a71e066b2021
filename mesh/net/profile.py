"""How patient a node's network layer is: one frozen record, three named sets.

Invariant: `detect_s` is at least twice `heartbeat_s`, so that one lost heartbeat never ends a link.

Source of the shape: memberlist's LAN/WAN/Local profiles (config.go), each value with its trade-off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocols.errors import ConfigError

MAX_WRITE_BYTES = 63 * 1024
"""With headers, one Noise message (65,519 bytes)."""


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """Timers and limits of one node's links.

    Raises ConfigError if the values contradict one another.
    """

    heartbeat_s: float = 1.2
    """Idle links say "alive" this often. Seven idle links: 0.6 % of a core at 1.0, 0.5 % at 1.2."""
    detect_s: float = 2.8
    """Nothing received so long: the link is down. Shorter finds a dead peer sooner, and a busy one too.

    Two heartbeats and 0.4 s; and 0.2 s less than the 3 s within which a LAN shall notice (see `liveness`)."""
    dial_timeout_s: float = 8.0
    """From the first TCP packet to the end of the hello exchange."""
    backoff_first_s: float = 0.2
    backoff_most_s: float = 15.0
    """Redial pauses grow from first to most by doubling, each with +-25 % jitter."""
    max_links: int = 256
    max_pending: int = 32
    """Inbound connections that have not finished their handshake and hello."""
    max_guests: int = 8
    guest_s: float = 30.0
    guest_frames: int = 32
    """A guest link ends after so many seconds or so many frames received from the guest."""
    parallel_dials: int = 3
    """Handshakes cost 20-40 ms CPU each; more at once only makes all of them late."""
    write_bytes: int = 32 * 1024
    """Largest write: an urgent frame waits behind one. 16 KiB: 39 MB/s a link; 32: 52; 63: 72 (loopback)."""
    unsent_bytes: int = 64 * 1024
    """What the kernel may hold unsent (TCP_NOTSENT_LOWAT); an urgent frame waits behind that, too."""
    receive_bytes: int = 256 * 1024
    """Socket buffer on the receiving side; 0 lets the kernel size it. Bounds what piles up before a busy
    reader (4 MB otherwise: 90 ms) and the rate: receive_bytes / RTT, here 50 MB/s at 5 ms."""

    def __post_init__(self) -> None:
        """Refuse contradictions before anything starts."""
        if self.heartbeat_s <= 0 or self.detect_s < 2 * self.heartbeat_s:
            raise ConfigError(
                f"detect_s = {self.detect_s} with heartbeat_s = {self.heartbeat_s}",
                code="C-110",
                fix="set net.detect_s to at least twice net.heartbeat_s",
            )
        if min(self.max_links, self.max_pending, self.max_guests, self.parallel_dials) < 1:
            raise ConfigError("a link limit below 1", code="C-110", fix="set every net.max_* to at least 1")
        if (
            not 1024 <= self.write_bytes <= MAX_WRITE_BYTES
            or self.unsent_bytes < 1024
            or self.receive_bytes < 0
        ):
            raise ConfigError(
                f"write_bytes = {self.write_bytes}, unsent_bytes = {self.unsent_bytes}",
                code="C-110",
                fix=f"keep net.write_bytes within 1024 and {MAX_WRITE_BYTES}, net.unsent_bytes from 1024 up",
            )


LAN = LinkProfile()
WAN = LinkProfile(
    heartbeat_s=3.0,
    detect_s=12.0,
    dial_timeout_s=20.0,
    backoff_most_s=20.0,
    write_bytes=16 * 1024,
    unsent_bytes=32 * 1024,
    receive_bytes=0,
)
"""The path is the bottleneck, not the reader: small writes (6.5 ms at 20 Mbit/s), kernel-sized buffers."""
FIELD = LinkProfile(
    heartbeat_s=10.0,
    detect_s=45.0,
    dial_timeout_s=40.0,
    backoff_most_s=120.0,
    write_bytes=4 * 1024,
    unsent_bytes=8 * 1024,
    receive_bytes=0,
)
"""Slow radio links with duty cycles: fewer bytes, later notice."""

WAN_DETECT_S = 6.0
FIELD_DETECT_S = 30.0
"""Who waits this long for a silent peer has long paths; who waits longer still has radio."""


def fitting(*, heartbeat_s: float, detect_s: float, max_links: int, max_guests: int) -> LinkProfile:
    """The named set for links of that patience, with these four values in it.

    Buffers follow from the path: at 170 ms, `receive_bytes` of the LAN set would hold a 20 Mbit/s link to 12.
    Raises ConfigError if the values contradict one another.
    """
    named = FIELD if detect_s >= FIELD_DETECT_S else WAN if detect_s >= WAN_DETECT_S else LAN
    return replace(
        named, heartbeat_s=heartbeat_s, detect_s=detect_s, max_links=max_links, max_guests=max_guests
    )
