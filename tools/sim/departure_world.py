"""One session that parties leave for good, in a world whose committees share nobody; who stays must open.

Dealings that are late, or held up on their way to the root, arrive after the release and not before; those of
who left by then are lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from protocols.identifiers import PartyId
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Deal
from protocols.sessions.plan import Plan, Seat, Stage
from protocols.sessions.plan_rules import check
from tools.sim import memory
from tools.sim.checkers import Checker, RightTotal
from tools.sim.departure_scenario import Committee, DepartureScenario, committees_of
from tools.sim.mesh_plan import keys_of, plan_of
from tools.sim.world import World


class NobodyLost(Checker):
    """Departures in turn end nothing: all who stay open, over every device that stays."""

    name = "nobody lost"

    def end(self) -> list[str]:
        world, wrong = self.world, []
        staying = [party for party in world.machines if party not in world.faults.crashed]
        for party in staying:
            if not isinstance(world.inner(party).outcome, events.Opened):
                wrong.append(f"{world.label(party)} stays, but never knows the total")
        counted = next(checker.counted for checker in world.checkers if isinstance(checker, RightTotal))
        for party in staying if counted else ():
            if party in world.inputs and party not in counted:
                wrong.append(f"{world.label(party)} stays, but does not count")
        return wrong


DEPARTURE_CHECKERS: Final[tuple[type[Checker], ...]] = (NobodyLost,)


class DepartureWorld(World):
    """Runs one scenario."""

    scenario: DepartureScenario

    def __init__(self, scenario: DepartureScenario, tracing: bool = False) -> None:
        super().__init__(scenario, tracing, departure_plan(scenario))
        self.checkers += [checker(self) for checker in DEPARTURE_CHECKERS]

    @property
    def ending(self) -> str:
        """As any session's; and how often the committee that was refilled most was."""
        latest = 0
        for machine in map(self.inner, self.machines):
            known = [machine.succession.latest(stage).generation for stage, _ in machine.plan.known]
            latest = max(latest, *known)
        return f"{super().ending} after {latest} refills"

    def _post(self, sender: PartyId, to: PartyId, message: object) -> None:
        if isinstance(message, Deal) and self.now < self.scenario.release_s and self._waits(sender, message):
            longest = self.scenario.latency_s[1]
            moment = self.scenario.release_s + self.dice.uniform(0, longest)
            self.messages += 1
            self.at(moment, self._arrive, sender, to, message)
        else:
            super()._post(sender, to, message)

    def _arrive(self, sender: PartyId, to: PartyId, message: Deal) -> None:
        if sender not in self.faults.crashed:
            self._deliver(sender, to, message)

    def _waits(self, sender: PartyId, message: Deal) -> bool:
        from_below = message.certificate is not None and message.certificate.roster.stage != self.plan.root
        rising = from_below and message.dealing.stage == self.plan.root
        return self.index[sender] in self.scenario.late or (self.scenario.held_up and rising)


def departure_plan(scenario: DepartureScenario) -> tuple[Plan, list[PartyKeys]]:
    """The plan of any such session, and its parties: the initiator, devices, and each committee's own."""
    key = (
        "departure plan",
        *(
            scenario.size,
            scenario.clusters,
            scenario.spare,
            scenario.devices,
            scenario.apart,
            scenario.by_role,
        ),
    )
    made: tuple[Plan, list[PartyKeys]] | None = memory.known(key)
    return made or memory.keep(key, _make_plan(scenario))


def _make_plan(scenario: DepartureScenario) -> tuple[Plan, list[PartyKeys]]:
    clusters, devices = scenario.clusters, range(1, 1 + scenario.devices)
    committees = committees_of(scenario.size, clusters, scenario.spare, scenario.devices, scenario.apart)
    stages = []
    for place, committee in enumerate(committees):
        mine = devices[place::clusters] if place < clusters else devices if not clusters else ()
        children = tuple(range(clusters)) if place == clusters else ()
        dealers = tuple(sorted(keys_of(index).party for index in mine))
        stages.append(_stage(place, committee, scenario.size[1], dealers, children))
    plan = replace(plan_of(scenario), initiator=keys_of(0).party, stages=tuple(stages))
    check(plan)
    last = max(index for committee in committees for index in (*committee.spare, *committee.adders))
    return plan, [keys_of(index) for index in range(last + 1)]


def _stage(
    place: int, committee: Committee, threshold: int, dealers: tuple[PartyId, ...], children: tuple[int, ...]
) -> Stage:
    seats, spare = (
        tuple(Seat(key.party, key.sealing_key) for key in map(keys_of, indices))
        for indices in (committee.seats, committee.spare)
    )
    adders = tuple(keys_of(index).party for index in committee.adders)
    return Stage(f"stage-{place}", seats, threshold, adders, spare, dealers, children)
