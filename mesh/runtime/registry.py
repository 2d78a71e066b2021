"""Live sessions of this node, mail that came before its plan, and sessions that are over.

Early mail is bounded in bytes and messages for each sender, in bytes for all, and in age, so that a peer
that makes up session ids uses up its own share and nobody else's. Mail for a session that is over is
counted and dropped.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from mesh.runtime.driver import Driver
from protocols.identifiers import PartyId, SessionId

MAX_EARLY_MESSAGES = 512
"""Of one sender."""
MAX_EARLY_BYTES = 8 * 1024 * 1024
"""Of one sender."""
MAX_EARLY_TOTAL_BYTES = 64 * 1024 * 1024
EARLY_S = 10.0
MAX_ENDED = 4096
MAX_LINGERING = 16


@dataclass(slots=True)
class _Early:
    since_s: float
    mail: list[tuple[PartyId, object, int]] = field(default_factory=list)


class Registry:
    """Where a session's mail goes."""

    def __init__(
        self, counters: Counter[str], afterwards: Callable[[SessionId, PartyId, object], bool] | None = None
    ) -> None:
        """`afterwards` takes what is said about sessions that are over, also of former lives of this node."""
        self.live: dict[SessionId, Driver] = {}
        self._early: OrderedDict[SessionId, _Early] = OrderedDict()
        self._ended: OrderedDict[SessionId, None] = OrderedDict()
        self._messages: Counter[PartyId] = Counter()
        self._bytes: Counter[PartyId] = Counter()
        self._counters = counters
        self._afterwards = afterwards

    def is_known(self, session: SessionId) -> bool:
        """Live or over."""
        return session in self.live or session in self._ended

    def is_expected(self, session: SessionId) -> bool:
        """Whether somebody has talked about it already."""
        return session in self._early

    def busy(self) -> list[Driver]:
        """Sessions that have yet to end. The others only linger so that everybody hears of the end; when
        there are many of those, as in a training run of quick rounds, the oldest go."""
        ended = [driver for driver in self.live.values() if driver.machine.outcome is not None]
        for driver in ended[: max(0, len(ended) - MAX_LINGERING)]:
            driver.cancel()
        return [driver for driver in self.live.values() if driver.machine.outcome is None]

    def deliver(self, session: SessionId, sender: PartyId, message: object, size_bytes: int) -> None:
        """To the session's machine, or kept for a little while until its plan comes."""
        driver = self.live.get(session)
        if driver is not None:
            driver.deliver(sender, message, size_bytes)
        elif self._afterwards is not None and self._afterwards(session, sender, message):
            self._counters["about_the_end"] += 1
        elif session in self._ended:
            self._counters["after_the_end"] += 1
        else:
            self._keep(session, sender, message, size_bytes)

    def open(self, driver: Driver) -> None:
        """The session is live; hand it the mail that came early."""
        self.live[driver.session] = driver
        for sender, message, size_bytes in self._drop(driver.session):
            driver.deliver(sender, message, size_bytes)

    def close(self, session: SessionId) -> None:
        """The session is over."""
        self.live.pop(session, None)
        self._drop(session)
        self._ended[session] = None
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _keep(self, session: SessionId, sender: PartyId, message: object, size_bytes: int) -> None:
        now = trio.current_time()
        while self._early and next(iter(self._early.values())).since_s < now - EARLY_S:
            self._counters["early_dropped"] += len(self._drop(next(iter(self._early))))
        if (
            self._messages[sender] >= MAX_EARLY_MESSAGES
            or self._bytes[sender] + size_bytes > MAX_EARLY_BYTES
            or self._bytes.total() + size_bytes > MAX_EARLY_TOTAL_BYTES
        ):
            self._counters["early_dropped"] += 1
            return
        self._early.setdefault(session, _Early(now)).mail.append((sender, message, size_bytes))
        self._messages[sender] += 1
        self._bytes[sender] += size_bytes

    def _drop(self, session: SessionId) -> list[tuple[PartyId, object, int]]:
        """Take a session's early mail out of the books."""
        early = self._early.pop(session, None)
        mail = early.mail if early else []
        for sender, _, size_bytes in mail:
            self._messages[sender] -= 1
            self._bytes[sender] -= size_bytes
            if not self._messages[sender]:
                del self._messages[sender], self._bytes[sender]
        return mail
