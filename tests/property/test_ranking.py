"""Precision-recall from counts: sums over sites are counts over the pooled rows, and near the exact area."""

from __future__ import annotations

import numpy as np
import pytest

from examples.sites import average_precision
from protocols.arithmetic import field
from protocols.errors import ConfigError, UnattributableFault
from protocols.identifiers import Digest
from protocols.learning import models, rounds
from protocols.learning.models import ModelSpec
from protocols.learning.rounds import Recipe
from protocols.sessions.plan import Job, Query
from protocols.statistics import names, ranking, registry
from protocols.statistics.update import Site

RECIPE = Recipe(ModelSpec("logistic", "classification", 2), ("a", "b"), "y", (0.0, 0.0), (1.0, 1.0))


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=count), rng.normal(size=count)
    return {"a": a, "b": b, "y": (rng.random(count) < 1 / (1 + np.exp(4 - 2 * a - b))).astype(float)}


@pytest.mark.parametrize("bins", [128, 1024])
def test_counts_of_sites_give_the_area_over_the_pooled_rows(bins: int) -> None:
    parts = [rows(600, 1), rows(900, 2), rows(300, 3)]
    weights = np.array([1.7, 0.9, -3.0])
    current = rounds.first(RECIPE, bytes(16), weights)
    job = Job("rows", (Query("ranking", "y", (float(bins),)),), 3, "", (current.name(),))
    total = np.zeros(2 * bins, dtype=np.uint64)
    for number, part in enumerate(parts):
        total = field.add(
            total, registry.encode_job(job, part, bytes([number]) * 32, Site((current.encoded(),)))
        )
    (answer,) = registry.decode_job(job, total, 3)
    pooled = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    table = np.stack([pooled["a"], pooled["b"]], axis=1)
    exact = average_precision(pooled["y"], models.scores(RECIPE.model, weights, table)[:, 0])
    assert answer.n == 1800
    assert answer.value == pytest.approx(exact, abs=4 / bins)


def test_known_rankings() -> None:
    assert ranking.area(np.array([5.0, 0]), np.array([0.0, 5])) == 1.0
    assert ranking.area(np.array([3.0]), np.array([1.0])) == 0.25  # no ranking: the base rate
    assert ranking.area(np.array([0.0, 5]), np.array([1.0, 0])) == pytest.approx(1 / 6)
    assert ranking.area(np.array([4.0]), np.array([0.0])) is None
    far = ranking.encode(np.array([-1e9, 1e9, 0.0]), np.array([0.0, 1, 1]), 4)
    assert far.tolist() == [1, 0, 0, 0, 0, 0, 1, 1]


def test_what_is_no_ranking_is_refused() -> None:
    for parameters in ((), (1.0,), (2.5,), (4096.0,), (float("nan"),)):
        with pytest.raises(ConfigError):
            names.length("ranking", parameters)
    classes = Recipe(ModelSpec("logistic", "classification", 2, 3), ("a", "b"), "y", (0.0, 0.0), (1.0, 1.0))
    current = rounds.first(classes, bytes(16), models.initial(classes.model, bytes(32)))
    job = Job("rows", (Query("ranking", "y", (8.0,)),), 3, "", (current.name(),))
    with pytest.raises(ConfigError, match="two classes"):
        registry.encode_job(job, rows(9, 1), bytes(32), Site((current.encoded(),)))
    lie = np.full(16, 2**60, dtype=np.uint64)
    with pytest.raises(UnattributableFault):
        registry.decode_job(
            Job("rows", (Query("ranking", "y", (8.0,)),), 3, "", (Digest(bytes(32)),)), lie, 3
        )
