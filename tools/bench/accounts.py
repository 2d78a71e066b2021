"""CPU time and bytes by role: who pays for what in a run where all roles share one process.

CPU is that of the whole process (`time.process_time`), charged to whoever is at work; charges never overlap.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

ROLES = ("device", "adder", "member", "initiator")


class Accounts:
    """Seconds by (role, activity), bytes sent by (role, kind of message)."""

    def __init__(self) -> None:
        self.cpu_s: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.sent_bytes: Counter[tuple[str, str]] = Counter()
        self._busy = False

    @contextmanager
    def charge(self, role: str, activity: str) -> Iterator[None]:
        """Whatever the process computes inside is on this account. Charges do not nest."""
        assert not self._busy, "a charge inside a charge would count twice"
        self._busy = True
        began = time.process_time()
        try:
            yield
        finally:
            self.cpu_s[role, activity] += time.process_time() - began
            self._busy = False

    def of(self, role: str) -> float:
        """CPU seconds of a role over all activities."""
        return sum(seconds for (who, _), seconds in self.cpu_s.items() if who == role)

    def total(self) -> float:
        """CPU seconds of everybody."""
        return sum(self.cpu_s.values())

    def activities(self, role: str, shared_by: int = 1) -> dict[str, float]:
        """CPU seconds of a role by activity, divided by the number of those who share them."""
        return {
            what: round(seconds / max(1, shared_by), 6)
            for (who, what), seconds in sorted(self.cpu_s.items())
            if who == role
        }

    def bytes_of(self, role: str) -> int:
        """Bytes that a role sent in all."""
        return sum(size for (who, _), size in self.sent_bytes.items() if who == role)
