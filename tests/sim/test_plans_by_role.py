"""Sessions whose plan goes out by role: everybody ends right and learns whether it was counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.sessions import events
from protocols.sessions.excerpt import PartialPlan
from protocols.sessions.messages import Certificate, PlanOffer, Result
from protocols.sessions.offers import ExcerptOffer, PlanRequest
from tools.sim import runner, scale
from tools.sim.mesh_plan import keys_of
from tools.sim.scenario import Crash, Scenario, draw
from tools.sim.stand_ins import fast_crypto
from tools.sim.world import World

CLUSTERS, EACH = 9, 8
QUIET = Scenario(1, latency_s=(0.01, 0.01), total_s=60.0, collect_s=2.0)


class Tree(World):
    """Nine clusters, three regions, a root; adders that may lie about rosters on the way down."""

    def __init__(self, scenario: Scenario = QUIET, liars: str = "", lie: str = "") -> None:
        self.counted: dict[PartyId, bool] = {}
        self.offers: dict[PartyId, object] = {}
        self.lie = lie
        keys = [keys_of(index) for index in range(CLUSTERS * EACH)]
        plan, self.roles = scale.big_plan(keys, CLUSTERS)
        self.liars = {party for party, role in self.roles.items() if role == liars}
        super().__init__(scenario, cast=(plan, keys))

    def _send(self, party: PartyId, to: PartyId, message: Any) -> None:
        if isinstance(message, PlanOffer | ExcerptOffer):
            self.offers[to] = message
        if party in self.liars and isinstance(message, Result) and message.below:
            below = message.below if self.lie == "other" else ()
            message = replace(message, below=tuple(replace(roster, groups=()) for roster in below))
        if party in self.liars and isinstance(message, Certificate) and self.lie == "silent":
            stage = message.roster.stage
            if to not in self.plan.stages[stage].members and stage != self.plan.root:
                parent = self.plan.parent_of(stage)
                if to not in self.plan.stages[parent].adders:
                    return
        super()._send(party, to, message)

    def _publish(self, party: PartyId, event: object) -> None:
        if isinstance(event, events.Counted):
            self.counted[party] = event.counted
        super()._publish(party, event)


@pytest.fixture(autouse=True)
def three_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "REGION", 3)


def ended(world: Tree) -> Tree:
    with fast_crypto():
        world.run()
    assert not world.violations
    assert all(isinstance(machine.outcome, events.Opened) for machine in world.machines.values())
    return world


def test_everybody_opens_and_sees_that_it_was_counted() -> None:
    world = ended(Tree())
    assert world.counted == dict.fromkeys(world.plan.dealers, True)
    assert all(
        machine.outcome.sites == CLUSTERS * EACH and machine.outcome.contributors == ()
        for machine in world.machines.values()
    )


def test_a_device_knows_its_path_and_no_more() -> None:
    world = ended(Tree())
    for party, role in world.roles.items():
        plan = world.machines[party].plan
        if role == "device":
            assert isinstance(plan, PartialPlan)
            assert len(plan.indices) == 3
        elif role == "initiator":
            assert not isinstance(plan, PartialPlan)


@pytest.mark.parametrize("liars", ["cluster adder", "region adder", "root adder"])
@pytest.mark.parametrize("lie", ["left out", "other", "silent"])
def test_an_adder_that_hides_or_forges_rosters_keeps_nobody_from_seeing_that_it_counts(
    liars: str, lie: str
) -> None:
    world = ended(Tree(liars=liars, lie=lie))
    assert world.counted == dict.fromkeys(world.plan.dealers, True)


def test_who_was_not_counted_is_told_so() -> None:
    plan = Tree().plan
    absent = next(i for i in range(CLUSTERS * EACH) if Tree().roles[keys_of(i).party] == "device")
    world = ended(Tree(replace(QUIET, declining=(absent,))))
    assert world.counted == {party: party != keys_of(absent).party for party in plan.dealers}


def test_a_lost_cluster_sees_that_it_is_not_in_the_total() -> None:
    calm = Tree()
    leaf = calm.plan.stages[0]
    crashes = tuple(
        Crash(calm.index[party], 0.03, 0.5, -1.0) for party in dict.fromkeys((*leaf.adders, *leaf.members))
    )
    world = Tree(replace(QUIET, crashes=crashes))
    with fast_crypto():
        world.run()
    assert not world.violations
    left = set(leaf.dealers) - {world.keys[crash.index].party for crash in crashes}
    assert all(world.counted.get(party) is not True for party in left)
    others = [p for p in world.plan.dealers if p not in leaf.dealers]
    assert all(world.counted[party] for party in others)


def test_the_whole_plan_is_shown_once_to_who_asks() -> None:
    world = ended(Tree())
    initiator = world.inner(world.plan.initiator)
    (shown,) = initiator.receive(100.0, world.plan.dealers[0], PlanRequest())
    assert shown.message == PlanOffer(world.plan)
    assert shown.message.plan.session == world.inner(world.plan.dealers[1]).plan.session
    for asker in (world.plan.dealers[0], PartyId(bytes(32))):
        with pytest.raises(UnexpectedMessage):
            initiator.receive(100.0, asker, PlanRequest())
    with pytest.raises(UnexpectedMessage):
        world.inner(world.plan.dealers[0]).receive(100.0, world.plan.dealers[1], PlanRequest())


def test_faults_do_what_they_do_to_other_plans() -> None:
    outcomes = set()
    for seed in range(40):
        world = runner.simulate(replace(draw(seed), clusters=2, by_role=True))
        assert not world.violations, seed
        outcomes |= {type(machine.outcome) for machine in world.machines.values()}
    assert events.Opened in outcomes
    assert events.Aborted in outcomes
