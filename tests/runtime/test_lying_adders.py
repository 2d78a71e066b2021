"""Nodes whose adder stores a false sum still get the right one: audited, and added by the next rank."""

from __future__ import annotations

import numpy as np
import pytest

from mesh.api.shapes import JobSpec, QuerySpec
from mesh.data.policy import ALLOW
from mesh.data.room import DataRoom
from mesh.runtime.vectors.bulk import BulkLane
from mesh.runtime.vectors.store import VectorStore
from protocols.arithmetic import field
from protocols.errors import LocalMisuse
from protocols.identifiers import Digest, SessionId
from protocols.masking.layout import Layout
from protocols.masking.parameters import TABLE
from protocols.sessions.bulk_messages import VectorsAdded
from tests.runtime.memory_mesh import MemoryMesh, in_place

__all__ = ["in_place"]
LENGTH = 5000
ROUND = JobSpec(
    "rows", (QuerySpec("update", "*", (float(LENGTH), 1.0, 16.0, 1.0, 0.0)),), min_sites=4, timeout_s=60.0
)


async def test_a_false_sum_is_replaced_by_the_next_ranks(
    tmp_path, in_place, monkeypatch, autojump_clock, nursery
):
    ours = DataRoom.contribution

    def contribution(room, plan, *rest):
        if plan.job.dataset != "rows":
            return ours(room, plan, *rest)
        return np.concatenate([field.as_elements([1]), np.arange(LENGTH, dtype=np.uint64) % 1000]), 1

    monkeypatch.setattr(DataRoom, "contribution", contribution)
    monkeypatch.setattr(DataRoom, "consider", lambda *_: ALLOW)
    monkeypatch.setattr(DataRoom, "authorize", lambda *_: ALLOW)
    mesh = MemoryMesh(tmp_path, nursery)
    nodes = await mesh.start(4)
    liars: list[BulkLane] = []
    honest = BulkLane._add

    async def add(lane, effect, begun):
        if liars or lane._audits:
            return await honest(lane, effect, begun)
        liars.append(lane)
        sizes = [lane.store.layout.span_bytes(index) for index in range(lane.store.layout.spans)]
        name = lane.store.keep(np.zeros(size, dtype=np.uint8) for size in sizes)
        return lane._tell(VectorsAdded(effect.stage, name))

    monkeypatch.setattr(BulkLane, "_add", add)
    for asker in nodes[:2]:  # an epoch's first adder is drawn; if it asks itself, it has nobody to lie to
        info = await asker.ended(await asker.service.submit(ROUND))
        assert info.result is not None, info.error
        found = np.load(asker.node.results.path(info.id, 0))
        assert np.allclose(found, np.arange(LENGTH) % 1000 / 32767, atol=1e-9)
        if liars:
            break
    assert liars
    assert asker.node.counters["faults_named"] >= 1


def test_a_store_says_so_when_it_has_not_what_an_audit_asks_for(tmp_path):
    store = VectorStore(tmp_path, SessionId(bytes(32)), Layout(TABLE[0], 100), 4)
    with pytest.raises(LocalMisuse, match="not stored"):
        store.fingerprint(Digest(bytes(32)), Digest(bytes(32)))
