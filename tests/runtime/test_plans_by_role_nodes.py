"""Nodes whose mesh is too large for whole plans: here, larger than three."""

from __future__ import annotations

from dataclasses import replace

import trio

from mesh.runtime.driver import Driver
from protocols.sessions import events
from protocols.sessions.excerpt import PartialPlan
from tests.runtime.memory_mesh import MemoryMesh, ask, in_place

__all__ = ["in_place"]
ROWS = [[float(index), float(index) + 0.5] for index in range(9)]


async def large(tmp_path, nursery) -> MemoryMesh:
    mesh = MemoryMesh(tmp_path, nursery)
    await mesh.start(len(ROWS), ROWS)
    for member in mesh.members:
        member.node.limits = replace(member.node.limits, by_role_above=3, fan_in=2)
    return mesh


async def test_a_job_over_a_plan_by_role(tmp_path, in_place, autojump_clock, nursery, monkeypatch):
    mesh = await large(tmp_path, nursery)
    counted, plans = [], []
    begun = Driver.__init__

    def noted(driver, machine, *arguments):
        plans.append(machine.plan)
        begun(driver, machine, *arguments)

    monkeypatch.setattr(Driver, "__init__", noted)
    for member in mesh.members:
        member.node.listeners.append(
            lambda _, event: counted.append(event) if isinstance(event, events.Counted) else None
        )
    info = await mesh.members[2].ended(await mesh.members[2].service.submit(ask("mean", min_sites=5)))
    assert info.result is not None, info.error
    assert info.result.sites == len(ROWS)
    assert info.result.n == 2 * len(ROWS)
    assert len({plan.session for plan in plans}) == 1
    assert sum(isinstance(plan, PartialPlan) for plan in plans) == len(ROWS) - 1
    with trio.fail_after(30):
        while len(counted) < len(ROWS):
            await trio.sleep(0.1)
    assert counted == [events.Counted(True)] * len(ROWS)


async def test_an_owner_does_not_answer_the_like_again_without_a_list_of_who_was_counted(
    tmp_path, in_place, autojump_clock, nursery
):
    mesh = await large(tmp_path, nursery)
    for policy in tmp_path.rglob("*.policy.toml"):
        policy.write_text(policy.read_text().replace('overlap = "allow"', 'overlap = "refuse"'))
    asker = mesh.members[0]
    first = await asker.ended(await asker.service.submit(ask("mean", min_sites=5)))
    assert first.result is not None, first.error
    again = await asker.ended(await asker.service.submit(ask("sum", min_sites=5)))
    assert again.result is None
    assert again.refusals
    assert all("overlap" in why for _, why in again.refusals)
