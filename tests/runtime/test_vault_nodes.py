"""Share vaults among whole nodes over the in-memory network: deposit, owner gone, mean, erasure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio

from mesh.api.shapes import BinsSpec, JobSpec, QuerySpec, ShareSpec
from protocols.errors import ConfigError, Refused
from tests.runtime import memory_mesh
from tests.runtime.memory_mesh import MemoryMesh, in_place

__all__ = ["in_place"]

VALUES = [17.25 + 3.5 * row + (row * row % 7) / 3 for row in range(40)]
EDGES = (0.0, 50.0, 100.0, 200.0)


def file_of(folder: Path, values: list[float] = VALUES) -> str:
    path = folder / "cardio.csv"
    path.write_text("bmi,age\n" + "".join(f"{value!r},{30 + index}\n" for index, value in enumerate(values)))
    return str(path)


def asks(*statistics: str, column: str = "bmi", vault: str = "cardio", edges=()) -> JobSpec:
    queries = tuple(QuerySpec(name, column, edges if name == "histogram" else ()) for name in statistics)
    return JobSpec(f"vault:{vault}", queries, purpose="test")


async def test_a_mean_of_a_vault_whose_owner_has_gone(tmp_path: Path, autojump_clock, in_place: None) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = await mesh.start(6)
        owner, reader = members[0], members[5]
        spec = ShareSpec(
            file_of(tmp_path), "cardio", holders=4, threshold=1,
            allow=("count", "mean", "sum", "variance", "histogram"), bins=(BinsSpec("bmi", EDGES),),
        )  # fmt: skip
        info = await owner.service.share(spec)
        assert info.state == "shared"
        assert len(info.holders) == 4
        assert all(one.state == "holds" for one in info.holders)
        owner.scope.cancel()
        await trio.sleep(10)
        job = await reader.ended(
            await reader.service.submit(asks("count", "mean", "sum", "variance", "histogram", edges=EDGES))
        )
        assert job.result is not None, job.error
        count, mean, total, variance, histogram = job.result.answers
        assert count.value == 40
        assert mean.value == pytest.approx(np.mean(VALUES), rel=1e-15)
        assert total.value == pytest.approx(np.sum(VALUES), rel=1e-15)
        assert variance.value == pytest.approx(np.var(VALUES, ddof=1), rel=1e-12)
        assert list(histogram.value) == np.histogram(VALUES, EDGES)[0].tolist()
        refused = await reader.ended(await reader.service.submit(asks("stddev")))
        assert refused.error is not None
        assert refused.error.code == "C-305"
        nursery.cancel_scope.cancel()


async def until(condition, patience_s: float = 60.0) -> None:
    with trio.fail_after(patience_s):
        while not await condition():
            await trio.sleep(0.2)


def folders(member) -> dict[str, list[str]]:
    root = member.home.root / "vaults"
    return {part: sorted(path.name for path in (root / part).iterdir()) for part in ("keys", "fragments")}


async def test_a_holder_leaves_its_seat_passes_on_and_the_vault_is_erased_in_the_end(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = await mesh.start(7)
        owner = members[0]
        info = await owner.service.share(ShareSpec(file_of(tmp_path), "cardio", holders=4, threshold=1))
        names = [one.name for one in info.holders]
        by_name = {m.identity.applicant.name: m for m in members}
        gone = by_name[names[1]]
        reader = next(m for m in members[1:] if m.identity.applicant.name not in names)
        first = await reader.ended(await reader.service.submit(asks("mean")))
        assert first.result is not None, first.error
        before = {name: folders(by_name[name]) for name in names}
        gone.scope.cancel()

        async def moved() -> bool:
            now = (await owner.service.shared())[0]
            return now.generation >= 1 and names[1] not in [one.name for one in now.holders]

        await until(moved)
        now = (await owner.service.shared())[0]
        assert len(now.holders) == 4
        for name in names:
            if name != names[1]:
                after = folders(by_name[name])
                assert len(after["keys"]) == 1
                assert after != before[name]
        again = await reader.ended(await reader.service.submit(asks("mean", "variance")))
        assert again.result is not None, again.error
        assert again.result.answers[0].value == pytest.approx(np.mean(VALUES), rel=1e-15)

        ended = await owner.service.unshare("cardio")
        states = {one.name: one.state for one in ended.holders}
        assert all(state == "erased" for name, state in states.items() if name != names[1])
        assert ended.state == "erasing"
        for one in now.holders:
            assert folders(by_name[one.name]) == {"keys": [], "fragments": []}
        refused = await reader.ended(await reader.service.submit(asks("mean")))
        assert refused.error is not None
        assert refused.error.code == "C-654"
        assert "erased by its owner" in refused.error.what
        nursery.cancel_scope.cancel()


async def test_the_mean_over_two_vaults_of_owners_that_have_gone(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    more = [value * 2 + 1 for value in VALUES[:25]]
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = await mesh.start(7)
        first, second, reader = members[0], members[1], members[6]
        other = tmp_path / "other"
        other.mkdir()
        spec = ShareSpec(file_of(tmp_path), "cardio", holders=4, min_sites=2)
        await first.service.share(spec)
        await second.service.share(ShareSpec(file_of(other, more), "more", holders=5, min_sites=2))
        first.scope.cancel()
        second.scope.cancel()
        await trio.sleep(12)
        alone = await reader.ended(await reader.service.submit(asks("mean")))
        assert alone.error is not None
        assert "min_sites: 1 < 2" in alone.error.what
        both = JobSpec("vault:cardio+vault:more", (QuerySpec("mean", "bmi"), QuerySpec("variance", "bmi")))
        job = await reader.ended(await reader.service.submit(both))
        assert job.result is not None, job.error
        pooled = [*VALUES, *more]
        mean, variance = job.result.answers
        assert mean.n == len(pooled)
        assert mean.value == pytest.approx(np.mean(pooled), rel=1e-14)
        assert variance.value == pytest.approx(np.var(pooled, ddof=1), rel=1e-12)
        assert job.result.counted == ("vault:cardio", "vault:more")
        with pytest.raises(ConfigError) as caught:
            await reader.service.submit(JobSpec("rows+more+vault:more", (QuerySpec("mean", "bmi"),)))
        assert caught.value.code == "C-655"
        nursery.cancel_scope.cancel()


async def test_a_holder_that_lies_in_a_sum_over_vaults_is_named_and_left_out(
    tmp_path: Path, autojump_clock, in_place: None
) -> None:
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = await mesh.start(7)
        owner, other, reader = members[0], members[1], members[6]
        spec = ShareSpec(file_of(tmp_path), "cardio", holders=4, min_sites=2)
        info = await owner.service.share(spec)
        folder = tmp_path / "other"
        folder.mkdir()
        await other.service.share(ShareSpec(file_of(folder, VALUES[:20]), "more", holders=5, min_sites=2))
        liar = next(m for m in members if m.identity.applicant.name == info.holders[2].name)
        answering = liar.node.vaults._answering
        honest, vault = answering.share_for, info.vault

        async def lies(wanted, standing):
            share = await honest(wanted, standing)
            return share + np.uint64(1) if standing.vault.hex() == vault else share

        answering.share_for = lies
        spec = JobSpec("vault:cardio+vault:more", (QuerySpec("mean", "bmi"),))
        name = await reader.service.submit(spec)
        faults = [event.text async for event in reader.service.watch(name) if event.kind == "fault"]
        job = await reader.ended(name)
        assert job.result is not None, job.error
        assert job.result.value == pytest.approx(np.mean([*VALUES, *VALUES[:20]]), rel=1e-14)
        assert len(faults) == 1
        assert faults[0].startswith(info.holders[2].name)
        nursery.cancel_scope.cancel()


async def test_a_node_holds_no_more_than_its_person_lets_it(
    tmp_path: Path, autojump_clock, in_place: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = memory_mesh.config
    monkeypatch.setattr(memory_mesh, "config", lambda name, **more: usual(name, **more, vault_hold_mb=0.03))
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        owner = (await mesh.start(5))[0]
        path = file_of(tmp_path)
        await owner.service.share(ShareSpec(path, "first", columns=("bmi",)))  # 18 kB at most
        with pytest.raises(Refused, match="at most"):
            await owner.service.share(ShareSpec(path, "second"))
        assert [one.name for one in await owner.service.shared()] == ["first"]
        await trio.sleep(1)
        for member in mesh.members[1:]:  # the order that followed the failed deposit was for nothing
            assert len(folders(member)["keys"]) == 1
        with pytest.raises(ConfigError, match="4 holders cannot carry a threshold of 2"):
            await owner.service.share(ShareSpec(path, "third", threshold=2))
        with pytest.raises(ConfigError, match="min_rows"):
            await owner.service.share(ShareSpec(path, "third", min_rows=41))
        with pytest.raises(ConfigError) as caught:
            await owner.service.share(ShareSpec(path, "first"))
        assert caught.value.code == "C-652"
        nursery.cancel_scope.cancel()


async def test_a_vault_and_live_sites_in_one_sum(tmp_path: Path, autojump_clock, in_place: None) -> None:
    """The vault counts as one site to the live ones; the total is the pooled plaintext's."""
    rows = [[5.0 + k + 0.25 * i for i in range(12 + k)] for k in range(3)]
    gone = [100.0 + i for i in range(15)]
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = await mesh.start(7, [(), *rows])  # p2, p3 and p4 are live sites
        owner, reader = members[0], members[6]
        path = tmp_path / "gone.csv"
        path.write_text("x\n" + "".join(f"{value!r}\n" for value in gone))
        info = await owner.service.share(ShareSpec(str(path), "gone", holders=4, min_sites=3))
        owner.scope.cancel()
        await trio.sleep(12)
        queries = (QuerySpec("mean", "x"), QuerySpec("variance", "x"))
        job = await reader.ended(
            await reader.service.submit(JobSpec("rows+vault:gone", queries, min_sites=4))
        )
        assert job.result is not None, job.error
        pooled = [*gone, *rows[0], *rows[1], *rows[2]]
        mean, variance = job.result.answers
        assert mean.n == len(pooled)
        assert mean.value == pytest.approx(np.mean(pooled), rel=1e-14)
        assert variance.value == pytest.approx(np.var(pooled, ddof=1), rel=1e-12)
        assert job.result.sites == 4
        live = next(m for m in members if m.identity.applicant.name == "p3")
        uses = live.node.room.history("rows")
        (approved,) = [entry for entry in uses if entry.kind == "approved"]
        assert approved.body["min_sites"] == 4
        assert info.vault in approved.body["sites"]
        few = await reader.ended(
            await reader.service.submit(JobSpec("rows+vault:gone", queries, min_sites=5))
        )
        assert few.error is not None
        assert few.error.code == "C-301"
        nursery.cancel_scope.cancel()
