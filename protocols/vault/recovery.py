"""How a holder comes by a share that it missed: of a deposit or a renewal that was certified without it.

A quorum certifies a generation, so up to N-q honest holders may have been away, and T of those who signed may
lie: T+1 true shares can be all there are. A reader cannot tell them from T false ones, nor can the next
renewal (both need 2T+1). The vault would be stuck for good although nobody is missing any more. So whoever
takes a share also keeps what its fellow holders were dealt, still sealed to them (`Remains`), until they have
said that they have theirs or the generation is over. A holder without its share asks (`VaultMissed`), one
fellow after the other, and needs one answer of one honest fellow:

    - the certificate names the roster (its body) or the owner's dealing, the roster names the dealings, and
      those list the digests of what they sealed: nothing in an answer is taken on trust;
    - which dealers lied is signed in the acknowledgements (`Succession.left_out`), so no checks are repeated;
    - a dealer may have dealt a bad share to nobody but the seat that was away. That seat proves it in its
      next question, and each fellow shows its own share of that dealing (`dealing.show`), T+1 in all.

Privacy: an answer holds ciphertext for the one who asks, which it was sent before, and shares of dealings
that were proven bad, whose dealers are the adversary's. What is sealed to the holder itself it keeps only as
long as the share that it makes, and while somebody misses one; all of it is erased with the generation.
What is kept for an absent seat opens with that seat's long-term key: who takes the folder of a holder now and
that key later has both their shares of this generation, so `Remains` are trimmed as soon as a seat has its
share.

Invariant: `Recovery` gives the same share that its seat would have computed in time, or none.

Symbols: N holders, T threshold, q quorum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.vault import dealing, recasting
from protocols.vault.dealing import BadShare, Deal, Dealing, GoodShare, SealedShare, Target
from protocols.vault.deposit import deposit_target
from protocols.vault.renewal_messages import Place, Roster
from protocols.vault.standing import Generation, SeatIndex, Standing, before, origin
from protocols.vault.terms import MAX_HOLDERS, Terms
from protocols.wire.bounds import AtMost
from protocols.wire.digest import digest

MAX_SHOWN = 5
"""Dealings of one roster that can be bad: T at most."""


@dataclass(frozen=True, slots=True)
class VaultMissed:
    """Holder to holder: we hold a seat of this generation and no share; or (None) we know no standing."""

    KIND: ClassVar[str] = "vault-missed"
    vault: Digest
    generation: Generation | None
    complaints: Annotated[tuple[BadShare, ...], AtMost(MAX_SHOWN)] = ()
    """Which of its dealings are bad for our seat, once we have seen them."""


@dataclass(frozen=True, slots=True)
class VaultRemains:
    """Holder to holder: what your share of this generation is made of, in the roster's order; and our shares
    of the dealings that you proved to be bad."""

    KIND: ClassVar[str] = "vault-remains"
    vault: Digest
    generation: Generation
    roster: Roster | None
    dealings: Annotated[tuple[Dealing, ...], AtMost(MAX_HOLDERS)]
    sealed: Annotated[tuple[SealedShare, ...], AtMost(MAX_HOLDERS)]
    shown: Annotated[tuple[GoodShare, ...], AtMost(MAX_SHOWN)] = ()


@dataclass(frozen=True, slots=True)
class SealedFor:
    """What one seat was dealt."""

    seat: SeatIndex
    sealed: Annotated[tuple[SealedShare, ...], AtMost(MAX_HOLDERS)]


@dataclass(frozen=True, slots=True)
class Remains:
    """LOCAL record: replaces the one before it of its generation; with no `seats`, nothing need be kept."""

    vault: Digest
    generation: Generation
    roster: Roster | None
    dealings: Annotated[tuple[Dealing, ...], AtMost(MAX_HOLDERS)]
    seats: Annotated[tuple[SealedFor, ...], AtMost(MAX_HOLDERS)]
    own: SealedFor

    def without(self, done: Collection[int]) -> Remains:
        """Less what is kept for seats that have their shares."""
        seats = tuple(one for one in self.seats if one.seat not in done)
        if seats:
            return replace(self, seats=seats)
        return replace(self, dealings=(), seats=(), own=SealedFor(self.own.seat, ()))

    def answer(
        self, keys: PartyKeys, standing: Standing, seat: int, complaints: Iterable[BadShare] = ()
    ) -> VaultRemains | None:
        """For the holder of `seat`, if anything is kept for it. Raises MalformedMessage for a complaint that
        proves nothing."""
        found = next((one.sealed for one in self.seats if one.seat == seat), None)
        if found is None:
            return None
        to, shown = target_of(standing, self.roster), list[GoodShare]()
        mine = dict(zip(map(dealing.dealing_digest, self.dealings), self.own.sealed, strict=True))
        for one in complaints:
            name = dealing.dealing_digest(one.dealing)
            if one.seat != seat or name not in mine or not dealing.uphold(to, one):
                raise MalformedMessage("a proof of a bad dealing that proves nothing")
            ours = dealing.accept_sealed(keys, to, one.dealing, mine[name], self.own.seat)
            if not isinstance(ours, BadShare):
                shown.append(dealing.show(keys, to, one.dealing, mine[name], self.own.seat))
        return VaultRemains(self.vault, self.generation, self.roster, self.dealings, found, tuple(shown))


def of_deposit(terms: Terms, deal: Deal, mine: int) -> Remains:
    """What to keep of an owner's deal; `mine` is our own seat."""
    return _remains(terms.vault, 0, None, (deal,), mine)


def of_roster(roster: Roster, deals: Iterable[Deal], mine: int) -> Remains:
    """What to keep of a decided roster's deals, given in its order."""
    return _remains(roster.place.vault, roster.place.generation + 1, roster, tuple(deals), mine)


def _remains(
    vault: Digest, generation: int, roster: Roster | None, deals: tuple[Deal, ...], mine: int
) -> Remains:
    kept = [
        SealedFor(seat, tuple(deal.sealed[seat] for deal in deals)) for seat in range(len(deals[0].sealed))
    ]
    own = kept.pop(mine)
    return Remains(vault, generation, roster, tuple(deal.dealing for deal in deals), tuple(kept), own)


class Recovery:
    """One holder's way to its share of a checked standing's generation."""

    def __init__(self, keys: PartyKeys, standing: Standing) -> None:
        self.origin = origin(standing)
        self._keys = keys
        self._standing = standing
        self._complaints: dict[Digest, BadShare] = {}
        self._shown: dict[Digest, dict[int, Elements]] = {}

    def ask(self) -> VaultMissed:
        """What to ask a fellow, one after the other."""
        standing = self._standing
        return VaultMissed(standing.vault, standing.generation, tuple(self._complaints.values())[:MAX_SHOWN])

    def receive(self, message: VaultRemains) -> Elements | None:
        """Our share (width,); None if more fellows have to show theirs of a bad dealing.

        Raises MalformedMessage if the answer is not what the certificate names.
        """
        standing, mine = self._standing, self._standing.seat_of(self._keys.party)
        if mine is None or (message.vault, message.generation) != (standing.vault, standing.generation):
            raise MalformedMessage("remains of another vault or generation")
        dealers, names = _certified(standing, message)
        to = target_of(standing, message.roster)
        for one in message.shown:
            name = dealing.dealing_digest(one.dealing)
            if name in self._complaints:
                self._shown.setdefault(name, {})[one.seat] = dealing.look(to, one)
        incoming: list[tuple[int, Elements]] = []
        listed = zip(dealers, names, message.dealings, message.sealed, strict=True)
        for (seat, party), name, public, sealed in listed:
            if dealing.dealing_digest(public) != name:
                raise MalformedMessage("remains of a dealing that is not in the roster")
            dealing.check_dealing(public, party, to)
            share = self._open(to, public, sealed, mine)
            if share is not None:
                incoming.append((seat, share))
        if len(incoming) < len(names):
            return None
        if not standing.successions:
            return incoming[0][1]
        return recasting.combined(standing.terms.terms, incoming, standing.successions[-1].left_out)

    def _open(self, to: Target, public: Dealing, sealed: bytes, mine: int) -> Elements | None:
        if digest("vault share", sealed) != public.sealed[mine]:
            raise MalformedMessage("remains with a sealed share that was not dealt")
        share = dealing.accept_sealed(self._keys, to, public, sealed, mine)
        if not isinstance(share, BadShare):
            return share
        name = dealing.dealing_digest(public)
        self._complaints[name] = share
        return dealing.due(to, self._shown.get(name, {}), mine)


def target_of(standing: Standing, roster: Roster | None) -> Target:
    """Where the dealings of a generation went: the roster's, or (None) the owner's."""
    terms = standing.terms.terms
    if roster is None:
        return deposit_target(terms)
    width = recasting.dealt_width(terms)
    return dealing.target("renewal", roster.place.name, roster.seats, terms.threshold, width)


def _certified(standing: Standing, message: VaultRemains) -> tuple[list[tuple[int, PartyId]], list[Digest]]:
    """(seat, dealer) of each dealing that the certificate names, and its digest. Raises MalformedMessage."""
    terms, roster = standing.terms.terms, message.roster
    if not standing.successions:
        if roster is not None or not len(message.dealings) == len(message.sealed) == 1:
            raise MalformedMessage("remains of a deposit are those of one dealing")
        return [(0, terms.owner)], [standing.deposit.dealing]
    step = standing.successions[-1]
    place = Place(standing.vault, step.generation - 1, step.round)
    if roster is None or roster.body != step.body or (roster.place, roster.seats) != (place, step.seats):
        raise MalformedMessage("remains of a roster that was not certified")
    if not len(roster.entries) == len(message.dealings) == len(message.sealed):
        raise MalformedMessage("remains with not one dealing and sealed share an entry")
    dealers = before(standing)
    return [(entry.seat, dealers[entry.seat]) for entry in roster.entries], [
        e.dealing for e in roster.entries
    ]
