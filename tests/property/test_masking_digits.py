"""Keys as digits of field elements: sums come out exactly up to the bound, and damage does not hide."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import LocalMisuse
from protocols.masking import digits
from protocols.masking.parameters import TABLE

each_set = pytest.mark.parametrize("parameters", TABLE, ids=lambda parameters: parameters.name)


@each_set
def test_digits_are_wide_enough_for_every_honest_sum_and_fit_an_element(parameters):
    assert parameters.key_bound(parameters.devices) < 1 << (parameters.key_digit_bits - 1)
    assert parameters.key_digits * parameters.key_digit_bits <= 60
    assert parameters.key_elements * parameters.key_digits >= parameters.degree


@each_set
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_of_one_sign_carry_nothing_over(parameters, sign):
    largest = np.full(parameters.degree, sign * ((1 << (parameters.key_digit_bits - 1)) - 1))
    np.testing.assert_array_equal(digits.unfold(digits.fold(largest, parameters), parameters), largest)


@each_set
def test_the_element_of_a_sum_is_the_sum_of_the_elements(parameters):
    rng = np.random.default_rng(3)
    keys = rng.integers(-77, 78, size=(40, parameters.degree))
    elements = field.total(np.stack([digits.fold(key, parameters) for key in keys]))
    np.testing.assert_array_equal(digits.unfold(elements, parameters), keys.sum(axis=0))
    np.testing.assert_array_equal(elements, digits.fold(keys.sum(axis=0), parameters))


@each_set
def test_uniform_elements_have_coefficients_out_of_bounds(parameters):
    """What a missing share makes of the sum: some 1,000 of 2,048 coefficients no honest sum can have."""
    random = np.random.default_rng(4).integers(0, field.P, size=parameters.key_elements, dtype=np.uint64)
    found = np.abs(digits.unfold(random, parameters))
    assert np.count_nonzero(found > parameters.key_bound(parameters.devices)) > parameters.degree / 3


def test_other_sizes_are_refused():
    with pytest.raises(LocalMisuse):
        digits.fold(np.zeros(5, dtype=np.int64), TABLE[0])
    with pytest.raises(LocalMisuse):
        digits.unfold(np.zeros(5, dtype=np.uint64), TABLE[0])
