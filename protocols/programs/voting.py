"""The asker's count of ballots for the start that it proposes."""

from __future__ import annotations

from collections.abc import Collection

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.programs.messages import Start, StartCertificate, StartVote
from protocols.programs.plan import ProgramPlan
from protocols.programs.start import check_certificate, is_valid, start_digest
from protocols.sessions.messages import Ballot


class Voting:
    """One proposal at a time."""

    def __init__(self, plan: ProgramPlan) -> None:
        self.plan = plan
        self.proposal: Start | None = None
        self._ballots: dict[int, Ballot] = {}

    def propose(self, start: Start | None) -> None:
        """Ballots count for this one from now on."""
        self.proposal, self._ballots = start, {}

    def take(self, sender: PartyId, point: int, message: StartVote) -> None:
        """A member's ballot. Raises UnexpectedMessage, MalformedMessage naming it."""
        start = self.proposal
        if start is None or message.generation != start.generation:
            raise UnexpectedMessage("a ballot for nothing that is proposed")
        subject = start_digest(self.plan.session, start)
        if message.ballot.seat != point - 1 or message.subject != subject:
            raise MalformedMessage("a ballot for something else", blame=sender)
        if not is_valid(start, message.ballot, subject):
            raise MalformedMessage("a forged ballot", blame=sender)
        self._ballots[point - 1] = message.ballot

    def lacks(self, here: Collection[int]) -> bool:
        """Whether somebody who is to compute is not `here`."""
        return self.proposal is not None and not set(self.proposal.attempt.quorum) <= set(here)

    def certificate(self, here: Collection[int]) -> StartCertificate | None:
        """Once there are ballots enough, and of all that are to compute and are `here`."""
        start = self.proposal
        voters = {at + 1 for at in self._ballots}
        if (
            start is None
            or len(voters) < self.plan.votes
            or not set(start.attempt.quorum) & set(here) <= voters
        ):
            return None
        found = StartCertificate(start, tuple(self._ballots[at] for at in sorted(self._ballots)))
        check_certificate(self.plan, found)
        return found
