"""The chain of epochs over a toy network: growth, deaths, lies, splits, catching up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.overlay import epoch_record
from mesh.overlay.agreement import Ballot, BallotCast, Proposal
from mesh.overlay.epoch_messages import EpochChanged, HeadMoved, StartBeacon
from mesh.overlay.epoch_record import (
    CHAIN_PART,
    NO_SESSION,
    Certified,
)
from mesh.overlay.epochs import EpochKeeper
from mesh.overlay.profile import EpochProfile
from mesh.overlay.sortition import ranked
from protocols.identifiers import Digest, PartyId
from tests.scenarios.overlay_mesh import (
    IDENTITY,
    PEERS,
    Peer,
    make_peer,
    make_view,
    peer_of,
)
from tests.scenarios.overlay_pump import EPOCHS, Faults, OverlayNetwork


def grown(count: int, seed: int = 0, epochs: EpochProfile = EPOCHS) -> OverlayNetwork:
    """A mesh whose epoch has a beacon from a session, with `count` gateways."""
    network = OverlayNetwork(seed, epochs=epochs)
    for peer in PEERS[:count]:
        network.add(peer)
    network.mesh(PEERS[:count])
    network.run(60, until=lambda: settled(network, count))
    assert settled(network, count)
    network.run(3)
    return network


def settled(network: OverlayNetwork, gateways: int) -> bool:
    """One head, so many gateways, and a session's beacon if there can be one."""
    record = network.up[0].keeper.record
    return network.agreed(gateways) and (gateways < 3 or record.session != NO_SESSION)


def chain_holds(network: OverlayNetwork) -> None:
    """Every record every node ever adopted is the only one of its height, and follows the one before."""
    adopted: dict[int, Certified] = {}
    for node in network.nodes.values():
        for record in node.journal:
            if isinstance(record, HeadMoved):
                certified = record.certified
                assert adopted.setdefault(certified.record.epoch, certified).record == certified.record
    for epoch in sorted(adopted)[1:]:
        if epoch - 1 in adopted:
            epoch_record.check_extends(adopted[epoch], adopted[epoch - 1].record, IDENTITY)


def proposer_now(network: OverlayNetwork) -> Peer:
    record = network.up[0].keeper.record
    return peer_of(ranked(record, "proposer", record.gateways)[0])


class TestGrowth:
    def test_from_one_to_eight_members(self) -> None:
        network = OverlayNetwork()
        for count in range(1, 9):
            peer = PEERS[count - 1]
            network.add(peer)
            for other in PEERS[: count - 1]:
                network.link(peer, other)
            network.run(40, until=lambda count=count: settled(network, count))
            assert settled(network, count), count
        assert network.errors == []
        chain_holds(network)
        beacons = {n.keeper.certified(e).record.beacon for n in network.up[:1] for e in range(1, 8)}
        assert len(beacons) == 7

    def test_eight_at_once_need_two_epochs(self) -> None:
        network = grown(8)
        assert network.up[0].keeper.record.epoch == 2
        assert all(len(node.keeper.standings) == 8 for node in network.up)
        assert [type(e) for e in network.up[3].events if isinstance(e, EpochChanged)] == [EpochChanged] * 2

    def test_two_peers_follow_the_operator(self) -> None:
        network = grown(2)
        record = network.up[0].keeper.record
        assert (len(record.gateways), record.session) == (2, NO_SESSION)

    def test_an_operator_without_any_gateway_waits_without_spinning(self) -> None:
        network = OverlayNetwork(epochs=replace(EPOCHS, epoch_s=5.0))
        device = make_peer(41, gateway=False)
        network.add(device)
        network.run(20)
        assert network.nodes[device.party].keeper.record.epoch == 0
        leaver = network.nodes[device.party]
        network._carry(leaver, leaver.membership.leave(network.now))
        network.run(100)

    def test_rotation_by_time(self) -> None:
        network = grown(4, epochs=replace(EPOCHS, epoch_s=60.0))
        before = network.up[0].keeper.record
        network.run(90, until=lambda: network.up[0].keeper.record != before)
        network.run(5)
        after = network.up[0].keeper.record
        assert after.epoch == before.epoch + 1
        assert after.gateways == before.gateways
        assert after.beacon != before.beacon
        assert network.agreed(4)

    def test_nothing_happens_while_nothing_changes(self) -> None:
        network = grown(5)
        before = network.up[0].keeper.record
        network.run(100)
        assert network.heads() == {bytes(before.digest)}

    @pytest.mark.parametrize("seed", range(2))
    def test_despite_loss_duplication_and_reordering(self, seed: int) -> None:
        network = OverlayNetwork(seed, Faults(loss=0.15, duplicate=0.2, delay_s=0.3))
        for peer in PEERS[:7]:
            network.add(peer)
        network.mesh(PEERS[:7])
        network.run(240, until=lambda: settled(network, 7))
        assert settled(network, 7)
        chain_holds(network)

    def test_devices_follow_without_voting(self) -> None:
        network = grown(4)
        device = make_peer(40, gateway=False)
        network.add(device)
        network.link(device, PEERS[0])
        network.run(10)
        node = network.nodes[device.party]
        assert node.keeper.record == network.up[0].keeper.record
        assert node.keeper.standings.keys() == network.up[0].keeper.standings.keys()
        assert not any(isinstance(record, BallotCast) for record in node.journal)


class TestDeaths:
    def test_the_dead_leave_the_next_electorate(self) -> None:
        network = grown(7)
        network.kill(PEERS[6])
        network.run(40, until=lambda: settled(network, 6))
        assert settled(network, 6)
        chain_holds(network)

    @pytest.mark.parametrize(
        "moment", ["before its turn", "after its intent", "after its beacon", "after proposing"]
    )
    def test_proposer_killed(self, moment: str) -> None:
        network = grown(7)
        proposer = proposer_now(network)
        victim = next(peer for peer in PEERS[:7] if peer is not proposer)
        network.kill(victim)
        node = network.nodes[proposer.party]
        node.events.clear()
        said: list[object] = []
        network.tamper = lambda sender, to, message: said.append((sender, message)) or message

        def reached() -> bool:
            proposed = any(s == proposer.party and isinstance(m, Proposal) for s, m in said)
            asked = any(isinstance(event, StartBeacon) for event in node.events)
            opened = asked and not network._beacons
            return {"after its intent": asked, "after its beacon": opened, "after proposing": proposed}[
                moment
            ]

        if moment != "before its turn":
            network.run(20, until=reached)
            assert reached()
        network.kill(proposer)
        network.run(90, until=lambda: settled(network, 5))
        assert settled(network, 5)
        assert network.errors == []
        chain_holds(network)

    @pytest.mark.parametrize(("count", "dead"), [(4, 1), (7, 2), (8, 2)])
    def test_up_to_f_deaths_at_once(self, count: int, dead: int) -> None:
        network = grown(count)
        for peer in PEERS[1 : 1 + dead]:
            network.kill(peer)
        network.run(90, until=lambda: settled(network, count - dead))
        assert settled(network, count - dead)
        chain_holds(network)

    def test_more_than_f_deaths_stall_until_one_is_back(self) -> None:
        network = grown(4)
        before = network.up[0].keeper.record
        network.kill(PEERS[1])
        network.kill(PEERS[2])
        network.run(60)
        assert network.heads() == {bytes(before.digest)}
        network.restart(PEERS[1])
        for other in (PEERS[0], PEERS[3]):
            network.link(PEERS[1], other)
        network.run(120, until=lambda: settled(network, 3))
        assert settled(network, 3)
        chain_holds(network)

    def test_one_of_three_dies_and_the_operator_helps(self) -> None:
        network = grown(3)
        network.kill(PEERS[1])
        network.run(60, until=lambda: settled(network, 2))
        assert settled(network, 2)
        assert network.up[0].keeper.record.session == NO_SESSION
        chain_holds(network)

    def test_a_proposer_whose_beacons_never_open_is_passed_over(self) -> None:
        network = grown(5)
        network.kill(next(peer for peer in PEERS[:5] if peer is not proposer_now(network)))
        network.run_beacons = False
        network.run(10)
        network.run_beacons = True
        network.run(60, until=lambda: settled(network, 4))
        assert settled(network, 4)

    def test_everybody_restarts_with_their_journal(self) -> None:
        network = grown(5)
        before = network.up[0].keeper.record
        for peer in PEERS[:5]:
            network.kill(peer)
        for peer in PEERS[:5]:
            network.restart(peer)
        assert network.heads() == {bytes(before.digest)}
        network.mesh(PEERS[:5])
        network.run(20)
        assert network.agreed(5)
        chain_holds(network)


class TestSplits:
    @pytest.mark.parametrize("seed", range(4))
    def test_votes_split_by_a_partition_in_the_middle_of_voting(self, seed: int) -> None:
        """Links break just when ballots fly, differently for each seed; nothing forks and it goes on."""
        network = grown(7, seed)
        network.kill(PEERS[6])
        ballots = [0]

        def count(_sender: PartyId, _to: PartyId, message: object) -> object:
            ballots[0] += isinstance(message, Ballot)
            return message

        network.tamper = count
        network.run(30, until=lambda: ballots[0] > 3 + 4 * seed)
        left = PEERS[: 2 + seed % 3]
        pairs = [(a, b) for a in left for b in PEERS[:6] if b not in left]
        for a, b in pairs:
            network.cut(a, b)
        network.run(12)
        for a, b in pairs:
            network.link(a, b)
        network.run(200, until=lambda: settled(network, 6))
        assert settled(network, 6)
        chain_holds(network)

    def test_two_candidates_with_half_of_the_prevotes_each(self) -> None:
        """Round 0 proposes one record to some and another to the others; a later round decides one."""
        network = grown(7)
        proposer = proposer_now(network)
        network.kill(next(peer for peer in PEERS[:7] if peer is not proposer))
        others = [peer.party for peer in PEERS[:7] if peer is not proposer]

        def two_faced(sender: PartyId, to: PartyId, message: object) -> object | None:
            if sender == proposer.party and isinstance(message, Proposal) and others.index(to) % 2:
                record = message.candidate.record
                other = replace(record, beacon=Digest(bytes(32)))
                return replace(message, candidate=replace(message.candidate, record=other))
            return message

        network.tamper = two_faced
        network.run(120, until=lambda: settled(network, 6))
        assert settled(network, 6)
        chain_holds(network)

    def test_a_minority_side_does_not_move(self) -> None:
        network = grown(7)
        before = network.up[0].keeper.record
        minority, majority = PEERS[:2], PEERS[2:7]
        for a in minority:
            for b in majority:
                network.cut(a, b)
        network.run(60)
        assert all(network.nodes[p.party].keeper.record == before for p in minority)
        assert all(len(network.nodes[p.party].keeper.record.gateways) == 5 for p in majority)
        network.link(minority[0], majority[0])
        network.link(minority[1], majority[0])
        network.run(30)
        assert len({node.keeper.record for node in network.up}) == 1
        chain_holds(network)


class TestFollowing:
    def test_a_member_that_was_away_catches_up_by_asking(self) -> None:
        network = grown(5, epochs=replace(EPOCHS, epoch_s=4.0))
        network.kill(PEERS[4])
        enough = network.up[0].keeper.record.epoch + CHAIN_PART + 2
        network.run(200, until=lambda: network.up[0].keeper.record.epoch > enough)
        assert network.up[0].keeper.record.epoch > enough
        network.restart(PEERS[4])
        network.link(PEERS[4], PEERS[0])
        network.run(10, until=lambda: len(network.heads()) == 1)
        assert len(network.heads()) == 1
        chain_holds(network)

    def test_a_joiner_starts_from_the_grants_record(self) -> None:
        network = grown(4)
        head = network.up[0].keeper.record
        keeper = EpochKeeper(
            IDENTITY, PEERS[8].party, PEERS[8].seed, head, bytes(32), vrf_seed=PEERS[8].vrf_seed
        )
        assert keeper.record == head
        assert keeper.certified(head.epoch) is None
        network.kill(PEERS[3])
        network.run(40, until=lambda: settled(network, 3))
        certified = network.up[0].keeper.certified(head.epoch + 1)
        assert certified is not None
        view = make_view(PEERS, PEERS[8])
        keeper.receive(network.now, view, PEERS[0].party, certified)
        assert keeper.record == certified.record
