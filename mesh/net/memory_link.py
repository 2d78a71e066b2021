"""A link between two transports of one process: two ends, four pipes with latency.

Invariant: closing an end is final and told to its owner once; closing a link closes both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mesh.net.admission import GuestAllowance
from mesh.net.transport import Admission, Lane, Verdict
from protocols.identifiers import PartyId

if TYPE_CHECKING:
    from mesh.net.memory_transport import MemoryTransport

IN_FLIGHT = 32
"""Frames per direction and lane before `send` waits."""


@dataclass(slots=True, eq=False)
class End:
    """One side's view of a link."""

    owner: MemoryTransport
    verdict: Verdict
    allowance: GuestAllowance | None
    up: bool = True
    sent_bytes: int = 0
    received_bytes: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    pipes: dict[Lane, trio.MemorySendChannel[tuple[float, bytes]]] = field(default_factory=dict)
    inbox: dict[Lane, trio.MemoryReceiveChannel[tuple[float, bytes]]] = field(default_factory=dict)

    @property
    def guest(self) -> bool:
        """Whether the owner took the other side as a guest."""
        return self.verdict.admission is Admission.GUEST


class MemoryLink:
    """Two ends; closing one end abruptly closes the other."""

    def __init__(self, first: End, second: End) -> None:
        self.ends = {first.owner.me: first, second.owner.me: second}
        self.limited = first.guest or second.guest
        for source, target in ((first, second), (second, first)):
            for lane in Lane:
                source.pipes[lane], target.inbox[lane] = trio.open_memory_channel[tuple[float, bytes]](
                    IN_FLIGHT
                )

    def other(self, me: PartyId) -> End:
        """The end that is not `me`'s."""
        return next(end for party, end in self.ends.items() if party != me)

    def close(self, reason: str) -> None:
        """Both sides notice now."""
        for me in self.ends:
            self.close_end(me, reason)

    def close_end(self, me: PartyId, reason: str) -> None:
        """Only `me` notices; idempotent."""
        end = self.ends[me]
        if end.up:
            end.up = False
            end.scope.cancel()
            for pipe in end.pipes.values():
                pipe.close()
            end.owner.lost(self, self.other(me).owner.me, reason)
