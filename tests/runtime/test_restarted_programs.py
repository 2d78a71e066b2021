"""Programs over whole nodes whose asker crashes and comes back."""

from __future__ import annotations

import pytest
import trio

from mesh.api.shapes import JobSpec, QuerySpec
from protocols.programs.events import Begun
from tests.runtime.memory_mesh import COLUMN, DATASET, MemoryMesh, in_place

__all__ = ["in_place"]
ROWS = [[1.0, 2.0], [3.0], [4.0, 5.0], [6.0], [7.0]]
MEDIAN = JobSpec(
    DATASET, (QuerySpec("median", COLUMN, (0.0, 10.0, 0.0)),), min_sites=5, timeout_s=60.0, purpose="test"
)


async def begun(mesh: MemoryMesh, folder):
    """The first of five asks for a median; until its members are told to compute."""
    asker = (await mesh.start(5, ROWS))[0]
    for policy in folder.rglob("*.policy.toml"):
        policy.write_text(policy.read_text().replace('"mean"', '"mean", "median"'))
    started = trio.Event()
    asker.node.programs.listeners.append(lambda _, event: isinstance(event, Begun) and started.set())
    job = await asker.service.submit(MEDIAN)
    with trio.fail_after(30):
        await started.wait()
    (driver,) = asker.node.programs.registry.live.values()
    return asker, job, driver


@pytest.mark.parametrize("away_s", [0.0, 20.0])
async def test_who_asked_for_a_program_reads_the_result_though_its_node_crashed_meanwhile(
    tmp_path, in_place, autojump_clock, away_s
):
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        asker, job, driver = await begun(mesh, tmp_path)
        await mesh.crash(asker)
        assert driver.machine.outcome is None
        await trio.sleep(away_s)
        back = await mesh.restart(asker)
        info = await back.ended(job)
        assert info.result is not None, info.error
        assert info.result.value == 4.0
        assert info.result.session == driver.session.hex()
        assert set(info.result.counted) == {"p1", "p2", "p3", "p4", "p5"}
        assert info.result.revealed
        assert [known.id for known in await back.service.jobs()] == [job]
        kinds = [entry.kind for entry in back.node.room.history()]
        assert "certified" in kinds
        nursery.cancel_scope.cancel()


async def test_a_program_that_had_not_begun_has_failed_for_certain(tmp_path, in_place, autojump_clock):
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        asker = (await mesh.start(5, ROWS))[0]
        job = await asker.service.submit(MEDIAN)
        await mesh.crash(asker)
        back = await mesh.restart(asker)
        info = await back.ended(job)
        assert info.error is not None
        assert "before the session began" in info.error.what
        nursery.cancel_scope.cancel()
