"""What devices and adders answer in an audit (see `auditor`); each answers a bounded number of times.

Invariant: an answer is a function of masked vectors, which the adder has seen already, and of what everybody
is told; it reveals nothing of a device's values or key.
"""

from __future__ import annotations

from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Effect, Fingerprint, Send, Transfer
from protocols.sessions import audit
from protocols.sessions.adder import Adder
from protocols.sessions.bulk_messages import AuditOpen, AuditRequest, AuditTag, Fingerprinted
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_VECTOR, AuditOpened, Dealing
from protocols.sessions.plan import Plan

MAX_AUDITS = 16
"""Claims for which a device computes its fingerprint, and questions that an adder answers, in one session."""


class Witness:
    """One party's answers."""

    def __init__(self, plan: Plan, keys: PartyKeys, masked: Digest) -> None:
        """`masked`: our own masked vector, or NO_VECTOR."""
        self.plan = plan
        self._keys = keys
        self._masked = masked
        self._mine: set[Digest] = set()
        self._questions = 0
        self._disputes: dict[Digest, dict[PartyId, tuple[AuditTag, Dealing]]] = {}
        self._words: dict[tuple[Digest, Digest], bytes] = {}

    def asked(self, message: AuditRequest) -> list[Effect]:
        """Fingerprint our own vector. Raises ProtocolError for a claim that is none, or one too many."""
        if self._masked == NO_VECTOR:
            raise UnexpectedMessage("we contributed no vector")
        audit.check_claim(self.plan, message.claim)
        challenge = audit.challenge_of(self.plan.session, message.claim)
        if challenge in self._mine or len(self._mine) >= MAX_AUDITS:
            raise UnexpectedMessage("this audit was answered, or too many were")
        self._mine.add(challenge)
        return [Fingerprint(challenge, self._masked)]

    def questioned(self, message: AuditOpen, adder: Adder) -> list[Effect]:
        """As the adder: show vectors of those who are gone; fingerprint those whose tags are in dispute."""
        if self._questions >= MAX_AUDITS:
            raise UnexpectedMessage("too many questions in an audit")
        self._questions += 1
        dealings = _counted(adder)
        if not message.disputed and not message.missing:
            return self._show_sums(adder)
        if message.disputed:
            told = {tag.dealer: tag for tag in message.disputed if tag.challenge == message.challenge}
            pairs = {who: (tag, dealings[who]) for who, tag in told.items() if who in dealings}
            self._disputes[message.challenge] = pairs
            names = [d.vector for _, d in pairs.values() if (message.challenge, d.vector) not in self._words]
            wanted: list[Effect] = [Fingerprint(message.challenge, name) for name in names]
            return [*wanted, *self._belie(message.challenge)]
        return self._show(message.challenge, [dealings[who] for who in message.missing if who in dealings])

    def _show_sums(self, adder: Adder) -> list[Effect]:
        groups = adder.ledger.behind(adder.certificate.roster) if adder.certificate is not None else ()
        to, names = self.plan.initiator, [g.vector for _, g in groups if g.vector != NO_VECTOR]
        return [Transfer((to,), name) for name in names] if to != self._keys.party else []

    def fingerprinted(self, message: Fingerprinted) -> list[Effect]:
        """Our store's word: on our own vector, or on one in dispute."""
        effects: list[Effect] = []
        if message.name == self._masked and message.challenge in self._mine:
            tag = audit.tag(self._keys, message.challenge, message.name, message.words)
            effects.append(Send(self.plan.initiator, tag))
        self._words[message.challenge, message.name] = message.words  # a journal gives us this word once
        return [*effects, *self._belie(message.challenge)]

    def _belie(self, challenge: Digest) -> list[Effect]:
        """Show which tags in dispute are false, once all their vectors are fingerprinted."""
        dispute = self._disputes.get(challenge)
        if dispute is None or any((challenge, d.vector) not in self._words for _, d in dispute.values()):
            return []
        del self._disputes[challenge]
        false = [
            dealing
            for tag, dealing in dispute.values()
            if tag.vector != dealing.vector or tag.words != self._words[challenge, dealing.vector]
        ]
        return self._show(challenge, false)

    def _show(self, challenge: Digest, dealings: list[Dealing]) -> list[Effect]:
        to = self.plan.initiator
        answer: list[Effect] = [Send(to, AuditOpened(challenge, tuple(dealings)))]
        if to == self._keys.party:
            return answer
        return [*answer, *(Transfer((to,), dealing.vector) for dealing in dealings)]


def _counted(adder: Adder) -> dict[PartyId, Dealing]:
    """Dealings behind the adder's certified roster, by dealer."""
    if adder.certificate is None:
        return {}
    groups = adder.ledger.behind(adder.certificate.roster)
    accounts = [ledger.by_digest.get(entry.dealing) for ledger, group in groups for entry in group.entries]
    return {account.deal.dealing.dealer: account.deal.dealing for account in accounts if account is not None}
