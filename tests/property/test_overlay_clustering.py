"""Clusters: a partition of the alive, within bounds, whatever the order; small changes move few."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.overlay.clustering import ClusterSizes, clusters
from protocols.errors import ConfigError
from protocols.identifiers import PartyId
from tests.scenarios.overlay_mesh import Peer, make_peer, make_view

SITES = ("cardiology", "radiology", "oncology", "icu", "lab")


@functools.cache
def peer_at(index: int, site: str) -> Peer:
    return make_peer(index, site=site)


def peers_at(sites: list[int]) -> list[Peer]:
    return [peer_at(index, SITES[site]) for index, site in enumerate(sites)]


def rtts_between(peers: list[Peer], seed: int) -> dict[tuple[PartyId, PartyId], int]:
    """Two or three places at 5..150 ms from each other; some pairs unmeasured."""
    draw = random.Random(seed)
    place = {peer.party: draw.randrange(3) for peer in peers}
    base = [[5, 60, 150], [60, 5, 90], [150, 90, 5]]
    return {
        (a.party, b.party): base[place[a.party]][place[b.party]]
        for i, a in enumerate(peers)
        for b in peers[:i]
        if draw.random() < 0.8
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 1000), st.booleans())
def test_partition_within_bounds_and_order_free(sites: list[int], seed: int, measured: bool) -> None:
    peers = peers_at(sites)
    sizes = ClusterSizes()
    rtts = rtts_between(peers, seed) if measured else {}
    dead = [peer for index, peer in enumerate(peers) if (seed >> (index % 10)) & 1 and index % 3 == 0][
        : len(peers) - 1
    ]
    groups = clusters(make_view(peers, peers[-1], dead=dead, rtts_ms=rtts), sizes)

    alive = sorted(peer.party for peer in peers if peer not in dead)
    assert sorted(party for group in groups for party in group) == alive
    if len(alive) >= sizes.min:
        assert all(sizes.min <= len(group) <= sizes.max for group in groups)
    else:
        assert len(groups) == 1

    shuffled = list(peers)
    random.Random(seed).shuffle(shuffled)
    assert clusters(make_view(shuffled, peers[0], dead=dead, rtts_ms=rtts), sizes) == groups


def test_eight_peers_of_one_site_make_two_clusters_of_four() -> None:
    peers = peers_at([0] * 8)
    assert [len(group) for group in clusters(make_view(peers, peers[0]))] == [4, 4]


def test_site_label_decides_before_round_trips() -> None:
    peers = peers_at([0, 1] * 5)
    rtts = {(a.party, b.party): 5 for a in peers[::2] for b in peers[1::2]}
    groups = clusters(make_view(peers, peers[0], rtts_ms=rtts))
    site = {peer.party: peer.certificate.site for peer in peers}
    assert [len({site[party] for party in group}) for group in groups] == [1, 1]


def test_round_trips_split_one_site_in_two_places() -> None:
    peers = peers_at([0] * 10)
    near, far = peers[:4], peers[4:]
    rtts = {
        (a.party, b.party): 5 if (a in near) == (b in near) else 80
        for i, a in enumerate(peers)
        for b in peers[:i]
    }
    groups = clusters(make_view(peers, peers[0], rtts_ms=rtts))
    assert set(groups) == {tuple(sorted(p.party for p in part)) for part in (near, far)}


def test_a_lone_peer_of_another_site_joins_the_nearest_cluster() -> None:
    peers = peers_at([0] * 4 + [1] * 4 + [2])
    lone = peers[8]
    rtts = {(lone.party, peer.party): 10 for peer in peers[:4]} | {
        (lone.party, peer.party): 90 for peer in peers[4:8]
    }
    groups = clusters(make_view(peers, peers[0], rtts_ms=rtts))
    assert next(set(g) for g in groups if lone.party in g) == {peer.party for peer in (*peers[:4], lone)}


@settings(max_examples=25, deadline=None)
@given(st.integers(17, 28), st.integers(0, 16))
def test_one_leaver_moves_at_most_one_peer_over_each_cut(count: int, leaver: int) -> None:
    """With 16 to 28 peers of one site the tree has the same 4 leaves."""
    peers = peers_at([0] * count)
    before = clusters(make_view(peers, peers[-1]))
    after = clusters(make_view(peers, peers[-1], dead=[peers[leaver]]))
    stayed = sum(max(len(set(new) & set(old)) for old in before) for new in after)
    assert len(before) == len(after) == 4
    assert count - 1 - stayed <= 3


def test_sizes_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot always be met"):
        ClusterSizes(min=3, target=5, max=8)
    with pytest.raises(ConfigError):
        ClusterSizes(min=5, target=4, max=8)
