"""The mesh under test: eight real peers, four of them hospitals with parts of the Wisconsin rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.api.shapes import JobInfo, JobSpec
from mesh.runtime.demo.local_mesh import LocalMesh
from tools.chaos.oracle import STATISTICS, Oracle

__all__ = ["STATISTICS", "Ground"]

COLUMNS = ("mean_radius", "mean_texture", "mean_smoothness")
PEERS = 8
HOSPITALS = 4
MIN_SITES = 2
JOB_S = 12.0


class Ground:
    """Peers, their data, and the right answers."""

    def __init__(self, folder: Path, seed: int, settings: Mapping[str, object] | None = None) -> None:
        self.mesh = LocalMesh(folder, [f"p{number}" for number in range(1, PEERS + 1)], settings)
        self.names = tuple(self.mesh.peers)
        self.oracle = Oracle(folder, self.names[:HOSPITALS], COLUMNS, seed)
        for name in self.names[:HOSPITALS]:
            self.oracle.give(name, self.mesh.peers[name].home, MIN_SITES)

    def spec(self, wanted: Sequence[tuple[str, str]]) -> JobSpec:
        """A job for (statistic, column) pairs."""
        return self.oracle.spec(wanted, MIN_SITES, JOB_S)

    def learn_parties(self) -> None:
        """Who is behind which party id; call while all peers run."""
        for name, peer in self.mesh.peers.items():
            self.oracle.aliases[peer.client.status().party[:8]] = name

    def judge(self, info: JobInfo) -> tuple[str, str]:
        """The verdict on a job, and the words for it."""
        return self.oracle.judge(info, MIN_SITES)
