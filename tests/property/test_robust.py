"""Robust opening: liars up to the bound are named and do no harm; beyond it nothing false comes out."""

from __future__ import annotations

import galois
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, UnattributableFault
from protocols.sharing import robust, shamir

COMMITTEES = [(4, 1), (7, 2), (10, 3), (13, 4), (16, 5), (3, 1), (5, 4)]


def xof(label: str) -> Xof:
    return Xof(bytes(32), label)


@given(st.data())
@settings(max_examples=120)
def test_a_liars_and_e_erasures_within_the_bound(data: st.DataObject) -> None:
    """Corrects every a with m = n - e >= t + 1 + 2a."""
    n, t = data.draw(st.sampled_from(COMMITTEES))
    erased = data.draw(st.integers(0, n - t - 1))
    present = sorted(data.draw(st.permutations(range(n)))[: n - erased])
    most = (len(present) - t - 1) // 2
    lying = set(data.draw(st.permutations(range(len(present))))[: data.draw(st.integers(0, most))])
    f = field.as_elements(data.draw(st.lists(st.integers(0, P - 1), min_size=t + 1, max_size=t + 1)))
    points = [i + 1 for i in present]
    values = polynomial.evaluate(f, points)
    for i in lying:
        values[i] = (int(values[i]) + data.draw(st.sampled_from([1, P - 1, 1 << 40]))) % P
    coefficients, liars = robust.decode(points, values, t)
    assert np.array_equal(coefficients, f)
    assert liars == tuple(sorted(lying))


@given(st.data())
@settings(max_examples=120)
def test_beyond_the_bound_no_polynomial_comes_out_that_too_many_deny(data: st.DataObject) -> None:
    n, t = data.draw(st.sampled_from(COMMITTEES))
    most = (n - t - 1) // 2
    lies = data.draw(st.integers(most + 1, n))
    values = polynomial.evaluate(xof("f").elements(t + 1), range(1, n + 1))
    for i in data.draw(st.permutations(range(n)))[:lies]:
        values[i] = data.draw(st.integers(0, P - 1))
    try:
        coefficients, liars = robust.decode(range(1, n + 1), values, t)
    except UnattributableFault:
        return
    agrees = polynomial.evaluate(coefficients, range(1, n + 1)) == values
    assert int((~agrees).sum()) <= most
    assert liars == tuple(np.flatnonzero(~agrees))


def test_one_lie_too_many_of_random_values_fails_cleanly() -> None:
    for n, t in COMMITTEES:
        values = polynomial.evaluate(xof("f").elements(t + 1), range(1, n + 1))
        lies = (n - t - 1) // 2 + 1
        if lies < n - t:
            values[:lies] = xof("lies").elements(lies)
            with pytest.raises(UnattributableFault):
                robust.decode(range(1, n + 1), values, t)


def test_colluding_liars_beyond_the_bound_are_not_believed() -> None:
    """Three of (7, 2) agree on another polynomial: together with one honest point they are still too few."""
    truth, lie = xof("truth").elements(3), xof("lie").elements(3)
    values = polynomial.evaluate(truth, range(1, 8))
    values[[0, 2, 4]] = polynomial.evaluate(lie, [1, 3, 5])
    with pytest.raises(UnattributableFault):
        robust.decode(range(1, 8), values, 2)


def test_decode_agrees_with_galois_reed_solomon_over_a_small_code() -> None:
    """The same words of an evaluation code, corrected by brute force over galois polynomials."""
    gf = galois.GF(P, primitive_element=37, verify=False)
    f = galois.Poly(gf([5, 0, 3]))
    values = [int(f(gf(x))) for x in range(1, 8)]
    values[1], values[6] = 9, 9
    coefficients, liars = robust.decode(range(1, 8), field.as_elements(values), 2)
    assert coefficients.tolist() == [3, 0, 5]
    assert liars == (1, 6)


def test_zero_and_low_degree_words_decode() -> None:
    zeros = np.zeros(7, dtype=np.uint64)
    assert robust.decode(range(1, 8), zeros, 2)[0].tolist() == [0, 0, 0]
    zeros[3] = 1
    coefficients, liars = robust.decode(range(1, 8), zeros, 2)
    assert (coefficients.tolist(), liars) == ([0, 0, 0], (3,))


@pytest.mark.parametrize("points", [[1, 2], [1, 2, 2], [1, 2, 3, 4]])
def test_decode_refuses_what_cannot_work(points: list[int]) -> None:
    with pytest.raises(LocalMisuse):
        robust.decode(points, field.as_elements([1, 2, 3]), 2)


@pytest.mark.parametrize(("n", "t"), COMMITTEES[:5])
def test_vectors_open_although_t_members_lie_in_one_column_each(n: int, t: int) -> None:
    secrets = xof("secrets").elements(500)
    shares = shamir.deal(secrets, n, t, xof("deal"))
    lying = tuple(range(0, 2 * t, 2))
    for i in lying:
        shares[i, 17 * i] = (int(shares[i, 17 * i]) + 1) % P
    opened, liars = robust.open_vectors(range(1, n + 1), shares, t, xof("challenge"))
    assert np.array_equal(opened, secrets)
    assert liars == lying


def test_vectors_with_too_many_liars_or_too_few_rows() -> None:
    shares = shamir.deal(xof("secrets").elements(50), 7, 2, xof("deal"))
    with pytest.raises(LocalMisuse):
        robust.open_vectors([1, 2], shares[:2], 2, xof("challenge"))
    with pytest.raises(LocalMisuse):
        robust.open_vectors([1, 2, 3], shares[:2], 2, xof("challenge"))
    shares[:3, 4] = 0
    with pytest.raises(UnattributableFault):
        robust.open_vectors(range(1, 8), shares, 2, xof("challenge"))


def test_exactly_t_plus_1_rows_open_without_any_check() -> None:
    secrets = xof("secrets").elements(9)
    shares = shamir.deal(secrets, 7, 2, xof("deal"))
    opened, liars = robust.open_vectors([2, 4, 7], shares[[1, 3, 6]], 2, xof("challenge"))
    assert np.array_equal(opened, secrets)
    assert liars == ()


def test_a_lie_orthogonal_to_the_challenge_is_still_caught() -> None:
    """Needs the challenge in advance, which nobody has; the recheck of all columns is there for it."""
    shares = shamir.deal(xof("secrets").elements(2), 7, 2, xof("deal"))
    w0, w1 = (int(w) for w in xof("challenge").elements(2))
    shares[6, 0] = (int(shares[6, 0]) + w1) % P
    shares[6, 1] = (int(shares[6, 1]) - w0) % P
    with pytest.raises(UnattributableFault, match="not in every column"):
        robust.open_vectors(range(1, 8), shares, 2, xof("challenge"))
