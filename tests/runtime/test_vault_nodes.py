"""Share vaults among whole nodes over the in-memory network: deposit, owner gone, mean, erasure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio

from mesh.api.shapes import BinsSpec, JobSpec, QuerySpec, ShareSpec
from protocols.errors import ConfigError, Refused
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
