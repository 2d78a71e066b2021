"""Who may talk and how much: the gate's verdict made safe, and a guest's allowance.

Both transports use these, so that the runtime meets the same limits over memory and over libp2p.

Invariant: whatever the gate does, the outcome is a Verdict; whatever a guest does, the outcome is
bounded (frames, bytes, seconds, number of guest links).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from mesh.net.transport import (
    MAX_FRAME_BYTES,
    MAX_GUEST_FRAME_BYTES,
    MAX_HELLO_BYTES,
    Admission,
    Gate,
    Verdict,
)
from protocols.errors import LocalMisuse, TransportError
from protocols.identifiers import PartyId

logger = logging.getLogger(__name__)

MAX_REASON_BYTES = 400
"""Longest refusal told to, or believed from, the other side."""


def own_hello(gate: Gate) -> bytes:
    """Our blob for the other side.

    Raises LocalMisuse if the gate made one above MAX_HELLO_BYTES.
    """
    hello = gate.hello()
    if len(hello) > MAX_HELLO_BYTES:
        raise LocalMisuse(f"a hello of {len(hello)} bytes is above the limit of {MAX_HELLO_BYTES}")
    return hello


def judge(gate: Gate, peer: PartyId, hello: bytes) -> Verdict:
    """Ask the gate about a peer whose key was proved; a gate that raises refuses (fail closed)."""
    if len(hello) > MAX_HELLO_BYTES:
        return Verdict(
            Admission.REFUSED, f"hello of {len(hello)} bytes, at most {MAX_HELLO_BYTES} are allowed"
        )
    try:
        return gate.admit(peer, hello)
    except Exception:
        logger.exception("the gate failed on %s; refused", peer.short())
        return Verdict(Admission.REFUSED, "internal error while checking the hello")


def frame_limit(limited: bool) -> int:
    """Largest frame in bytes; `limited` when either side is a guest of the other."""
    return MAX_GUEST_FRAME_BYTES if limited else MAX_FRAME_BYTES


def check_outgoing(payload: bytes, *, limited: bool) -> None:
    """Raises LocalMisuse if the frame is above what this link may carry."""
    limit = frame_limit(limited)
    if len(payload) > limit:
        who = "a guest link" if limited else "a link"
        raise LocalMisuse(f"a frame of {len(payload)} bytes; {who} carries at most {limit}")


@dataclass(slots=True)
class GuestAllowance:
    """What is left of a guest's frames; members have no allowance object."""

    frames: int

    def spend(self, size: int) -> None:
        """Count one received frame of `size` bytes.

        Raises TransportError when the guest is over its limits; the link is then closed.
        """
        if size > MAX_GUEST_FRAME_BYTES:
            raise TransportError(
                f"guest frame of {size} bytes, at most {MAX_GUEST_FRAME_BYTES} are allowed", code="C-504"
            )
        if self.frames <= 0:
            raise TransportError("guest sent more frames than it may", code="C-504")
        self.frames -= 1


def told_reason(reason: str) -> str:
    """A refusal reason cut to what goes over the wire; control characters removed."""
    printable = "".join(c if c.isprintable() else " " for c in reason)
    return printable.encode("utf-8")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
