"""The shipped sample data and its splits over sites."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mesh.data import partition
from mesh.data.errors import DataError
from mesh.data.room import DataRoom
from protocols.arithmetic import field
from protocols.sessions.plan import Job, Query
from protocols.statistics import registry
from tests.data.plans import OPEN, PARTIES, make_plan


def test_sample_is_the_published_data() -> None:
    import csv as csv_module

    with partition.sample().open() as file:
        header, *rows = csv_module.reader(file)
    table = np.array(rows, dtype=float)
    assert table.shape == (569, 31)
    assert table[:, header.index("malignant")].sum() == 212
    assert table[:, header.index("mean_radius")].mean() == pytest.approx(14.127, abs=5e-4)
    assert table[:, header.index("worst_area")].max() == 4254
    assert "CC BY 4.0" in partition.sample().with_suffix(".md").read_text()


@pytest.mark.parametrize(("sites", "skew"), [(1, 0.0), (4, 0.0), (4, 1.0), (20, 2.0), (569, 1.0)])
def test_a_split_is_disjoint_complete_and_repeatable(sites: int, skew: float) -> None:
    parts = partition.split_rows(569, sites, seed=7, skew=skew)
    assert sorted(row for part in parts for row in part) == list(range(569))
    assert len(parts) == sites
    assert all(parts)
    assert parts == partition.split_rows(569, sites, seed=7, skew=skew)
    if 1 < sites < 569:
        assert parts != partition.split_rows(569, sites, seed=8, skew=skew)
    if not skew:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_split_files_hold_every_row_once(tmp_path: Path) -> None:
    files = partition.split_csv(partition.sample(), tmp_path, 4, seed=1, columns=("mean_area", "malignant"))
    lines = [line for file in files for line in file.read_text().splitlines()[1:]]
    whole = partition.sample().read_text().splitlines()
    header = whole[0].split(",")
    places = header.index("mean_area"), header.index("malignant")
    assert sorted(lines) == sorted(",".join(line.split(",")[place] for place in places) for line in whole[1:])
    with pytest.raises(DataError, match="no column 'x'"):
        partition.split_csv(partition.sample(), tmp_path, 4, columns=("x",))
    with pytest.raises(DataError, match="cannot be split"):
        partition.split_rows(3, 4)


def test_real_data_over_four_hospitals(tmp_path: Path) -> None:
    columns = ("mean_radius", "mean_fractal_dimension", "fractal_dimension_error", "worst_area")
    queries = tuple(Query(name, column, ()) for column in columns for name in ("mean", "variance", "sum"))
    queries += (Query("histogram", "mean_radius", tuple(map(float, range(5, 31)))),)
    job = Job("cancer", queries, 3, "")
    plan = dataclasses.replace(make_plan(), job=job, length=registry.job_length(job))
    total = np.zeros(plan.length, dtype=np.uint64)
    for number, file in enumerate(partition.split_csv(partition.sample(), tmp_path, 4, skew=1.0)):
        room = DataRoom(tmp_path / f"h{number}")
        room.add(file, "cancer")
        room.init_policy("cancer", OPEN)
        assert room.authorize(plan, PARTIES[number]).allowed
        total = field.add(total, room.contribution(plan, bytes([number]) * 32)[0])
    header = partition.sample().read_text().splitlines()[0].split(",")
    table = np.loadtxt(partition.sample(), delimiter=",", skiprows=1)
    plain = {"mean": np.mean, "sum": np.sum, "variance": lambda column: np.var(column, ddof=1)}
    for answer in registry.decode_job(job, total, 4):
        column = table[:, header.index(answer.column)]
        assert answer.n == 569
        if answer.statistic == "histogram":
            assert list(answer.value) == np.histogram(column, bins=range(5, 31))[0].tolist()
        else:
            assert answer.value == pytest.approx(plain[answer.statistic](column), rel=1e-11)
