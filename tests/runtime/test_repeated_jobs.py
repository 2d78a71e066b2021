"""The like asked twice under the default policy: answered over the very same sites, or not at all."""

from __future__ import annotations

from tests.runtime.memory_mesh import DATASET, MemoryMesh, ask, in_place

__all__ = ["in_place"]
ROWS = [[1.0, 2.0, 3.5], [4.0, 8.0], [16.25, 0.5], [7.0]]


async def test_a_second_job_on_a_column_counts_all_sites_or_none(tmp_path, in_place, autojump_clock, nursery):
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, *_ = await mesh.start(4, ROWS)
    for policy in tmp_path.rglob(f"{DATASET}.policy.toml"):
        policy.write_text(policy.read_text().replace('overlap = "allow"', 'overlap = "refuse"'))
    plans = []
    for node in (a, b):
        node.node.listeners.append(lambda plan, _: plans.append(plan))
    for asker, statistic in ((a, "mean"), (b, "sum"), (a, "mean")):
        info = await asker.ended(await asker.service.submit(ask(statistic, min_sites=3)))
        assert info.result is not None, info.error
        assert info.result.sites == 4
    fewest = {plan.session: plan.job.min_sites for plan in plans}
    assert list(fewest.values()) == [3, 4, 4]
