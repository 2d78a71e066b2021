"""Agreement on one record under a random schedule: no fork ever, a decision once messages arrive.

Seven members, two of them liars who vote for everything, in every round, whatever they voted before.
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
BY_PARTY = {peer.party: peer for peer in PEERS}


def candidate(number: int) -> Candidate:
    intent = EpochIntent(IDENTITY.mesh, HEAD.epoch + 1, HEAD.digest, HEAD.gateways, int(NOW) + number)
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
    liars: list[Peer]
    honest: dict[PartyId, Agreement] = field(default_factory=dict)
    journals: dict[PartyId, list[BallotCast]] = field(default_factory=dict)
    bag: list[tuple[PartyId, PartyId, object]] = field(default_factory=list)
    loss: float = 0.3

    def __post_init__(self) -> None:
        for peer in PEERS:
            if peer not in self.liars:
                self.honest[peer.party] = Agreement(HEAD, peer.party, peer.seed)
                self.journals[peer.party] = []

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
                chosen = self.draw.choice(CANDIDATES)
                for final in (False, True):
                    self.bag.append((liar.party, to, ballot(liar, chosen.record.digest, round_, final)))
                self.bag.append((liar.party, to, Wish(HEAD.epoch + 1, round_ + self.draw.randrange(3))))
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
            self.carry(me, agreement.propose(self.draw.choice(CANDIDATES), lambda _: True))

    def restart(self, me: PartyId) -> None:
        fresh = Agreement(HEAD, me, BY_PARTY[me].seed)
        for cast in self.journals[me]:
            fresh.restore(cast)
        self.honest[me] = fresh

    def decided(self) -> set[EpochRecord]:
        return {a.certified.record for a in self.honest.values() if a.certified is not None}


@pytest.mark.parametrize("seed", range(25))
def test_random_schedules_with_two_liars_never_fork_and_end(seed: int) -> None:
    draw = random.Random(seed)
    table = Table(draw, draw.sample(PEERS, 2))
    for _ in range(1500):
        action = draw.random()
        me = draw.choice(list(table.honest))
        if action < 0.85 and table.bag:
            table.deliver_one()
        elif action < 0.93:
            table.propose(me)
        elif action < 0.97:
            table.carry(me, table.honest[me].want_next(lambda _: True))
        elif action < 0.985:
            table.lie(draw.randrange(max(a.round for a in table.honest.values()) + 2))
        else:
            table.restart(me)
        assert len(table.decided()) <= 1

    table.loss = 0.0
    for _ in range(20):
        for me in table.honest:
            table.propose(me)
        while table.bag:
            table.deliver_one()
        for me in table.honest:
            table.propose(me)
        while table.bag:
            table.deliver_one()
        if all(agreement.certified for agreement in table.honest.values()):
            break
        for me, agreement in table.honest.items():
            table.carry(me, agreement.want_next(lambda _: True))
        while table.bag:
            table.deliver_one()
    assert len(table.decided()) == 1
    assert all(agreement.certified for agreement in table.honest.values())
    for agreement in table.honest.values():
        assert agreement.certified is not None
        check_extends(agreement.certified, HEAD, IDENTITY)


def test_no_ballot_is_ever_cast_twice_in_one_round() -> None:
    draw = random.Random(99)
    table = Table(draw, PEERS[:2], loss=0.1)
    for _ in range(2500):
        me = draw.choice(list(table.honest))
        if table.bag and draw.random() < 0.8:
            table.deliver_one()
        elif draw.random() < 0.5:
            table.propose(me)
        elif draw.random() < 0.5:
            table.carry(me, table.honest[me].want_next(lambda _: True))
        elif draw.random() < 0.3:
            table.restart(me)
        else:
            table.lie(draw.randrange(5))
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
