"""From a job to one vector and back: the vectors of its queries, one after the other.

Invariant: for contributions v_i = encode_job(job, columns_i, …), decode_job(job, sum of v_i, number of
i) answers every query over all rows together. Each query draws its blinding from its own XOF, labelled
with its position, so that no randomness serves twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof, derive
from protocols.errors import ConfigError, LocalMisuse
from protocols.statistics import names, update
from protocols.statistics.counts import Count, Histogram
from protocols.statistics.moments import Mean, StandardDeviation, Sum, Variance
from protocols.statistics.ranking import Ranking
from protocols.statistics.statistic import Answer, Decoder, Floats, Statistic
from protocols.statistics.update import Accuracy, Gram, Loss, Site, Update

if TYPE_CHECKING:
    from protocols.sessions.plan import Job, Query


class Beacon:
    """Four uniform elements of each site add up to public randomness; its reading belongs to the beacon."""

    def encode(self, query: Query, values: Floats, xof: Xof) -> Elements:  # noqa: ARG002 - reads no data
        """(4,) uint64, uniform below p."""
        return xof.elements(names.BEACON_LENGTH)

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:  # noqa: ARG002 - never
        """Raises LocalMisuse always: the total is not a number about data."""
        raise LocalMisuse("the total of a beacon job is read by the beacon, not as a statistic")


_STATISTICS: dict[str, Statistic] = {
    "count": Count(),
    "sum": Sum(),
    "mean": Mean(),
    "variance": Variance(),
    "stddev": StandardDeviation(),
    "histogram": Histogram(),
    "beacon": Beacon(),
}
_OF_MODEL: dict[str, Decoder] = {
    "update": Update(),
    "loss": Loss(),
    "accuracy": Accuracy(),
    "ranking": Ranking(),
    "gram": Gram(),
}


def lookup(name: str) -> Statistic:
    """The statistic called `name`. Raises ConfigError C-630 if there is none."""
    names.form(name)
    if name in _OF_MODEL:
        raise LocalMisuse(f"{name} needs a model beside its values")
    return _STATISTICS[name]


def length(query: Query) -> int:
    """Field elements of one query. Raises ConfigError C-630 or C-631."""
    return names.length(query.statistic, query.parameters)


def job_length(job: Job) -> int:
    """Field elements of the whole job; what Plan.length must be. Raises ConfigError C-630 or C-631."""
    return sum(length(query) for query in job.queries)


def columns_of(job: Job, site: Site) -> tuple[str, ...]:
    """Columns that a site must read for the job, each once. Raises ConfigError C-640, C-646."""
    wanted = dict.fromkeys(query.column for query in job.queries if query.statistic != "beacon")
    if _is_about_model(job):
        recipe = update.round_of(job, site.blobs).recipe
        wanted.update(dict.fromkeys((*recipe.features, recipe.label)))
    return tuple(wanted)


def encode_job(job: Job, columns: Mapping[str, Floats], seed: bytes, site: Site | None = None) -> Elements:
    """Contribution of one site: (job_length,) uint64 from float64 columns, each (rows,).

    `seed`: 32 secret bytes of this site for this session, which hide the limbs' carries. `site` is needed
    for jobs about a model, and its notes collect words for the owner.
    Raises ConfigError C-610 for a column that is not there, C-632 for a value that cannot be encoded,
    C-640 … C-646 for models and rows that do not fit.
    """
    site = site or Site()
    model = update.round_of(job, site.blobs) if _is_about_model(job) else None
    parts: list[Elements] = []
    for position, query in enumerate(job.queries):
        names.check_parameters(query.statistic, query.parameters)
        xof = Xof(seed, "statistic", position.to_bytes(2, "big"))
        if model is not None and query.statistic in _OF_MODEL:
            inner = derive(seed, "local update", position.to_bytes(2, "big"))
            read = {name: _column(columns, name) for name in (*model.recipe.features, model.recipe.label)}
            parts.append(update.encode(query, model, read, xof, inner, site))
            continue
        values = np.zeros(0) if query.statistic == "beacon" else _column(columns, query.column)
        parts.append(lookup(query.statistic).encode(query, values, xof))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)


def decode_job(job: Job, total: Elements, sites: int) -> tuple[Answer, ...]:
    """Answers from the sum of `sites` contributions; total (job_length,) uint64, reduced mod p.

    Raises LocalMisuse for a wrong length, UnattributableFault C-633 for a total that no honest sites make.
    """
    if total.shape != (job_length(job),):
        raise LocalMisuse(f"a job of {job_length(job)} elements was given a total of shape {total.shape}")
    answers: list[Answer] = []
    first = 0
    for query in job.queries:
        last = first + length(query)
        answers.append(_decoder(query.statistic).decode(query, total[first:last], sites))
        first = last
    return tuple(answers)


def _is_about_model(job: Job) -> bool:
    return any(query.statistic in _OF_MODEL for query in job.queries)


def _decoder(name: str) -> Decoder:
    return _OF_MODEL[name] if name in _OF_MODEL else lookup(name)


def _column(columns: Mapping[str, Floats], name: str) -> Floats:
    if name not in columns:
        raise ConfigError(
            f"there is no column {name!r}",
            code="C-610",
            fix=f"columns: {', '.join(sorted(columns)) or 'none'}",
        )
    return np.asarray(columns[name], dtype=np.float64)
