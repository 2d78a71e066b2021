"""When an abort is certain, and how that is shown to anybody, later as well.

An abort ballot is a root member's promise not to vote for a roster or a handover, nor to open, from then
on; who had voted for a roster or a handover before says so. An abort is definite in two cases:

    no certificate can come   n - q + 1 + t ballots of members that had voted for nothing: n - q + 1 of them
                              are honest and keep the promise, the other q - 1 make no quorum
    nobody will open it       ballots of all n members, none of which had opened or handed over. One fewer
                              would not do: with a certificate that was held back, a single honest member
                              that goes on shows its share to the t liars, who then have t + 1

Ballots are signed, so those that make an abort definite convince everybody: an owner whose device was away
learns that nothing was revealed. A root member that declines the whole plan never votes either; its refusal
counts for the initiator, who heard it, and proves nothing to others.

Symbols: n seats, q quorum, t threshold.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import AbortProof, AbortVote, Ballot
from protocols.sessions.plan import Plan
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

_LABEL = "abort ballot"


def cast(plan: Plan, keys: PartyKeys, code: str, reason: str, *, voted: bool, released: bool) -> AbortVote:
    """A root member's promise, signed."""
    members = plan.stages[plan.root].members
    vote = AbortVote(code, reason, voted, released)
    if keys.party not in members:
        return vote
    signature = sign_statement(keys.signing_seed, _LABEL, _subject(plan.session, vote))
    return AbortVote(code, reason, voted, released, Ballot(members.index(keys.party), signature))


def _subject(session: SessionId, vote: AbortVote) -> Digest:
    flags = bytes([vote.voted, vote.released])
    return digest("abort", session, vote.code.encode(), vote.reason.encode(), flags)


def _is_signed(plan: Plan, vote: AbortVote) -> bool:
    members = plan.stages[plan.root].members
    if vote.ballot is None or vote.ballot.seat >= len(members):
        return False
    subject = _subject(plan.session, vote)
    return check_statement(members[vote.ballot.seat], _LABEL, subject, vote.ballot.signature)


def _is_definite(plan: Plan, votes: Iterable[AbortVote]) -> bool:
    """Whether these ballots, of different root members, exclude that anything was or will be opened."""
    root = plan.stages[plan.root]
    binding = [vote for vote in votes if not vote.released]
    uncast = sum(not vote.voted for vote in binding)
    return uncast >= root.size - root.quorum + 1 + root.threshold or len(binding) == root.size


def check_proof(plan: Plan, proof: AbortProof) -> None:
    """Raise MalformedMessage unless `proof` shows that the session was aborted for certain."""
    seats = [vote.ballot.seat for vote in proof.votes if vote.ballot is not None]
    if len(set(seats)) != len(proof.votes) or not all(_is_signed(plan, vote) for vote in proof.votes):
        raise MalformedMessage("an abort is shown by signed ballots of different members")
    if not _is_definite(plan, proof.votes):
        raise MalformedMessage(f"{len(proof.votes)} abort ballots do not exclude an opening")


class AbortTally:
    """Abort ballots of one session's root members."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.votes: dict[PartyId, AbortVote] = {}

    def add(self, sender: PartyId, message: AbortVote) -> None:
        """Count a ballot, the first of each member. Raises UnexpectedMessage, MalformedMessage."""
        members = self.plan.stages[self.plan.root].members
        if sender not in members:
            raise UnexpectedMessage("abort ballots come from root members")
        if message.ballot is not None and (
            message.ballot.seat != members.index(sender) or not _is_signed(self.plan, message)
        ):
            raise MalformedMessage("forged abort ballot", blame=sender)
        self.votes.setdefault(sender, message)

    @property
    def aborted(self) -> events.Aborted | None:
        """The definite abort that the ballots show, if they do."""
        if not self.votes or not _is_definite(self.plan, self.votes.values()):
            return None
        first = next(vote for vote in self.votes.values() if not vote.released)
        return events.Aborted(first.code, first.reason, definite=True)

    @property
    def proof(self) -> AbortProof | None:
        """The same for others: of signed ballots only."""
        signed = [vote for vote in self.votes.values() if vote.ballot is not None and not vote.released]
        if not signed or not _is_definite(self.plan, signed):
            return None
        return AbortProof(tuple(sorted(signed, key=lambda vote: vote.ballot.seat if vote.ballot else 0)))
