"""Quantisation: bounds that are stated hold, weights are exact, bad input is counted and refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.masking.quantise import Quantiser


def stream(number: int = 0) -> Xof:
    return Xof(number.to_bytes(32, "big"), "quantise")


def sums_of(quantiser, vectors, weights):
    parts = [
        quantiser.quantise(vector, weight, stream(number)).values.astype(np.int64)
        for number, (vector, weight) in enumerate(zip(vectors, weights, strict=True))
    ]
    return np.sum(parts, axis=0)


@settings(max_examples=50, deadline=None)
@given(
    clip=st.floats(1e-6, 1e6),
    bits=st.integers(2, 24),
    sites=st.integers(1, 12),
    max_weight=st.integers(1, 2**40),
    seed=st.integers(0, 2**32),
)
def test_weighted_mean_is_within_the_stated_bound(clip, bits, sites, max_weight, seed):
    rng = np.random.default_rng(seed)
    quantiser = Quantiser(clip, bits, max_weight)
    vectors = [rng.uniform(-clip, clip, size=50) for _ in range(sites)]
    vectors[0][:3] = [clip, -clip, 0.0]
    weights = [int(w) for w in rng.integers(1, max_weight, size=sites, endpoint=True)]
    sums = sums_of(quantiser, vectors, weights)
    exact = sum(w * v for w, v in zip(weights, vectors, strict=True)) / sum(weights)
    allowed = quantiser.worst_error(sites, sum(weights))
    assert np.abs(quantiser.mean(sums, sum(weights)) - exact).max() <= allowed * (1 + 1e-6) + 1e-12 * clip
    assert quantiser.likely_error(sites, sum(weights)) <= allowed


def test_likely_bound_holds_and_is_much_tighter_for_many_sites():
    quantiser = Quantiser(1.0, 16)
    sites = 1000
    vectors = np.random.default_rng(2).uniform(-1, 1, size=(sites, 400))
    error = np.abs(
        quantiser.mean(sums_of(quantiser, vectors, [1] * sites), sites) - vectors.mean(axis=0)
    ).max()
    assert error <= quantiser.likely_error(sites, sites) < quantiser.worst_error(sites, sites) / 8


def test_rounding_is_unbiased():
    """One value between two steps, 2^18 times: the mean is off by less than 5 deviations."""
    quantiser = Quantiser(1.0, 16)
    for fraction in (0.25, 0.5, 0.9):
        vector = np.full(1 << 18, (100 + fraction) * quantiser.unit)
        sent = quantiser.quantise(vector, 1, stream()).values
        assert set(sent.tolist()) == {100, 101}
        deviation = math.sqrt(fraction * (1 - fraction) / vector.size)
        assert abs(sent.mean() - 100 - fraction) < 5 * deviation


def test_values_on_the_grid_have_an_exact_weighted_mean():
    quantiser = Quantiser(32767.0, 16)
    vectors = np.random.default_rng(3).integers(-32767, 32768, size=(5, 100)).astype(np.float64)
    sums = sums_of(quantiser, vectors, [1] * 5)
    np.testing.assert_array_equal(quantiser.weighted_sum(sums), vectors.sum(axis=0))
    weighted, weights = Quantiser((2**23 - 1) / 128, 24, max_weight=128), [128, 3, 50, 1, 77]
    assert weighted.unit == 1.0
    vectors = np.random.default_rng(4).integers(-65535, 65536, size=(5, 100)).astype(np.float64)
    mean = np.array(weights) @ vectors / sum(weights)
    np.testing.assert_array_equal(weighted.mean(sums_of(weighted, vectors, weights), sum(weights)), mean)


def test_extremes_stay_on_the_grid_of_every_width():
    for bits in range(2, 25):
        quantiser = Quantiser(0.1, bits, max_weight=7)
        for number in range(20):
            sent = quantiser.quantise(np.array([0.1, -0.1, 5.0, -5.0]), 7, stream(number)).values
            largest = (1 << (bits - 1)) - 1
            assert sent.tolist() == [largest, -largest, largest, -largest]


def test_clipped_values_are_counted():
    quantiser = Quantiser(1.0, 16)
    values = np.array([0.5, 1.5, -2.0, 1.0, -1.0, 1e300])
    quantised = quantiser.quantise(values, 1, stream())
    assert quantised.clipped == 3
    assert values[1] == 1.5
    np.testing.assert_allclose(quantised.values * quantiser.unit, [0.5, 1, -1, 1, -1, 1], atol=quantiser.unit)


def test_nan_and_infinity_are_refused_with_count_and_position():
    values = np.zeros(100_000)
    values[[70_000, 80_000]] = [np.nan, np.inf]
    with pytest.raises(LocalMisuse, match=r"2 of 100000 values .* position 70000"):
        Quantiser(1.0, 16).quantise(values, 1, stream())


def test_single_precision_and_slices_give_the_same_stream_of_rounding():
    quantiser = Quantiser(1.0, 16)
    values = np.random.default_rng(5).uniform(-1, 1, size=150_000).astype(np.float32)
    once = quantiser.quantise(values, 1, stream()).values
    xof = stream()
    halves = [quantiser.quantise(part, 1, xof).values for part in (values[:1000], values[1000:])]
    np.testing.assert_array_equal(once, np.concatenate(halves))


@pytest.mark.parametrize("weight", [0, -1, 11])
def test_weights_that_cannot_be_sent(weight):
    with pytest.raises(LocalMisuse) as caught:
        Quantiser(1.0, 16, max_weight=10).quantise(np.zeros(3), weight, stream())
    assert "without rows" in caught.value.fix


def test_misuse_is_refused():
    for clip in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(LocalMisuse):
            Quantiser(clip, 16)
    for bits in (1, 25):
        with pytest.raises(LocalMisuse):
            Quantiser(1.0, bits)
    for weight in (0, 2**40 + 1):
        with pytest.raises(LocalMisuse):
            Quantiser(1.0, 16, weight)
    with pytest.raises(LocalMisuse):
        Quantiser(1.0, 16).quantise(np.zeros(3, dtype=np.int32), 1, stream())
    with pytest.raises(LocalMisuse, match="sum to zero"):
        Quantiser(1.0, 16).mean(np.zeros(5, dtype=np.int64), 0)


def test_quantised_values_are_not_shown():
    quantised = Quantiser(1.0, 16).quantise(np.full(3, 0.625), 1, stream())
    assert repr(quantised) == "Quantised(3 values, redacted)"
