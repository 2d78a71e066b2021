"""Gateways that go and come back while an epoch is about to end: what was begun for them blocks nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from mesh.overlay import electorate
from mesh.overlay.agreement import Proposal
from mesh.overlay.epoch_messages import IntentNotice
from mesh.overlay.sortition import ranked
from tests.scenarios.overlay_mesh import PEERS, Peer, make_record, make_view, peer_of
from tests.scenarios.overlay_pump import EPOCHS, OverlayNetwork
from tests.scenarios.test_overlay_epochs import chain_holds, grown, proposer_now

COUNT = 5
AWAY_S = 4.0
"""Longer than a gateway is waited for, a beacon session and the votes take; far less than two rounds."""


def others(victim: Peer) -> list[Peer]:
    return [peer for peer in PEERS[:COUNT] if peer is not victim]


def goes(network: OverlayNetwork, victim: Peer) -> None:
    for other in others(victim):
        network.cut(victim, other)


def returns(network: OverlayNetwork, victim: Peer) -> None:
    for other in others(victim):
        network.link(victim, other)


def flap_in_vain(network: OverlayNetwork, victim: Peer) -> None:
    """It goes, a beacon that leaves it out opens everywhere else, and it is back before anybody voted."""
    network.tamper = lambda _s, _t, message: None if isinstance(message, Proposal) else message
    goes(network, victim)
    network.run(AWAY_S)
    returns(network, victim)
    network.run(40)
    network.tamper = None


def stale(network: OverlayNetwork) -> int:
    """How many nodes know an opened beacon for the next epoch."""
    return sum(node.keeper._beacons.first() is not None for node in network.up)


class TestBeaconsThatLeaveOutWhoIsBack:
    @pytest.fixture
    def network(self) -> OverlayNetwork:
        """Every node knows an opened beacon of an intent that leaves somebody out who is there."""
        network = grown(COUNT, epochs=replace(EPOCHS, epoch_s=1000.0))
        before = network.up[0].keeper.record
        flap_in_vain(network, PEERS[2])
        assert stale(network) == COUNT - 1
        victims = itertools.cycle((PEERS[4], PEERS[3], PEERS[1], PEERS[0]))
        while stale(network) < COUNT:
            flap_in_vain(network, next(victims))
        assert network.up[0].keeper.record == before
        assert stale(network) == COUNT
        return network

    def test_the_epoch_still_ends_when_its_time_is_over(self, network: OverlayNetwork) -> None:
        before = network.up[0].keeper.record
        known = {node.keeper._beacons.first().beacon for node in network.up}
        network.run(1000, until=lambda: network.up[0].keeper.record != before)
        network.run(5)
        after = network.up[0].keeper.record
        assert network.agreed(COUNT)
        assert (after.epoch, after.gateways) == (before.epoch + 1, before.gateways)
        assert after.beacon in known, "it was fixed when it opened"
        chain_holds(network)

    def test_only_members_of_the_electorate_that_are_there_are_added(self, network: OverlayNetwork) -> None:
        node = network.up[0]
        base = node.keeper._beacons.first()
        gone = next(peer for peer in PEERS[:COUNT] if peer.party not in base.gateways)

        def knows(*gateways: Peer) -> bool:
            listed = tuple(sorted(peer.party for peer in gateways))
            record = replace(base, intent=replace(base.intent, gateways=listed))
            return node.keeper._beacons.knows(record, node.membership.view(network.now))

        assert knows(*PEERS[:COUNT])
        assert not knows(*PEERS[: COUNT + 1])
        assert not knows(*PEERS[:3])
        goes(network, gone)
        network.run(1.0)
        assert knows(*others(gone))
        assert not knows(*PEERS[:COUNT])


def test_as_many_are_added_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(electorate, "MAX_GATEWAYS", 6)
    head = make_record(PEERS[:6], epoch=1)
    intent = replace(head.intent, epoch=2, gateways=tuple(sorted(p.party for p in PEERS[3:8])))
    wider = electorate.widened(replace(head, intent=intent), head, make_view(PEERS[:8], PEERS[0]))
    assert len(wider.gateways) == 6
    assert set(intent.gateways) < set(wider.gateways) <= {peer.party for peer in PEERS[:8]}


def test_a_proposer_that_is_not_due_itself_proposes_the_beacon_that_it_asked_for() -> None:
    """It restarted, so its epoch began later; the others pull it into the round."""
    network = grown(COUNT, epochs=replace(EPOCHS, epoch_s=100.0, round_s=10.0))
    head = network.up[0].keeper.record
    began = min(node.keeper._due.since_s for node in network.up)
    first, second = (peer_of(party) for party in ranked(head, "proposer", head.gateways)[:2])
    network.run(30)
    network.nodes[second.party].keeper._due.since_s = network.now
    silenced = (IntentNotice, Proposal)
    network.tamper = lambda s, _t, m: None if s == first.party and isinstance(m, silenced) else m
    network.run(300, until=lambda: any(node.keeper.record != head for node in network.up))
    assert network.now < began + 100 + 10 + 5, "one round was lost, of the first proposer"
    chain_holds(network)


def test_who_goes_next_is_left_out_though_the_last_attempt_failed() -> None:
    """It takes no round's length, or a mesh whose gateways come and go would keep its epoch for ever."""
    network = grown(COUNT)
    before = network.up[0].keeper.record
    flap_in_vain(network, PEERS[2])
    assert network.up[0].keeper.record == before
    goes(network, PEERS[3])
    network.run(AWAY_S)
    left = {node.keeper.record.gateways for node in network.up if node.peer is not PEERS[3]}
    assert left == {tuple(sorted(peer.party for peer in others(PEERS[3])))}
    chain_holds(network)


def test_who_restarts_hears_again_what_was_said_of_the_round() -> None:
    """Its vote is wanted, and what it is about was told while it was down."""
    network = grown(COUNT)
    head = network.up[0].keeper.record
    proposer = proposer_now(network)
    gone, victim = [peer for peer in PEERS[:COUNT] if peer is not proposer][:2]
    rest = [peer for peer in others(gone) if peer is not victim]
    goes(network, gone)
    network.run(AWAY_S, until=lambda: network.nodes[proposer.party].keeper._beacons.first() is not None)
    network.kill(victim)
    network.run(0.3)
    assert {network.nodes[peer.party].keeper.record for peer in rest} == {head}
    network.restart(victim)
    for other in rest:
        network.link(victim, other)
    network.run(0.3)
    assert {network.nodes[peer.party].keeper.record.epoch for peer in (*rest, victim)} == {head.epoch + 1}
    chain_holds(network)
