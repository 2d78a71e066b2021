"""Getting one dealing counted: send it to the adder in office, again to the next one if that one leaves.

The same bytes each time, so nothing is counted twice. Even after the target's certificate is seen: a member
that voted by what another adder sent it may still have to fetch its part from the new one.
"""

from __future__ import annotations

from protocols.identifiers import PartyId
from protocols.machine import Effect, Send
from protocols.sessions.assembly import Assembly
from protocols.sessions.messages import Certificate, Deal
from protocols.sessions.roster import check_certificate


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
        adder = self.target.current_adder(lost)
        if adder is None or adder == self._sent_to:
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
