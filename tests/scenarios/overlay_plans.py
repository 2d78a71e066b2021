"""A small mesh and plans over it, for the planner and its judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mesh.overlay import plan_check, planner
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.planner import PlanLimits
from mesh.overlay.view import View
from protocols.sessions.plan import Job, Plan, Query, Stage
from tests.scenarios.overlay_mesh import make_peer, make_record, make_standings, make_view

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


def refuses(plan: Plan, error: type[Exception], match: str, view: View | None = None) -> None:
    with pytest.raises(error, match=match):
        plan_check.verify(plan, view or make_view(PEERS, PEERS[1]), RECORD)
