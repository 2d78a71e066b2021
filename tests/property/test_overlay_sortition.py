"""Sortition: everybody computes the same, nobody is favoured, weight counts in proportion."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import pytest

from mesh.overlay import sortition
from mesh.overlay.sortition import Standing
from protocols.errors import MalformedMessage, Refused
from protocols.identifiers import PartyId
from protocols.sessions.plan import COMMITTEE_SIZES
from tests.scenarios.overlay_mesh import make_peer, make_record, make_standings

PEERS = [make_peer(index) for index in range(8)]
PARTIES = [peer.party for peer in PEERS]


def test_rank_depends_on_beacon_and_label_only() -> None:
    record = make_record(PEERS)
    order = sortition.ranked(record, "root", PARTIES)
    assert order == sortition.ranked(record, "root", reversed(PARTIES))
    assert sorted(order) == sorted(PARTIES)
    assert order != sortition.ranked(record, "ward/0", PARTIES)
    assert order != sortition.ranked(make_record(PEERS, beacon=b"other"), "root", PARTIES)


def test_first_seat_is_uniform_over_beacons() -> None:
    """Chi-square over 8 peers, 1600 beacons; 24.3 is the 0.1 % point of 7 degrees, fixed inputs."""
    firsts = Counter(
        sortition.ranked(make_record(PEERS, beacon=b"%d" % round_), "root", PARTIES)[0]
        for round_ in range(1600)
    )
    assert sum((firsts[party] - 200) ** 2 / 200 for party in PARTIES) < 24.3


def test_own_site_comes_first_within_rank_order() -> None:
    peers = [make_peer(index, site="a" if index % 2 else "b") for index in range(8)]
    certificates = {peer.party: peer.certificate for peer in peers}
    record = make_record(peers)
    order = sortition.seat_order(record, "a/0", "a", certificates)
    assert [certificates[party].site for party in order] == ["a"] * 4 + ["b"] * 4
    ranks = sortition.ranked(record, "a/0", certificates)
    for half in (order[:4], order[4:]):
        assert list(half) == [party for party in ranks if party in half]


def test_strangers_and_devices_are_never_ranked_for_seats() -> None:
    device, stranger = make_peer(20, gateway=False), make_peer(21)
    certificates = {peer.party: peer.certificate for peer in (*PEERS, device, stranger)}
    order = sortition.seat_order(make_record([*PEERS, device]), "root", None, certificates)
    assert sorted(order) == sorted(PARTIES)


@pytest.mark.parametrize(
    ("eligible", "wanted", "size"),
    [
        (3, 7, (3, 1)),
        (4, 7, (4, 1)),
        (6, 7, (4, 1)),
        (7, 7, (7, 2)),
        (50, 7, (7, 2)),
        (50, 16, (16, 5)),
        (50, 3, (3, 1)),
    ],
)
def test_committee_size(eligible: int, wanted: int, size: tuple[int, int]) -> None:
    assert sortition.committee_size(eligible, wanted) == size
    assert size in COMMITTEE_SIZES


def test_two_gateways_are_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match="two gateways cannot keep a secret from each other"):
        sortition.committee_size(2)


def test_weight_wins_in_proportion() -> None:
    """Weights 1 and 3 over 4000 stages: the heavy one wins 75 %, within six standard errors."""
    standings = {
        PartyId(bytes([weight]) * 32): Standing(b"", hashlib.sha512(bytes([weight])).digest(), weight)
        for weight in (1, 3)
    }
    wins = Counter(sortition.adder_order(standings, f"stage-{i}")[0][0] for i in range(4000))
    assert abs(wins[3] / 4000 - 0.75) < 6 * (0.75 * 0.25 / 4000) ** 0.5


def test_claims_are_checked() -> None:
    record = make_record(PEERS)
    standings = make_standings(record, PEERS)
    assert set(standings) == set(PARTIES)
    own = sortition.adder_order(standings, "ward/0", PARTIES[:2])
    assert set(own[:2]) == set(PARTIES[:2])
    other = make_record(PEERS, beacon=b"other")
    with pytest.raises(MalformedMessage, match="does not match"):
        sortition.check_claim(other, PEERS[0].certificate, standings[PARTIES[0]].proof)
    with pytest.raises(MalformedMessage, match="does not match"):
        sortition.check_claim(record, PEERS[1].certificate, standings[PARTIES[0]].proof)
    with pytest.raises(MalformedMessage, match="no gateway"):
        sortition.check_claim(make_record(PEERS[1:]), PEERS[0].certificate, standings[PARTIES[0]].proof)
    with pytest.raises(MalformedMessage, match="no gateway"):
        sortition.check_claim(
            record, replace(PEERS[0].certificate, gateway=False), standings[PARTIES[0]].proof
        )
