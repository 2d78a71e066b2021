"""Real numbers enter the field exactly rounded or not at all."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.arithmetic import field, fixed_point
from protocols.errors import LocalMisuse


@given(st.floats(-(2.0**30), 2.0**30), st.integers(0, 30))
def test_encoding_is_the_nearest_multiple(value: float, fraction_bits: int) -> None:
    encoded = fixed_point.encode([value], fraction_bits)
    integer = int(field.to_signed(encoded)[0])
    assert integer == round(Fraction(value) * 2**fraction_bits)
    assert fixed_point.decode(encoded, fraction_bits)[0] == float(Fraction(integer, 2**fraction_bits))


@pytest.mark.parametrize("fraction_bits", [0, 1, 16, 40, 60])
def test_the_largest_numbers_fit_and_the_next_do_not(fraction_bits: int) -> None:
    limit = fixed_point.largest(fraction_bits)
    inside = math.nextafter(limit, 0.0)
    both = fixed_point.encode([inside, -inside], fraction_bits)
    assert fixed_point.decode(both, fraction_bits).tolist() == [inside, -inside]
    for outside in (limit, -limit, 1e300):
        with pytest.raises(LocalMisuse):
            fixed_point.encode([outside], fraction_bits)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e19])
def test_what_cannot_enter_is_named_by_index_not_by_value(bad: float) -> None:
    rows = np.zeros((3, 4))
    rows[2, 1] = bad
    with pytest.raises(LocalMisuse, match=r"value 2, 1 ") as caught:
        fixed_point.encode(rows, 16)
    assert str(bad) not in caught.value.sentence().replace("NaN", "")


def test_sums_of_encodings_are_encodings_of_sums() -> None:
    values = np.array([[1.5, -2.25], [-7.125, 2.0], [5.0, 0.25]])
    total = field.total(fixed_point.encode(values, 16))
    assert fixed_point.decode(total, 16).tolist() == [-0.625, 0.0]


def test_fraction_bits_have_a_range() -> None:
    for bits in (-1, 61):
        with pytest.raises(LocalMisuse):
            fixed_point.encode([0.0], bits)
        with pytest.raises(LocalMisuse):
            fixed_point.decode(field.as_elements([0]), bits)
