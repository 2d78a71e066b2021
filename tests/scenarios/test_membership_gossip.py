"""Membership over a lossy toy network: what one says all hear, and doubt is about liveness only."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from mesh.overlay import announcement as announcements
from mesh.overlay.announcement import Presence
from mesh.overlay.gossip import MAX_NEWS, MAX_WANT, News, Want
from mesh.overlay.suspicion import Suspicion
from mesh.overlay.view import MemberChanged, Status
from protocols.errors import MalformedMessage, ProtocolError, UnexpectedMessage
from protocols.machine import Broadcast, Send
from tests.scenarios.overlay_mesh import NOW, OPERATOR_SEED, Peer, make_peer
from tests.scenarios.overlay_pump import MEMBERSHIP, Faults, OverlayNetwork

PEERS = [make_peer(index, gateway=index < 2) for index in range(12)]


def quiet(network: OverlayNetwork) -> OverlayNetwork:
    """Membership only: no beacons."""
    network.run_beacons = False
    return network


def line(peers: list[Peer], network: OverlayNetwork) -> None:
    for a, b in itertools.pairwise(peers):
        network.link(a, b)


def status(network: OverlayNetwork, observer: Peer, subject: Peer) -> Status:
    return network.nodes[observer.party].membership.view(network.now).by_party[subject.party].status


def everyone_sees(network: OverlayNetwork, subject: Peer, wanted: Status) -> bool:
    return all(status(network, node.peer, subject) is wanted for node in network.up)


@pytest.mark.parametrize("seed", range(6))
def test_all_learn_of_all_over_a_line_despite_loss_duplication_and_reordering(seed: int) -> None:
    network = quiet(OverlayNetwork(seed, Faults(loss=0.3, duplicate=0.3, delay_s=0.5)))
    for peer in PEERS:
        network.add(peer)
    line(PEERS, network)
    network.run(
        120, until=lambda: all(len(node.membership.view(network.now).alive) == 12 for node in network.up)
    )
    assert [len(node.membership.view(network.now).alive) for node in network.up] == [12] * 12
    assert network.errors == []


def test_view_is_sorted_and_tells_links_apart() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:4]:
        network.add(peer)
    line(PEERS[:4], network)
    network.run(5)
    view = network.nodes[PEERS[0].party].membership.view(network.now)
    assert [member.party for member in view.members] == sorted(peer.party for peer in PEERS[:4])
    assert {m.certificate.name for m in view.members if m.linked} == {"p0", "p1"}
    assert view.by_party[PEERS[1].party].rtt_s == 0.001
    assert view.by_party[PEERS[2].party].rtt_s is None
    assert view.is_linked(PEERS[1].party)
    assert not view.is_linked(PEERS[3].party)
    assert view.name(PEERS[3].party) == "p3"


def test_a_killed_member_is_suspect_at_once_and_left_in_the_end() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:5]:
        network.add(peer)
    network.mesh(PEERS[:5])
    network.run(5)
    network.kill(PEERS[3])
    assert everyone_sees(network, PEERS[3], Status.SUSPECT)
    network.run(MEMBERSHIP.suspicion_s + 0.5)
    assert everyone_sees(network, PEERS[3], Status.LEFT)
    changes = [
        e for e in network.nodes[PEERS[0].party].events if isinstance(e, MemberChanged) and e.name == "p3"
    ]
    assert [(c.before, c.after) for c in changes][-2:] == [
        (Status.ALIVE, Status.SUSPECT),
        (Status.SUSPECT, Status.LEFT),
    ]


def test_news_of_a_death_reaches_those_without_a_link() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:6]:
        network.add(peer)
    line(PEERS[:6], network)
    network.run(10)
    network.kill(PEERS[5])
    network.run(2)
    assert everyone_sees(network, PEERS[5], Status.SUSPECT)


def test_a_broken_link_is_refuted_by_the_living() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:4]:
        network.add(peer)
    network.mesh(PEERS[:4])
    network.run(5)
    before = network.nodes[PEERS[1].party].membership.view(network.now).by_party[PEERS[1].party].incarnation
    network.cut(PEERS[0], PEERS[1])
    assert status(network, PEERS[0], PEERS[1]) is Status.SUSPECT
    assert status(network, PEERS[2], PEERS[1]) is Status.ALIVE
    network.run(3)
    view = network.nodes[PEERS[0].party].membership.view(network.now)
    assert view.by_party[PEERS[1].party].status is Status.ALIVE
    assert view.by_party[PEERS[1].party].incarnation > before
    assert not view.is_linked(PEERS[1].party)
    assert everyone_sees(network, PEERS[0], Status.ALIVE)


def test_a_healed_partition_forgets_its_doubts() -> None:
    network = quiet(OverlayNetwork())
    left, right = PEERS[:3], PEERS[3:6]
    for peer in PEERS[:6]:
        network.add(peer)
    network.mesh(PEERS[:6])
    network.run(5)
    for a in left:
        for b in right:
            network.cut(a, b)
    network.run(MEMBERSHIP.suspicion_s + 3)
    assert status(network, left[0], right[0]) is Status.LEFT
    assert status(network, right[0], left[0]) is Status.LEFT
    network.link(left[0], right[0])
    network.run(15)
    for node in network.up:
        assert len(node.membership.view(network.now).alive) == 6


def test_a_restarted_member_returns_under_a_higher_incarnation_even_with_a_slow_clock() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:3]:
        network.add(peer)
    network.mesh(PEERS[:3])
    network.run(5)
    old = network.nodes[PEERS[2].party].membership.view(network.now).by_party[PEERS[2].party].incarnation
    network.kill(PEERS[2])
    network.run(MEMBERSHIP.suspicion_s + 1)
    assert everyone_sees(network, PEERS[2], Status.LEFT)
    network.now -= 60
    network.add(PEERS[2])
    network.now += 60
    network.link(PEERS[2], PEERS[0])
    network.run(4)
    assert everyone_sees(network, PEERS[2], Status.ALIVE)
    assert (
        network.nodes[PEERS[1].party].membership.view(network.now).by_party[PEERS[2].party].incarnation > old
    )


def test_goodbye_is_believed_without_suspicion() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:3]:
        network.add(peer)
    line(PEERS[:3], network)
    network.run(5)
    leaver = network.nodes[PEERS[2].party]
    network._carry(leaver, leaver.membership.leave(network.now))
    network.run(1)
    assert everyone_sees(network, PEERS[2], Status.LEFT)
    network.kill(PEERS[2])
    network.run(5)
    assert everyone_sees(network, PEERS[2], Status.LEFT)


def test_a_slanderer_only_costs_a_new_incarnation() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:4]:
        network.add(peer)
    line(PEERS[:4], network)
    network.run(5)
    victim = network.nodes[PEERS[0].party]
    for _ in range(50):
        current = victim.membership.announcement(victim.peer.party)
        assert current is not None
        network._post(
            PEERS[3].party, PEERS[2].party, Suspicion(victim.peer.party, current.incarnation, PEERS[3].party)
        )
        network.run(0.2)
    bumps = victim.membership.announcement(victim.peer.party)
    assert bumps is not None
    assert bumps.incarnation - current.incarnation <= 1
    network.run(3)
    assert status(network, PEERS[2], PEERS[0]) is Status.ALIVE
    assert all(
        change.after is not Status.LEFT
        for node in network.up
        for change in node.events
        if isinstance(change, MemberChanged)
    )


def test_expired_members_vanish_from_the_view() -> None:
    network = quiet(OverlayNetwork())
    brief = make_peer(30, expires_s=int(NOW) + 20)
    for peer in (PEERS[0], PEERS[1], brief):
        network.add(peer)
    network.mesh([PEERS[0], PEERS[1], brief])
    network.run(10)
    view = network.nodes[PEERS[0].party].membership.view(network.now)
    assert brief.party in view.by_party
    network.run(15)
    view = network.nodes[PEERS[0].party].membership.view(network.now)
    assert brief.party not in view.by_party


def test_a_member_never_heard_of_again_becomes_doubtful() -> None:
    """A death that nobody linked to the dead survived to tell."""
    network = quiet(OverlayNetwork())
    for peer in PEERS[:4]:
        network.add(peer)
    line(PEERS[:4], network)
    network.run(5)
    network.nodes[PEERS[3].party].up = network.nodes[PEERS[2].party].up = False
    network.cut(PEERS[1], PEERS[2])
    network.run(20)
    assert status(network, PEERS[0], PEERS[3]) is Status.ALIVE
    network.run(3 * MEMBERSHIP.refresh_s)
    assert status(network, PEERS[0], PEERS[3]) is Status.LEFT


class TestBadInput:
    def pair(self) -> OverlayNetwork:
        network = quiet(OverlayNetwork())
        for peer in PEERS[:2]:
            network.add(peer)
        network.mesh(PEERS[:2])
        network.run(2)
        return network

    def give(self, network: OverlayNetwork, message: object) -> None:
        membership = network.nodes[PEERS[0].party].membership
        before = membership.view(network.now)
        try:
            membership.receive(network.now, PEERS[1].party, message)
        finally:
            assert membership.view(network.now) == before

    def test_gossip_without_a_link(self) -> None:
        network = self.pair()
        with pytest.raises(UnexpectedMessage, match="no link"):
            network.nodes[PEERS[0].party].membership.receive(network.now, PEERS[5].party, News((), ()))

    def test_not_gossip(self) -> None:
        with pytest.raises(MalformedMessage, match="no gossip"):
            self.give(self.pair(), PEERS[0].certificate)

    def test_announcement_signed_by_another(self) -> None:
        presence = Presence(PEERS[2].party, 5, False, (), ())
        forged = announcements.announce(PEERS[1].seed, PEERS[2].signed, presence)
        with pytest.raises(MalformedMessage, match="not signed by it"):
            self.give(self.pair(), News((forged,), ()))

    def test_announcement_with_anothers_certificate(self) -> None:
        presence = Presence(PEERS[2].party, 5, False, (), ())
        borrowed = announcements.announce(PEERS[2].seed, PEERS[1].signed, presence)
        with pytest.raises(MalformedMessage, match="certificate of another"):
            self.give(self.pair(), News((borrowed,), ()))

    def test_announcement_of_another_mesh(self) -> None:
        foreign = make_peer(2, operator_seed=bytes(31) + b"\1")
        said = announcements.announce(foreign.seed, foreign.signed, Presence(foreign.party, 5, False, (), ()))
        with pytest.raises(ProtocolError, match="is for mesh"):
            self.give(self.pair(), News((said,), ()))

    def test_a_bad_one_spoils_its_whole_batch(self) -> None:
        good = announcements.announce(
            PEERS[3].seed, PEERS[3].signed, Presence(PEERS[3].party, 5, False, (), ())
        )
        bad = announcements.announce(
            PEERS[1].seed, PEERS[2].signed, Presence(PEERS[2].party, 5, False, (), ())
        )
        with pytest.raises(MalformedMessage):
            self.give(self.pair(), News((good, bad), ()))

    def test_replayed_old_announcement_changes_nothing(self) -> None:
        network = self.pair()
        old = announcements.announce(
            PEERS[1].seed, PEERS[1].signed, Presence(PEERS[1].party, 1, True, (), ())
        )
        self.give(network, News((old,), ()))

    def test_two_incarnations_in_one_batch_leave_the_newer(self) -> None:
        network = self.pair()
        new, old = (
            announcements.announce(
                PEERS[4].seed, PEERS[4].signed, Presence(PEERS[4].party, number, False, (), ())
            )
            for number in (9, 5)
        )
        membership = network.nodes[PEERS[0].party].membership
        membership.receive(network.now, PEERS[1].party, News((new, old), ()))
        assert membership.view(network.now).by_party[PEERS[4].party].incarnation == 9

    def test_an_expired_announcement_passed_on_is_no_fault(self) -> None:
        dead = make_peer(31, expires_s=int(NOW) - 10)
        said = announcements.announce(dead.seed, dead.signed, Presence(dead.party, 5, False, (), ()))
        self.give(self.pair(), News((said,), ()))

    def test_an_older_certificate_is_not_taken_back(self) -> None:
        network = self.pair()
        older = make_peer(1, gateway=True, weight=9, serial=0)
        said = announcements.announce(older.seed, older.signed, Presence(older.party, 2**40, False, (), ()))
        self.give(network, News((said,), ()))

    def test_absurd_doubt_about_ourselves_is_ignored(self) -> None:
        network = self.pair()
        membership = network.nodes[PEERS[0].party].membership
        before = membership.announcement(PEERS[0].party)
        membership.receive(network.now, PEERS[1].party, Suspicion(PEERS[0].party, 2**47, PEERS[1].party))
        membership.tick(network.now + 3)
        assert membership.announcement(PEERS[0].party) == before


def test_answers_to_one_message_are_bounded() -> None:
    network = quiet(OverlayNetwork())
    peers = [make_peer(100 + index, gateway=False) for index in range(2 * MAX_NEWS + 3)]
    first, second = network.add(PEERS[0]), network.add(PEERS[1])
    network.mesh(PEERS[:2])
    for start in range(0, len(peers), MAX_NEWS):
        batch = tuple(
            announcements.announce(p.seed, p.signed, Presence(p.party, 5, False, (), ()))
            for p in peers[start : start + MAX_NEWS]
        )
        first.membership.receive(network.now, second.peer.party, News(batch, ()))
    wanted = tuple(sorted(peer.party for peer in peers))[:MAX_WANT]
    answers = first.membership.receive(network.now, second.peer.party, Want(wanted))
    sizes = [
        len(e.message.announcements) for e in answers if isinstance(e, Send) and isinstance(e.message, News)
    ]
    assert sum(sizes) == len(peers)
    assert max(sizes) <= MAX_NEWS


def test_idle_traffic_is_a_few_small_messages() -> None:
    network = quiet(OverlayNetwork())
    for peer in PEERS[:8]:
        network.add(peer)
    network.mesh(PEERS[:8])
    network.run(10)
    kinds: Counter[str] = Counter()
    network.tamper = lambda sender, to, message: kinds.update([type(message).__name__]) or message
    network.run(50)
    assert kinds["Inventory"] == 0
    assert sum(kinds.values()) <= 8 * 2 * 50 / MEMBERSHIP.sync_s + 8


def test_same_inputs_same_effects() -> None:
    logs = []
    for _ in range(2):
        network = quiet(OverlayNetwork(3, Faults(loss=0.2, duplicate=0.2, delay_s=0.2)))
        for peer in PEERS[:5]:
            network.add(peer)
        line(PEERS[:5], network)
        network.run(30)
        logs.append([node.membership.view(network.now) for node in network.up])
    assert logs[0] == logs[1]


def test_push_goes_to_at_most_fanout_links() -> None:
    network = quiet(OverlayNetwork())
    hub = network.add(PEERS[0])
    spokes = [make_peer(200 + index, gateway=False) for index in range(MEMBERSHIP.fanout + 10)]
    for peer in spokes:
        hub.membership.link_up(network.now, peer.party)
    hub.membership.tick(network.now + 1)
    effects = hub.membership.set_addresses(network.now + 2, ["/ip4/10.0.0.1/tcp/1"])
    targets = [party for effect in effects if isinstance(effect, Broadcast) for party in effect.to]
    assert len(targets) == len(set(targets)) == MEMBERSHIP.fanout
    assert OPERATOR_SEED not in str(effects).encode()
