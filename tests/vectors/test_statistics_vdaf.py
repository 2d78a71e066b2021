"""IETF VDAF vectors: our encode, a plain field sum and decode give the published `agg_result`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions.plan import Job, Query
from protocols.statistics import registry

FOLDER = (
    Path(os.environ.get("COPPICE_VECTORS", Path(__file__).parents[2] / ".." / "shared" / "vectors")) / "vdaf"
)


def cases(kind: str) -> list[Path]:
    return sorted(FOLDER.glob(f"Prio3{kind}_*.json")) or [FOLDER / f"Prio3{kind}_0.json"]


def load(path: Path) -> tuple[list, object, dict]:
    if not path.exists():
        pytest.skip(f"the VDAF vectors are not there ({path}); set COPPICE_VECTORS to their folder")
    vector = json.loads(path.read_text())
    assert all(step["success"] for step in vector["operations"])
    return [report["measurement"] for report in vector["reports"]], vector["agg_result"], vector


def aggregate(queries: tuple[Query, ...], reports: list[dict[str, np.ndarray]]) -> list:
    """Each report is a site of its own."""
    job = Job("vdaf", queries, 2, "")
    total = np.zeros(registry.job_length(job), dtype=np.uint64)
    for number, columns in enumerate(reports):
        total = field.add(total, registry.encode_job(job, columns, bytes([number]) * 32))
    return [answer.value for answer in registry.decode_job(job, total, len(reports))]


@pytest.mark.parametrize("path", [*cases("Count"), *cases("Sum")], ids=lambda path: path.stem)
def test_sums(path: Path) -> None:
    measurements, expected, _ = load(path)
    reports = [{"x": np.array([float(value)])} for value in measurements]
    assert aggregate((Query("sum", "x", ()),), reports) == [expected]


@pytest.mark.parametrize("path", cases("Count"), ids=lambda path: path.stem)
def test_counts(path: Path) -> None:
    measurements, expected, _ = load(path)
    reports = [{"x": np.zeros(value)} for value in measurements]
    assert aggregate((Query("count", "x", ()),), reports) == [expected]


@pytest.mark.parametrize("path", cases("SumVec"), ids=lambda path: path.stem)
def test_vector_sums(path: Path) -> None:
    measurements, expected, vector = load(path)
    queries = tuple(Query("sum", str(place), ()) for place in range(vector["length"]))
    reports = [{str(place): np.array([float(x)]) for place, x in enumerate(row)} for row in measurements]
    assert aggregate(queries, reports) == expected


@pytest.mark.parametrize("path", cases("Histogram"), ids=lambda path: path.stem)
def test_histograms(path: Path) -> None:
    measurements, expected, vector = load(path)
    edges = tuple(place - 0.5 for place in range(vector["length"] + 1))
    reports = [{"x": np.array([float(value)])} for value in measurements]
    assert aggregate((Query("histogram", "x", edges),), reports) == [tuple(expected)]
