"""Agreement on one record under a random schedule: no fork ever, a decision once messages arrive.

Liars vote for everything, in every round, whatever they voted before. With four members and one liar two
honest votes make a quorum, which finds forks soonest: with the rule of locks taken out, these do fork.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from mesh.overlay.agreement import Agreement, Ballot, BallotCast, Candidate, Lock, Proposal, Wish
from mesh.overlay.epoch_record import (
    EpochIntent,
    EpochRecord,
    EpochVote,
    check_extends,
    sign_vote,
    vote_payload,
)
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist
from protocols.wire.envelope import sign_statement
from tests.scenarios.overlay_mesh import IDENTITY, NOW, Peer, make_peer, make_record

PEERS = [make_peer(index) for index in range(7)]
HEAD = replace(make_record(PEERS), session=Digest(b"s" * 32))
FOUR = replace(make_record(PEERS[:4]), session=Digest(b"s" * 32))
BY_PARTY = {peer.party: peer for peer in PEERS}


def candidate(number: int, head: EpochRecord = HEAD) -> Candidate:
    intent = EpochIntent(IDENTITY.mesh, head.epoch + 1, head.digest, head.gateways, int(NOW) + number)
    return Candidate(EpochRecord(intent, Digest(bytes([number]) * 32), Digest(b"t" * 32)), None)


CANDIDATES = [candidate(number) for number in range(3)]


def ballot(peer: Peer, record: Digest, round_: int, final: bool) -> Ballot:
    if final:
        vote = sign_vote(peer.seed, peer.party, record, round_)
    else:
        vote = EpochVote(peer.party, sign_statement(peer.seed, "epoch-prevote", vote_payload(record, round_)))
    return Ballot(HEAD.epoch + 1, round_, final, record, vote)


@dataclass
class Table:
    """Honest members, a bag of messages delivered in random order, liars that answer each proposal."""

    draw: random.Random
    head: EpochRecord
    liars: list[Peer]
    honest: dict[PartyId, Agreement] = field(default_factory=dict)
    journals: dict[PartyId, list[BallotCast]] = field(default_factory=dict)
    bag: list[tuple[PartyId, PartyId, object]] = field(default_factory=list)
    loss: float = 0.15

    def __post_init__(self) -> None:
        self.candidates = [candidate(number, self.head) for number in range(2)]
        for party in self.head.gateways:
            if BY_PARTY[party] not in self.liars:
                self.honest[party] = Agreement(self.head, party, BY_PARTY[party].seed)
                self.journals[party] = []

    def carry(self, me: PartyId, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                assert isinstance(effect.record, BallotCast)
                self.journals[me].append(effect.record)
            elif isinstance(effect, Broadcast):
                self.bag += [(me, to, effect.message) for to in effect.to if to in self.honest]

    def lie(self, round_: int) -> None:
        """Each liar votes both ways for two candidates, to different members, and proposes at its turn."""
        for liar in self.liars:
            for to, agreement in self.honest.items():
                chosen = self.draw.choice(self.candidates)
                for final in (False, True):
                    self.bag.append((liar.party, to, ballot(liar, chosen.record.digest, round_, final)))
                self.bag.append((liar.party, to, Wish(self.head.epoch + 1, round_ + self.draw.randrange(2))))
                if agreement.proposer(round_) == liar.party:
                    self.bag.append((liar.party, to, Proposal(chosen, round_, None)))

    def deliver_one(self) -> None:
        sender, to, message = self.bag.pop(self.draw.randrange(len(self.bag)))
        if self.draw.random() < self.loss:
            return
        assert isinstance(message, Proposal | Ballot | Lock | Wish)
        effects = self.honest[to].receive(sender, message, lambda _: True, lambda *_: False)
        self.carry(to, effects)

    def propose(self, me: PartyId) -> None:
        agreement = self.honest[me]
        if agreement.proposer(agreement.round) == me and not agreement.has_proposal():
            self.carry(me, agreement.propose(self.draw.choice(self.candidates), lambda _: True))

    def restart(self, me: PartyId) -> None:
        fresh = Agreement(self.head, me, BY_PARTY[me].seed)
        for cast in self.journals[me]:
            fresh.restore(cast)
        self.honest[me] = fresh

    def decided(self) -> set[EpochRecord]:
        return {a.certified.record for a in self.honest.values() if a.certified is not None}


def disturb(table: Table, steps: int) -> None:
    """Random deliveries, proposals, timeouts, lies and restarts; at no moment may two records be decided."""
    draw = table.draw
    for _ in range(steps):
        action = draw.random()
        me = draw.choice(list(table.honest))
        if action < 0.8 and table.bag:
            table.deliver_one()
        elif action < 0.9:
            table.propose(me)
        elif action < 0.94:
            table.carry(me, table.honest[me].want_next(lambda _: True))
        elif action < 0.98:
            table.lie(table.honest[me].round)
        else:
            table.restart(me)
        assert len(table.decided()) <= 1


def calm(table: Table) -> None:
    """No more loss or lies: everything arrives, rounds end by time, until somebody can prove a decision."""
    table.loss = 0.0
    for _ in range(20):
        for _ in range(2):
            for me in table.honest:
                table.propose(me)
            while table.bag:
                table.deliver_one()
        if table.decided():
            return
        for me, agreement in table.honest.items():
            table.carry(me, agreement.want_next(lambda _: True))
        while table.bag:
            table.deliver_one()


@pytest.mark.parametrize(("head", "liars", "seeds", "steps"), [(FOUR, 1, 50, 400), (HEAD, 2, 3, 600)])
def test_random_schedules_never_fork_and_end(head: EpochRecord, liars: int, seeds: int, steps: int) -> None:
    for seed in range(seeds):
        draw = random.Random(seed)
        table = Table(draw, head, draw.sample([BY_PARTY[party] for party in head.gateways], liars))
        disturb(table, steps)
        calm(table)
        assert len(table.decided()) == 1, seed
        for agreement in table.honest.values():
            if agreement.certified is not None:
                check_extends(agreement.certified, head, IDENTITY)


def test_no_ballot_is_ever_cast_twice_in_one_round() -> None:
    table = Table(random.Random(99), HEAD, PEERS[:2], loss=0.1)
    disturb(table, 1500)
    for journal in table.journals.values():
        slots = [(cast.ballot.final, cast.ballot.round) for cast in journal]
        assert len(slots) == len(set(slots))
        assert slots


class TestLocks:
    def lock(self, voters: list[Peer], number: int = 0, round_: int = 0) -> Lock:
        record = CANDIDATES[number].record.digest
        votes = tuple(ballot(peer, record, round_, False).vote for peer in voters)
        return Lock(CANDIDATES[number], round_, votes)

    def member(self) -> Agreement:
        return Agreement(HEAD, PEERS[0].party, PEERS[0].seed)

    def give(self, message: Lock | Proposal, match: str) -> None:
        with pytest.raises(MalformedMessage, match=match):
            self.member().receive(PEERS[1].party, message, lambda _: True, lambda *_: True)

    def test_false_proofs_are_refused(self) -> None:
        self.give(self.lock(PEERS[:4]), "4 of 5 votes")
        self.give(self.lock([*PEERS[:4], PEERS[0]]), "repeated")
        good = self.lock(PEERS[:5])
        self.give(replace(good, round=1), "forged")
        self.give(replace(good, candidate=CANDIDATES[1]), "forged")
        self.give(Proposal(CANDIDATES[1], 3, good), "another candidate")

    def test_a_locked_member_prevotes_another_record_only_with_a_newer_lock(self) -> None:
        agreement = self.member()
        first, second = CANDIDATES[:2]

        def yes(_candidate: Candidate) -> bool:
            return True

        def any_turn(*_: object) -> bool:
            return True

        agreement.receive(PEERS[1].party, Proposal(first, 0, None), yes, any_turn)
        for peer in PEERS[1:5]:
            agreement.receive(peer.party, ballot(peer, first.record.digest, 0, False), yes, any_turn)
        assert agreement.must_propose == first
        for peer in PEERS[1:6]:
            agreement.receive(peer.party, Wish(HEAD.epoch + 1, 1), yes, any_turn)
        assert agreement.round == 1
        answer = agreement.receive(PEERS[2].party, Proposal(second, 1, None), yes, any_turn)
        assert [type(e.message) for e in answer if isinstance(e, Broadcast)] == [Lock]
        for peer in PEERS[1:6]:
            agreement.receive(peer.party, Wish(HEAD.epoch + 1, 3), yes, any_turn)
        shown = self.lock(PEERS[1:6], number=1, round_=2)
        effects = agreement.receive(PEERS[2].party, Proposal(second, 3, shown), yes, any_turn)
        cast = [
            e.record.ballot for e in effects if isinstance(e, Persist) and isinstance(e.record, BallotCast)
        ]
        assert [(b.round, b.final, b.record) for b in cast] == [(3, False, second.record.digest)]

    def test_a_minority_of_wishes_moves_nobody(self) -> None:
        agreement = self.member()
        for peer in PEERS[1:3]:
            agreement.receive(peer.party, Wish(HEAD.epoch + 1, 50), lambda _: True, lambda *_: True)
        assert agreement.round == 0
        agreement.receive(PEERS[3].party, Wish(HEAD.epoch + 1, 4), lambda _: True, lambda *_: True)
        assert agreement.round == 0
        agreement.receive(PEERS[4].party, Wish(HEAD.epoch + 1, 4), lambda _: True, lambda *_: True)
        assert agreement.round == 4
