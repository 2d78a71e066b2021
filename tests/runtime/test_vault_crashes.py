"""Owners and holders of a vault killed between storing and sending: nothing is lost, nothing is left over.

A node is killed within a call of its store, before or after the call did its work; it starts again from its
folder, and the mesh must come to the state that it would have come to.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from mesh.data.vault import VaultStore
from protocols.errors import MeshError
from tests.runtime import memory_mesh
from tests.runtime.memory_mesh import Member, MemoryMesh, in_place
from tests.runtime.test_vault_nodes import ShareSpec, asks, file_of, folders, until

__all__ = ["in_place"]


class Killed(MeshError):
    """The process is gone: no call of its store comes back."""

    code = "C-000"


class Trap:
    """Kills a node in the `count`-th call of one method of its store."""

    def __init__(self, member: Member, method: str, done: bool, count: int = 1) -> None:
        store = store_of(member)
        self._scope = member.scope
        self.sprung = trio.Event()
        self._left = count
        for name in dir(VaultStore):
            call = getattr(store, name)
            if not name.startswith("_") and callable(call) and name != "close":
                setattr(store, name, self._trapped(call, name == method, done))

    def _trapped(self, call, armed: bool, done: bool):
        def run(*arguments):
            if self.sprung.is_set():
                raise Killed("gone")
            if armed:
                self._left -= 1
            if armed and not self._left:
                if done:
                    call(*arguments)
                self.sprung.set()
                self._scope.cancel()
                raise Killed("gone")
            return call(*arguments)

        return run


async def killed(mesh: MemoryMesh, member: Member, trap: Trap) -> Member:
    with trio.fail_after(90):
        await trap.sprung.wait()
    await mesh.crash(member)
    await trio.sleep(0.5)
    return await mesh.restart(member)


def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = memory_mesh.config
    quick = {"vault_renew_s": 1.0, "epoch_s": 5.0}
    monkeypatch.setattr(memory_mesh, "config", lambda name, **more: usual(name, **quick, **more))


def store_of(member: Member) -> VaultStore:
    return member.node.vaults.store


def named(mesh: MemoryMesh, name: str) -> Member:
    return next(m for m in mesh.members if m.identity.applicant.name == name)


@pytest.mark.parametrize(
    ("method", "done"),
    [
        ("put_fragment", True),
        ("vote", True),
        ("certified", False),
    ],
)
async def test_a_holder_killed_in_a_renewal_holds_one_good_share_in_the_end(
    tmp_path: Path, autojump_clock, in_place: None, monkeypatch, method: str, done: bool
) -> None:
    settings(monkeypatch)
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        victim = others[1]
        victim = await killed(mesh, victim, Trap(victim, method, done))

        async def renewed() -> bool:
            here = [one for one in await victim.service.shared() if one.role == "holder"]
            there = (await owner.service.shared())[0]
            return bool(here) and here[0].generation >= max(1, there.generation)

        await until(renewed, 120.0)
        await trio.sleep(1.0)
        assert len(folders(victim)["keys"]) <= 2  # the one that counts, and perhaps one being made
        job = await owner.ended(await owner.service.submit(asks("mean")))
        assert job.result is not None, job.error
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("method", "done"), [("learn", True), ("offered", True), ("learned", False)])
async def test_a_newcomer_killed_while_it_takes_its_seat_answers_in_the_end(
    tmp_path: Path, autojump_clock, in_place: None, method: str, done: bool
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(6)
        info = await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        names = {one.name for one in info.holders}
        spare = next(m for m in others if m.identity.applicant.name not in names)
        reader = owner
        first = await reader.ended(await reader.service.submit(asks("mean")))
        assert first.result is not None, first.error
        trap = Trap(spare, method, done)
        gone = named(mesh, info.holders[0].name)
        mesh.members.remove(gone)
        gone.scope.cancel()
        spare = await killed(mesh, spare, trap)

        async def ready() -> bool:
            store = store_of(spare)
            held = store.held()
            return bool(held) and held[0].standing is not None and not store.learning()

        await until(ready, 120.0)
        vault = store_of(spare).held()[0].vault
        assert store_of(spare).count_uses(vault) == 1  # the reading of before its time
        again = await reader.ended(await reader.service.submit(asks("mean", "variance")))
        assert again.result is not None, again.error
        assert store_of(spare).count_uses(vault) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("done", [False, True])
async def test_a_holder_killed_while_it_erases_has_erased_and_confirmed_in_the_end(
    tmp_path: Path, autojump_clock, in_place: None, done: bool
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        victim = others[2]
        trap = Trap(victim, "end", done)
        told = await owner.service.unshare("cardio")
        assert sum(one.state == "erased" for one in told.holders) == 3
        victim = await killed(mesh, victim, trap)

        async def forgotten() -> bool:
            return not await owner.service.shared()

        await until(forgotten, 120.0)
        assert folders(victim) == {"keys": [], "fragments": []}
        nursery.cancel_scope.cancel()


async def test_an_owner_killed_in_a_deposit_leaves_no_vault_behind(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    """The holders certify it among each other, but its owner never saw that: they are told to erase it."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        trap = Trap(owner, "put_own", False, count=2)
        nursery.start_soon(refused, owner, ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        with trio.fail_after(30):
            await trap.sprung.wait()

        async def stands() -> bool:
            return all(store_of(m).held() and store_of(m).held()[0].standing for m in others)

        await until(stands)
        await mesh.crash(owner)
        owner = await mesh.restart(owner)

        async def erased() -> bool:
            return not any(store_of(m).held() for m in others) and not store_of(owner).own()

        await until(erased, 120.0)
        assert all(folders(m) == {"keys": [], "fragments": []} for m in others)
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        nursery.cancel_scope.cancel()


async def refused(owner: Member, spec: ShareSpec) -> None:
    with pytest.raises(Killed):
        await owner.service.share(spec)


async def test_a_holder_that_was_away_while_it_was_replaced_erases_what_it_has(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *_ = await mesh.start(6)
        info = await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        away = named(mesh, info.holders[3].name)
        await mesh.crash(away)

        async def replaced() -> bool:
            now = (await owner.service.shared())[0]
            return now.generation > 0 and info.holders[3].name not in {one.name for one in now.holders}

        await until(replaced, 120.0)
        away = await mesh.restart(away)
        assert store_of(away).held()

        async def erased() -> bool:
            return not store_of(away).held() and folders(away) == {"keys": [], "fragments": []}

        await until(erased, 60.0)
        assert store_of(away).ended() == ()
        nursery.cancel_scope.cancel()


async def test_a_renewal_that_begins_by_itself_and_by_mail_at_once_is_one(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    """Two machines of one renewal would vote twice, and the second one's end once ended the node."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner, *others = await mesh.start(5)
        await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        victim = others[0]
        keeper = victim.node.vaults._keeper
        standing = (await owner.node.vaults.finder.find("cardio"))[0]
        started = []
        keeper._drive, drive = lambda running: started.append(running) or drive(running), keeper._drive
        async with trio.open_nursery() as both:
            for _ in range(3):
                both.start_soon(keeper._begin, standing, standing.seats)
        assert len(started) == 1
        nursery.cancel_scope.cancel()
