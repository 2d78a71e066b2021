"""The mesh under test: eight real peers, four of them hospitals with parts of the Wisconsin rows.

Overlap between jobs is allowed by the owners' policies: here the same rows are asked for over and over,
with sites missing at random, which an owner would refuse in earnest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, JobResult, JobSpec, PolicySpec, QuerySpec
from mesh.data.partition import sample, split_csv
from mesh.runtime.demo.local_mesh import LocalMesh
from mesh.runtime.demo.plaintext import Plaintext
from mesh.runtime.demo.report import Comparison

DATASET = "rows"
COLUMNS = ("mean_radius", "mean_texture", "mean_smoothness")
STATISTICS = ("mean", "sum", "count", "variance", "histogram")
PEERS = 8
HOSPITALS = 4
MIN_SITES = 2
JOB_S = 12.0


class Ground:
    """Peers, their data, and the right answers."""

    def __init__(self, folder: Path, seed: int, settings: Mapping[str, object] | None = None) -> None:
        self.mesh = LocalMesh(folder, [f"p{number}" for number in range(1, PEERS + 1)], settings)
        self.names = tuple(self.mesh.peers)
        self.hospitals = self.names[:HOSPITALS]
        parts = folder / "parts"
        parts.mkdir()
        files = split_csv(sample(), parts, HOSPITALS, seed=seed, columns=COLUMNS)
        for name, file in zip(self.hospitals, files, strict=True):
            home = self.mesh.peers[name].home
            local = LocalData(home)
            local.data_add(DataSpec(str(file), DATASET))
            local.policy_init(DATASET, PolicySpec(allow=STATISTICS, min_sites=MIN_SITES))
            policy = home.data / f"{DATASET}.policy.toml"
            policy.write_text(policy.read_text().replace('overlap = "refuse"', 'overlap = "allow"'))
        self.plaintext = Plaintext(dict(zip(self.hospitals, files, strict=True)), COLUMNS)

    def spec(self, wanted: Sequence[tuple[str, str]]) -> JobSpec:
        """A job for (statistic, column) pairs."""
        queries = tuple(
            QuerySpec(name, column, self.plaintext.edges(column) if name == "histogram" else ())
            for name, column in wanted
        )
        return JobSpec(DATASET, queries, min_sites=MIN_SITES, timeout_s=JOB_S, purpose="chaos")

    def differences(self, result: JobResult) -> list[str]:
        """How the answers differ from the plaintext over the sites that they claim to count."""
        found = []
        if not MIN_SITES <= len(set(result.counted)) == len(result.counted) == result.sites:
            found.append(f"odd roster {result.counted}")
        for answer in result.answers:
            right = self.plaintext.value(answer.statistic, answer.column, result.counted)
            if not Comparison(answer.statistic, answer.column, answer.value, right, answer.n).agrees:
                found.append(f"{answer.statistic} {answer.column}: {answer.value} instead of {right}")
        return found
