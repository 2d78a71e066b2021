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
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Certificate, Deal, Decline
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
        return self.certificate is not None and any(
            entry.dealer == self.deal.dealing.dealer and group.source == self.deal.dealing.source
            for group in self.certificate.roster.groups
            for entry in group.entries
        )


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
                if dealer.origin is not None:
                    moved.append(dealer.origin)
        return moved


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
    assembly = first_generation(plan, stage)
    vector = np.concatenate([contribution, dealing.random_masks(seed, assembly)])
    deal = dealing.deal(keys, assembly, vector, seed, NO_SOURCE, masked=masked)
    return Dealer(assembly, deal), [Persist(Dealt(stage))]


def reshare(keys: PartyKeys, seed: bytes, member: Member, target: Assembly) -> Dealer:
    """Deal a member's share of a sum to the next committee: the parent's, or its own refilled one."""
    if member.sum is None or member.certificate is None:
        raise LocalMisuse("there is no certified sum to reshare")
    vector = member.sum[: target.dealt_width - 2]
    source = roster_digest(target.session, member.certificate.roster)
    deal = dealing.deal(keys, target, vector, seed, source, member.certificate)
    return Dealer(target, deal, (member.assembly.stage, member.assembly.generation))
