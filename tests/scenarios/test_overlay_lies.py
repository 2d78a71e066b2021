"""Lies told to one keeper of epochs: every message made by hand, each refused for its own reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.overlay import epoch_record, planner
from mesh.overlay.agreement import Ballot, Candidate, Proposal
from mesh.overlay.epoch_messages import IntentNotice
from mesh.overlay.epoch_record import (
    NO_SESSION,
    Certified,
    EpochIntent,
    EpochRecord,
    EpochVote,
    sign_vote,
)
from mesh.overlay.epochs import EpochKeeper
from mesh.overlay.sortition import claim, ranked
from protocols.arithmetic.xof import derive
from protocols.errors import MalformedMessage, Refused, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Persist
from tests.scenarios.overlay_mesh import (
    IDENTITY,
    NOW,
    OPERATOR_SEED,
    PEERS,
    Peer,
    make_record,
    make_standings,
    make_view,
    peer_of,
)


class TestLies:
    """One keeper, messages made by hand. Seven gateways: f = 2, q = 5."""

    def keeper(self, me: Peer = PEERS[0]) -> tuple[EpochKeeper, EpochRecord]:
        head = replace(make_record(PEERS[:7]), session=Digest(b"s" * 32))
        keeper = EpochKeeper(IDENTITY, me.party, me.seed, head, bytes(32), vrf_seed=me.vrf_seed)
        keeper.start(NOW, make_view(PEERS[:7], me))
        return keeper, head

    def successor(self, head: EpochRecord, **change: object) -> EpochRecord:
        gateways = tuple(sorted(peer.party for peer in PEERS[:8]))
        intent = EpochIntent(IDENTITY.mesh, head.epoch + 1, head.digest, gateways, int(NOW))
        return replace(EpochRecord(intent, Digest(b"b" * 32), Digest(b"t" * 32)), **change)

    def certify(self, record: EpochRecord, voters: list[Peer], round_: int = 0) -> Certified:
        votes = tuple(sign_vote(peer.seed, peer.party, record.digest, round_) for peer in voters)
        return Certified(record, round_, votes, None)

    def give(self, certified: object, match: str, sender: Peer = PEERS[1]) -> None:
        keeper, head = self.keeper()
        with pytest.raises((MalformedMessage, UnexpectedMessage), match=match):
            keeper.receive(NOW, make_view(PEERS[:7], PEERS[0]), sender.party, certified)
        assert keeper.record == head

    def test_a_true_one_moves_the_head(self) -> None:
        keeper, head = self.keeper()
        certified = self.certify(self.successor(head), PEERS[1:6])
        effects = keeper.receive(NOW, make_view(PEERS[:7], PEERS[0]), PEERS[1].party, certified)
        assert keeper.record == certified.record
        assert isinstance(effects[0], Persist)
        relayed = [e for e in effects if isinstance(e, Broadcast) and isinstance(e.message, Certified)]
        assert [PEERS[1].party in e.to for e in relayed] == [False]

    def test_too_few_votes(self) -> None:
        self.give(self.certify(self.successor(self.keeper()[1]), PEERS[1:5]), "4 of 5 votes")

    def test_repeated_votes(self) -> None:
        self.give(self.certify(self.successor(self.keeper()[1]), [*PEERS[1:5], PEERS[1]]), "repeated")

    def test_votes_from_outside(self) -> None:
        self.give(self.certify(self.successor(self.keeper()[1]), PEERS[4:9]), "outside the electorate")

    def test_forged_vote(self) -> None:
        certified = self.certify(self.successor(self.keeper()[1]), PEERS[1:6])
        forged = EpochVote(certified.votes[0].party, certified.votes[1].signature)
        self.give(replace(certified, votes=(forged, *certified.votes[1:])), "forged")

    def test_votes_of_another_round(self) -> None:
        self.give(replace(self.certify(self.successor(self.keeper()[1]), PEERS[1:6]), round=1), "forged")

    def test_wrong_predecessor(self) -> None:
        _, head = self.keeper()
        stray = self.successor(head)
        stray = replace(stray, intent=replace(stray.intent, previous=Digest(bytes(32))))
        self.give(self.certify(stray, PEERS[1:6]), "does not follow")

    def test_beacon_of_nobody(self) -> None:
        _, head = self.keeper()
        self.give(self.certify(self.successor(head, session=NO_SESSION), PEERS[1:6]), "beacon of nobody")

    def test_operator_alone_is_not_enough_for_three_and_more(self) -> None:
        _, head = self.keeper()
        self.give(epoch_record.by_operator(OPERATOR_SEED, self.successor(head)), "0 of 5 votes")

    def test_unsorted_electorate(self) -> None:
        _, head = self.keeper()
        record = self.successor(head)
        upside_down = replace(record, intent=replace(record.intent, gateways=record.gateways[::-1]))
        self.give(self.certify(upside_down, PEERS[1:6]), "out of order")

    def test_proposal_out_of_turn(self) -> None:
        _, head = self.keeper()
        wrong = next(p for p in PEERS[1:7] if p.party != ranked(head, "proposer", head.gateways)[0])
        proposal = Proposal(Candidate(self.successor(head), None), 0, None)
        self.give(proposal, "not its turn", wrong)

    def test_ballot_of_an_outsider_or_of_another_height(self) -> None:
        _, head = self.keeper()
        record = self.successor(head).digest
        outsider = sign_vote(PEERS[8].seed, PEERS[8].party, record, 0)
        self.give(Ballot(head.epoch + 1, 0, True, record, outsider), "not of the electorate")
        insider = sign_vote(PEERS[1].seed, PEERS[1].party, record, 0)
        self.give(Ballot(head.epoch + 1, 0, False, record, insider), "forged")
        self.give(Ballot(head.epoch + 2, 0, True, record, insider), "is next")

    def test_intent_of_an_outsider(self) -> None:
        _, head = self.keeper()
        self.give(IntentNotice(self.successor(head).intent), "not of its electorate", PEERS[8])

    def test_claim_with_a_false_proof(self) -> None:
        _, head = self.keeper()
        self.give(
            replace(claim(head, PEERS[2].party, PEERS[2].vrf_seed), party=PEERS[3].party), "does not match"
        )

    def test_no_prevote_without_having_seen_the_beacon_open(self) -> None:
        keeper, head = self.keeper()
        view = make_view(PEERS[:8], PEERS[0])
        first = peer_of(ranked(head, "proposer", head.gateways)[0])
        effects = keeper.receive(
            NOW + 1, view, first.party, Proposal(Candidate(self.successor(head), None), 0, None)
        )
        assert effects == []

    def test_no_prevote_for_an_electorate_that_leaves_out_a_steady_contact(self) -> None:
        keeper, head = self.keeper()
        view = make_view(PEERS[:8], PEERS[0])
        first = peer_of(ranked(head, "proposer", head.gateways)[0])
        fair = EpochIntent(
            IDENTITY.mesh, head.epoch + 1, head.digest, tuple(sorted(p.party for p in PEERS[:8])), int(NOW)
        )
        censored = tuple(party for party in fair.gateways if party not in (PEERS[5].party, first.party))
        for intent, votes in ((replace(fair, gateways=censored), 0), (fair, 1)):
            plan = planner.plan_beacon(
                make_view(PEERS[:8], first), head, self.standings(head), nonce=intent.nonce
            )
            keeper, _ = self.keeper()
            keeper.receive(NOW + 1, view, first.party, IntentNotice(intent))
            keeper.check_beacon(plan)
            keeper.beacon_opened(NOW + 2, view, plan, (1, 2, 3, 4))
            record = keeper._beacons.first()
            assert record is not None
            proposal = Proposal(Candidate(record, None), 0, None)
            effects = keeper.receive(NOW + 2, view, first.party, proposal)
            assert sum(isinstance(e, Persist) for e in effects) == votes

    def standings(self, head: EpochRecord) -> dict[PartyId, object]:
        return make_standings(head, PEERS[:7])

    def test_a_member_has_one_beacon_a_height(self) -> None:
        """Else it could run sessions all epoch long and propose, in its turn, the beacon it likes best."""
        keeper, head = self.keeper()
        view, grinder = make_view(PEERS[:8], PEERS[0]), PEERS[1]
        gateways = tuple(sorted(p.party for p in PEERS[:8]))
        records = []
        for number in range(5):
            intent = EpochIntent(IDENTITY.mesh, head.epoch + 1, head.digest, gateways, int(NOW) + number)
            plan = planner.plan_beacon(
                make_view(PEERS[:8], grinder), head, self.standings(head), nonce=intent.nonce
            )
            keeper.receive(NOW + 1, view, grinder.party, IntentNotice(intent))
            if number:
                with pytest.raises(Refused):
                    keeper.check_beacon(plan)
            else:
                keeper.check_beacon(plan)
            keeper.beacon_opened(NOW + 2, view, plan, (number, 2, 3, 4))  # others may have taken part
            records.append(tuple(keeper._beacons._records.values()))
        assert records == [records[0]] * 5
        assert len(records[0]) == 1

    def test_beacon_session_nobody_announced(self) -> None:
        keeper, head = self.keeper()
        plan = planner.plan_beacon(
            make_view(PEERS[:8], PEERS[1]), head, self.standings(head), nonce=bytes(32)
        )
        with pytest.raises(Refused, match="was announced"):
            keeper.check_beacon(plan)

    def test_genesis_is_the_operators(self) -> None:
        genesis = epoch_record.genesis(IDENTITY, OPERATOR_SEED, PEERS[0].party, bytes(32), NOW)
        epoch_record.check_genesis(genesis, IDENTITY)
        other = epoch_record.genesis(IDENTITY, derive(bytes(32), "eve"), PEERS[0].party, bytes(32), NOW)
        with pytest.raises(MalformedMessage, match="not signed"):
            epoch_record.check_genesis(other, IDENTITY)
        with pytest.raises(MalformedMessage, match="not the first"):
            epoch_record.check_genesis(replace(genesis, record=make_record(PEERS[:1])), IDENTITY)


@pytest.mark.parametrize(
    ("members", "f", "q"), [(1, 0, 1), (3, 0, 2), (4, 1, 3), (7, 2, 5), (8, 2, 6), (128, 42, 86)]
)
def test_two_quorums_share_an_honest_member(members: int, f: int, q: int) -> None:
    assert (epoch_record.faults(members), epoch_record.quorum(members)) == (f, q)
    assert 2 * q - members > f
    assert q <= members - f
