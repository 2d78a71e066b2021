"""How a holder comes by a share that it missed: of a deposit or a renewal that was certified without it.

A quorum certifies a generation, so up to N-q honest holders may have been away, and T of those who signed may
lie: T+1 true shares can be all there are. A reader cannot tell them from T false ones, nor can the next
renewal (both need 2T+1). The vault would be stuck for good although nobody is missing any more. So whoever
takes a share also keeps what its fellow holders were dealt, still sealed to them (`Remains`), until they have
said that they have theirs or the generation is over. A holder without its share asks (`VaultMissed`), one
fellow after the other, and needs one answer of one honest fellow:

    - the certificate names the roster (its body) or the owner's dealing, the roster names the dealings, and
      those list the digests of what they sealed: nothing in an answer is taken on trust;
    - which dealers lied is signed in the acknowledgements (`Succession.left_out`), so no checks are repeated.

Privacy: an answer holds nothing but ciphertext for the one who asks, which it was sent before; a holder keeps
none that is sealed to itself, so its own past shares stay erased.

Invariant: `recover` returns the same share that its seat would have computed in time, or raises.

Symbols: N holders, T threshold, q quorum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, UnattributableFault
from protocols.identifiers import Digest
from protocols.sessions.keys import PartyKeys
from protocols.vault import dealing, recasting
from protocols.vault.dealing import BadShare, Deal, Dealing, SealedShare, Target
from protocols.vault.deposit import deposit_target
from protocols.vault.renewal_messages import Place, Roster
from protocols.vault.standing import Generation, SeatIndex, Standing, before
from protocols.vault.terms import MAX_HOLDERS, Terms
from protocols.wire.bounds import AtMost
from protocols.wire.digest import digest


@dataclass(frozen=True, slots=True)
class VaultMissed:
    """Holder to holder: we hold a seat of this generation and no share; or (None) we know no standing."""

    KIND: ClassVar[str] = "vault-missed"
    vault: Digest
    generation: Generation | None


@dataclass(frozen=True, slots=True)
class VaultRemains:
    """Holder to holder: what your share of this generation is made of, in the roster's order."""

    KIND: ClassVar[str] = "vault-remains"
    vault: Digest
    generation: Generation
    roster: Roster | None
    dealings: Annotated[tuple[Dealing, ...], AtMost(MAX_HOLDERS)]
    sealed: Annotated[tuple[SealedShare, ...], AtMost(MAX_HOLDERS)]


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

    def without(self, done: Collection[int]) -> Remains:
        """Less what is kept for seats that have their shares."""
        seats = tuple(one for one in self.seats if one.seat not in done)
        return Remains(self.vault, self.generation, self.roster, self.dealings if seats else (), seats)

    def answer(self, seat: int) -> VaultRemains | None:
        """For the holder of `seat`, if anything is kept for it."""
        found = next((one.sealed for one in self.seats if one.seat == seat), None)
        if found is None:
            return None
        return VaultRemains(self.vault, self.generation, self.roster, self.dealings, found)


def of_deposit(terms: Terms, deal: Deal, mine: int) -> Remains:
    """What to keep of an owner's deal; `mine` is our own seat."""
    return _remains(terms.vault, 0, None, (deal,), mine)


def of_roster(roster: Roster, deals: Iterable[Deal], mine: int) -> Remains:
    """What to keep of a decided roster's deals, given in its order."""
    return _remains(roster.place.vault, roster.place.generation + 1, roster, tuple(deals), mine)


def _remains(
    vault: Digest, generation: int, roster: Roster | None, deals: tuple[Deal, ...], mine: int
) -> Remains:
    count = len(deals[0].sealed)
    others = (seat for seat in range(count) if seat != mine)
    kept = tuple(SealedFor(seat, tuple(deal.sealed[seat] for deal in deals)) for seat in others)
    return Remains(vault, generation, roster, tuple(deal.dealing for deal in deals), kept)


def recover(keys: PartyKeys, standing: Standing, message: VaultRemains) -> Elements:
    """Our share (width,) of a checked standing's generation.

    Raises MalformedMessage if the answer is not what the certificate names, UnattributableFault if a dealer
    of the roster dealt us a bad share: it was found out only now, and our share of this generation is lost.
    """
    mine = standing.seat_of(keys.party)
    if mine is None or (message.vault, message.generation) != (standing.vault, standing.generation):
        raise MalformedMessage("remains of another vault or generation")
    if len(message.dealings) != len(message.sealed):
        raise MalformedMessage("remains with not one sealed share a dealing")
    if not standing.successions:
        return _of_owner(keys, standing, message, mine)
    terms, step, roster = standing.terms.terms, standing.successions[-1], message.roster
    place = Place(standing.vault, step.generation - 1, step.round)
    if roster is None or roster.body != step.body or (roster.place, roster.seats) != (place, step.seats):
        raise MalformedMessage("remains of a roster that was not certified")
    if len(roster.entries) != len(message.dealings):
        raise MalformedMessage("remains with not one dealing an entry")
    to, dealers = renewal_target(terms, place, roster), before(standing)
    incoming = []
    for entry, public, sealed in zip(roster.entries, message.dealings, message.sealed, strict=True):
        if dealing.dealing_digest(public) != entry.dealing:
            raise MalformedMessage("remains of a dealing that is not in the roster")
        dealing.check_dealing(public, dealers[entry.seat], to)
        incoming.append((entry.seat, _open(keys, to, public, sealed, mine)))
    return recasting.combined(terms, incoming, step.left_out)


def renewal_target(terms: Terms, place: Place, roster: Roster) -> Target:
    """Where the roster's dealings went."""
    return dealing.target("renewal", place.name, roster.seats, terms.threshold, recasting.dealt_width(terms))


def _of_owner(keys: PartyKeys, standing: Standing, message: VaultRemains, mine: int) -> Elements:
    terms = standing.terms.terms
    if len(message.dealings) != 1 or message.roster is not None:
        raise MalformedMessage("remains of a deposit are those of one dealing")
    public = message.dealings[0]
    if dealing.dealing_digest(public) != standing.deposit.dealing:
        raise MalformedMessage("remains of a deposit that was not certified")
    to = deposit_target(terms)
    dealing.check_dealing(public, terms.owner, to)
    return _open(keys, to, public, message.sealed[0], mine)


def _open(keys: PartyKeys, to: Target, public: Dealing, sealed: bytes, mine: int) -> Elements:
    if digest("vault share", sealed) != public.sealed[mine]:
        raise MalformedMessage("remains with a sealed share that was not dealt")
    share = dealing.accept_sealed(keys, to, public, sealed, mine)
    if isinstance(share, BadShare):
        raise UnattributableFault("a dealer of the certified roster dealt us a bad share")
    return share
