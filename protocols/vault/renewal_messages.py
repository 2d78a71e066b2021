"""What holders say to each other while they renew a vault's shares or pass them to a substitute.

Every message names vault, generation (the one that is replaced) and round; see `renewal` and `decree`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, ClassVar

from protocols.arithmetic.field import Elements
from protocols.identifiers import Digest
from protocols.sessions.messages import Ballot
from protocols.vault.dealing import BadShare, Deal, GoodShare
from protocols.vault.standing import (
    Ballots,
    Generation,
    RoundIndex,
    SeatIndex,
    SeatIndices,
    Seats,
    Standing,
    View,
    outcome_name,
)
from protocols.vault.terms import MAX_HOLDERS
from protocols.wire import codec
from protocols.wire.bounds import AtMost, FieldVector
from protocols.wire.digest import digest


@dataclass(frozen=True, slots=True)
class Place:
    """Which step of which vault a message belongs to."""

    vault: Digest
    generation: Generation
    round: RoundIndex

    @property
    def name(self) -> bytes:
        """Unambiguous bytes."""
        return bytes(self.vault) + self.generation.to_bytes(4, "big") + bytes([self.round])


@dataclass(frozen=True, slots=True)
class Entry:
    """The dealing of one old seat."""

    seat: SeatIndex
    dealing: Digest


@dataclass(frozen=True, slots=True)
class Held:
    """A new holder's signed word that it holds these dealings whole and its shares of them are good."""

    entries: Annotated[tuple[Entry, ...], AtMost(MAX_HOLDERS)]
    ballot: Ballot


@dataclass(frozen=True)
class Roster:
    """What replaces a generation: these seats, by these dealings, which a quorum of the seats holds (with
    others perhaps: each word in `held` covers the entries or more).

    `history` names all changes of seats before it (see `standing`).
    """

    place: Place
    history: Digest
    seats: Seats
    entries: Annotated[tuple[Entry, ...], AtMost(MAX_HOLDERS)]
    held: Annotated[tuple[Held, ...], AtMost(MAX_HOLDERS)]

    @cached_property
    def body(self) -> Digest:
        """Covers everything but the seats, which the outcome names."""
        return digest("vault roster", codec.encode(self))

    @cached_property
    def outcome(self) -> Digest:
        """What ballots sign."""
        place = self.place
        return outcome_name(self.history, place.generation, place.round, self.seats, self.body)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Proof that a quorum would accept an outcome in a view."""

    view: View
    roster: Roster
    ballots: Ballots


@dataclass(frozen=True, slots=True)
class Change:
    """A seat will not vote in views below this one, and what it saw prepared."""

    view: View
    prepared: Prepared | None
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class VaultDeal:
    """Old holder to new ones: its share, a pair of its masks and fresh masks, dealt to these seats."""

    KIND: ClassVar[str] = "vault-deal"
    place: Place
    seats: Seats
    deal: Deal


@dataclass(frozen=True, slots=True)
class VaultBadDeal:
    """New holder to old ones: that dealing is bad, see for yourself."""

    KIND: ClassVar[str] = "vault-bad-deal"
    place: Place
    seats: Seats
    complaint: BadShare


@dataclass(frozen=True, slots=True)
class VaultShown:
    """New holder to the one that proved a dealing of the decided roster to be bad: our good share of it."""

    KIND: ClassVar[str] = "vault-shown"
    place: Place
    seats: Seats
    shown: GoodShare


@dataclass(frozen=True, slots=True)
class VaultHeld:
    """New holder to old ones."""

    KIND: ClassVar[str] = "vault-held"
    place: Place
    seats: Seats
    held: Held


@dataclass(frozen=True, slots=True)
class VaultPropose:
    """Leader of a view to the others; `changes` justify any view but the first."""

    KIND: ClassVar[str] = "vault-propose"
    view: View
    roster: Roster
    changes: Annotated[tuple[Change, ...], AtMost(MAX_HOLDERS)]


@dataclass(frozen=True, slots=True)
class VaultVote:
    """One vote: `final` tells a commit from a prepare."""

    KIND: ClassVar[str] = "vault-vote"
    place: Place
    view: View
    final: bool
    outcome: Digest
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class VaultChange:
    """Old holder to old holders."""

    KIND: ClassVar[str] = "vault-change"
    place: Place
    change: Change


@dataclass(frozen=True, slots=True)
class VaultDecided:
    """To old and new holders: this roster, and no other, replaces the generation."""

    KIND: ClassVar[str] = "vault-decided"
    roster: Roster
    view: View
    commits: Ballots


@dataclass(frozen=True, slots=True)
class VaultCheck:
    """New holder to new holders: masked combinations of its sub-shares, two for each dealing."""

    KIND: ClassVar[str] = "vault-check"
    place: Place
    outcome: Digest
    values: Annotated[FieldVector, AtMost(2 * MAX_HOLDERS)]


@dataclass(frozen=True, slots=True)
class VaultAck:
    """New holder to all: I hold a good share of the new generation; or `good` is False: nobody can.

    `left_out`: old seats whose dealings in the roster are false.
    """

    KIND: ClassVar[str] = "vault-ack"
    place: Place
    outcome: Digest
    good: bool
    left_out: SeatIndices
    ballot: Ballot


RENEWAL_MESSAGES: tuple[type, ...] = (
    VaultDeal, VaultBadDeal, VaultHeld, VaultPropose, VaultVote, VaultChange, VaultDecided, VaultCheck,
    VaultAck, VaultShown,
)  # fmt: skip
"""What `Renewal.receive` takes."""


@dataclass(frozen=True, slots=True)
class VoteCast:
    """Stored before a vote of ours is sent; a commit with the proof that came before it."""

    round: RoundIndex
    view: View
    final: bool
    outcome: Digest
    prepared: Prepared | None


@dataclass(frozen=True, slots=True)
class ViewEntered:
    """Stored before we say that we shall not vote below this view."""

    round: RoundIndex
    view: View


@dataclass(frozen=True, slots=True)
class AckCast:
    """Stored, after the share it is about, before the ack is sent."""

    round: RoundIndex
    outcome: Digest
    good: bool
    left_out: SeatIndices


@dataclass(frozen=True, slots=True)
class PendingShare:
    """LOCAL record: store our share (width,) of the next generation, by its outcome, before the ack."""

    outcome: Digest
    share: Elements = field(repr=False)


@dataclass(frozen=True, slots=True)
class Renewed:
    """The next generation is certified."""

    standing: Standing
    outcome: Digest


def proofs(message: object) -> int:
    """About how many signatures taking the message makes us check."""
    match message:
        case VaultDeal() | VaultBadDeal() | VaultShown():
            return 16
        case VaultPropose():
            shown = sum(1 + len(one.prepared.ballots) for one in message.changes if one.prepared)
            return 1 + len(message.roster.held) + len(message.changes) + shown
        case VaultDecided():
            return len(message.roster.held) + len(message.commits)
        case VaultChange():
            return 1 + (len(message.change.prepared.ballots) if message.change.prepared else 0)
    return 1


def place_of(message: object) -> Place:
    """Which step a renewal message is about."""
    if isinstance(message, VaultPropose | VaultDecided):
        return message.roster.place
    place: Place = message.place  # type: ignore[attr-defined]  # the other renewal messages have one
    return place
