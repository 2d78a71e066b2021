"""What the examples share: several sites as real processes of this machine, each with its own rows.

Every site is an ordinary node with its own state folder, keys and policy; rows are written to a file of the
site and nowhere else. The plaintext that answers are compared with exists only because the example made it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, PolicySpec
from mesh.facade import Mesh
from mesh.runtime.demo.local_mesh import LocalMesh, Peer

Floats = npt.NDArray[np.float64]
Table = Mapping[str, Floats]

TRAINING = ("update", "loss", "accuracy", "ranking", "mean", "variance", "gram", "count", "sum", "histogram")


def write(path: Path, table: Table) -> Path:
    """A CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return path


def read(path: Path) -> dict[str, Floats]:
    """Columns of a CSV file of numbers."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def pooled(parts: Sequence[Table]) -> dict[str, Floats]:
    """All rows together."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def take(table: Table, rows: npt.NDArray[np.intp]) -> dict[str, Floats]:
    """Some rows."""
    return {name: column[rows] for name, column in table.items()}


def give(peer: Peer, name: str, file: Path, *, min_sites: int = 3) -> None:
    """Register the site's file and say that models may be trained on it."""
    local = LocalData(peer.home)
    local.data_add(DataSpec(str(file), name))
    local.policy_init(name, PolicySpec(allow=TRAINING, min_sites=min_sites))
    policy = peer.home.data / f"{name}.policy.toml"
    policy.write_text(policy.read_text().replace('overlap = "refuse"', 'overlap = "warn"'))


def mesh_of(mesh: LocalMesh) -> Mesh:
    """The mesh as its first peer sees it."""
    return Mesh(mesh.founder.client)


def average_precision(labels: Floats, scores: Floats) -> float:
    """Area under the precision-recall curve, by steps of recall; 1 is perfect, the base rate luck."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are one threshold
    precision = hits[last] / (np.flatnonzero(last) + 1)
    recall = hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
