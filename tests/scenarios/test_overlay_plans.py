"""The planner and its judge: honest plans pass everywhere, each defect has its own refusal."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from mesh.overlay import plan_check, plan_explain, planner, sortition
from mesh.overlay.clustering import ClusterSizes
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.planner import PlanLimits
from mesh.overlay.view import View
from protocols.errors import LocalMisuse, MalformedMessage, Refused
from protocols.masking.parameters import TABLE
from protocols.sessions.plan import Bulk, Job, Plan, Query, Seat, Stage
from protocols.wire import codec
from tests.scenarios.overlay_mesh import Peer, make_peer, make_record, make_standings, make_view

PEERS = [make_peer(index) for index in range(10)]
GATEWAYS = PEERS[:9]
RECORD = make_record(GATEWAYS)
STANDINGS = make_standings(RECORD, GATEWAYS)
JOB = Job("cardio", (Query("mean", "bmi", ()),), 3, "study")
NONCE = bytes(32)


def build(
    view: View | None = None, record: EpochRecord = RECORD, limits: PlanLimits | None = None, **more: object
) -> Plan:
    view = view or make_view(PEERS, PEERS[0])
    arguments: dict[str, object] = {"length": 7, "nonce": NONCE} | more
    return planner.plan_session(view, record, STANDINGS, JOB, limits=limits, **arguments)  # type: ignore[arg-type]


def with_stage(plan: Plan, index: int, change: Callable[[Stage], Stage]) -> Plan:
    return replace(plan, stages=tuple(change(s) if i == index else s for i, s in enumerate(plan.stages)))


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


def refuses(plan: Plan, error: type[Exception], match: str, view: View | None = None) -> None:
    with pytest.raises(error, match=match):
        plan_check.verify(plan, view or make_view(PEERS, PEERS[1]), RECORD)


class TestJudgeRefuses:
    def test_structure(self) -> None:
        refuses(replace(build(), stages=()), MalformedMessage, "no stage")

    def test_another_mesh(self) -> None:
        refuses(replace(build(), mesh=RECORD.beacon), MalformedMessage, "another mesh")

    def test_another_epoch(self) -> None:
        refuses(replace(build(), epoch=2), Refused, "for epoch 2, here it is epoch 1")

    def test_stranger_as_initiator_dealer_or_member(self) -> None:
        stranger = make_peer(77)
        refuses(replace(build(), initiator=stranger.party), Refused, "no valid certificate")
        plan = build()
        dealing = with_stage(plan, 0, lambda s: replace(s, dealers=(*s.dealers, stranger.party)))
        refuses(dealing, Refused, "no valid certificate")
        seat = Seat(stranger.party, stranger.certificate.sealing_key)
        refuses(
            with_stage(plan, 0, lambda s: replace(s, seats=(seat, *s.seats[1:]))),
            Refused,
            "no valid certificate",
        )

    def test_seat_for_a_member_outside_the_epoch(self) -> None:
        outsider = PEERS[9]
        seat = Seat(outsider.party, outsider.certificate.sealing_key)
        plan = with_stage(build(), 0, lambda s: replace(s, seats=(*s.seats[:-1], seat)))
        refuses(plan, MalformedMessage, "no gateway of this epoch")

    def test_foreign_sealing_key(self) -> None:
        plan = build()
        last = plan.stages[0].seats[-1]
        other = Seat(last.party, plan.stages[0].seats[0].sealing_key)
        refuses(
            with_stage(plan, 0, lambda s: replace(s, seats=(*s.seats[:-1], other))),
            MalformedMessage,
            "sealing key",
        )

    def test_seats_out_of_order(self) -> None:
        plan = with_stage(build(), 0, lambda s: replace(s, seats=(s.seats[1], s.seats[0], *s.seats[2:])))
        refuses(plan, MalformedMessage, "rank order")

    def test_substitute_before_a_member(self) -> None:
        def swap(stage: Stage) -> Stage:
            return replace(
                stage,
                seats=(*stage.seats[:-1], stage.substitutes[0]),
                substitutes=(stage.seats[-1], *stage.substitutes[1:]),
            )

        refuses(with_stage(build(), 1, swap), MalformedMessage, "rank order")

    @pytest.mark.parametrize("position", range(7))
    def test_a_candidate_skipped_though_alive(self, position: int) -> None:
        """The committee an initiator would like better, built as if one candidate were dead."""
        skipped = build().stages[0].seats[position].party
        peer = next(peer for peer in PEERS if peer.party == skipped)
        me = next(p for p in PEERS if p is not peer)
        plan = build(make_view(PEERS, me, dead=[peer]))
        refuses(plan, Refused, f"{peer.name} ranks before others", make_view(PEERS, PEERS[9]))

    def test_a_substitute_left_out(self) -> None:
        plan = with_stage(build(), 0, lambda s: replace(s, substitutes=s.substitutes[:-1]))
        refuses(plan, Refused, "left out")

    def test_committee_smaller_than_could_be(self) -> None:
        def shrink(stage: Stage) -> Stage:
            return replace(
                stage, seats=stage.seats[:4], threshold=1, substitutes=(*stage.seats[4:], *stage.substitutes)
            )

        plan = with_stage(build(), 0, shrink)
        refuses(plan, Refused, "has 4 seats, 7 could be filled")

    def test_committee_larger_than_wanted(self) -> None:
        small = PlanLimits(committee=4)
        with pytest.raises(MalformedMessage, match="a committee of 7 where 4 are wanted"):
            plan_check.verify(build(), make_view(PEERS, PEERS[1]), RECORD, limits=small)

    def test_chosen_label(self) -> None:
        plan = with_stage(build(), 0, lambda s: replace(s, label="ward/lucky"))
        refuses(plan, MalformedMessage, "stage labels")

    def test_leaves_out_of_order(self) -> None:
        """Their order numbers the labels, and so draws the committees."""
        first, second, root = build(make_view(PEERS[:8], PEERS[0])).stages
        swapped = tuple(
            replace(stage, dealers=other.dealers) for stage, other in ((first, second), (second, first))
        )
        plan = replace(build(make_view(PEERS[:8], PEERS[0])), stages=(*swapped, root))
        refuses(plan, MalformedMessage, "order of their dealers", make_view(PEERS[:8], PEERS[1]))

    def test_a_victim_grouped_with_the_initiators_devices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ward and annexe have gateways and a cluster each; the annexe pulls one of the ward into its own."""
        annexe = [make_peer(60 + index, site="annexe") for index in range(5)]
        peers = [*PEERS[:5], *annexe]
        record = make_record(peers)
        standings = make_standings(record, peers)
        honest = planner.plan_session(
            make_view(peers, annexe[0]), record, standings, JOB, length=7, nonce=NONCE
        )
        for peer in peers:
            plan_check.verify(honest, make_view(peers, peer), record)
        victim, *others = PEERS[:5]
        groups = [[victim, *annexe], others]
        stacked = sorted(tuple(sorted(peer.party for peer in group)) for group in groups)
        monkeypatch.setattr(planner, "dealers_by_cluster", lambda *_: stacked)
        plan = planner.plan_session(
            make_view(peers, annexe[0]), record, standings, JOB, length=7, nonce=NONCE
        )
        monkeypatch.undo()
        trap = next(stage for stage in plan.stages if victim.party in stage.dealers)
        stacked_seats = {peer.party for peer in annexe} <= set(trap.members)
        assert not stacked_seats, "seats of a mixed leaf go by the beacon"
        with pytest.raises(Refused, match="not of our cluster"):
            plan_check.verify(plan, make_view(peers, victim), record)

    def test_inflated_masks(self) -> None:
        refuses(replace(build(), hops=build().hops + 1), MalformedMessage, "mask pairs")

    def test_adders_out_of_order(self) -> None:
        plan = with_stage(build(), 0, lambda s: replace(s, adders=(s.adders[1], s.adders[0], *s.adders[2:])))
        refuses(plan, MalformedMessage, "order of their scores")

    def test_adder_without_proof(self) -> None:
        plan = build()
        refuses(replace(plan, proofs=plan.proofs[1:]), MalformedMessage, "has no proof")

    def test_proof_of_another_epoch_or_party(self) -> None:
        plan = build()
        swapped = (replace(plan.proofs[0], proof=plan.proofs[1].proof), *plan.proofs[1:])
        refuses(replace(plan, proofs=swapped), MalformedMessage, "does not match")
        stale = sortition.claim(make_record(GATEWAYS, beacon=b"old"), PEERS[0].party, PEERS[0].vrf_seed).proof
        old = tuple(replace(p, proof=stale) if p.party == PEERS[0].party else p for p in plan.proofs)
        refuses(replace(plan, proofs=old), MalformedMessage, "does not match")

    def test_known_standings_do_not_hide_another_proof(self) -> None:
        plan = build()
        swapped = replace(
            plan, proofs=(replace(plan.proofs[0], proof=plan.proofs[1].proof), *plan.proofs[1:])
        )
        with pytest.raises(MalformedMessage, match="does not match"):
            plan_check.verify(swapped, make_view(PEERS, PEERS[1]), RECORD, STANDINGS)

    def test_proof_twice(self) -> None:
        plan = build()
        refuses(replace(plan, proofs=(*plan.proofs, plan.proofs[0])), MalformedMessage, "repeated")

    @pytest.mark.parametrize("defect", ["dealer", "min_sites", "length", "label", "committee"])
    def test_beacon_with(self, defect: str) -> None:
        plan = planner.plan_beacon(make_view(PEERS, PEERS[0]), RECORD, STANDINGS, nonce=NONCE)
        match defect:
            case "dealer":
                plan = with_stage(plan, 0, lambda s: replace(s, dealers=(*s.dealers, PEERS[9].party)))
            case "min_sites":
                plan = replace(plan, job=replace(plan.job, min_sites=2))
            case "length":
                plan = replace(plan, length=5)
            case "label":
                plan = with_stage(plan, 0, lambda s: replace(s, label="root"))
            case "committee":
                plan = with_stage(
                    plan, 0, lambda s: replace(s, seats=s.seats[:4], threshold=1, substitutes=())
                )
        refuses(plan, (MalformedMessage, Refused), "beacon|gateways of the epoch|left out")  # type: ignore[arg-type]


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
