"""Statistics over split columns equal the plaintext over the joined column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic import field
from protocols.errors import ConfigError, LocalMisuse, UnattributableFault
from protocols.statistics import exact, limbs, names, registry
from protocols.statistics.statistic import Answer


@dataclass(frozen=True)
class Query:
    statistic: str
    column: str = "x"
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class Job:
    queries: tuple[Query, ...]


def run(job: Job, sites: list[np.ndarray]) -> tuple[Answer, ...]:
    """Encode each site, add in the field, decode."""
    total = np.zeros(registry.job_length(job), dtype=np.uint64)
    for number, values in enumerate(sites):
        vector = registry.encode_job(job, {"x": values}, bytes([number % 256] * 32))
        assert vector.dtype == np.uint64
        assert vector.shape == total.shape
        assert (vector < field.P).all()
        total = field.add(total, vector)
    return registry.decode_job(job, total, len(sites))


ALL = Job(
    (
        Query("count"),
        Query("sum"),
        Query("mean"),
        Query("variance"),
        Query("variance", parameters=(0.0,)),
        Query("stddev"),
    )
)


@pytest.mark.parametrize(
    ("mean", "spread"),
    [(0.0, 1.0), (1000.0, 1e-3), (-1e9, 1e-2), (1e-12, 1e-13), (1e15, 1e14), (-3e-20, 1e-20), (4e18, 1e16)],
)
def test_moments_equal_the_exact_plaintext(mean: float, spread: float) -> None:
    values = np.random.default_rng(5).normal(mean, spread, 1001)
    rows = [Fraction(float(value)) for value in values]
    n = len(rows)
    true_mean = sum(rows) / n
    true_square = sum((row - true_mean) ** 2 for row in rows)
    answers = [answer.value for answer in run(ALL, np.array_split(values, 5))]
    expected = [n, sum(rows), true_mean, true_square / (n - 1), true_square / n]
    for value, true in zip(answers, expected, strict=False):
        assert value == pytest.approx(float(true), rel=1e-9)
    assert answers[5] == pytest.approx(math.sqrt(true_square / (n - 1)), rel=1e-9)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (1000.0, 1e-3), (14.1, 3.5), (1e6, 1e5)])
def test_moments_equal_numpy(mean: float, spread: float) -> None:
    values = np.random.default_rng(6).normal(mean, spread, 569)
    _, sum_, mean_, sample, population, deviation = (a.value for a in run(ALL, np.array_split(values, 4)))
    centred = values - values.mean()
    assert sum_ == pytest.approx(math.fsum(values), rel=1e-12)
    assert mean_ == pytest.approx(values.mean(), rel=1e-6)
    assert sample == pytest.approx(centred.var(ddof=1), rel=1e-6)
    assert population == pytest.approx(centred.var(), rel=1e-6)
    assert deviation == pytest.approx(centred.std(ddof=1), rel=1e-6)


magnitudes = st.floats(-(2.0**62), 2.0**62, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(magnitudes, max_size=8), min_size=1, max_size=5))
def test_sums_are_exact_on_the_grid(sites: list[list[float]]) -> None:
    columns = [np.array(site, dtype=np.float64) for site in sites]
    on_grid = [round(Fraction(x) * 2**96) for site in sites for x in site]
    assert sum(exact.exact_sum(column) for column in columns) == sum(on_grid)
    assert sum(exact.exact_squares(column) for column in columns) == sum(x * x for x in on_grid)
    n, total, mean, *_ = run(ALL, columns)
    assert n.value == len(on_grid)
    assert total.value == float(Fraction(sum(on_grid), 2**96))
    if on_grid:
        assert mean.value == float(Fraction(sum(on_grid), 2**96 * len(on_grid)))


def test_sums_are_exact_over_several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(3.0, 1e4, 1000)
    whole = exact.exact_sum(values), exact.exact_squares(values)
    monkeypatch.setattr(exact, "_CHUNK", 7)
    assert (exact.exact_sum(values), exact.exact_squares(values)) == whole


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-50, 150), min_size=0, max_size=40),
    st.lists(st.integers(-20, 120), min_size=2, max_size=12, unique=True),
)
def test_histogram_equals_numpy(values: list[float], edges: list[int]) -> None:
    edges = sorted(edges)
    column = np.array(values + [float(edge) for edge in edges])
    query = Query("histogram", parameters=tuple(float(edge) for edge in edges))
    (answer,) = run(Job((query,)), np.array_split(column, 3))
    assert list(answer.value) == np.histogram(column, bins=edges)[0].tolist()
    assert answer.under == int((column < edges[0]).sum())
    assert answer.over == int((column > edges[-1]).sum())
    assert answer.n == len(column)
    assert answer.edges == query.parameters


def test_a_site_without_rows_changes_nothing() -> None:
    values = np.array([1.5, 2.5, 4.0])
    assert [a.value for a in run(ALL, [values])] == [a.value for a in run(ALL, [values, np.zeros(0)])]


def test_undefined_answers_say_why() -> None:
    nothing = run(ALL, [np.zeros(0)])
    assert [a.value for a in nothing] == [0, 0.0, None, None, None, None]
    assert all(a.note == "no rows" for a in nothing[2:])
    one = run(ALL, [np.array([2.0])])
    assert one[3].value is None
    assert "one row" in one[3].note
    assert one[4].value == 0.0


@pytest.mark.parametrize(
    ("bad", "words"), [(math.nan, "finite"), (math.inf, "finite"), (-math.inf, "finite"), (5e18, "too large")]
)
@pytest.mark.parametrize("query", [*ALL.queries, Query("histogram", parameters=(0.0, 1.0))])
def test_bad_values_are_refused_with_their_row(query: Query, bad: float, words: str) -> None:
    values = np.array([1.0, 2.0, bad, 4.0, bad])
    with pytest.raises(ConfigError, match=f"row 3, column 'x'.*{words}") as caught:
        registry.encode_job(Job((query,)), {"x": values}, bytes(32))
    assert caught.value.code == "C-632"
    assert "5e+18" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (Query("mode"), "C-630"),
        (Query("mean", parameters=(1.0,)), "C-631"),
        (Query("variance", parameters=(2.0,)), "C-631"),
        (Query("histogram"), "C-631"),
        (Query("histogram", parameters=(1.0,)), "C-631"),
        (Query("histogram", parameters=(1.0, 1.0)), "C-631"),
        (Query("histogram", parameters=(1.0, math.inf)), "C-631"),
        (Query("histogram", parameters=tuple(map(float, range(1026)))), "C-631"),
    ],
)
def test_bad_queries_are_refused(query: Query, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.length(query)
    assert caught.value.code == code
    assert caught.value.fix


def test_unknown_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="no column 'y'") as caught:
        registry.encode_job(Job((Query("mean", "y"),)), {"x": np.zeros(3)}, bytes(32))
    assert caught.value.code == "C-610"


def test_length_is_known_before_data() -> None:
    for name in sorted(set(names.NAMES) - names.OF_MODEL - names.PROGRAMS):
        parameters = (0.0, 1.0, 2.0) if name == "histogram" else ()
        query = Query(name, "x", parameters)
        for values in (np.zeros(0), np.arange(5.0), np.full(9, 1e18)):
            assert len(registry.encode_job(Job((query,)), {"x": values}, bytes(32))) == registry.length(query)
    assert registry.length(Query("beacon")) == 4


def test_beacon_is_four_uniform_elements_of_the_seed() -> None:
    job = Job((Query("beacon", ""),))
    one, two = (registry.encode_job(job, {}, bytes([seed]) * 32) for seed in (1, 2))
    assert one.shape == (4,)
    assert (one != two).all()
    with pytest.raises(LocalMisuse):
        registry.decode_job(job, one, 1)


def test_totals_that_nobody_honest_makes_are_refused() -> None:
    job = Job((Query("variance"),))
    good = registry.encode_job(job, {"x": np.array([3.0, 4.0])}, bytes(32))
    squares = registry.encode_job(job, {"x": np.array([0.0, 0.0])}, bytes(32))
    n_changed = good.copy()
    n_changed[0] = 1
    mixed = np.concatenate((good[:25], squares[25:]))
    wild = field.add(good, np.uint64(1 << 59))
    rows = good.copy()
    rows[0] = field.P - 1
    for total in (n_changed, mixed, wild, rows):
        with pytest.raises(UnattributableFault) as caught:
            registry.decode_job(job, total, 1)
        assert caught.value.code == "C-633"
    with pytest.raises(LocalMisuse):
        registry.decode_job(job, good[:-1], 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**191), 2**191 - 1), min_size=1, max_size=6), st.binary(min_size=31, max_size=31)
)
def test_limbs_add_to_the_total(values: list[int], seed: bytes) -> None:
    total = np.zeros(24, dtype=np.uint64)
    for number, value in enumerate(values):
        total = field.add(total, limbs.encode(value, 24, registry.Xof(seed + bytes([number]), "test")))
    assert limbs.decode(total, len(values)) == sum(values)


def test_limbs_hold_for_the_largest_mesh() -> None:
    for value in (2**191 - 1, -(2**191), 0, -1):
        vector = limbs.encode(value, 24, registry.Xof(bytes(32), "test"))
        total = field.mul(vector, np.uint64(limbs.MAX_SITES))
        assert limbs.decode(total, limbs.MAX_SITES) == value * limbs.MAX_SITES
    with pytest.raises(LocalMisuse):
        limbs.encode(2**191, 24, registry.Xof(bytes(32), "test"))
    with pytest.raises(LocalMisuse):
        limbs.decode(total, limbs.MAX_SITES + 1)


def test_limb_sums_hide_carries() -> None:
    """Two splits of one total, one with a carry out of the lowest limb and one without, look alike."""
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    for trial in range(200):
        for carries, (one, two) in ((True, (255, 255)), (False, (510, 0))):
            vectors = [
                limbs.encode(value, 4, registry.Xof(bytes([site]) + trial.to_bytes(31, "big"), "test"))
                for site, value in enumerate((one, two))
            ]
            total = field.to_signed(field.add(*vectors))
            assert int(total[0]) % 256 == 510 % 256
            seen[carries].add(int(total[0]) >> 8)
    for values in seen.values():
        assert len(values) == 200  # plain limbs would show 1 with the carry and 0 without
        assert max(values) > 2**38
