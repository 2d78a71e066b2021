"""The asking side of a session: hand out the plan, hear refusals and complaints."""

from __future__ import annotations

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions import dealing, events
from protocols.sessions.assembly import first_generation
from protocols.sessions.excerpt import Excerpt, Excerpts
from protocols.sessions.messages import Complaint, Decline, PlanOffer
from protocols.sessions.offers import ExcerptOffer
from protocols.sessions.plan import Plan


class Initiator:
    """What only the initiator does in one session."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.declined: dict[PartyId, str] = {}
        self._caught: set[PartyId] = set()
        self._invited = frozenset(plan.parties)
        self._shown: set[PartyId] = set()
        self.excerpts = Excerpts(plan) if plan.by_role else None

    def start(self) -> list[Effect]:
        """Send the plan, or each its part of it, to everybody with a role."""
        return self._offer(tuple(party for party in self.plan.parties if party != self.plan.initiator))

    def offer_again(self, returned: frozenset[PartyId]) -> list[Effect]:
        """Send the plan to those who come back: the first one may have gone down with the link."""
        return self._offer(tuple(party for party in self.plan.parties if party in returned))

    def show(self, sender: PartyId) -> list[Effect]:
        """The whole plan, once for each party that asks for it."""
        if sender not in self._invited or sender in self._shown:
            raise UnexpectedMessage("the whole plan was shown before, or a stranger asks for it")
        self._shown.add(sender)
        return [Send(sender, PlanOffer(self.plan))]

    def _offer(self, parties: tuple[PartyId, ...]) -> list[Effect]:
        if self.excerpts is None:
            return [Broadcast(parties, PlanOffer(self.plan))] if parties else []
        together: dict[int, tuple[Excerpt | None, list[PartyId]]] = {}
        for party in parties:
            excerpt = self.excerpts.of(party)
            together.setdefault(id(excerpt), (excerpt, []))[1].append(party)
        return [
            Broadcast(tuple(told), PlanOffer(self.plan) if excerpt is None else ExcerptOffer(excerpt))
            for excerpt, told in together.values()
        ]

    def decline(self, sender: PartyId, message: Decline) -> list[Effect]:
        """Note a refusal once."""
        if sender not in self._invited:
            raise UnexpectedMessage("a stranger declined")
        if sender in self.declined:
            return []
        self.declined[sender] = message.reason
        return [Publish(events.Declined(sender, message.reason))]

    def complaint(self, sender: PartyId, message: Complaint) -> list[Effect]:
        """Judge a complaint that an adder relayed. Raises MalformedMessage if it does not convince."""
        if not dealing.uphold(first_generation(self.plan, message.dealing.stage), message):
            raise MalformedMessage("the relayed complaint does not convince", blame=sender)
        if message.dealing.dealer in self._caught:
            return []
        self._caught.add(message.dealing.dealer)
        return [Publish(events.Named(message.dealing.dealer, "dealt an inconsistent share", proven=True))]
