"""A node that holds a seat and has lost its share, or was away when it was made, gets it from its fellows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio

from mesh.api.shapes import ShareSpec
from mesh.runtime.vaults.holder import standing_of
from protocols.sharing import shamir
from protocols.vault.standing import origin
from tests.runtime import memory_mesh
from tests.runtime.memory_mesh import MemoryMesh, in_place
from tests.runtime.test_vault_nodes import file_of, folders, until

__all__ = ["in_place"]


@pytest.mark.parametrize("renewals", [0, 1])
async def test_a_share_that_is_lost_comes_back_in_its_generation(
    tmp_path: Path, autojump_clock, in_place: None, monkeypatch: pytest.MonkeyPatch, renewals: int
) -> None:
    usual = memory_mesh.config
    quick = {"vault_renew_s": 1.0, "epoch_s": 60.0}
    monkeypatch.setattr(memory_mesh, "config", lambda name, **more: usual(name, **quick, **more))
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        victim = others[1]
        if not renewals:  # no offer reaches it, so it gives no receipt and the others keep its part

            async def deaf(sender, message):
                del sender, message

            victim.node.vaults.holder.on_offer = deaf
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))

        def row(member):
            return member.node.vaults.store.held()[0]

        async def due() -> bool:
            return all(
                standing_of(row(one).standing).generation >= renewals for one in others if one != victim
            )

        await until(due, 200.0)
        if renewals:  # so that somebody is missing when the renewal ends: for it the others keep its part
            await trio.sleep(20.0)
            await mesh.crash(victim)

            async def renewed() -> bool:
                return all(standing_of(row(o).standing).generation > renewals for o in others if o != victim)

            await until(renewed, 200.0)
        else:
            await mesh.crash(victim)
        victim = await mesh.restart(victim)

        async def whole() -> bool:
            if not victim.node.vaults.store.held():
                return False
            standing = standing_of(row(victim).standing)
            newest = standing_of(row(others[0]).standing)
            made = origin(newest) == origin(standing)  # who acknowledged may differ
            return made and await victim.node.vaults.holder.share(standing) is not None

        await until(whole, 30.0)
        members = [victim, *(one for one in others if one.identity.party != victim.identity.party)]
        standing = standing_of(row(victim).standing)
        assert standing.generation == (renewals + 1 if renewals else 0)
        shares = {
            standing.seat_of(one.identity.party) + 1: await one.node.vaults.holder.share(standing)
            for one in members
        }
        for points in ((1, 2, 3), (2, 3, 4), (1, 3, 4)):  # all on one polynomial of degree 1
            opened = shamir.reconstruct(points[:2], np.stack([shares[x] for x in points[:2]]), 1)
            assert np.array_equal(
                opened, shamir.reconstruct(points[1:], np.stack([shares[x] for x in points[1:]]), 1)
            )
        nursery.cancel_scope.cancel()


async def test_nothing_is_kept_for_holders_that_have_their_share(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    """Else who copies the folder of one holder now, and takes the long-term key of another one after any
    number of renewals, has two shares of one generation."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))

        async def trimmed() -> bool:  # the key of the share is there, that of what is kept for others is not
            return all(len(folders(one)["keys"]) == 1 for one in others)

        await until(trimmed, 10.0)
        nursery.cancel_scope.cancel()
