"""Getting one dealing counted: send it to the adder in office, again to the next one if that one leaves.

The same bytes each time, so nothing is counted twice; done once a certificate of the target is seen.
"""

from __future__ import annotations

from protocols.identifiers import PartyId
from protocols.machine import Effect, Send
from protocols.sessions.assembly import Assembly
from protocols.sessions.messages import Certificate, Deal
from protocols.sessions.roster import check_certificate


class Dealer:
    """Holds one Deal until its target assembly is certified."""

    def __init__(self, target: Assembly, deal: Deal) -> None:
        self.target = target
        self.deal = deal
        self.certificate: Certificate | None = None
        self._sent_to: PartyId | None = None

    def advance(self, lost: frozenset[PartyId]) -> list[Effect]:
        """Send to the adder in office unless that was done. Call at the start and whenever somebody is lost."""
        adder = self.target.current_adder(lost)
        if self.certificate is not None or adder is None or adder == self._sent_to:
            return []
        self._sent_to = adder
        return [Send(adder, self.deal)]

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
