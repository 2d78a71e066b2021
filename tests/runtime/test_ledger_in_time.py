"""An owner's ledger has the end of a session, direct or masked, when the asker has the result."""

from __future__ import annotations

import pytest
import trio

from mesh.api.shapes import JobSpec
from mesh.data.room import DataRoom
from protocols.sessions.plan import Plan
from tests.runtime.memory_mesh import MemoryMesh, ask, in_place
from tests.runtime.test_broken_links import ROUND, given

__all__ = ["given", "in_place"]


@pytest.fixture
def booked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the owners' ledgers were told."""
    told: list[bool] = []
    record = DataRoom.record_use

    def noting(room: DataRoom, plan: Plan, *, opened: bool, **rest: object) -> tuple[str, ...]:
        told.append(opened)
        return record(room, plan, opened=opened, **rest)

    monkeypatch.setattr(DataRoom, "record_use", noting)
    return told


async def answered(mesh: MemoryMesh, spec: JobSpec) -> None:
    node = mesh.members[0]
    info = await node.ended(await node.service.submit(spec))
    assert info.result is not None, info.error
    await trio.sleep(1.0)  # of virtual time: for the last words to arrive, but not for stragglers


async def test_a_ledger_does_not_wait_for_stragglers(tmp_path, in_place, booked, autojump_clock, nursery):
    mesh = MemoryMesh(tmp_path, nursery)
    await mesh.start(4, [[1.0], [2.0], [3.0], [4.0]])
    await answered(mesh, ask("sum", min_sites=4))
    assert booked == [True] * 4


async def test_nor_does_that_of_a_masked_vector(tmp_path, in_place, given, booked, autojump_clock, nursery):
    mesh = MemoryMesh(tmp_path, nursery)
    await mesh.start(4)
    await answered(mesh, ROUND)
    assert booked == [True] * 4
