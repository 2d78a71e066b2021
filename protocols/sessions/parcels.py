"""Shares on their way from an adder to the members: one message, signature and receipt for many dealings.

A cluster of a bulk session has many dealers (`planner`), and a share of a mask's key is short: signing,
reading and answering a message for each would cost more than the shares. So what dealers sent within
PARTS_WAIT_S goes out together, at most MAX_PARTS at a time, and at once when nobody is left to wait for.
Members then judge them together, too (`dealing.accept_each`), and nothing waits for them: masked vectors take
longer than their dealings. In other sessions, with few dealers each, a share goes out as it comes.

Invariant: each dealing that was put in goes to every member once, at the latest PARTS_WAIT_S later.
"""

from __future__ import annotations

from protocols.machine import Effect, Send
from protocols.sessions.assembly import Assembly
from protocols.sessions.ledger import Account
from protocols.sessions.messages import MAX_PARTS, Part, Parts

PARTS_WAIT_S = 0.1
FEW_DEALERS = 8
"""Up to this many members who reshare to a stage, nothing is held back: their shares are waited for."""


class Parcels:
    """Dealings of one assembly whose shares have not gone out yet."""

    def __init__(self, assembly: Assembly) -> None:
        self.due: float | None = None
        self._assembly = assembly
        devices = bool(assembly.plan.stages[assembly.stage].dealers)
        self._together = assembly.plan.bulk is not None and (devices or len(assembly.expected) > FEW_DEALERS)
        self._waiting: list[Account] = []

    def put(self, now: float, account: Account) -> None:
        """The shares of a dealing that every member shall have."""
        self._waiting.append(account)
        if self.due is None:
            self.due = now + PARTS_WAIT_S

    def take(self, now: float, complete: bool) -> list[Effect]:
        """What is to be sent now; `complete`: there is no other dealing to wait for."""
        if self.due is None:
            return []
        if self._together and not complete and now < self.due and len(self._waiting) < MAX_PARTS:
            return []
        waiting, self._waiting, self.due = self._waiting, [], None
        step = MAX_PARTS if self._together else 1
        batches = [waiting[i : i + step] for i in range(0, len(waiting), step)]
        return [
            Send(member, _message([Part(a.deal.dealing, a.deal.sealed[seat]) for a in batch]))
            for batch in batches
            for seat, member in enumerate(self._assembly.members)
        ]


def _message(parts: list[Part]) -> Part | Parts:
    return parts[0] if len(parts) == 1 else Parts(tuple(parts))
