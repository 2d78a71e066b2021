"""A sum over vaults planned in the last moment of an epoch: refused, and planned again with all holders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio

from mesh.api.shapes import JobSpec, QuerySpec, ShareSpec
from mesh.runtime.vaults.joint import JointJob
from tests.runtime.memory_mesh import MemoryMesh, in_place
from tests.runtime.test_vault_nodes import VALUES, file_of

__all__ = ["in_place"]


async def test_holders_that_refuse_a_plan_of_an_epoch_that_is_over_are_asked_again(
    tmp_path: Path, autojump_clock, in_place: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = await mesh.start(7)
        owner, other, reader = members[0], members[1], members[6]
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, min_sites=2))
        folder = tmp_path / "other"
        folder.mkdir()
        await other.service.share(ShareSpec(file_of(folder, VALUES[:20]), "more", holders=4, min_sites=2))
        plans = []
        planned, judged = JointJob._planned, reader.node.sessions._wholes.judged

        def late(job, *arguments):
            """The first plan is of the epoch before."""
            plan = planned(job, *arguments)
            plans.append(plan if plans else replace(plan, epoch=plan.epoch - 1))
            return plans[-1]

        async def unaware(plan, judge):
            """And its asker has yet to hear that it is over."""
            return plan if plan == plans[0] else await judged(plan, judge)

        monkeypatch.setattr(JointJob, "_planned", late)
        monkeypatch.setattr(reader.node.sessions._wholes, "judged", unaware)
        job = await reader.ended(
            await reader.service.submit(JobSpec("vault:cardio+vault:more", (QuerySpec("mean", "bmi"),)))
        )
        assert job.result is not None, job.error
        assert {why.split(":")[0] for _, why in job.refusals} == {"C-304"}
        assert job.result.value == pytest.approx(np.mean([*VALUES, *VALUES[:20]]), rel=1e-14)
        assert len(plans) == 2
        assert set(plans[0].dealers) == set(plans[1].dealers)
        nursery.cancel_scope.cancel()
