"""Models, rounds, least squares, the update statistic: against finite differences, numpy and plain sums."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import ConfigError, UnattributableFault
from protocols.identifiers import Digest
from protocols.learning import least_squares, models, rounds
from protocols.learning.models import ModelSpec
from protocols.learning.rounds import Recipe, Round
from protocols.sessions.plan import Job, Query
from protocols.statistics import registry, update
from protocols.statistics.update import Site

SPECS = (
    ModelSpec("linear", "regression", 3),
    ModelSpec("logistic", "classification", 3),
    ModelSpec("logistic", "classification", 3, 4),
    ModelSpec("mlp", "classification", 3, 1, (5,), "tanh"),
    ModelSpec("mlp", "classification", 3, 3, (5, 4), "relu"),
    ModelSpec("mlp", "regression", 3, 1, (4, 4), "tanh"),
)
SESSION = Digest(bytes(range(32)))


def recipe(model: ModelSpec = SPECS[1], **changes: object) -> Recipe:
    base = Recipe(model, ("a", "b", "c"), "y", (0.0, 1.0, 2.0), (1.0, 2.0, 0.5), max_weight=64)
    return dataclasses.replace(base, **changes)


def columns(rows: int, seed: int = 0, classes: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {name: rng.normal(1.0, 1.0, rows) for name in "abc"}
    return {**found, "y": rng.integers(0, classes, rows).astype(float)}


def starting(of: Recipe) -> Round:
    return rounds.first(of, bytes(16), models.initial(of.model, bytes(32)))


def job_of(current: Round, *statistics: str) -> Job:
    given = {"update": current.recipe.parameters, "gram": update.gram_of(current)}
    queries = tuple(Query(name, current.recipe.label, given.get(name, ())) for name in statistics)
    return Job("d", queries, 2, "", (current.name(),))


def encode(job: Job, current: Round, data: dict[str, np.ndarray], seed: int = 1, **site: object):
    return registry.encode_job(job, data, bytes([seed]) * 32, Site((current.encoded(),), **site))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradient_is_the_slope_of_the_loss(spec: ModelSpec) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20, 3))
    y = rng.normal(size=20) if spec.task == "regression" else rng.integers(0, max(2, spec.outputs), 20) * 1.0
    weights = models.initial(spec, b"s" * 32) + rng.normal(0, 0.1, models.size(spec))
    slope = models.gradient(spec, weights, x, y)
    for place in range(models.size(spec)):
        step = np.zeros_like(weights)
        step[place] = 1e-6
        rise = models.losses(spec, weights + step, x, y) - models.losses(spec, weights - step, x, y)
        assert slope[place] == pytest.approx(rise.mean() / 2e-6, abs=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_clipping_each_row_is_what_a_loop_over_rows_gives(spec: ModelSpec) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 3, size=(9, 3))
    y = np.zeros(9)
    weights = rng.normal(size=models.size(spec))
    single = [models.gradient(spec, weights, x[i : i + 1], y[i : i + 1]) for i in range(9)]
    lengths = [np.linalg.norm(one) for one in single]
    norm = float(np.median(lengths))
    expected = np.mean([one * min(1, norm / size) for one, size in zip(single, lengths, strict=True)], axis=0)
    assert np.allclose(models.gradient(spec, weights, x, y, norm), expected)
    assert min(lengths) < norm < max(lengths)


def test_rounds_over_sites_are_rounds_over_the_pooled_rows() -> None:
    """Weighted means of the sites' gradients through the field are the pooled gradient, to the grid."""
    parts = [columns(size, seed=size) for size in (5, 17, 40)]
    pooled = {name: np.concatenate([part[name] for part in parts]) for name in "abcy"}
    current = starting(recipe(momentum=0.5, rate=0.5))
    plain = current
    for _ in range(5):
        job = job_of(current, "update", "loss", "accuracy")
        total = np.zeros(registry.job_length(job), dtype=np.uint64)
        for seed, part in enumerate(parts):
            total = field.add(total, encode(job, current, part, seed))
        answers = registry.decode_job(job, total, 3)
        mean, n = update.mean_update(job.queries[0], total[: registry.length(job.queries[0])], 3)
        x, y = rounds.rows_of(current.recipe, pooled)
        assert n == answers[1].n == 62
        assert (answers[0].value == mean).all()
        assert answers[1].value == pytest.approx(models.losses(SPECS[1], current.weights, x, y).mean())
        right = models.correct(SPECS[1], current.weights, x, y)
        assert answers[2].value == pytest.approx(right / 62)
        current = rounds.advance(current, SESSION, mean)
        plain = rounds.advance(plain, SESSION, models.gradient(SPECS[1], plain.weights, x, y))
    assert np.abs(current.weights - plain.weights).max() < 1e-4
    assert current.number == 5


def test_local_epochs_move_towards_lower_loss_and_momentum_carries_on() -> None:
    data = columns(60, 7)
    data["y"] = (data["a"] > 1).astype(float)
    current = starting(recipe(method="local", epochs=3, batch=8, local_rate=0.3, momentum=0.3))
    x, y = rounds.rows_of(current.recipe, data)
    vector, weight = rounds.local_update(current, x, y, b"k" * 32)
    after = rounds.advance(current, SESSION, vector)
    assert weight == 60
    assert models.losses(SPECS[1], after.weights, x, y).mean() < 0.5 * np.log(2) * 1.5
    still = rounds.advance(after, SESSION, np.zeros_like(vector))
    assert np.allclose(after.weights - still.weights, 0.3 * after.velocity)


def test_a_round_survives_its_encoding_and_its_name_binds_every_bit() -> None:
    current = rounds.advance(starting(recipe()), SESSION, np.arange(4.0))
    again = rounds.decode(current.encoded())
    assert again.name() == current.name()
    assert (again.weights == current.weights).all()
    assert again.recipe == current.recipe
    other = dataclasses.replace(current, weights=np.nextafter(current.weights, 9))
    assert other.name() != current.name()


def test_least_squares_in_one_sum_is_numpys_solution() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 4))
    y = x @ [1.0, -2.0, 0.5, 3.0] + 7 + rng.normal(0, 0.1, 300)
    total = np.zeros(least_squares.length(4), dtype=np.uint64)
    for part in (slice(0, 10), slice(10, 100), slice(100, 300)):
        vector, clipped = least_squares.encode(x[part], y[part], 32.0, 256)
        assert clipped == 0
        total = field.add(total, vector)
    n, gram = least_squares.decode(total, 4, 32.0, 256)
    fit = least_squares.solve(n, gram)
    design = np.column_stack((np.ones(300), x))
    expected, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert n == fit.rows == 300
    assert fit.intercept == pytest.approx(expected[0], abs=1e-7)
    assert np.allclose(fit.coefficients, expected[1:], atol=1e-7)
    assert fit.loss == pytest.approx(residual[0] / 600, rel=1e-4)
    assert fit.r2 == pytest.approx(1 - residual[0] / ((y - y.mean()) ** 2).sum())
    ridged = least_squares.solve(n, gram, 0.5)
    centred, target = x - x.mean(0), y - y.mean()
    exact = np.linalg.solve(centred.T @ centred / 300 + 0.5 * np.eye(4), centred.T @ target / 300)
    assert np.allclose(ridged.coefficients, exact, atol=1e-6)


def test_columns_that_depend_on_each_other_have_a_solution_all_the_same() -> None:
    x = np.random.default_rng(6).normal(size=(50, 1)) @ np.ones((1, 3))
    vector, _ = least_squares.encode(x, x[:, 0] * 3, 32.0, 64)
    fit = least_squares.solve(*least_squares.decode(vector, 3, 32.0, 64))
    assert np.allclose(fit.coefficients, 1.0, atol=1e-4)


# -- bad input: each with its code, no value of a row in its text ----------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"a": np.zeros(0), "b": np.zeros(0), "c": np.zeros(0), "y": np.zeros(0)}, "C-642"),
        ({"a": np.zeros(4)}, "C-642"),
        ({"b": np.array([1.0, np.nan, 1, 1, 1, 1])}, "C-642"),
        ({"c": np.array([1.0, np.inf, 1, 1, 1, 1])}, "C-642"),
        ({"y": np.array([0.0, 1, 2, 0, 1, 0])}, "C-643"),
        ({"y": np.array([0.0, 0.5, 1, 0, 1, 0])}, "C-643"),
    ],
)
def test_rows_that_cannot_be_trained_on(change: dict[str, np.ndarray], code: str) -> None:
    current = starting(recipe())
    with pytest.raises(ConfigError) as caught:
        encode(job_of(current, "update"), current, columns(6) | change)
    assert caught.value.code == code
    assert caught.value.fix


def test_one_class_only_is_told_to_the_owner_and_goes_on() -> None:
    current = starting(recipe())
    site = Site((current.encoded(),))
    data = columns(9) | {"y": np.ones(9)}
    registry.encode_job(job_of(current, "update"), data, b"s" * 32, site)
    assert "one class only" in site.notes[0]


def test_values_beyond_the_clip_are_cut_counted_and_never_wrap() -> None:
    model = SPECS[0]
    current = starting(recipe(model, clip=0.5))
    data = columns(8) | {"y": np.full(8, 1e9)}
    site = Site((current.encoded(),))
    job = job_of(current, "update")
    vector = registry.encode_job(job, data, b"s" * 32, site)
    mean, weight = update.mean_update(job.queries[0], vector, 1)
    assert weight == 8
    assert np.abs(mean).max() <= 0.5 + 1e-4
    assert site.notes == ["4 of 4 values were cut to the clip 0.5"]


def test_a_diverged_model_is_refused_at_the_site_and_at_the_rule() -> None:
    spec = SPECS[0]
    current = starting(recipe(spec, method="local", epochs=1000, local_rate=1e6))
    x, y = rounds.rows_of(current.recipe, columns(9))
    with pytest.raises(ConfigError) as caught, np.errstate(all="ignore"):
        rounds.local_update(current, x, y, b"s" * 32)
    assert caught.value.code == "C-644"
    with pytest.raises(ConfigError) as caught, np.errstate(all="ignore"):
        rounds.advance(dataclasses.replace(current, weights=np.full(4, 1e308)), SESSION, np.full(4, -1e308))
    assert caught.value.code == "C-644"


@pytest.mark.parametrize(
    ("vector", "weight", "code"),
    [
        ([1.0, 2.0], 3, "C-645"),
        ([1.0, 2.0, 3.0], 0, "C-645"),
        ([1.0, 2.0, 3.0], 1.5, "C-645"),
        ([1.0, np.nan, 3.0], 3, "C-644"),
        (None, 1, "C-645"),
    ],
)
def test_what_a_plug_in_may_not_give(vector: object, weight: int, code: str) -> None:
    model = ModelSpec("plugin", "regression", 3, 3)
    current = rounds.first(recipe(model, plugin="own"), bytes(16), np.zeros(3))
    with pytest.raises(ConfigError) as caught:
        encode(
            job_of(current, "update"), current, columns(5), plugin=lambda name: lambda w, r: (vector, weight)
        )
    assert caught.value.code == code


def test_a_plug_in_sees_weights_and_raw_rows_and_its_vector_is_summed() -> None:
    model = ModelSpec("plugin", "regression", 3, 2)
    current = rounds.first(recipe(model, plugin="own", max_weight=100), bytes(16), np.array([1.0, 2.0]))
    data = columns(5)

    def own(weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, int]:
        assert np.allclose(rows, np.column_stack([data[name] for name in "abcy"]))
        return weights + 1, 7

    job = job_of(current, "update")
    vector = encode(job, current, data, plugin=lambda name: own)
    mean, weight = update.mean_update(job.queries[0], vector, 1)
    assert weight == 7
    assert np.allclose(mean, [2.0, 3.0], atol=1e-3)
    with pytest.raises(ConfigError) as caught:
        encode(job, current, data)
    assert caught.value.code == "C-645"


def test_a_model_that_does_not_match_the_job() -> None:
    current, other = starting(recipe()), starting(recipe(rate=0.25))
    job = job_of(current, "update")
    for blobs in ((other.encoded(),), (), (b"junk",)):
        with pytest.raises(ConfigError) as caught:
            registry.encode_job(job, columns(5), b"s" * 32, Site(blobs))
        assert caught.value.code == "C-646"
    named = dataclasses.replace(job, inputs=(rounds.blob_name(b"junk"),))
    with pytest.raises(ConfigError) as caught:
        registry.encode_job(named, columns(5), b"s" * 32, Site((b"junk",)))
    assert caught.value.code == "C-640"
    for query in (
        Query("update", "a", current.recipe.parameters),
        Query("update", "y", (4.0, 1.0, 24.0, 64.0, 0.0)),
    ):
        with pytest.raises(ConfigError) as caught:
            registry.encode_job(dataclasses.replace(job, queries=(query,)), columns(5), b"s" * 32,
                                Site((current.encoded(),)))  # fmt: skip
        assert caught.value.code == "C-640"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"means": (0.0,)}, "C-640"),
        ({"features": ("a", "a", "b")}, "C-649"),
        ({"features": ("a", "b", "y")}, "C-649"),
        ({"scales": (1.0, 0.0, 1.0)}, "C-649"),
        ({"rate": float("nan")}, "C-649"),
        ({"momentum": 1.0}, "C-649"),
        ({"noise": 5}, "C-649"),
        ({"unit": "row", "noise": 5, "method": "local"}, "C-649"),
        ({"unit": "site", "noise": 5}, "C-649"),
        ({"model": ModelSpec("mlp", "classification", 3)}, "C-640"),
        ({"model": ModelSpec("logistic", "regression", 3)}, "C-640"),
        ({"model": ModelSpec("logistic", "classification", 3, 2)}, "C-640"),
    ],
)
def test_recipes_that_make_no_sense(change: dict[str, object], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rounds.check_recipe(recipe(**change))
    assert caught.value.code == code


def test_weights_of_another_model_start_no_run() -> None:
    for weights in (np.zeros(5), np.array([1.0, np.inf, 0, 0])):
        with pytest.raises(ConfigError) as caught:
            rounds.first(recipe(), bytes(16), weights)
        assert caught.value.code == "C-640"


def test_totals_that_no_honest_sites_make() -> None:
    current = starting(recipe())
    job = job_of(current, "update")
    good = encode(job, current, columns(5))
    for place, value in ((0, 0), (0, 65), (1, 1 << 40)):
        bad = good.copy()
        bad[place] = value
        with pytest.raises(UnattributableFault) as caught:
            registry.decode_job(job, bad, 1)
        assert caught.value.code == "C-633"
