"""Negacyclic products against schoolbook multiplication with Python integers, up to the proven bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic import ring
from protocols.errors import LocalMisuse

MASKING_RINGS = [(2048, 20), (2048, 23), (2048, 27), (4096, 22)]


def schoolbook(a: list[int], s: list[int]) -> list[int]:
    degree = len(a)
    result = [0] * degree
    for i, left in enumerate(a):
        for j, right in enumerate(s):
            sign = 1 if i + j < degree else -1
            result[(i + j) % degree] += sign * left * right
    return result


def whole(limbs: np.ndarray, limb_bits: int) -> list[int]:
    return [
        sum(int(limb[j]) << (limb_bits * i) for i, limb in enumerate(limbs)) for j in range(limbs.shape[1])
    ]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_product_high_equals_schoolbook(data):
    degree = data.draw(st.sampled_from([4, 8, 32, 64]))
    limb_bits = data.draw(st.integers(18, 27))
    count = data.draw(st.integers(1, 3))
    dropped = data.draw(st.integers(0, min(8, limb_bits)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    half = 1 << (limb_bits - 1)
    limbs = rng.integers(-half, half, size=(count, 2, degree), dtype=np.int64).astype(np.int32)
    s = rng.integers(-(2 ** data.draw(st.integers(1, 29))), 2**29, size=degree)
    addend = rng.integers(-1000, 1000, size=(2, degree))
    high = ring.product_high(limbs, ring.factor(s, limb_bits), dropped, addend)
    for block in range(2):
        exact = schoolbook(whole(limbs[:, block], limb_bits), s.tolist())
        expected = [
            ((value + int(more)) >> dropped) % 2**64 for value, more in zip(exact, addend[block], strict=True)
        ]
        assert high[block].tolist() == expected


@pytest.mark.parametrize(("degree", "limb_bits"), MASKING_RINGS)
def test_worst_case_secret_is_within_the_proven_bound(degree, limb_bits):
    """All coefficients at their extremes: the largest norms there are, checked exactly by their structure."""
    low = -(1 << (limb_bits - 1))
    limb = np.full((1, degree), low, dtype=np.int32)
    s = np.full(degree, 58)
    expected = low * 58 * (2 * np.arange(1, degree + 1) - degree)
    np.testing.assert_array_equal(ring.product(limb, ring.factor(s, limb_bits))[0], expected)


@pytest.mark.parametrize(("degree", "limb_bits"), MASKING_RINGS)
def test_random_products_are_ring_homomorphic(degree, limb_bits):
    """Single coefficients are checked against Python integers, the rest by linearity in s."""
    rng = np.random.default_rng(degree + limb_bits)
    half = 1 << (limb_bits - 1)
    limb = rng.integers(-half, half, size=(3, degree), dtype=np.int64).astype(np.int32)
    small, large = rng.integers(-58, 59, size=degree), rng.integers(-(2**16), 2**16, size=degree)
    left = ring.product(limb, ring.factor(small, limb_bits))
    right = ring.product(limb, ring.factor(large, limb_bits))
    both = ring.product(limb, ring.factor(small + large, limb_bits))
    np.testing.assert_array_equal(left + right, both)
    for position in (0, 1, degree // 2, degree - 1):
        exact = sum(
            int(limb[0, j]) * int(large[(position - j) % degree]) * (1 if j <= position else -1)
            for j in range(degree)
        )
        assert int(right[0, position]) == exact


def test_factor_is_cut_into_digits_only_when_the_norm_demands_it():
    assert len(ring.factor(np.full(2048, 58), 27).spectra) == 1
    assert len(ring.factor(np.full(2048, 12 * 6 * 1024), 27).spectra) > 1


def test_the_bound_refuses_what_it_cannot_prove():
    with pytest.raises(LocalMisuse, match="too wide"):
        ring.factor(np.full(8, 2), 58)
    with pytest.raises(LocalMisuse, match="power of two"):
        ring.factor(np.ones(12, dtype=np.int64), 20)
    with pytest.raises(LocalMisuse, match="leave 63 bits"):
        ring.factor(np.full(8, 1 << 32), 20)
    with pytest.raises(LocalMisuse, match="do not match"):
        ring.product(np.zeros((1, 8), dtype=np.int32), ring.factor(np.ones(4, dtype=np.int64), 20))
    with pytest.raises(LocalMisuse, match="drop"):
        ring.product_high(np.zeros((1, 1, 4), np.int32), ring.factor(np.ones(4, dtype=np.int64), 20), 21, 0)


def test_a_prepared_secret_is_not_shown():
    assert "complex" not in repr(ring.factor(np.ones(8, dtype=np.int64), 20))
