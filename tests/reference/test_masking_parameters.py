"""The table against the formulas of the design, and the choice of a set."""

from __future__ import annotations

import math

import pytest

from protocols.arithmetic import gaussian, ring
from protocols.errors import LocalMisuse
from protocols.masking.parameters import B16_N10, B16_N10_TWO_SLOTS, B16_N14, B16_N20, B24_N14, TABLE, choose

each_set = pytest.mark.parametrize("parameters", TABLE, ids=lambda parameters: parameters.name)


def test_rows_are_those_of_the_design():
    rows = [(p.value_bits, p.devices_log2, p.slots, p.degree, p.modulus_bits, p.sent_bits) for p in TABLE]
    assert rows == [
        (16, 10, 2, 4096, 66, 60),
        (16, 10, 1, 2048, 40, 34),
        (16, 14, 1, 2048, 46, 40),
        (16, 20, 1, 2048, 54, 49),
        (24, 14, 1, 2048, 54, 48),
    ]
    assert [round(p.over_float32, 2) for p in TABLE] == [0.94, 1.06, 1.25, 1.53, 1.50]
    assert [(p.he_standard, p.core_svp) for p in TABLE] == [
        (233, 200),
        (191, 160),
        (163, 131),
        (135, 104),
        (135, 104),
    ]


@each_set
def test_sent_bits_follow_the_formula(parameters):
    spread = math.log2(8 * 0.31 * math.sqrt(parameters.devices))
    assert parameters.sent_bits == math.ceil(parameters.slots * parameters.slot_bits + 1 + spread)


@each_set
def test_noise_stays_below_the_decoding_bound_for_any_number_of_devices(parameters):
    """Worst at the largest number: 10 deviations and the rounding lie inside, and more than 11 are left."""
    largest = parameters.devices
    assert parameters.noise_bound(largest) < parameters.decoding_bound
    assert parameters.decoding_bound / parameters.noise_deviation(largest) > 11
    assert all(
        parameters.noise_bound(1 << i) <= parameters.noise_bound(largest)
        for i in range(parameters.devices_log2)
    )
    escapes = 1 - parameters.noise_bound(largest) / parameters.decoding_bound
    assert escapes > 0.12


@each_set
def test_a_wrong_key_within_bounds_cannot_look_like_a_value(parameters):
    """No power of two that divides a difference of two legal key sums reaches 2^(d+g)."""
    assert 2 * parameters.key_bound(parameters.devices) < 1 << (
        parameters.dropped_bits + parameters.scale_bits
    )


@each_set
def test_products_with_any_key_are_proven_exact(parameters):
    worst = gaussian.TAIL * math.sqrt(parameters.degree)
    assert ring.error_bound(parameters.degree, parameters.limb_bits, worst) < ring.MAX_ERROR
    assert parameters.dropped_bits <= parameters.limb_bits


def test_sum_of_keys_fits_the_field():
    assert (1 << 20) * gaussian.TAIL < (1 << 61) // 2


def test_choice_is_the_smallest_upload_that_holds_the_values():
    assert choose(1_000_000, 16, 1000).parameters is B16_N10_TWO_SLOTS
    assert choose(1_000_000, 8, 1024).parameters is B16_N10_TWO_SLOTS
    assert choose(10_000, 16, 1024).parameters is B16_N10
    assert choose(1_000_000, 16, 1025).parameters is B16_N14
    assert choose(1_000_000, 16, 1 << 20).parameters is B16_N20
    assert choose(1_000_000, 24, 100).parameters is B24_N14


def test_short_vectors_are_dealt_directly():
    assert choose(100, 16, 1000).parameters is None
    assert choose(2000, 16, 1000).parameters is None
    assert choose(2500, 16, 1000).parameters is B16_N10
    assert choose(8000, 40, 1000).parameters is None


def test_choice_is_shown():
    choice = choose(1_000_000, 16, 100)
    assert "two slots" in choice.reason
    assert f"{choice.upload_bytes:,}" in choice.reason
    assert "200 (core-SVP)" in choice.reason
    assert "dealt directly" in choose(5, 16, 100).reason


def test_what_no_set_holds_is_refused_with_a_way_out():
    for length, bits, devices in (
        (1_000_000, 25, 10),
        (1_000_000, 24, 1 << 15),
        (1_000_000, 16, (1 << 20) + 1),
    ):
        with pytest.raises(LocalMisuse) as caught:
            choose(length, bits, devices)
        assert "at most" in caught.value.fix
    with pytest.raises(LocalMisuse):
        choose(0, 16, 10)
