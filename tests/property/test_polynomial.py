"""Evaluation, interpolation and Lagrange weights against galois and against each other."""

from __future__ import annotations

import galois
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

GF = galois.GF(P, primitive_element=37, verify=False)


def coefficients(degree: int, length: int) -> field.Elements:
    return Xof(bytes(32), "coefficients", bytes((degree,))).elements((degree + 1, length))


@pytest.mark.parametrize("degree", range(7))
def test_finite_differences_equal_evaluation_equal_galois(degree: int) -> None:
    f = coefficients(degree, 9000)
    f[:, 0] = P - 1
    f[:, 1] = 0
    m = 3 * degree + 1
    values = polynomial.evaluate_first(f, m)
    assert np.array_equal(values, polynomial.evaluate(f, range(1, m + 1)))
    for column in (0, 1, 2, 8999):
        oracle = galois.Poly(GF([int(c) for c in f[::-1, column]]))
        assert values[:, column].tolist() == oracle(GF(list(range(1, m + 1)))).tolist()


def test_evaluate_takes_one_polynomial_and_any_points() -> None:
    f = coefficients(3, 1)[:, 0]
    points = [0, 5, P - 1, 1 << 60]
    expected = [sum(int(c) * pow(x, k, P) for k, c in enumerate(f)) % P for x in points]
    assert polynomial.evaluate(f, points).tolist() == expected


@given(st.lists(st.integers(0, P - 1), min_size=1, max_size=8, unique=True), st.integers(0, P - 1))
@settings(max_examples=40)
def test_interpolation_inverts_evaluation(points: list[int], at: int) -> None:
    f = coefficients(len(points) - 1, 3)
    values = polynomial.evaluate(f, points)
    assert np.array_equal(polynomial.interpolate(points, values), f)
    weights = polynomial.lagrange(points, at)
    assert np.array_equal(field.combine(weights, values), polynomial.evaluate(f, [at])[0])


def test_interpolation_equals_galois() -> None:
    points, values = [1, 4, 9, 1000], [3, 1, P - 4, 7]
    oracle = galois.lagrange_poly(GF(points), GF(values))
    found = polynomial.interpolate(points, np.array(values, dtype=np.uint64))
    assert found[::-1].tolist() == oracle.coefficients().tolist()


def test_vandermonde() -> None:
    assert polynomial.vandermonde([0, 2, P - 1], 4).tolist() == [
        [1, 0, 0, 0],
        [1, 2, 4, 8],
        [1, P - 1, 1, P - 1],
    ]


@pytest.mark.parametrize("points", [[], [1, 1], [3, P + 3]])
def test_equal_points_are_refused(points: list[int]) -> None:
    with pytest.raises(LocalMisuse):
        polynomial.lagrange(points)
