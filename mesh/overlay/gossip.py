"""How news spreads: pushed at once to direct links, and compared now and then with one of them.

Source: push gossip and anti-entropy of Demers et al. 1987 ("Epidemic algorithms"), in the two-step form
where peers compare one digest first and exchange inventories only when it differs.

    Summary  ─►            nothing if equal, else
             ◄─ Inventory  (party, incarnation, doubted) of everybody
    News     ─►            what the other lacks;      Want ─►   what we lack
                           ◄─ News

Invariant: (incarnation, doubted) of a party only ever rises, so exchanges converge in any order, with
loss and duplication. Every message is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

from mesh.overlay.announcement import Announcement, Incarnation
from mesh.overlay.suspicion import Suspicion
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect
from protocols.wire.bounds import AtMost, Between
from protocols.wire.digest import digest

MAX_MEMBERS = 4096
MAX_NEWS = 16
MAX_RUMOURS = 64
MAX_WANT = 256
MAX_QUEUE = 4 * MAX_WANT

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class News:
    """Announcements and doubts the receiver may not have."""

    KIND: ClassVar[str] = "news"
    announcements: Annotated[tuple[Announcement, ...], AtMost(MAX_NEWS)]
    suspicions: Annotated[tuple[Suspicion, ...], AtMost(MAX_RUMOURS)]


@dataclass(frozen=True, slots=True)
class Summary:
    """What I know, in one digest."""

    KIND: ClassVar[str] = "summary"
    members: Annotated[int, Between(0, MAX_MEMBERS)]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Known:
    """One line of an inventory."""

    party: PartyId
    incarnation: Incarnation
    doubted: bool


@dataclass(frozen=True, slots=True)
class Inventory:
    """What I know, line by line."""

    KIND: ClassVar[str] = "inventory"
    known: Annotated[tuple[Known, ...], AtMost(MAX_MEMBERS)]


@dataclass(frozen=True, slots=True)
class Want:
    """Send me the announcements of these."""

    KIND: ClassVar[str] = "want"
    parties: Annotated[tuple[PartyId, ...], AtMost(MAX_WANT)]


def summarise(known: Iterable[Known]) -> Summary:
    """One digest over the sorted inventory."""
    lines = sorted((line.party, line.incarnation, line.doubted) for line in known)
    encoded = (
        party + incarnation.to_bytes(8, "big") + bytes([doubted]) for party, incarnation, doubted in lines
    )
    return Summary(len(lines), digest("inventory", b"".join(encoded)))


def news(announcements: Iterable[Announcement], suspicions: Iterable[Suspicion]) -> list[News]:
    """Cut into messages within bounds."""
    spoken, doubts = list(announcements), list(suspicions)
    messages = []
    while spoken or doubts:
        messages.append(News(tuple(spoken[:MAX_NEWS]), tuple(doubts[:MAX_RUMOURS])))
        spoken, doubts = spoken[MAX_NEWS:], doubts[MAX_RUMOURS:]
    return messages


class Outbox:
    """News waiting to be pushed, one item a party and kind, each with the link it came from."""

    def __init__(self, interval_s: float, fanout: int) -> None:
        self._interval_s = interval_s
        self._fanout = fanout
        self._announcements: dict[PartyId, tuple[Announcement, PartyId | None]] = {}
        self._suspicions: dict[PartyId, tuple[Suspicion, PartyId | None]] = {}
        self._next_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._announcements or self._suspicions)

    @property
    def next_s(self) -> float:
        """Not before this moment."""
        return self._next_s

    def announce(self, announcement: Announcement, source: PartyId | None) -> None:
        """Push `announcement` to everybody but `source`. Beyond MAX_QUEUE anti-entropy has to carry it."""
        if len(self._announcements) < MAX_QUEUE:
            self._announcements[announcement.party] = (announcement, source)

    def doubt(self, suspicion: Suspicion, source: PartyId | None) -> None:
        """Push `suspicion` to everybody but `source`."""
        if len(self._suspicions) < MAX_QUEUE:
            self._suspicions[suspicion.party] = (suspicion, source)

    def flush(self, now: float, links: Mapping[PartyId, object], choose: Iterable[PartyId]) -> list[Effect]:
        """The messages due, one batch an interval at most; to the first `fanout` links in `choose`."""
        if not self or now < self._next_s:
            return []
        self._next_s = now + self._interval_s
        said = _take(self._announcements, MAX_NEWS)
        doubted = _take(self._suspicions, MAX_RUMOURS)
        batches: dict[News, list[PartyId]] = {}
        for target in [party for party in choose if party in links][: self._fanout]:
            message = News(
                tuple(item for item, source in said if source != target),
                tuple(item for item, source in doubted if source != target and item.party != target),
            )
            if message.announcements or message.suspicions:
                batches.setdefault(message, []).append(target)
        return [Broadcast(tuple(targets), message) for message, targets in batches.items()]


def _take(queue: dict[PartyId, tuple[T, PartyId | None]], limit: int) -> list[tuple[T, PartyId | None]]:
    return [queue.pop(party) for party in list(queue)[:limit]]
