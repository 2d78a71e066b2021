"""The planner and its judge: honest plans pass everywhere, each defect has its own refusal."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from mesh.overlay import plan_check, plan_explain, planner, sortition
from mesh.overlay.clustering import ClusterSizes
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.planner import PlanLimits
from protocols.errors import LocalMisuse, MalformedMessage, Refused
from protocols.masking.parameters import TABLE
from protocols.sessions.plan import Bulk, Plan
from protocols.wire import codec
from tests.scenarios.overlay_mesh import Peer, make_peer, make_record, make_standings, make_view
from tests.scenarios.overlay_plans import (
    GATEWAYS,
    JOB,
    NONCE,
    PEERS,
    RECORD,
    STANDINGS,
    build,
)


class TestAgreement:
    def test_everybody_accepts_an_honest_plan(self) -> None:
        plan = codec.decode(Plan, codec.encode(build()))
        for peer in PEERS:
            plan_check.verify(plan, make_view(PEERS, peer), RECORD)

    def test_two_clusters_and_a_root(self) -> None:
        plan = build(make_view(PEERS[:8], PEERS[0]))
        assert [stage.label for stage in plan.stages] == ["ward/0", "ward/1", "root"]
        assert [len(stage.dealers) for stage in plan.stages] == [4, 4, 0]
        assert plan.stages[2].children == (0, 1)
        assert {(stage.size, stage.threshold) for stage in plan.stages} == {(7, 2)}
        for stage in plan.stages[:2]:
            assert set(stage.adders[:4]) == set(stage.dealers)

    def test_three_peers_are_one_stage_of_three(self) -> None:
        record = make_record(PEERS[:3])
        standings = make_standings(record, PEERS[:3])
        view = make_view(PEERS[:3], PEERS[0])
        plan = planner.plan_session(view, record, standings, JOB, length=7, nonce=NONCE)
        assert [(stage.size, stage.threshold) for stage in plan.stages] == [(3, 1)]
        plan_check.verify(plan, view, record)
        assert any("corrects no liar" in warning for warning in plan_explain.explain(plan, view).warnings)

    @pytest.mark.parametrize("seed", range(8))
    def test_views_that_differ_in_liveness_agree_as_far_as_links_go(self, seed: int) -> None:
        """The initiator sees some dead; a verifier without links to those has nothing to object."""
        dead = [PEERS[1 + (seed + i) % 8] for i in range(seed % 3)]
        plan = build(make_view(PEERS, PEERS[0], dead=dead))
        for peer in PEERS:
            if peer not in dead:
                plan_check.verify(plan, make_view(PEERS, peer, unlinked=dead), RECORD)

    def test_a_seat_for_one_we_believe_dead_is_no_reason_to_refuse(self) -> None:
        plan = build()
        plan_check.verify(plan, make_view(PEERS, PEERS[3], dead=PEERS[4:7]), RECORD)

    def test_many_clusters_make_a_deeper_tree(self) -> None:
        peers = PEERS + [make_peer(100 + i, gateway=False, site=f"site-{i % 6}") for i in range(30)]
        limits = PlanLimits(fan_in=2)
        plan = build(make_view(peers, PEERS[0]), limits=limits)
        labels = [stage.label for stage in plan.stages]
        assert labels[-1] == "root"
        assert "level-1/0" in labels
        assert len(set(labels)) == len(labels)
        for peer in peers[::7]:
            plan_check.verify(plan, make_view(peers, peer), RECORD, limits=limits)

    def test_dealers_may_be_named(self) -> None:
        wanted = [peer.party for peer in PEERS[5:9]]
        plan = build(dealers=wanted)
        assert plan.dealers == tuple(sorted(wanted))
        plan_check.verify(plan, make_view(PEERS, PEERS[1]), RECORD)

    def test_devices_deal_but_never_sit_or_add(self) -> None:
        device = make_peer(50, gateway=False)
        peers = [*PEERS, device]
        plan = build(make_view(peers, device))
        assert device.party in plan.dealers
        assert all(
            device.party not in (*s.members, *s.adders, *(x.party for x in s.substitutes))
            for s in plan.stages
        )
        plan_check.verify(plan, make_view(peers, PEERS[2]), RECORD)

    def test_masked_long_vectors(self) -> None:
        row = TABLE[0]
        plan = build(length=row.dealt_length, bulk=Bulk(row.name, 1000, False))
        assert plan.bulk is not None
        plan_check.verify(plan, make_view(PEERS, PEERS[1]), RECORD)
        with pytest.raises(MalformedMessage, match="no mask"):
            build(bulk=Bulk("nothing", 1000, False))

    def test_masked_vectors_go_into_few_large_leaves(self) -> None:
        """One adder's leaf up to 127 devices; large sites keep their own, small ones are pooled."""
        peers = PEERS + [make_peer(100 + i, gateway=False) for i in range(30)]
        peers += [make_peer(200 + i, gateway=False, site=f"site-{i % 6}") for i in range(30)]
        view = make_view(peers, PEERS[0])
        bulk = Bulk(TABLE[0].name, 1000, False)
        plan = build(view, length=TABLE[0].dealt_length, bulk=bulk)
        wards = {peer.party for peer in peers if peer.signed.certificate.site == "ward"}
        leaves = [set(stage.dealers) for stage in plan.stages if stage.dealers]
        assert sorted(map(len, leaves)) == sorted((len(wards), len(peers) - len(wards)))
        assert wards in leaves
        for peer in peers[::9]:
            plan_check.verify(plan, make_view(peers, peer), RECORD)
        costs = {cost.role: cost.bytes_sent for cost in plan_explain.explain(plan, view).costs}
        assert costs["dealer"] > 1000 * 60 // 16 + 5 * 8 * TABLE[0].dealt_length
        assert len(build(view).stages) > 10, "short vectors stay within small clusters"
        small = PlanLimits(bulk_sizes=PlanLimits().sizes)
        other = build(view, length=TABLE[0].dealt_length, bulk=bulk, limits=small)
        with pytest.raises(Refused, match="not of our cluster"):
            plan_check.verify(other, make_view(peers, peers[1]), RECORD)

    def test_same_inputs_same_session(self) -> None:
        assert build().session == build().session
        assert build().session != build(nonce=b"\1" * 32).session

    def test_beacon(self) -> None:
        view = make_view(PEERS, PEERS[0], dead=PEERS[7:8])
        plan = planner.plan_beacon(view, RECORD, STANDINGS, nonce=NONCE)
        assert planner.is_beacon(plan)
        assert plan.dealers == tuple(sorted(peer.party for peer in GATEWAYS if peer is not PEERS[7]))
        assert plan.job.min_sites == 3
        plan_check.verify(plan, make_view(PEERS, PEERS[2], unlinked=PEERS[7:8]), RECORD)
        assert not planner.is_beacon(build())


class TestPlannerRefuses:
    def test_two_gateways(self) -> None:
        with pytest.raises(Refused, match="two gateways cannot keep a secret"):
            build(make_view(PEERS, PEERS[0], dead=PEERS[2:9]))

    def test_dealers_away_are_named(self) -> None:
        view = make_view(PEERS, PEERS[0], dead=[PEERS[5]])
        with pytest.raises(Refused, match=r"3 sites are asked for, 2 .* away: p5"):
            build(view, dealers=[peer.party for peer in PEERS[4:7]])

    def test_fewer_sites_than_asked(self) -> None:
        with pytest.raises(Refused, match="12 sites are asked for, the mesh has 10"):
            planner.plan_session(
                make_view(PEERS, PEERS[0]),
                RECORD,
                STANDINGS,
                replace(JOB, min_sites=12),
                length=7,
                nonce=NONCE,
            )

    def test_no_claims_yet(self) -> None:
        with pytest.raises(Refused, match="no gateway has claimed"):
            planner.plan_session(make_view(PEERS, PEERS[0]), RECORD, {}, JOB, length=7, nonce=NONCE)

    def test_record_of_another_mesh(self) -> None:
        foreign = replace(RECORD, intent=replace(RECORD.intent, mesh=RECORD.beacon))
        with pytest.raises(LocalMisuse, match="another mesh"):
            build(record=foreign)


class TestExplain:
    def test_facts(self) -> None:
        view = make_view(PEERS[:8], PEERS[0])
        plan = build(view)
        facts = plan_explain.explain(plan, view)
        assert facts.participants == tuple(view.name(party) for party in plan.parties)
        assert (facts.dealers, facts.min_sites, facts.depth) == (8, 3, 2)
        assert (facts.dropouts, facts.liars, facts.colluders) == (2, 2, 3)
        assert {(c.n, c.t) for c in facts.committees} == {(7, 2)}
        assert all(cost.bytes_sent > 0 for cost in facts.costs)
        assert any("sum of bmi" in line for line in facts.revealed)
        assert any("nobody" in line for line in facts.revealed)

    @pytest.mark.parametrize(
        ("count", "dropouts", "liars", "colluders"), [(3, 0, 0, 2), (4, 1, 1, 2), (7, 2, 2, 3)]
    )
    def test_every_committee_size(self, count: int, dropouts: int, liars: int, colluders: int) -> None:
        peers = PEERS[:count]
        record, view = make_record(peers), make_view(peers, peers[0])
        plan = planner.plan_session(view, record, make_standings(record, peers), JOB, length=7, nonce=NONCE)
        facts = plan_explain.explain(plan, view)
        assert (facts.dropouts, facts.liars, facts.colluders) == (dropouts, liars, colluders)

    def test_longer_vectors_cost_more_bytes_not_rounds(self) -> None:
        view = make_view(PEERS, PEERS[0])
        short, long = (plan_explain.explain(build(view, length=length), view) for length in (7, 2000))
        assert short.rounds == long.rounds
        assert all(a.bytes_sent < b.bytes_sent for a, b in zip(short.costs, long.costs, strict=True))


def test_every_small_mesh_plans_and_verifies() -> None:
    """All mixes of 3 to 6 gateways on two sites, with a target of 2."""
    limits = PlanLimits(sizes=ClusterSizes(min=2, target=2, max=4))
    for sites in itertools.chain.from_iterable(itertools.product("ab", repeat=n) for n in range(3, 7)):
        peers = [site_peer(index, site) for index, site in enumerate(sites)]
        record, view = make_record(peers), make_view(peers, peers[0])
        standings = make_standings_once(record, peers)
        plan = planner.plan_session(view, record, standings, JOB, length=1, nonce=NONCE, limits=limits)
        assert set(plan.dealers) == {peer.party for peer in peers}
        plan_check.verify(plan, make_view(peers, peers[-1]), record, standings, limits)


_PEERS: dict[tuple[int, str], Peer] = {}
_CLAIMS: dict[tuple[EpochRecord, bytes], sortition.Standing] = {}


def site_peer(index: int, site: str) -> Peer:
    if (index, site) not in _PEERS:
        _PEERS[index, site] = make_peer(index, site=site)
    return _PEERS[index, site]


def make_standings_once(record: EpochRecord, peers: list[Peer]) -> dict[bytes, sortition.Standing]:
    for peer in peers:
        if (record, peer.party) not in _CLAIMS:
            proof = sortition.claim(record, peer.party, peer.vrf_seed).proof
            _CLAIMS[record, peer.party] = sortition.check_claim(record, peer.certificate, proof)
    return {peer.party: _CLAIMS[record, peer.party] for peer in peers}
