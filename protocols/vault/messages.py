"""What owners, holders and requesters of vaults say to each other, but for renewals (see `renewal`).

Every message travels in a signed envelope between two members. What somebody else must be able to check
later (terms, receipts, consents, orders, confirmations) is signed by itself as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import Digest, PartyId
from protocols.sessions.messages import Ballot
from protocols.sessions.plan import MAX_LENGTH, Query
from protocols.vault.dealing import BadShare, Deal
from protocols.vault.standing import Ballots, Deposit, Generation, Standing
from protocols.vault.terms import SignedTerms
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Exactly, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

Id = Annotated[bytes, Exactly(16)]
Reason = Annotated[str, AtMost(512)]
_ORDER, _ERASED, _ASKED = "vault order", "vault erased", "vault asked"

MAX_USES = 10_000
"""Readings of one vault that a holder's ledger keeps; then its owner has to share it anew."""
MAX_PIECE = 64
"""Entries of a ledger in one message."""


@dataclass(frozen=True, slots=True)
class VaultOffer:
    """Owner to holder: hold this seat's share. All sealed shares come along, so that any can be passed on."""

    KIND: ClassVar[str] = "vault-offer"
    terms: SignedTerms
    deal: Deal


@dataclass(frozen=True, slots=True)
class VaultReceipt:
    """Holder to owner: my share is good, stored and sealed at rest."""

    KIND: ClassVar[str] = "vault-receipt"
    vault: Digest
    dealing: Digest
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class VaultDecline:
    """Holder to owner or requester: no, and why. `denied`: the owner's rules say so, it is no mishap."""

    KIND: ClassVar[str] = "vault-decline"
    about: Digest
    reason: Reason
    denied: bool = False


@dataclass(frozen=True, slots=True)
class VaultBadShare:
    """Holder to owner and holders: the owner dealt me a bad share, see for yourself."""

    KIND: ClassVar[str] = "vault-bad-share"
    terms: SignedTerms
    complaint: BadShare


@dataclass(frozen=True, slots=True)
class VaultCertified:
    """Owner to holders: a quorum gave receipts; the vault exists."""

    KIND: ClassVar[str] = "vault-certified"
    vault: Digest
    deposit: Deposit


@dataclass(frozen=True, slots=True)
class VaultFind:
    """Requester to members: who holds a vault of this name, or with this id (hex)?"""

    KIND: ClassVar[str] = "vault-find"
    id: Id
    name: Annotated[str, AtMost(64)]


@dataclass(frozen=True, slots=True)
class VaultFound:
    """Holder to requester: here is what I hold of that name; `ended` lists vaults that were erased.

    `renewed_s` and `uses` go with the standings; uses are told to the owner only (0 to others).
    """

    KIND: ClassVar[str] = "vault-found"
    id: Id
    standings: Annotated[tuple[Standing, ...], AtMost(4)]
    ended: Annotated[tuple[tuple[Digest, Reason], ...], AtMost(8)]
    renewed_s: Annotated[tuple[Annotated[int, Between(0, 2**40)], ...], AtMost(4)] = ()
    uses: Annotated[tuple[Annotated[int, Between(0, 2**31)], ...], AtMost(4)] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a requester wants of which vaults (and live sites), in one sum. Holders consent to this."""

    id: Id
    requester: PartyId
    vaults: Annotated[tuple[Digest, ...], AtMost(16)]
    sites: Annotated[tuple[PartyId, ...], AtMost(4096)]
    queries: Annotated[tuple[Query, ...], AtMost(64)]
    purpose: Annotated[str, AtMost(256)]
    owners: Annotated[tuple[PartyId, ...], AtMost(16)]
    """Whose the vaults are, in their order. A holder checks its own vault's; of a sum, `check_joint` all."""

    @property
    def name(self) -> Digest:
        """Covers everything."""
        return digest("vault reading", codec.encode(self))


@dataclass(frozen=True, slots=True)
class Asked:
    """A reading under its requester's signature: what a ledger keeps, so that nobody can invent one."""

    reading: Reading
    signature: Signature


@dataclass(frozen=True, slots=True)
class VaultAsk:
    """Requester to holder: would you take part?"""

    KIND: ClassVar[str] = "vault-ask"
    vault: Digest
    generation: Generation
    asked: Asked


@dataclass(frozen=True, slots=True)
class VaultConsent:
    """Holder to requester: the owner's terms allow it, and it stands in my ledger."""

    KIND: ClassVar[str] = "vault-consent"
    vault: Digest
    generation: Generation
    reading: Digest
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class VaultRelease:
    """Requester to holder: a quorum of the holders consents; now send your share of the answer."""

    KIND: ClassVar[str] = "vault-release"
    vault: Digest
    generation: Generation
    reading: Reading
    ballots: Ballots


@dataclass(frozen=True, slots=True)
class VaultShare:
    """Holder to requester: my share of the elements asked for, sealed to the requester."""

    KIND: ClassVar[str] = "vault-share"
    vault: Digest
    generation: Generation
    reading: Digest
    seat: Annotated[int, Between(0, 15)]
    sealed: Annotated[bytes, AtMost(8 * MAX_LENGTH + 256)]


@dataclass(frozen=True, slots=True)
class VaultOrder:
    """Owner to holders, passed on by them: erase this vault. Valid for ever."""

    KIND: ClassVar[str] = "vault-order"
    terms: SignedTerms
    signature: Signature


@dataclass(frozen=True, slots=True)
class VaultErased:
    """Holder to owner: I have erased everything of it."""

    KIND: ClassVar[str] = "vault-erased"
    vault: Digest
    party: PartyId
    erased_s: Annotated[int, Between(0, 2**40)]
    signature: Signature


@dataclass(frozen=True, slots=True)
class VaultUsesAsk:
    """Newcomer to an old holder: your ledger from its entry `first` on; I hold a seat since `generation`."""

    KIND: ClassVar[str] = "vault-uses-ask"
    vault: Digest
    generation: Generation
    first: Annotated[int, Between(0, MAX_USES)]


@dataclass(frozen=True, slots=True)
class VaultUses:
    """Old holder to a newcomer: entries of its ledger from `first` on; `whole`: there are no more.

    Said only by a holder that will consent to nothing in the generations before `generation`.
    """

    KIND: ClassVar[str] = "vault-uses"
    vault: Digest
    generation: Generation
    first: Annotated[int, Between(0, MAX_USES)]
    entries: Annotated[tuple[Asked, ...], AtMost(MAX_PIECE)]
    whole: bool


VAULT_MESSAGES: tuple[type, ...] = (
    VaultOffer, VaultReceipt, VaultDecline, VaultBadShare, VaultCertified, VaultFind, VaultFound,
    VaultAsk, VaultConsent, VaultRelease, VaultShare, VaultOrder, VaultErased, Standing,
    VaultUsesAsk, VaultUses,
)  # fmt: skip


def consent_subject(reading: Reading, vault: Digest, generation: int) -> Digest:
    """What a consent signs."""
    return digest("vault consent", reading.name, vault, generation.to_bytes(4, "big"))


def ask(signing_seed: bytes, reading: Reading) -> Asked:
    """The requester's word that it asks this."""
    return Asked(reading, sign_statement(signing_seed, _ASKED, reading.name))


def is_asked(asked: Asked) -> bool:
    """Whether the requester that the reading names signed it."""
    return check_statement(asked.reading.requester, _ASKED, asked.reading.name, asked.signature)


def order(signing_seed: bytes, terms: SignedTerms) -> VaultOrder:
    """The owner's order to erase."""
    return VaultOrder(terms, sign_statement(signing_seed, _ORDER, terms.terms.vault))


def is_order(message: VaultOrder) -> bool:
    """Whether the owner of the terms signed the order. The terms themselves must have been checked."""
    terms = message.terms.terms
    return check_statement(terms.owner, _ORDER, terms.vault, message.signature)


def erased(signing_seed: bytes, party: PartyId, vault: Digest, at_s: int) -> VaultErased:
    """A holder's confirmation."""
    return VaultErased(
        vault, party, at_s, sign_statement(signing_seed, _ERASED, vault + at_s.to_bytes(8, "big"))
    )


def is_erased(message: VaultErased) -> bool:
    """Whether the party it names signed it."""
    statement = message.vault + message.erased_s.to_bytes(8, "big")
    return check_statement(message.party, _ERASED, statement, message.signature)
