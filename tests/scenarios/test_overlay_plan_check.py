"""The judge of plans: each defect has its own refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.overlay import plan_check, planner, sortition
from mesh.overlay.planner import PlanLimits
from protocols.errors import EpochEnded, MalformedMessage, Refused
from protocols.sessions.plan import Seat, Stage
from tests.scenarios.overlay_mesh import make_peer, make_record, make_standings, make_view
from tests.scenarios.overlay_plans import (
    GATEWAYS,
    JOB,
    NONCE,
    PEERS,
    RECORD,
    STANDINGS,
    build,
    refuses,
    with_stage,
)


class TestJudgeRefuses:
    def test_structure(self) -> None:
        refuses(replace(build(), stages=()), MalformedMessage, "no stage")

    def test_another_mesh(self) -> None:
        refuses(replace(build(), mesh=RECORD.beacon), MalformedMessage, "another mesh")

    def test_another_epoch(self) -> None:
        refuses(replace(build(), epoch=2), Refused, "for epoch 2, here it is epoch 1")
        refuses(replace(build(), epoch=0), EpochEnded, "for epoch 0, here it is epoch 1")

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
