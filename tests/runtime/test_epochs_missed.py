"""A node that was away for some epochs follows the chain again, though everybody else has restarted since."""

from __future__ import annotations

from pathlib import Path

import trio

from mesh.overlay.epoch_messages import HeadMoved
from tests.runtime.memory_mesh import Member, MemoryMesh, in_place

__all__ = ["in_place"]
PATIENCE_S = 120.0


def epoch(member: Member) -> int:
    return member.node.overlay.keeper.record.epoch


async def until(condition) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():
            await trio.sleep(0.1)


async def test_the_chain_is_kept_over_restarts(tmp_path: Path, autojump_clock, in_place: None) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = list(await mesh.start(5))
        away = members[4]
        before = epoch(away)
        await mesh.crash(away)
        await until(lambda: epoch(members[0]) > before)  # a quorum of five could not lose another
        for _ in range(2):  # the epoch changes when somebody goes, and when it comes
            for other in members[1:4]:
                head = epoch(mesh.members[0])
                await mesh.crash(next(one for one in mesh.members if one.party == other.party))
                await until(lambda head=head: epoch(mesh.members[0]) > head)
                await mesh.restart(other)
                count = len(mesh.members)
                await until(
                    lambda count=count: len(mesh.members[0].node.overlay.keeper.record.gateways) == count
                )
        first = mesh.members[0]
        await mesh.crash(first)
        await mesh.restart(first)
        await until(lambda: len({epoch(one) for one in mesh.members}) == 1)
        ahead = epoch(mesh.members[0])
        assert ahead > before + 2
        stored = mesh.members[0].journal.recall(HeadMoved.__name__)
        assert len(stored) > 2, "not only the newest"
        again = await mesh.restart(away)
        assert epoch(again) == before
        await until(lambda: epoch(again) >= ahead)
        nursery.cancel_scope.cancel()
