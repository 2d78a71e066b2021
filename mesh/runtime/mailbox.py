"""What waits for one session's machine: bounded in number, and in bytes of each sender; the rest is dropped.

Invariant: no party fills more than its own part, strangers to the session have none, and putting never waits.
"""

from __future__ import annotations

from collections import Counter

import trio

from protocols.identifiers import PartyId

Mail = tuple[PartyId, object, int]
"""Sender, message, its bytes on the wire (0: our own)."""


class Mailbox:
    """Verified messages of a session's parties, in the order of their arrival."""

    def __init__(
        self, parties: frozenset[PartyId], slots: int, most_bytes: int, counters: Counter[str]
    ) -> None:
        """At most `slots` messages wait, of one sender at most `most_bytes`."""
        self._parties = parties
        self._most_bytes = most_bytes
        self._counters = counters
        self._in, self._out = trio.open_memory_channel[Mail](slots)
        self._waiting_bytes: Counter[PartyId] = Counter()

    def knows(self, sender: PartyId) -> bool:
        """Whether the sender is a party of the session; a stranger is counted."""
        if sender in self._parties:
            return True
        self._counters["strangers"] += 1
        return False

    def put(self, sender: PartyId, message: object, size_bytes: int) -> None:
        """Keep a message, or drop and count it: `mailbox_full`, `too_late`."""
        if size_bytes and self._waiting_bytes[sender] + size_bytes > self._most_bytes:
            self._counters["mailbox_full"] += 1
            return
        try:
            self._in.send_nowait((sender, message, size_bytes))
            self._waiting_bytes[sender] += size_bytes
        except trio.WouldBlock:
            self._counters["mailbox_full"] += 1
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            self._counters["too_late"] += 1

    def take(self) -> Mail | None:
        """The next message if one waits."""
        try:
            return self._booked(self._out.receive_nowait())
        except trio.WouldBlock:
            return None

    async def next(self, deadline: float) -> Mail | None:
        """The next message, or None at the deadline (trio's clock), which goes first once it has passed."""
        with trio.move_on_at(deadline):
            return self._booked(await self._out.receive())
        return None

    def _booked(self, mail: Mail) -> Mail:
        self._waiting_bytes[mail[0]] -= mail[2]
        return mail
