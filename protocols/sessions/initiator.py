"""The asking side of a session: hand out the plan, hear refusals, wait for the result or a definite abort.

An abort ballot is a root member's promise not to vote for a roster or a handover, nor to open, from then
on; who had voted for a roster or a handover before says so. An abort is definite in two cases:

    no certificate can come   n - q + 1 + t ballots of members that had voted for nothing: n - q + 1 of them
                              are honest and keep the promise, the other q - 1 make no quorum
    nobody will open it       ballots of all n members, none of which had opened or handed over. One fewer
                              would not do: with a certificate that was held back, a single honest member
                              that goes on shows its share to the t liars, who then have t + 1

A root member that declines the whole plan never votes either, so its refusal counts as such a ballot.

Symbols: n seats, q quorum, t threshold.
"""

from __future__ import annotations

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Publish
from protocols.sessions import dealing, events
from protocols.sessions.assembly import first_generation
from protocols.sessions.messages import AbortVote, Complaint, Decline, PlanOffer
from protocols.sessions.plan import Plan


class Initiator:
    """Declines and abort ballots of one session."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.declined: dict[PartyId, str] = {}
        self.aborted: events.Aborted | None = None
        self._votes: dict[PartyId, AbortVote] = {}
        self._caught: set[PartyId] = set()

    def start(self) -> list[Effect]:
        """Send the plan to everybody with a role."""
        others = tuple(party for party in self.plan.parties if party != self.plan.initiator)
        return [Broadcast(others, PlanOffer(self.plan))]

    def offer_again(self, returned: frozenset[PartyId]) -> list[Effect]:
        """Send the plan to those who come back: the first one may have gone down with the link."""
        again = tuple(party for party in self.plan.parties if party in returned)
        return [Broadcast(again, PlanOffer(self.plan))] if again else []

    def decline(self, sender: PartyId, message: Decline) -> list[Effect]:
        """Note a refusal once."""
        if sender not in self.plan.parties:
            raise UnexpectedMessage("a stranger declined")
        if sender in self.declined:
            return []
        self.declined[sender] = message.reason
        if message.whole and sender in self.plan.stages[self.plan.root].members:
            self.abort_vote(sender, AbortVote("C-305", message.reason, voted=False, released=False))
        return [Publish(events.Declined(sender, message.reason))]

    def complaint(self, sender: PartyId, message: Complaint) -> list[Effect]:
        """Judge a complaint that an adder relayed. Raises MalformedMessage if it does not convince."""
        if not dealing.uphold(first_generation(self.plan, message.dealing.stage), message):
            raise MalformedMessage("the relayed complaint does not convince", blame=sender)
        if message.dealing.dealer in self._caught:
            return []
        self._caught.add(message.dealing.dealer)
        return [Publish(events.Named(message.dealing.dealer, "dealt an inconsistent share", proven=True))]

    def abort_vote(self, sender: PartyId, message: AbortVote) -> list[Effect]:
        """Count an abort ballot of a root member."""
        root = self.plan.stages[self.plan.root]
        if sender not in root.members:
            raise UnexpectedMessage("abort ballots come from root members")
        self._votes.setdefault(sender, message)
        binding = [vote for vote in self._votes.values() if not vote.released]
        uncast = sum(not vote.voted for vote in binding)
        if uncast >= root.size - root.quorum + 1 + root.threshold or len(binding) == root.size:
            first = binding[0]
            self.aborted = events.Aborted(first.code, first.reason, definite=True)
        return []

    def give_up(self) -> events.Aborted:
        """The session's time is over."""
        if self.aborted is not None:
            return self.aborted
        if self._votes:
            first = next(iter(self._votes.values()))
            return events.Aborted(first.code, first.reason, definite=False)
        seconds = self.plan.total_ms / 1000
        return events.Aborted("C-303", f"no result within {seconds:g} s", definite=False)
