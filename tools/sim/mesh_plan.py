"""The plan of a simulated session: one committee, or clusters under a root, over one small set of parties.

Keys come from the party's index alone and are made once in a process.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Job, Plan, Query, Seat, Stage, hops_needed
from protocols.sessions.plan_rules import check
from tools.sim import memory
from tools.sim.scenario import Scenario

VARIANTS: Final = 1
"""Plans of one shape, and random seeds of one party, that the seeds share (see `memory`)."""


def seed_of(index: int, purpose: str) -> bytes:
    """32 bytes fixed by index and purpose."""
    return f"{purpose} {index}".encode().ljust(32, b".")


@lru_cache(maxsize=1 << 14)
def keys_of(index: int) -> PartyKeys:
    """Key set of party `index`."""
    return PartyKeys.from_seeds(seed_of(index, "signing"), seed_of(index, "sealing"))


def parties_of(scenario: Scenario) -> list[PartyKeys]:
    """Everybody in the simulated mesh: more than a committee has seats, so that there are substitutes."""
    return [keys_of(index) for index in range(max(scenario.size[0] + scenario.spare, scenario.devices))]


def inputs_of(scenario: Scenario, plan: Plan) -> dict[PartyId, Elements]:
    """A vector for each dealer that does not decline, different everywhere."""
    declining = {keys_of(index).party for index in scenario.declining}
    return {
        dealer: _input(plan.length, index)
        for index, dealer in enumerate(plan.dealers)
        if dealer not in declining
    }


@lru_cache(maxsize=1 << 14)
def _input(length: int, index: int) -> Elements:
    values = np.arange(1, length + 1, dtype=np.uint64) * np.uint64(1000 + 7 * index)
    values.flags.writeable = False
    return values


def plan_of(scenario: Scenario) -> Plan:
    """`clusters` 0: one stage, whose committee opens; otherwise that many clusters under a root.

    Kept for the next scenario with the same one.
    """
    shape = (
        scenario.size,
        scenario.clusters,
        scenario.spare,
        scenario.devices,
        scenario.length,
        scenario.min_sites,
        scenario.by_role,
    )
    key = ("plan", *shape, scenario.collect_s, scenario.total_s, scenario.seed % VARIANTS)
    plan: Plan | None = memory.known(key)
    if plan is None:
        plan = _make_plan(scenario)
        memory.keep(key, plan)
    return plan


def _make_plan(scenario: Scenario) -> Plan:
    keys = parties_of(scenario)
    seats = [Seat(key.party, key.sealing_key) for key in keys]
    n, t = scenario.size
    devices = [key.party for key in keys[: scenario.devices]]
    stages = []
    if scenario.clusters == 0:
        stages.append(_stage("root", seats, n, t, 0, tuple(sorted(devices)), ()))
    else:
        for cluster in range(scenario.clusters):
            dealers = tuple(sorted(devices[cluster :: scenario.clusters]))
            stages.append(_stage(f"cluster-{cluster}", seats, n, t, cluster + 1, dealers, ()))
        stages.append(_stage("root", seats, n, t, 0, (), tuple(range(scenario.clusters))))
    job = Job("data", (Query("sum", "x", ()),), min(scenario.min_sites, scenario.devices), "simulation")
    plan = Plan(
        mesh=Digest(bytes(32)),
        epoch=1,
        nonce=bytes([scenario.seed % VARIANTS]),
        initiator=keys[-1].party,
        job=job,
        length=scenario.length,
        hops=hops_needed(1 if scenario.clusters == 0 else 2),
        collect_ms=int(scenario.collect_s * 1000),
        total_ms=int(scenario.total_s * 1000),
        stages=tuple(stages),
        proofs=(),
        fan_in=scenario.clusters if scenario.by_role else 0,
    )
    check(plan)
    return plan


def _stage(
    label: str,
    seats: list[Seat],
    n: int,
    t: int,
    turn: int,
    dealers: tuple[PartyId, ...],
    children: tuple[int, ...],
) -> Stage:
    turned = seats[turn:] + seats[:turn]
    adders = tuple(seat.party for seat in turned[1:4])
    return Stage(label, tuple(turned[:n]), t, adders, tuple(turned[n : n + 8]), dealers, children)
