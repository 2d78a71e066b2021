"""What a vault is: whose, held by whom, which sums it can answer, and to whom. Signed by its owner.

A vault is one vector of field elements dealt to N holders as Shamir shares of degree T over AGG. The vector
is a row of *slots*, each the encoding of one statistic of one column (see `protocols.statistics`), so that
every answer is a choice of elements and the holders' computation is linear. A `variance` slot answers count,
sum, mean, variance and standard deviation, each by the elements that it needs and no others; a histogram is
answered over the edges that its owner chose at deposit only. MASK_PAIRS pairs of uniform elements follow; a
round of a renewal uses up one pair (see `renewal`).

Invariant: the vault's id is the digest of its terms, so nobody, a quorum of holders included, can change
what the owner agreed to. The terms hold no figure about the rows: holders learn names of columns only.

Symbols: N holders, T threshold, L elements of all slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from protocols.errors import MalformedMessage, MeshError
from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import MAX_LENGTH, Query, Seat
from protocols.statistics import names
from protocols.wire import codec, sealing
from protocols.wire.bounds import AtMost, Between, Exactly, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

MASK_PAIRS = 8
"""Rounds of renewal that one generation can go through; each costs two elements a share."""

MAX_HOLDERS = 16
_LABEL = "vault terms"
_DEALT, _SEALED, _DEALING = 4, 160, 512
"""Elements of a sealed share besides the share; bytes of a sealing and of a dealing's public half besides."""
_MOMENTS = ("count", "sum", "mean", "variance", "stddev")


@dataclass(frozen=True, slots=True)
class Consent:
    """The owner's rules, kept by every holder: which statistics, for whom, until when, in whose company.

    `min_sites`: fewest owners (vaults and live sites) in one answer. 0 uses, 0 as expiry: no limit.
    """

    allow: Annotated[tuple[Annotated[str, AtMost(32)], ...], AtMost(16)]
    requesters: Annotated[tuple[Annotated[str, AtMost(64)], ...], AtMost(64)]
    min_sites: Annotated[int, Between(1, 4096)]
    max_uses: Annotated[int, Between(0, 2**31)]
    expires_s: Annotated[int, Between(0, 2**40)]


@dataclass(frozen=True)
class Terms:
    """Everything about a vault but its shares; `seats` are the holders of generation 0."""

    mesh: Digest
    owner: PartyId
    name: Annotated[str, AtMost(64)]
    nonce: Annotated[bytes, Exactly(32)]
    created_s: Annotated[int, Between(0, 2**40)]
    slots: Annotated[tuple[Query, ...], AtMost(256)]
    seats: Annotated[tuple[Seat, ...], AtMost(MAX_HOLDERS)]
    threshold: Annotated[int, Between(1, 5)]
    consent: Consent

    @cached_property
    def vault(self) -> Digest:
        """The vault's id."""
        return digest("vault", codec.encode(self))

    @cached_property
    def length(self) -> int:
        """L."""
        return sum(names.length(slot.statistic, slot.parameters) for slot in self.slots)

    @property
    def width(self) -> int:
        """Elements of a holder's share: slots and masks."""
        return self.length + 2 * MASK_PAIRS

    @property
    def quorum(self) -> int:
        """Ballots of a certificate: two of them share an honest holder."""
        return quorum(len(self.seats), self.threshold)

    @property
    def witnesses(self) -> int:
        """Ledgers of old holders that a newcomer needs: N-q+T+1 <= q (see `consent`)."""
        return len(self.seats) - self.quorum + self.threshold + 1

    @property
    def share_bytes(self) -> int:
        """What each holder keeps."""
        return 8 * self.width

    @property
    def most_bytes(self) -> int:
        """The most that a holder keeps at a time: its share, the next one, and while others miss theirs, what
        N dealings sealed to N seats (see `recovery`); without its ledger."""
        n, sealed = len(self.seats), 8 * (self.width + _DEALT) + _SEALED
        return 2 * self.share_bytes + n * (n * (sealed + 32) + _DEALING)


@dataclass(frozen=True, slots=True)
class SignedTerms:
    """Terms under their owner's signature."""

    terms: Terms
    signature: Signature


def quorum(n: int, t: int) -> int:
    """The least q > (n+t)/2."""
    return (n + t) // 2 + 1


def sign_terms(signing_seed: bytes, terms: Terms) -> SignedTerms:
    """The owner's word."""
    return SignedTerms(terms, sign_statement(signing_seed, _LABEL, terms.vault))


def check_terms(signed: SignedTerms, mesh: Digest) -> Terms:
    """Well-formed terms of this mesh, signed by their owner. Raises MalformedMessage naming the defect."""
    terms = signed.terms
    if terms.mesh != mesh:
        raise MalformedMessage("a vault of another mesh")
    if not check_statement(terms.owner, _LABEL, terms.vault, signed.signature):
        raise MalformedMessage("the terms of a vault are not signed by its owner")
    check_seats(terms.seats, terms.threshold)
    if terms.owner in {seat.party for seat in terms.seats}:
        raise MalformedMessage("the owner of a vault is none of its holders")
    if len(set(terms.slots)) != len(terms.slots):
        raise MalformedMessage("a slot of the vault appears twice")
    try:
        if not 1 <= terms.length <= MAX_LENGTH:
            raise MalformedMessage(f"a vault of {terms.length} elements; 1 to {MAX_LENGTH} are allowed")
    except MalformedMessage:
        raise
    except MeshError as error:
        raise MalformedMessage(f"a slot of the vault: {error.args[0]}") from None
    if any(slot.statistic not in ("count", "variance", "histogram") for slot in terms.slots):
        raise MalformedMessage("slots of a vault are counts, variances and histograms")
    return terms


def check_seats(seats: tuple[Seat, ...], t: int) -> None:
    """Raise MalformedMessage unless these can hold shares of degree t: N >= 3T+1, each party once."""
    parties = {seat.party for seat in seats}
    if len(parties) != len(seats) or len(seats) < 3 * t + 1:
        raise MalformedMessage(f"{len(parties)} holders where a threshold of {t} needs {3 * t + 1} or more")
    if not all(sealing.is_point(seat.sealing_key) for seat in seats):
        raise MalformedMessage("a holder's sealing key is no valid point")


def places(terms: Terms, query: Query) -> range | None:
    """Which elements of the vector answer `query`; None if no slot does."""
    first = 0
    for slot in terms.slots:
        if _serves(slot, query):
            return range(first, first + names.length(query.statistic, query.parameters))
        first += names.length(slot.statistic, slot.parameters)
    return None


def columns(terms: Terms) -> tuple[str, ...]:
    """Columns that the vault can answer about, each once."""
    return tuple(dict.fromkeys(slot.column for slot in terms.slots))


def _serves(slot: Query, query: Query) -> bool:
    """A variance slot is [n, limbs of the sum, limbs of the squares]: it begins with the other moments."""
    if slot.column != query.column:
        return False
    if slot.statistic == "variance":
        return query.statistic in _MOMENTS
    return (slot.statistic, slot.parameters) == (query.statistic, query.parameters)
