"""Virtual time: what is to happen, in the order of moments and, at one moment, of having been put in."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

MAX_EVENTS = 2_000_000
"""More than any simulation takes that comes to an end."""


class EventHeap:
    """`now` and what comes after it; `violations` say what went wrong, `trace` what happened if asked for."""

    def __init__(self, tracing: bool) -> None:
        self.now = 0.0
        self.messages = 0
        self.violations: list[str] = []
        self.trace: list[str] | None = [] if tracing else None
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.most_events = MAX_EVENTS

    def at(self, moment: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._heap, (moment, self._count, action, arguments))

    def play(self, until_s: Callable[[], float]) -> None:
        """Let things happen up to a moment, which may move on meanwhile, or to the first violation."""
        heap, violations, end = self._heap, self.violations, until_s()
        while heap and not violations:
            moment, _, action, arguments = heapq.heappop(heap)
            if moment > end and moment > (end := until_s()):
                break
            self.now = moment
            action(*arguments)
            if self._count > self.most_events:
                self.complain(f"ends: {self._count} events and no rest")

    def note(self, text: str) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f}  {text}")

    def complain(self, sentence: str) -> None:
        """Something is wrong."""
        self.violations.append(sentence)
        self.note(f"VIOLATION {sentence}")
