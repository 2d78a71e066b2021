"""The examples in short: a factory over real daemons, banks over the same sums without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples import banks, factory, hospitals
from examples.sites import average_precision, pooled
from protocols.arithmetic import field
from protocols.identifiers import Digest
from protocols.learning import models, rounds
from protocols.learning.models import ModelSpec
from protocols.learning.rounds import Recipe
from protocols.sessions.plan import Job, Query
from protocols.statistics import registry
from protocols.statistics.update import Site, mean_update


def test_average_precision_of_known_rankings() -> None:
    labels = np.array([1.0, 0, 1, 0])
    assert average_precision(labels, np.array([4.0, 1, 3, 2])) == 1.0
    assert average_precision(labels, np.array([4.0, 3, 2, 1])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(labels, np.zeros(4)) == 0.5  # no ranking: the base rate


def test_hospitals_are_split_with_a_skew() -> None:
    parts, held = hospitals.split()
    shares = [part["malignant"].mean() for part in parts]
    assert sum(len(part["malignant"]) for part in parts) + len(held["malignant"]) == 569
    assert max(shares) - min(shares) > 0.4
    assert len(parts[0]["malignant"]) > 3 * len(parts[3]["malignant"])


def test_banks_are_as_good_together_as_pooled() -> None:
    rng = np.random.default_rng(3)
    parts = [banks.payments(int(6000 * share), far, odds, rng) for _, share, far, odds in banks.BANKS]
    test = pooled([banks.payments(4000, far, odds, rng) for _, _, far, odds in banks.BANKS])
    every = pooled(parts)
    assert 0.005 < every["fraud"].mean() < 0.05
    x = np.stack([every[name] for name in banks.FEATURES], axis=1)
    spec = ModelSpec("logistic", "classification", len(banks.FEATURES))
    recipe = Recipe(spec, banks.FEATURES, "fraud", tuple(x.mean(0).tolist()), tuple(x.std(0).tolist()),
                    rate=1.5, momentum=0.85, max_weight=8192)  # fmt: skip
    current = rounds.first(recipe, bytes(16), models.initial(spec, bytes(32)))
    for _ in range(60):
        job = Job("payments", (Query("update", "fraud", recipe.parameters),), 3, "", (current.name(),))
        total = np.zeros(registry.job_length(job), dtype=np.uint64)
        for number, part in enumerate(parts):
            seed = bytes([number]) * 32
            total = field.add(total, registry.encode_job(job, part, seed, Site((current.encoded(),))))
        mean, n = mean_update(job.queries[0], total, 3)
        assert n == len(every["fraud"])
        current = rounds.advance(current, Digest(bytes(32)), mean)
    together = banks.area((spec, current.weights, x.mean(0), x.std(0)), test)
    best = banks.area(banks.plaintext(every), test)
    assert together > 5 * test["fraud"].mean()
    assert together == pytest.approx(best, abs=0.03)


def test_a_factory_trains_while_gateways_come_and_go(tmp_path: Path) -> None:
    one = factory.run(tmp_path, gateways=6, rounds=8)
    assert max(one.sites) == 5
    assert min(one.sites) >= 3
    assert len(one.sites) == 9  # eight rounds and the last evaluation: nothing was started again
    assert one.together > 0.8 * one.pooled
    assert one.mean_vibration == pytest.approx(one.true_vibration)
