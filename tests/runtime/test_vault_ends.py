"""An order to erase a vault that comes in the middle of something: nothing of the vault is stored again."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from mesh.api.shapes import ShareSpec
from protocols.vault.messages import order
from protocols.vault.standing import Standing
from tests.runtime.memory_mesh import Member, MemoryMesh, in_place
from tests.runtime.test_vault_crashes import named, settings, store_of
from tests.runtime.test_vault_nodes import file_of, folders

__all__ = ["in_place"]


async def standing_at(member: Member) -> Standing:
    standing, _ = await member.node.vaults.finder.find("cardio")
    assert standing is not None
    return standing


@pytest.mark.parametrize("method", ["put_fragment", "keep", "vote"])
async def test_an_order_in_the_middle_of_a_renewal_leaves_nothing(
    tmp_path: Path, autojump_clock, in_place: None, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings(monkeypatch)
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        standing, victim = await standing_at(owner), others[1]
        vaults, store = victim.node.vaults, store_of(victim)
        message = order(owner.node.vaults.keys.signing_seed, standing.terms)
        ordered = trio.Event()
        call = getattr(store, method)

        def in_the_middle(*arguments: object) -> None:
            if not ordered.is_set():
                ordered.set()
                vault, terms = bytes(standing.vault), standing.terms.terms
                store.end(vault, terms.name, 1.0, "erased by its owner", None)
            call(*arguments)

        setattr(store, method, in_the_middle)
        with trio.fail_after(90):
            await ordered.wait()
        await vaults.holder.on_order(owner.identity.party, message)
        for _ in range(20):  # the fellows' renewal goes on without it
            assert folders(victim) == {"keys": [], "fragments": []}
            assert all(store.votes(bytes(standing.vault), generation) == () for generation in range(8))
            await trio.sleep(0.5)
        assert not store.held()
        assert not vaults._keeper._running
        assert not vaults.counters["bugs"]
        nursery.cancel_scope.cancel()


async def test_who_has_nothing_of_a_vault_takes_none_of_it_after_the_order(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    """A substitute may hear of the order first, and of the seat that it is to take then."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(6)
        info = await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        names = {one.name for one in info.holders}
        spare = next(m for m in others if m.identity.applicant.name not in names)
        standing = await standing_at(owner)
        message = order(owner.node.vaults.keys.signing_seed, standing.terms)
        await spare.node.vaults.holder.on_order(owner.identity.party, message)
        assert store_of(spare).ended(bytes(standing.vault))
        await mesh.crash(gone := named(mesh, info.holders[0].name))
        await trio.sleep(60.0)
        assert not store_of(spare).held()
        assert folders(spare) == {"keys": [], "fragments": []}
        assert not spare.node.vaults.counters["bugs"]
        left = [m for m in others if m.identity.applicant.name in names and m is not gone]
        assert all(store_of(m).held() for m in left)
        nursery.cancel_scope.cancel()
