"""A job written down by people, to be judged by a policy without a plan: `coppice policy test FILE`.

dataset = "readings"
min_sites = 3                   # sites: as many as asked for, if left out
[[queries]]
statistic = "mean"
column = "temp"
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mesh.data.policy import ANY_MEMBER, Asked
from mesh.data.tables import Reader, Table


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job as written down for `policy test`: what a plan would ask, without the plan."""

    dataset: str
    queries: tuple[Asked, ...]
    min_sites: int
    sites: int
    threshold: int
    requester: str


def parse(text: str, name: str = "job") -> JobFile:
    """Job of a TOML text. Raises DataError C-620.

    dataset, min_sites, sites (as many as asked for if left out), threshold, requester and
    [[queries]] with statistic, column, parameters.
    """
    reader = Reader(name, text, "C-620")
    table = reader.load()
    reader.known(table, ("dataset", "min_sites", "sites", "threshold", "requester", "purpose", "queries"))
    min_sites = reader.whole(table, "min_sites", 3, 2, 4096)
    listed = table.get("queries", [])
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        reader.wrong("queries", "give at least one [[queries]] with statistic and column")
        listed = []
    job = JobFile(
        reader.text_of(table, "dataset", limit=128),
        tuple(_asked(reader, item) for item in listed),
        min_sites,
        reader.whole(table, "sites", min_sites, 2, 4096),
        reader.whole(table, "threshold", 1, 1, 5),
        reader.text_of(table, "requester", ANY_MEMBER),
    )
    if not job.dataset:
        reader.wrong("dataset", "is missing")
    reader.finish()
    return job


def _asked(reader: Reader, item: Table) -> Asked:
    reader.known(item, ("statistic", "column", "parameters"), "queries.")
    parameters = item.get("parameters", [])
    if not isinstance(parameters, list) or not all(_is_number(one) for one in parameters):
        reader.wrong("queries.parameters", "must be a list of finite numbers")
        parameters = []
    column = reader.text_of(item, "column", within="queries.", limit=128)
    return Asked(
        reader.text_of(item, "statistic", within="queries.", limit=32), column, tuple(map(float, parameters))
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
