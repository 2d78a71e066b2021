"""The sampler: table against an independent computation, moments, chi-square, bounds. Fixed seeds."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from protocols.arithmetic import gaussian
from protocols.arithmetic.xof import Xof

COUNT = 1 << 20


def probabilities() -> np.ndarray:
    x = np.arange(-gaussian.TAIL, gaussian.TAIL + 1)
    weight = np.exp(-(x**2) / (2 * gaussian.SIGMA**2))
    return weight / weight.sum()


def samples(name: bytes = b"one") -> np.ndarray:
    return gaussian.sample(Xof(b"\x07" * 32, "test-gaussian", name), COUNT)


def exponential(exponent: Fraction) -> Fraction:
    """exp of a negative rational: Taylor's series of exp(exponent / 2^10), squared ten times."""
    precision = 1 << 400
    value, term = Fraction(1), Fraction(1)
    reduced = exponent / 1024
    for i in range(1, 60):
        term = Fraction(int(term * reduced / i * precision), precision)
        value += term
    for _ in range(10):
        value = Fraction(int(value * value * precision), precision)
    return value


def test_table_equals_an_independent_rational_computation():
    scale = 2 * Fraction(64, 10) ** 2
    weights = [exponential(Fraction(-m * m) / scale) for m in range(100)]
    mass = weights[0] + 2 * sum(weights[1:])
    reached = -weights[0]
    for weight, entry in zip(weights, gaussian.cumulative_table(), strict=False):
        reached += 2 * weight
        assert int(reached / mass * 2**63) == int(entry)


def test_probability_beyond_the_table_is_negligible():
    beyond = 2 * sum(math.exp(-(x * x) / (2 * 6.4**2)) for x in range(gaussian.TAIL + 1, 200))
    mass = sum(math.exp(-(x * x) / (2 * 6.4**2)) for x in range(-200, 200))
    assert beyond / mass < 2.0**-62
    assert np.abs(samples()).max() <= gaussian.TAIL


def test_moments():
    x = samples().astype(np.float64)
    assert abs(x.mean()) < 5 * gaussian.SIGMA / math.sqrt(COUNT)
    assert abs(x.var() / gaussian.SIGMA**2 - 1) < 5 * math.sqrt(2 / COUNT)
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 5 / math.sqrt(COUNT)


def test_chi_square_against_the_exact_distribution():
    counts = np.bincount(samples().astype(np.int64) + gaussian.TAIL, minlength=2 * gaussian.TAIL + 1)
    expected = probabilities() * COUNT
    common = expected >= 20
    statistic = float((((counts - expected) ** 2) / np.where(common, expected, 1))[common].sum())
    freedom = int(common.sum()) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)
    rare = counts[~common].sum()
    assert abs(rare - expected[~common].sum()) < 5 * math.sqrt(expected[~common].sum() + 1)


def test_chi_square_notices_a_wrong_width():
    """The test above has teeth. A width off by r adds 2 r^2 COUNT to the statistic: 840 for 2 %, with a
    deviation of 60, where the test above allows 50 and this one demands 200."""
    counts = np.bincount(samples().astype(np.int64) + gaussian.TAIL, minlength=2 * gaussian.TAIL + 1)
    x = np.arange(-gaussian.TAIL, gaussian.TAIL + 1)
    weight = np.exp(-(x**2) / (2 * (1.02 * gaussian.SIGMA) ** 2))
    expected = weight / weight.sum() * COUNT
    common = expected >= 20
    statistic = float((((counts - expected) ** 2) / np.where(common, expected, 1))[common].sum())
    assert statistic > common.sum() + 20 * math.sqrt(2 * common.sum())


def test_stream_does_not_depend_on_how_it_is_cut():
    seed = b"\x01" * 32
    once = gaussian.sample(Xof(seed, "cut"), 100_000)
    xof = Xof(seed, "cut")
    pieces = np.concatenate([gaussian.sample(xof, count) for count in (1, 999, 50_000, 49_000)])
    np.testing.assert_array_equal(once, pieces)


def test_every_sample_visits_every_entry():
    """Extreme words take the path of all others: the result is right at both ends of the table."""
    words = np.array([0, 1, 2**64 - 1, 2**64 - 2], dtype=np.uint64)
    out = np.empty(4, dtype=np.int8)
    gaussian._invert(words, out, np.empty(4, dtype=np.bool_))
    assert out.tolist() == [0, 0, -gaussian.TAIL, gaussian.TAIL]
