"""One round of a renewal up to its roster: which dealings came, which are bad, who holds what.

Invariant: `incoming` gives sub-shares of exactly the dealings that a roster names, each of which passed its
own proof; a dealer that was convicted (by anybody's proof) is in no roster that we accept.

A dealer may be convicted too late: by a seat that was away while a quorum decided on its dealing. That seat's
proof is answered by the others with their shares of the dealing (`dealing.show`), until it has T+1; so a
liar that then says nothing and the seat that it cheated do not hold the round up together. Of a roster that
is not decided nothing is shown: its dealer is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.vault import dealing, recasting
from protocols.vault.dealing import BadShare, Deal, Dealing, Target
from protocols.vault.renewal_messages import (
    Entry,
    Held,
    Place,
    Roster,
    VaultBadDeal,
    VaultDeal,
    VaultHeld,
    VaultShown,
)
from protocols.vault.standing import HELD, Standing, cast, history_of, is_valid
from protocols.wire.digest import digest

MOST_TARGETS = 8
"""Sets of seats that one party may deal for or speak about in one round; views of honest holders differ for
a moment only. Counted for each party, so that nobody uses up the room of others."""

MOST_PASSED_ON = 3
"""How often a party passes a roster's dealings on to one seat while it is there: to a silent liar not for
ever."""

MOST_COMMON = 4096
"""Choices of dealings that a leader weighs: words of 12 seats can all differ and be weighed in full."""


@dataclass(frozen=True, slots=True)
class Liar:
    """Somebody dealt or published something false."""

    party: PartyId
    fault: str
    proven: bool


class Gathering:
    """What one round has gathered. `place` names the round."""

    def __init__(self, keys: PartyKeys, standing: Standing, place: Place) -> None:
        self.place = place
        self.guilty: set[int] = set()
        self.roster: Roster | None = None
        """The decided one."""
        self.failed: tuple[frozenset[int], ...] = ()
        """Dealers of the rosters of earlier rounds, which did not suffice to tell truth from lies."""
        self._passed_on: Counter[PartyId] = Counter()
        self._keys = keys
        self._standing = standing
        self._terms = standing.terms.terms
        self._history = history_of(standing)
        self._deals: dict[Digest, dict[int, tuple[Deal, Elements | None]]] = {}
        self._words: dict[tuple[Digest, int], Held] = {}
        self._spoken: Counter[PartyId] = Counter()
        self._said: VaultHeld | None = None
        self._complaints: dict[tuple[Digest, int], VaultBadDeal] = {}
        self._upheld: set[tuple[int, int]] = set()
        """(old seat, seat that proved it) of dealings of the decided roster."""
        self._shown: dict[int, dict[int, Elements]] = {}

    def target(self, seats: tuple[Seat, ...]) -> Target:
        """Where dealings of this round to `seats` go: payload, a mask pair, fresh masks."""
        width = recasting.dealt_width(self._terms)
        return dealing.target("renewal", self.place.name, seats, self._terms.threshold, width)

    def on_deal(self, sender: PartyId, message: VaultDeal) -> list[Effect]:
        """Take a dealing, or prove to everybody that it is bad. Raises ProtocolError.

        Whoever has it may pass it on: its dealer signed it. Of two by one dealer the decided roster's counts.
        """
        dealer = message.deal.dealing.dealer
        old = self._standing.seat_of(dealer)
        mine = seat_in(message.seats, self._keys.party)
        if old is None or mine is None or len(message.seats) != len(self._standing.seats):
            raise UnexpectedMessage("a dealing from or to a seat that does not exist")
        to = self.target(message.seats)
        known = self._deals.get(to.subject, {})
        if old in known and not self._is_missed(old, message, known[old][0]):
            return []
        if old not in known and sum(old in deals for deals in self._deals.values()) >= MOST_TARGETS:
            raise UnexpectedMessage("dealings for too many sets of seats")
        try:
            dealing.check_deal(message.deal, dealer, to)
        except MalformedMessage as error:
            raise MalformedMessage(str(error.args[0]), blame=sender) from None
        share = dealing.accept(self._keys, to, message.deal, mine)
        known = self._deals.setdefault(to.subject, known)
        if not isinstance(share, BadShare):
            known[old] = (message.deal, share)
            return []
        known[old] = (message.deal, None)
        self.guilty.add(old)
        told = {*self._standing.members, *(seat.party for seat in message.seats)} - {self._keys.party}
        complaint = self._complaints[to.subject, old] = VaultBadDeal(self.place, message.seats, share)
        return [convicted(dealer), Broadcast(tuple(sorted(told)), complaint)]

    def _is_missed(self, old: int, message: VaultDeal, held: Deal) -> bool:
        """Whether the roster names this dealing, and we hold another one of the same dealer."""
        if self.roster is None or self.roster.seats != message.seats:
            return False
        named = {entry.seat: entry.dealing for entry in self.roster.entries}.get(old)
        name, ours = dealing.dealing_digest(message.deal.dealing), dealing.dealing_digest(held.dealing)
        return named == name and name != ours

    def deals(self, roster: Roster) -> list[Deal]:
        """The roster's deals that we have, in its order."""
        known = self._deals.get(self.target(roster.seats).subject, {})
        found = [(entry, known[entry.seat][0]) for entry in roster.entries if entry.seat in known]
        return [deal for entry, deal in found if dealing.dealing_digest(deal.dealing) == entry.dealing]

    def pass_on(self, said: Collection[int], lost: frozenset[PartyId]) -> list[Effect]:
        """The roster's dealings for the seats that have not `said` yet whether they have a share.

        They may lack one whose dealer is gone, or dealt twice. Who was away gets them anew.
        """
        roster = self.roster
        for party in lost:
            del self._passed_on[party]
        if roster is None:
            return []
        silent = {seat.party for i, seat in enumerate(roster.seats) if i not in said} - lost
        to = tuple(sorted(p for p in silent - {self._keys.party} if self._passed_on[p] < MOST_PASSED_ON))
        if not to:
            return []
        self._passed_on.update(to)
        return [Broadcast(to, VaultDeal(self.place, roster.seats, deal)) for deal in self.deals(roster)]

    def on_bad_deal(self, sender: PartyId, message: VaultBadDeal) -> list[Effect]:
        """Somebody proves that a dealing is bad. Raises MalformedMessage if it proves nothing."""
        complaint = message.complaint
        old = self._standing.seat_of(complaint.dealing.dealer)
        if old is None or seat_in(message.seats, sender) != complaint.seat:
            return []
        used = self._is_used(message.seats, old, complaint.dealing)
        if old in self.guilty and not used:
            return []
        if not used or (old, complaint.seat) not in self._upheld:
            if not dealing.uphold(self.target(message.seats), complaint):
                raise MalformedMessage("a proof of a bad dealing that proves nothing", blame=sender)
            self._upheld |= {(old, complaint.seat)} if used else set()
        news = [] if old in self.guilty else [convicted(complaint.dealing.dealer)]
        self.guilty.add(old)
        return [*news, *(self._show(sender, message.seats, old) if used else [])]

    def _is_used(self, seats: tuple[Seat, ...], old: int, public: Dealing) -> bool:
        """Whether the decided roster names this dealing of the seat `old`."""
        if self.roster is None or self.roster.seats != seats:
            return False
        named = {entry.seat: entry.dealing for entry in self.roster.entries}
        return named.get(old) == dealing.dealing_digest(public)

    def _show(self, to: PartyId, seats: tuple[Seat, ...], old: int) -> list[Effect]:
        """Our share of a dealing that `to` proved to be bad and cannot do without."""
        mine, where = seat_in(seats, self._keys.party), self.target(seats)
        deal, share = self._deals.get(where.subject, {}).get(old, (None, None))
        if deal is None or share is None or mine is None or not self._is_used(seats, old, deal.dealing):
            return []
        shown = dealing.show(self._keys, where, deal.dealing, deal.sealed[mine], mine)
        return [Send(to, VaultShown(self.place, seats, shown))]

    def complain(self) -> list[Effect]:
        """Our proofs against dealings that the decided roster uses, until others have shown us enough."""
        if self.roster is None:
            return []
        subject = self.target(self.roster.seats).subject
        known = self._deals.get(subject, {})
        to = tuple(sorted({seat.party for seat in self.roster.seats} - {self._keys.party}))
        return [
            Broadcast(to, self._complaints[subject, old])
            for old, (deal, share) in sorted(known.items())
            if share is None and self._is_used(self.roster.seats, old, deal.dealing)
        ]

    def on_shown(self, sender: PartyId, message: VaultShown) -> None:
        """A fellow's share of a dealing that is bad for us. Raises MalformedMessage."""
        shown, to = message.shown, self.target(message.seats)
        mine, old = seat_in(message.seats, self._keys.party), self._standing.seat_of(shown.dealing.dealer)
        if mine is None or old is None or not self._is_used(message.seats, old, shown.dealing):
            raise UnexpectedMessage("a share is shown that we have no use for")
        deal, share = self._deals.get(to.subject, {}).get(old, (None, None))
        if deal is None or share is not None or seat_in(message.seats, sender) != shown.seat:
            raise UnexpectedMessage("a share is shown that we do not miss, or somebody else's")
        try:
            self._shown.setdefault(old, {})[shown.seat] = dealing.look(to, shown)
        except MalformedMessage as error:
            raise MalformedMessage(str(error.args[0]), blame=sender) from None
        if (found := dealing.due(to, self._shown[old], mine)) is not None:
            self._deals[to.subject][old] = (deal, found)

    def hold(self, seats: tuple[Seat, ...], lost: frozenset[PartyId], patient: bool) -> VaultHeld | None:
        """Our word on which dealings to `seats` we hold, when it is news and worth saying."""
        mine = seat_in(seats, self._keys.party)
        if mine is None:
            return None
        subject = self.target(seats).subject
        deals = self._deals.get(subject, {})
        good = {
            old: deal for old, (deal, share) in deals.items() if share is not None and old not in self.guilty
        }
        awaited = {i for i, p in enumerate(self._standing.members) if p not in lost} - self.guilty
        if len(good) <= 2 * self._terms.threshold or (patient and not awaited <= set(good)):
            return None
        entries = tuple(Entry(old, dealing.dealing_digest(good[old].dealing)) for old in sorted(good))
        ballot = cast(self._keys, mine, HELD, held_subject(self.place, seats, entries))
        word = VaultHeld(self.place, seats, Held(entries, ballot))
        if word == self._said:
            return None
        self._said = word
        self._words[subject, mine] = word.held
        return word

    def on_held(self, sender: PartyId, message: VaultHeld) -> None:
        """Another new holder's word. Raises MalformedMessage."""
        held, seat = message.held, message.held.ballot.seat
        whole = len(message.seats) == len(self._standing.seats) and seat_in(message.seats, sender) == seat
        if not whole or not self._is_word(message.seats, held):
            raise MalformedMessage("a forged word on what is held", blame=sender)
        place = (self.target(message.seats).subject, seat)
        if place not in self._words and self._spoken[sender] >= MOST_TARGETS:
            raise UnexpectedMessage("words on too many sets of seats")
        self._spoken[sender] += place not in self._words
        self._words[place] = held

    def compose(self, seats: tuple[Seat, ...], lost: frozenset[PartyId], patient: bool) -> Roster | None:
        """A roster of dealings that a quorum of `seats` holds: as many as can be, held by as many as can be.

        Words need not be alike, or a dealer that reaches some seats only would hold everybody up: any
        dealings will do that a quorum's words have in common. Honest seats that hear each other come to hold
        all dealings of honest seats, so in the end there is such a roster whatever the others say.
        """
        subject = self.target(seats).subject
        words = {seat: word for (of, seat), word in self._words.items() if of == subject}
        live = {i for i, seat in enumerate(seats) if seat.party not in lost}
        if patient and not live <= words.keys():
            return None
        least = len(live) if patient else self._terms.quorum
        sets = {seat: frozenset(word.entries) for seat, word in words.items()}
        for entries in _in_common(sets.values(), self.guilty, 2 * self._terms.threshold):
            held = tuple(word for seat, word in sorted(words.items()) if entries <= sets[seat])
            listed = tuple(sorted(entries, key=lambda entry: (entry.seat, entry.dealing)))
            roster = Roster(self.place, self._history, seats, listed, held)
            if len(held) >= least and self.accepts(roster, seats):
                return roster
        return None

    def accepts(self, roster: Roster, wanted: tuple[Seat, ...]) -> bool:
        """Whether we would vote for it: the seats that we want as well, no convicted dealer, and not only
        dealers of a round that failed."""
        try:
            self.check_roster(roster)
        except MalformedMessage:
            return False
        dealers = {entry.seat for entry in roster.entries}
        again = any(dealers <= failed for failed in self.failed)
        return roster.seats == wanted and not again and not dealers & self.guilty

    def check_roster(self, roster: Roster) -> None:
        """Raise MalformedMessage unless the roster is well formed and a quorum of its seats holds it."""
        entries, size = [entry.seat for entry in roster.entries], len(self._standing.seats)
        if (roster.place, roster.history, len(roster.seats)) != (self.place, self._history, size):
            raise MalformedMessage("a roster of another place, history or size")
        if entries != sorted(set(entries)) or any(seat >= size for seat in entries):
            raise MalformedMessage("a roster's dealings are repeated, out of order or of no seat")
        if len(entries) <= 2 * self._terms.threshold:
            raise MalformedMessage("too few dealings to check them")
        seats = {word.ballot.seat for word in roster.held}
        good = all(
            set(word.entries) >= set(roster.entries) and self._is_word(roster.seats, word)
            for word in roster.held
        )
        if not good or len(seats) != len(roster.held) or len(seats) < self._terms.quorum:
            raise MalformedMessage("a roster that a quorum of its seats does not hold")

    def _is_word(self, seats: tuple[Seat, ...], word: Held) -> bool:
        return is_valid(seats, word.ballot, HELD, held_subject(self.place, seats, word.entries))

    def incoming(self, roster: Roster) -> list[tuple[int, Elements]] | None:
        """(old seat, our sub-share) of each dealing of the roster, None while some are missing or bad."""
        deals = self._deals.get(self.target(roster.seats).subject, {})
        found: list[tuple[int, Elements]] = []
        for entry in roster.entries:
            deal, share = deals.get(entry.seat, (None, None))
            if deal is None or share is None or dealing.dealing_digest(deal.dealing) != entry.dealing:
                return None
            found.append((entry.seat, share))
        return found


def _in_common(
    words: Iterable[frozenset[Entry]], guilty: Collection[int], more_than: int
) -> list[frozenset[Entry]]:
    """What some of the words have in common, without dealings of `guilty` seats, the most dealings first."""
    found: set[frozenset[Entry]] = set()
    for word in set(words):
        good = frozenset(entry for entry in word if entry.seat not in guilty)
        found |= {good, *(good & other for other in found)}
        found = {entries for entries in found if len(entries) > more_than}
        if len(found) > MOST_COMMON:
            break
    return sorted(found, key=lambda entries: (-len(entries), sorted((e.seat, e.dealing) for e in entries)))


def seat_in(seats: tuple[Seat, ...], party: PartyId) -> int | None:
    """Index of the seat that `party` holds, or None."""
    return next((index for index, seat in enumerate(seats) if seat.party == party), None)


def held_subject(place: Place, seats: tuple[Seat, ...], entries: tuple[Entry, ...]) -> Digest:
    """What a word on dealings held signs."""
    listed = b"".join(bytes([entry.seat]) + entry.dealing for entry in entries)
    parties = b"".join(seat.party + seat.sealing_key for seat in seats)
    return digest("vault held", place.name, parties, listed)


def convicted(dealer: PartyId) -> Publish:
    """Its dealing is provably bad."""
    return Publish(Liar(dealer, "dealt a bad share in a renewal", proven=True))


def observed(party: PartyId, fault: str) -> Publish:
    """It lied, as whoever decodes can see."""
    return Publish(Liar(party, fault, proven=False))
