"""How the gateways of one epoch agree on the next record: rounds of propose, prevote, precommit.

Source: Tendermint (Buchman, Kwon, Milosevic 2018, "The latest gossip on BFT consensus"), for one height,
without votes for nil; a proof of lock travels inside messages. Rounds are kept in step by wishes (Bravo,
Chockler, Gotsman 2020, "Making Byzantine consensus live"): a round is entered on q wishes for it or a
later one, so that no minority runs ahead.

    proposer of round r   Proposal(candidate, proof of the newest lock it knows)
    each member           Prevote, if the candidate is acceptable and no lock of its own forbids it
    on q prevotes         lock (candidate, r); Precommit
    on q precommits       certified
    after a while         Wish for the next round whose proposer seems alive; f+1 wishes make others join

Safety: a member casts one prevote and one precommit a round, stored before they are sent, over
restarts too; once locked it prevotes nothing else unless shown q prevotes of a later round. Two
certified records would need an honest member to break one of these. Liveness: with at most f members
dead or dishonest and messages arriving, the first round whose proposer is honest and knows the newest
lock decides; a member whose lock forbids a proposal tells everybody that lock.

Symbols: m members, f = (m-1)//3 liars at most, q quorum (see epoch_record), r round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mesh.overlay.epoch_record import (
    MAX_GATEWAYS,
    Certified,
    EpochNumber,
    EpochRecord,
    EpochVote,
    Round,
    faults,
    is_vote,
    quorum,
    sign_vote,
    vote_payload,
)
from mesh.overlay.sortition import ranked
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Send
from protocols.wire.bounds import AtMost, Signature
from protocols.wire.envelope import check_statement, sign_statement

ROUNDS_AHEAD = 64
"""Messages of rounds further ahead are dropped: bounds memory."""

_PREVOTE = "epoch-prevote"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that might become the next one; `operator` signs those whose beacon it chose."""

    record: EpochRecord
    operator: Signature | None


@dataclass(frozen=True, slots=True)
class Lock:
    """Proof that a quorum prevoted for a candidate in a round."""

    KIND: ClassVar[str] = "epoch-lock"
    candidate: Candidate
    round: Round
    prevotes: Annotated[tuple[EpochVote, ...], AtMost(MAX_GATEWAYS)]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Vote for this candidate in this round; `lock` shows why members locked on another one may."""

    KIND: ClassVar[str] = "epoch-proposal"
    candidate: Candidate
    round: Round
    lock: Lock | None


@dataclass(frozen=True, slots=True)
class Ballot:
    """One vote: `final` tells a precommit from a prevote."""

    KIND: ClassVar[str] = "epoch-ballot"
    epoch: EpochNumber
    round: Round
    final: bool
    record: Digest
    vote: EpochVote


@dataclass(frozen=True, slots=True)
class Wish:
    """I want to be in this round; whoever votes in a round wishes it as well."""

    KIND: ClassVar[str] = "epoch-wish"
    epoch: EpochNumber
    round: Round


@dataclass(frozen=True, slots=True)
class BallotCast:
    """Stored before the ballot is sent; a precommit with the lock that came with it."""

    ballot: Ballot
    lock: Lock | None


class Agreement:
    """One member's part in agreeing on the successor of one record."""

    def __init__(self, head: EpochRecord, me: PartyId, identity_seed: bytes) -> None:
        self._head = head
        self._me = me
        self._identity_seed = identity_seed
        self._members = frozenset(head.gateways)
        self._quorum = quorum(len(head.gateways))
        self._order = ranked(head, "proposer", head.gateways)
        self._proposals: dict[int, Proposal] = {}
        self._candidates: dict[Digest, Candidate] = {}
        self._ballots: dict[tuple[bool, int], dict[PartyId, Ballot]] = {}
        self._wishes: dict[PartyId, int] = {}
        self._cast: dict[tuple[bool, int], Digest] = {}
        self._lock: Lock | None = None
        self._valid: Lock | None = None
        self._lock_told = -1
        self.round = 0
        self.certified: Certified | None = None

    def restore(self, cast: BallotCast) -> None:
        """Replay a stored ballot of ours, in the order of storing."""
        ballot = cast.ballot
        self._cast[ballot.final, ballot.round] = ballot.record
        self._record_ballot(ballot)
        self.round = self._wishes[self._me] = max(self.round, ballot.round)
        if cast.lock is not None:
            self._lock = self._valid = cast.lock
            self._candidates[cast.lock.candidate.record.digest] = cast.lock.candidate

    @property
    def is_member(self) -> bool:
        """Whether we vote."""
        return self._me in self._members

    def proposer(self, round_: int) -> PartyId:
        """Whose turn round `round_` is."""
        return self._order[round_ % len(self._order)]

    def want_next(
        self, is_alive: Callable[[PartyId], bool], helpers: tuple[PartyId, ...] = ()
    ) -> list[Effect]:
        """The round's time is over: wish for the next one whose proposer seems alive, or wish again.

        `helpers`: others that hear of it, for one of them may have to propose.
        """
        if self._wishes.get(self._me, 0) <= self.round:
            ahead = range(self.round + 1, self.round + len(self._order))
            self._wishes[self._me] = next((r for r in ahead if is_alive(self.proposer(r))), self.round + 1)
        wish = Wish(self._head.epoch + 1, self._wishes[self._me])
        told: list[Effect] = [Broadcast(helpers, wish)] if helpers else []
        return [self._tell(wish), *told, *self._synchronise()]

    def _synchronise(self) -> list[Effect]:
        """Enter the round that a quorum wishes; join a wish that an honest member must have."""
        reached = sorted(self._wishes.values(), reverse=True)
        enough = faults(len(self._members))
        effects: list[Effect] = []
        if self.is_member and len(reached) > enough and reached[enough] > self._wishes.get(self._me, 0):
            self._wishes[self._me] = reached[enough]
            effects.append(self._tell(Wish(self._head.epoch + 1, reached[enough])))
            reached = sorted(self._wishes.values(), reverse=True)
        if len(reached) >= self._quorum and reached[self._quorum - 1] > self.round:
            self.round = reached[self._quorum - 1]
            self._forget_old_rounds()
        return effects

    def _forget_old_rounds(self) -> None:
        for key in [key for key in self._ballots if key[1] < self.round - ROUNDS_AHEAD]:
            del self._ballots[key]
        for round_ in [r for r in self._proposals if r < self.round - ROUNDS_AHEAD]:
            del self._proposals[round_]

    def retold(self, peer: PartyId) -> list[Effect]:
        """What we said of this round, for a member that may have been away: it was told once."""
        if not self.is_member or peer not in self._members:
            return []
        said: list[object] = []
        if self._wishes.get(self._me, 0) > 0:  # first: who is far behind takes nothing else
            said.append(Wish(self._head.epoch + 1, self._wishes[self._me]))
        if self._lock is not None:
            said.append(self._lock)
        if self.proposer(self.round) == self._me and self.round in self._proposals:
            said.append(self._proposals[self.round])
        ours = (self._ballots.get((final, self.round), {}).get(self._me) for final in (False, True))
        said += [ballot for ballot in ours if ballot is not None]
        return [Send(peer, message) for message in said]

    def has_proposal(self) -> bool:
        """Whether the current round has one."""
        return self.round in self._proposals

    def support(self, record: Digest) -> int:
        """How many members are known to have voted for `record`, in any round."""
        voters = {p for votes in self._ballots.values() for p, b in votes.items() if b.record == record}
        return len(voters)

    @property
    def must_propose(self) -> Candidate | None:
        """The candidate of the newest lock we know: nothing else would be voted for."""
        return self._valid.candidate if self._valid else None

    def propose(self, candidate: Candidate, accepts: Callable[[Candidate], bool]) -> list[Effect]:
        """Our proposal for the current round; a newer lock we know takes the candidate's place."""
        proposal = Proposal(self.must_propose or candidate, self.round, self._valid)
        self._take_proposal(proposal)
        return [self._tell(proposal), *self.step(accepts)]

    def receive(
        self,
        sender: PartyId,
        message: Proposal | Ballot | Lock | Wish,
        accepts: Callable[[Candidate], bool],
        may_propose: Callable[[PartyId, Candidate], bool],
    ) -> list[Effect]:
        """Take a message for this height. Raises MalformedMessage: false signature, wrong proposer."""
        match message:
            case Proposal():
                if sender != self.proposer(message.round) and not may_propose(sender, message.candidate):
                    raise MalformedMessage(
                        f"{sender.short()} proposes in round {message.round}, not its turn"
                    )
                if message.lock is not None:
                    self._take_lock(message.lock, message.candidate)
                self._take_proposal(message)
            case Ballot():
                self._check_ballot(message)
                self._record_ballot(message)
            case Lock():
                self._take_lock(message, message.candidate)
            case Wish():
                self._wish(sender, message.round)
        return self._synchronise() + self.step(accepts)

    def step(self, accepts: Callable[[Candidate], bool]) -> list[Effect]:
        """Cast every ballot that is due now; call after anything that may make a candidate acceptable."""
        effects: list[Effect] = []
        self._find_locks()
        if self.is_member and self.certified is None:
            effects += self._prevote(accepts)
            effects += self._precommit()
        self._certify()
        return effects

    # Casting.

    def _prevote(self, accepts: Callable[[Candidate], bool]) -> list[Effect]:
        proposal = self._proposals.get(self.round)
        if proposal is None or (False, self.round) in self._cast:
            return []
        record = proposal.candidate.record.digest
        if self._lock is not None and self._lock.candidate.record.digest != record:
            shown = proposal.lock
            if shown is None or not self._lock.round <= shown.round < self.round:
                return self._tell_lock(self._lock)
        elif self._lock is None and proposal.lock is None and not accepts(proposal.candidate):
            return []
        return self._cast_ballot(False, record, None)

    def _tell_lock(self, lock: Lock) -> list[Effect]:
        """Once a round, or two members locked on different records would talk without end."""
        if self._lock_told == self.round:
            return []
        self._lock_told = self.round
        return [self._tell(lock)]

    def _precommit(self) -> list[Effect]:
        lock = self._polka(self.round)
        if lock is None or (True, self.round) in self._cast:
            return []
        self._lock = lock
        return self._cast_ballot(True, lock.candidate.record.digest, lock)

    def _cast_ballot(self, final: bool, record: Digest, lock: Lock | None) -> list[Effect]:
        if final:
            vote = sign_vote(self._identity_seed, self._me, record, self.round)
        else:
            payload = vote_payload(record, self.round)
            vote = EpochVote(self._me, sign_statement(self._identity_seed, _PREVOTE, payload))
        ballot = Ballot(self._head.epoch + 1, self.round, final, record, vote)
        self._cast[final, self.round] = record
        self._record_ballot(ballot)
        effects: list[Effect] = [Persist(BallotCast(ballot, lock)), self._tell(ballot)]
        return effects if final else effects + self._precommit()

    def _tell(self, message: object) -> Effect:
        return Broadcast(tuple(sorted(self._members - {self._me})), message)

    # Counting.

    def _find_locks(self) -> None:
        """The newest quorum of prevotes, of whatever round, is what a proposer has to propose."""
        newest = self._valid.round if self._valid else -1
        for round_ in sorted((r for final, r in self._ballots if not final and r > newest), reverse=True):
            lock = self._polka(round_)
            if lock is not None:
                self._valid = lock
                return

    def _polka(self, round_: int) -> Lock | None:
        """A quorum of prevotes of one round for one known candidate."""
        by_record: dict[Digest, list[EpochVote]] = {}
        for ballot in self._ballots.get((False, round_), {}).values():
            by_record.setdefault(ballot.record, []).append(ballot.vote)
        for record, votes in by_record.items():
            if len(votes) >= self._quorum and record in self._candidates:
                chosen = sorted(votes, key=lambda vote: vote.party)[: self._quorum]
                return Lock(self._candidates[record], round_, tuple(chosen))
        return None

    def _certify(self) -> None:
        for (final, round_), ballots in self._ballots.items():
            if not final or self.certified is not None:
                continue
            for record in {ballot.record for ballot in ballots.values()}:
                votes = [ballot.vote for ballot in ballots.values() if ballot.record == record]
                if len(votes) >= self._quorum and record in self._candidates:
                    candidate = self._candidates[record]
                    chosen = tuple(sorted(votes, key=lambda vote: vote.party)[: self._quorum])
                    self.certified = Certified(candidate.record, round_, chosen, candidate.operator)

    def _record_ballot(self, ballot: Ballot) -> None:
        party = ballot.vote.party
        if ballot.round <= self.round + ROUNDS_AHEAD:
            self._ballots.setdefault((ballot.final, ballot.round), {}).setdefault(party, ballot)
            self._wish(party, ballot.round)

    def _wish(self, party: PartyId, round_: int) -> None:
        if party in self._members:
            self._wishes[party] = max(round_, self._wishes.get(party, 0))

    def _take_proposal(self, proposal: Proposal) -> None:
        if abs(proposal.round - self.round) > ROUNDS_AHEAD:
            return
        if self._proposals.setdefault(proposal.round, proposal) is proposal:
            self._candidates.setdefault(proposal.candidate.record.digest, proposal.candidate)

    def _take_lock(self, lock: Lock, candidate: Candidate) -> None:
        record = candidate.record.digest
        voters = {vote.party for vote in lock.prevotes}
        if lock.candidate != candidate or len(voters) != len(lock.prevotes) or not voters <= self._members:
            raise MalformedMessage(
                "a proof of lock is for another candidate or has repeated or foreign votes"
            )
        if len(voters) < self._quorum:
            raise MalformedMessage(f"a proof of lock has {len(voters)} of {self._quorum} votes")
        for vote in lock.prevotes:
            if not check_statement(vote.party, _PREVOTE, vote_payload(record, lock.round), vote.signature):
                raise MalformedMessage(f"a proof of lock has a forged vote of {vote.party.short()}")
        self._candidates.setdefault(record, candidate)
        if self._valid is None or lock.round > self._valid.round:
            self._valid = lock

    def _check_ballot(self, ballot: Ballot) -> None:
        party = ballot.vote.party
        if party not in self._members:
            raise MalformedMessage(f"{party.short()} votes but is not of the electorate")
        payload = vote_payload(ballot.record, ballot.round)
        good = (
            is_vote(ballot.vote, ballot.record, ballot.round)
            if ballot.final
            else check_statement(party, _PREVOTE, payload, ballot.vote.signature)
        )
        if not good:
            raise MalformedMessage(f"the vote of {party.short()} is forged")
