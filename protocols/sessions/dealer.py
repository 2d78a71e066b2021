"""Getting one dealing counted: send it to the adder in office, again to the next one if that one leaves.

The same bytes each time, so nothing is counted twice. Even after the target's certificate is seen: a member
that voted by what another adder sent it may still have to fetch its part from the new one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Send, Transfer
from protocols.sessions import dealing
from protocols.sessions.assembly import Assembly, first_generation
from protocols.sessions.collecting import Member
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Certificate, Deal, Decline, Entry
from protocols.sessions.plan import Plan
from protocols.sessions.records import Dealt
from protocols.sessions.roster import check_certificate, roster_digest


class Dealer:
    """Holds one Deal. `origin` is the slot whose sum it carries, None for a device's own vector."""

    def __init__(self, target: Assembly, deal: Deal, origin: tuple[int, int] | None = None) -> None:
        self.target = target
        self.origin = origin
        self.deal = deal
        self.certificate: Certificate | None = None
        self._sent_to: PartyId | None = None

    def advance(self, lost: frozenset[PartyId]) -> list[Effect]:
        """Send to the adder in office unless that was done. Call at the start and when somebody is lost."""
        if self._sent_to in lost:
            self._sent_to = None  # what was under way may be lost; if it comes back it gets all again
        adder = self.target.current_adder(lost)
        if adder is None or adder == self._sent_to:
            return []
        self._sent_to = adder
        name = self.deal.dealing.vector
        masked = [Transfer((adder,), name)] if name != NO_VECTOR and adder != self.deal.dealing.dealer else []
        return [Send(adder, self.deal), *masked]

    def certified(self, certificate: Certificate) -> None:
        """Take note of the target's certificate. Raises MalformedMessage if it is not one."""
        check_certificate(self.target, certificate)
        self.certificate = certificate

    @property
    def counted(self) -> bool:
        """Whether the certificate lists this dealer."""
        return any(entry.dealer == self.deal.dealing.dealer for entry in self._entries())

    @property
    def is_due_again(self) -> bool:
        """Whether the target gave way to its next generation without what this dealing is about.

        A resharing is about its source: of a child's members not all need be listed.
        """
        if self.certificate is None or not self.certificate.roster.is_interim:
            return False
        return not (self.counted if self.origin is None else self._entries())

    def _entries(self) -> list[Entry]:
        """What the certified roster lists of our source, of whatever generation."""
        groups = self.certificate.roster.groups if self.certificate is not None else ()
        child = -1 if self.origin is None else self.origin[0]
        return [entry for group in groups if group.child == child for entry in group.entries]


class Dealers(list[Dealer]):
    """All that one party deals in a session."""

    def enlist(self, dealer: Dealer | None, lost: frozenset[PartyId]) -> list[Effect]:
        """One more, which deals at once."""
        if dealer is None:
            return []
        self.append(dealer)
        return dealer.advance(lost)

    def advance(self, lost_at: Callable[[int], frozenset[PartyId]]) -> list[Effect]:
        """Deal again where the adder in office changed; `lost_at` a stage."""
        return [effect for dealer in self for effect in dealer.advance(lost_at(dealer.target.stage))]

    def deal_to(self, slot: tuple[int, int]) -> bool:
        """Whether one of them deals to this stage and generation."""
        return any((dealer.target.stage, dealer.target.generation) == slot for dealer in self)

    def certified(self, certificate: Certificate) -> list[tuple[int, int]]:
        """Slots whose sum lives on in the committee that certified it. Raises MalformedMessage."""
        slot = (certificate.roster.stage, certificate.roster.generation)
        moved = []
        for dealer in self:
            if (dealer.target.stage, dealer.target.generation) == slot:
                dealer.certified(certificate)
                if dealer.origin is not None and not dealer.is_due_again:
                    moved.append(dealer.origin)
        return moved

    def due_again(self, slot: tuple[int, int]) -> list[Dealer]:
        """Those that dealt to this slot in vain; taken out."""
        late = [d for d in self if (d.target.stage, d.target.generation) == slot and d.is_due_again]
        self[:] = [dealer for dealer in self if dealer not in late]
        return late


def contribute(
    plan: Plan,
    keys: PartyKeys,
    seed: bytes,
    contribution: Elements | None,
    masked: Digest,
    refusal: str,
) -> tuple[Dealer | None, list[Effect]]:
    """A device's own dealing, stored as a use before it leaves; or its refusal, if it is asked at all.

    `contribution` has shape (plan.length,); `masked` names the vector it unmasks in a bulk session.
    """
    stage = plan.cluster_of(keys.party)
    if stage is None:
        return None, []
    if contribution is None:
        told = dict.fromkeys((*plan.stages[stage].adders, plan.initiator))
        return None, [Broadcast(tuple(told), Decline(stage, refusal, whole=False))]
    dealer = share(first_generation(plan, stage), keys, seed, contribution, masked)
    return dealer, [Persist(Dealt(stage))]


def share(target: Assembly, keys: PartyKeys, seed: bytes, contribution: Elements, masked: Digest) -> Dealer:
    """Deal a device's own vector to one generation of its cluster."""
    vector = np.concatenate([contribution, dealing.random_masks(seed, target)])[: target.dealt_width - 2]
    return Dealer(target, dealing.deal(keys, target, vector, seed, NO_SOURCE, masked=masked))


def reshare(keys: PartyKeys, seed: bytes, member: Member, target: Assembly) -> Dealer:
    """Deal a member's share of a sum to the next committee: the parent's, or its own refilled one."""
    if member.sum is None or member.certificate is None:
        raise LocalMisuse("there is no certified sum to reshare")
    vector = member.sum[: target.dealt_width - 2]
    source = roster_digest(target.session, member.certificate.roster)
    deal = dealing.deal(keys, target, vector, seed, source, member.certificate)
    return Dealer(target, deal, (member.assembly.stage, member.assembly.generation))
