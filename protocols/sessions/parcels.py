"""Shares on their way from an adder to the members: one message, signature and receipt for many dealings.

To sign, read and answer a message for each share would cost more than the shares: of a tree with committees
of seven, four of ten messages were shares of resharings and their receipts. So what dealers sent within
PARTS_WAIT_S goes out together, up to MAX_PARTS or PARCEL_BYTES at a time, and at once when there is nobody
left, or no time, to wait for. Members then judge them together, too (`dealing.accept_each`).

That is so where a stage takes in committees' sums only: their members deal at the same moment. And in a
cluster of a bulk session, which has many dealers (`planner`), whose masked vectors take longer than their
dealings anyway; there committees of up to FEW_DEALERS are not held back. The few devices of other sessions
deal when they can, and nobody waits for them here.

Invariant: each dealing that was put in goes to every member once, at the latest PARTS_WAIT_S later.
"""

from __future__ import annotations

from protocols.machine import Effect, Send
from protocols.sessions.assembly import Assembly
from protocols.sessions.ledger import Account
from protocols.sessions.messages import MAX_PARTS, Part, Parts

PARTS_WAIT_S = 0.1
FEW_DEALERS = 8
PARCEL_BYTES = 64 * 1024
"""Of one member's shares in one message: longer shares cost what they cost, one by one or together."""


class Parcels:
    """Dealings of one assembly whose shares have not gone out yet."""

    def __init__(self, assembly: Assembly) -> None:
        self.due: float | None = None
        self._assembly = assembly
        self._together = _together(assembly)
        self._waiting: list[Account] = []

    def put(self, now: float, account: Account) -> None:
        """The shares of a dealing that every member shall have."""
        self._waiting.append(account)
        if self.due is None:
            self.due = now + PARTS_WAIT_S

    def take(self, now: float, hurry: bool) -> list[Effect]:
        """What is to be sent now; `hurry`: there is no other dealing, or no more time, to wait for."""
        if self.due is None:
            return []
        step = self._step()
        if step > 1 and not hurry and now < self.due and len(self._waiting) < step:
            return []
        waiting, self._waiting, self.due = self._waiting, [], None
        batches = [waiting[i : i + step] for i in range(0, len(waiting), step)]
        return [
            Send(member, _message([Part(a.deal.dealing, a.deal.sealed[seat]) for a in batch]))
            for batch in batches
            for seat, member in enumerate(self._assembly.members)
        ]

    def _step(self) -> int:
        """How many shares one message takes."""
        if not self._together:
            return 1
        if self._assembly.plan.bulk is not None:
            return MAX_PARTS
        longest = max(len(blob) for account in self._waiting for blob in account.deal.sealed)
        return max(1, min(MAX_PARTS, PARCEL_BYTES // max(1, longest)))  # a liar may seal nothing at all


def _together(assembly: Assembly) -> bool:
    """Whether shares wait for one another."""
    if assembly.plan.bulk is None:
        return not any(source.is_devices for source in assembly.sources)
    return bool(assembly.plan.stages[assembly.stage].dealers) or len(assembly.expected) > FEW_DEALERS


def _message(parts: list[Part]) -> Part | Parts:
    return parts[0] if len(parts) == 1 else Parts(tuple(parts))
