"""Splitting one table into disjoint parts, as if several sites had collected it. For demos and tests.

Invariant: every row goes to exactly one site and every site has at least one row; the split depends on
(rows, sites, seed, skew) alone.
"""

from __future__ import annotations

import csv
import random
from importlib import resources
from itertools import pairwise
from pathlib import Path

from mesh.data.errors import DataError


def sample(name: str = "breast-cancer") -> Path:
    """File of a data set that comes with Coppice. Raises DataError C-601."""
    path = Path(str(resources.files("mesh.data") / "samples" / f"{name}.csv"))
    if not path.is_file():
        raise DataError(f"there is no sample {name!r}", code="C-601", fix="use breast-cancer")
    return path


def split_rows(rows: int, sites: int, *, seed: int = 0, skew: float = 0.0) -> list[list[int]]:
    """Row numbers (from 0, rising) of each site.

    Site i gets a share proportional to 1/(i+1)^skew: 0 makes equal parts, 1 a first site that has
    k times the rows of the k-th. Raises DataError C-602 for fewer rows than sites.
    """
    if not 1 <= sites <= rows:
        raise DataError(
            f"{rows} rows cannot be split over {sites} sites", code="C-602", fix="use fewer sites"
        )
    order = list(range(rows))
    random.Random(seed).shuffle(order)  # noqa: S311 - a demo's split, nothing secret
    weights = [(place + 1) ** -skew for place in range(sites)]
    spare = rows - sites
    total, passed, ends = sum(weights), 0.0, [0]
    for place, weight in enumerate(weights, start=1):
        passed += weight
        ends.append(place + (spare if place == sites else int(spare * passed / total)))
    return [sorted(order[first:last]) for first, last in pairwise(ends)]


def split_csv(
    path: Path, folder: Path, sites: int, *, seed: int = 0, skew: float = 0.0, columns: tuple[str, ...] = ()
) -> list[Path]:
    """Write `site-1.csv` … under `folder`, each with the header and its rows, and return the files.

    `columns` keeps only those. Raises DataError C-602, C-610.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    places = [header.index(column) for column in columns if column in header] or list(range(len(header)))
    if any(column not in header for column in columns):
        absent = next(column for column in columns if column not in header)
        raise DataError(
            f"{path.name}: there is no column {absent!r}",
            code="C-610",
            fix=f"its columns are {', '.join(header)}",
        )
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, part in enumerate(split_rows(len(rows), sites, seed=seed, skew=skew), start=1):
        files.append(folder / f"site-{number}.csv")
        with files[-1].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([header[place] for place in places])
            writer.writerows([[rows[row][place] for place in places] for row in part])
    return files
