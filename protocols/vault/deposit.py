"""Putting a vault into the mesh: the owner's machine, and a holder's judgement of what it is offered.

    owner    VaultOffer -> each seat          one dealing, all sealed shares
    holder   checks terms, seat, share; stores; VaultReceipt (signed), or VaultDecline,
             or VaultBadShare to everybody: proof that the dealer lies
    owner    with a quorum of receipts, all of them or the rest silent: VaultCertified -> holders

The holders keep a share that was never certified for a while only (the runtime drops it). A holder that
sees a good proof against the dealer refuses the vault for good.

Invariant: a vault exists once its certificate does; then at least q-T honest holders have shares of one
polynomial of degree T in every column (see `dealing`), which T+1 of them reconstruct, and T do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.vault import dealing
from protocols.vault.dealing import BadShare, Target
from protocols.vault.messages import (
    VaultBadShare,
    VaultCertified,
    VaultDecline,
    VaultOffer,
    VaultReceipt,
)
from protocols.vault.standing import ACK, Deposit, Standing, cast, deposit_subject, is_valid
from protocols.vault.terms import MASK_PAIRS, SignedTerms, Terms

RECEIPTS_S = 10.0
"""How long the owner waits for all receipts before a quorum suffices."""


def deposit_target(terms: Terms) -> Target:
    """Where generation 0 is dealt to."""
    return dealing.target("deposit", terms.vault, terms.seats, terms.threshold, terms.width)


@dataclass(frozen=True, slots=True)
class Deposited:
    """The vault exists; `silent` seats gave no receipt, with their reasons where they gave any."""

    standing: Standing
    silent: tuple[tuple[PartyId, str], ...]


@dataclass(frozen=True, slots=True)
class DepositFailed:
    """Too few holders took a share; whoever did drops it."""

    reasons: tuple[tuple[PartyId, str], ...]


class Depositor:
    """The owner's machine. `vector`: (terms.length,) uint64; `seed`: 32 secret bytes."""

    def __init__(self, keys: PartyKeys, terms: SignedTerms, vector: Elements, seed: bytes) -> None:
        self.terms = terms.terms
        self.outcome: Deposited | DepositFailed | None = None
        self._signed = terms
        masks = Xof(seed, "vault masks", self.terms.vault).elements(2 * MASK_PAIRS)
        self._target = deposit_target(self.terms)
        self._deal = dealing.deal(keys, self._target, np.concatenate([vector, masks]), seed)
        self._name = dealing.dealing_digest(self._deal.dealing)
        self._receipts: dict[int, Ballot] = {}
        self._reasons: dict[PartyId, str] = {}
        self._ends = float("inf")

    @property
    def uncertified(self) -> Standing:
        """Terms, dealing and no receipts: what the owner stores before it offers anything."""
        return Standing(self._signed, Deposit(self._name, ()), ())

    @property
    def members(self) -> tuple[PartyId, ...]:
        """The holders asked."""
        return tuple(seat.party for seat in self.terms.seats)

    @property
    def deadline(self) -> float | None:
        """When waiting for the last receipts ends."""
        return None if self.outcome else self._ends

    def start(self, now: float) -> list[Effect]:
        """Offer the shares."""
        self._ends = now + RECEIPTS_S
        return [Broadcast(self.members, VaultOffer(self._signed, self._deal))]

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """A receipt or a refusal. Raises ProtocolError."""
        del now
        if self.outcome is not None or sender not in self.members:
            raise UnexpectedMessage("an answer to a deposit that is over, or of somebody who was not asked")
        seat = self.members.index(sender)
        match message:
            case VaultReceipt():
                subject = deposit_subject(self.terms.vault, self._name)
                if message.ballot.seat != seat or not is_valid(
                    self.terms.seats, message.ballot, ACK, subject
                ):
                    raise MalformedMessage("a forged receipt", blame=sender)
                self._receipts[seat] = message.ballot
            case VaultDecline():
                self._reasons[sender] = message.reason
            case VaultBadShare():
                self._reasons[sender] = "it says that its share is bad"
            case _:
                raise UnexpectedMessage(f"a deposit takes no {type(message).__name__}")
        return self._finish(over=False)

    def lose(self, now: float, party: PartyId) -> list[Effect]:
        """The holder cannot be reached."""
        del now
        if party in self.members and self.members.index(party) not in self._receipts:
            self._reasons.setdefault(party, "not reachable")
        return self._finish(over=False)

    def expire(self, now: float) -> list[Effect]:
        """Waiting is over."""
        del now
        return self._finish(over=True)

    def _finish(self, *, over: bool) -> list[Effect]:
        if self.outcome is not None:
            return []
        missing = [p for i, p in enumerate(self.members) if i not in self._receipts]
        if not over and any(party not in self._reasons for party in missing):
            return []
        silent = tuple((party, self._reasons.get(party, "no answer")) for party in missing)
        if len(self._receipts) < self.terms.quorum:
            self.outcome = DepositFailed(silent)
            return [Publish(self.outcome)]
        ballots = tuple(self._receipts[seat] for seat in sorted(self._receipts))
        certificate = Deposit(self._name, ballots)
        self.outcome = Deposited(Standing(self._signed, certificate, ()), silent)
        return [Publish(self.outcome), Broadcast(self.members, VaultCertified(self.terms.vault, certificate))]


@dataclass(frozen=True, slots=True)
class Taken:
    """A holder's good share (width,), to be stored before `receipt` is sent."""

    share: Elements
    dealing: Digest
    receipt: VaultReceipt


def take(keys: PartyKeys, sender: PartyId, offer: VaultOffer) -> Taken | BadShare:
    """Judge an offer whose terms were checked. Raises ProtocolError if it is none for us."""
    terms = offer.terms.terms
    if sender != terms.owner:
        raise MalformedMessage("a vault is offered by its owner", blame=sender)
    seat = next((i for i, one in enumerate(terms.seats) if one.party == keys.party), None)
    if seat is None or terms.seats[seat].sealing_key != keys.sealing_key:
        raise UnexpectedMessage("we have no seat in this vault")
    to = deposit_target(terms)
    dealing.check_deal(offer.deal, terms.owner, to)
    share = dealing.accept(keys, to, offer.deal, seat)
    if isinstance(share, BadShare):
        return share
    name = dealing.dealing_digest(offer.deal.dealing)
    ballot = cast(keys, seat, ACK, deposit_subject(terms.vault, name))
    return Taken(share, name, VaultReceipt(terms.vault, name, ballot))


def is_guilty(message: VaultBadShare) -> bool:
    """Whether the proof convicts the owner of these (checked) terms. Raises MalformedMessage."""
    terms = message.terms.terms
    if message.complaint.dealing.dealer != terms.owner:
        raise MalformedMessage("a proof about somebody else's dealing")
    return dealing.uphold(deposit_target(terms), message.complaint)


def refuse(keys: PartyKeys, offer: VaultOffer, complaint: BadShare) -> list[Effect]:
    """Tell owner and fellow holders what the owner dealt us."""
    terms = offer.terms.terms
    told = (terms.owner, *(seat.party for seat in terms.seats if seat.party != keys.party))
    return [Broadcast(told, VaultBadShare(offer.terms, complaint))]


def decline(to: PartyId, about: Digest, reason: str, *, denied: bool = False) -> Send:
    """Say no, in words for the other side."""
    return Send(to, VaultDecline(about, reason[:500], denied))
