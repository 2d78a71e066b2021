"""Shamir sharing: any t+1 shares open, t tell nothing, and MPyC reads our shares as we read its."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpyc import finfields, thresha

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.sharing import shamir

COMMITTEES = [(4, 1), (7, 2), (10, 3), (13, 4), (16, 5), (3, 1), (1, 0)]
MPYC = finfields.GF(P)


def xof(label: str = "dealer") -> Xof:
    return Xof(bytes(32), label)


def spread(choices: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """All choices, or some 40 of them evenly spread."""
    every = list(choices)
    return every[:: 1 + len(every) // 40]


@pytest.mark.parametrize(("n", "t"), COMMITTEES)
def test_any_t_plus_1_shares_open(n: int, t: int) -> None:
    secrets = xof("secrets").elements(20)
    secrets[:3] = 0, 1, P - 1
    dealt = shamir.deal(secrets, n, t, xof())
    assert dealt.shape == (n, 20)
    for chosen in spread(combinations(range(n), t + 1)):
        points = [i + 1 for i in chosen]
        assert np.array_equal(shamir.reconstruct(points, dealt[list(chosen)], t), secrets)
    assert np.array_equal(shamir.reconstruct(range(n, 0, -1), dealt[::-1], t), secrets)


@given(st.data())
@settings(max_examples=30)
def test_sharing_is_linear(data: st.DataObject) -> None:
    n, t = data.draw(st.sampled_from(COMMITTEES))
    elements = st.lists(st.integers(0, P - 1), min_size=3, max_size=3)
    a, b, (c, *_) = (field.as_elements(data.draw(elements)) for _ in range(3))
    joint = field.add(field.mul(c, shamir.deal(a, n, t, xof("a"))), shamir.deal(b, n, t, xof("b")))
    chosen = data.draw(st.permutations(range(n)))[: t + 1]
    opened = shamir.reconstruct([i + 1 for i in chosen], joint[chosen], t)
    assert np.array_equal(opened, field.add(field.mul(c, a), b))


@pytest.mark.parametrize(("n", "t"), COMMITTEES[:5])
def test_t_shares_fit_every_secret_exactly_once(n: int, t: int) -> None:
    """For any t points and any secret there is one polynomial of degree t: t shares exclude no secret."""
    dealt = shamir.deal(field.as_elements([42]), n, t, xof())
    for chosen in spread(combinations(range(n), t)):
        for other in (0, 1, P - 1, 123456789):
            points = [0, *(i + 1 for i in chosen)]
            values = np.concatenate([field.as_elements([other]), dealt[list(chosen), 0]])
            f = polynomial.interpolate(points, values)
            assert f.shape == (t + 1,)
            assert polynomial.evaluate(f, points).tolist() == values.tolist()


def test_t_shares_have_the_moments_of_uniform_whatever_the_secret() -> None:
    """Mean, square and cross moments of two shares of (7, 2): within five standard errors of uniform."""
    count = 40_000
    for secret in (0, 1, P - 1):
        dealt = shamir.deal(np.full(count, secret, dtype=np.uint64), 7, 2, xof(f"moments {secret}"))
        x, y = dealt[[1, 5]].astype(np.float64) / P - 0.5
        for moment, deviation in ((x, 12**-0.5), (y, 12**-0.5), (x * x - 1 / 12, 180**-0.5), (x * y, 1 / 12)):
            assert abs(moment.mean()) < 5 * deviation / np.sqrt(count)


def test_fewer_than_t_plus_1_shares_do_not_open() -> None:
    dealt = shamir.deal(field.as_elements([7]), 7, 2, xof())
    with pytest.raises(LocalMisuse):
        shamir.reconstruct([1, 2], dealt[:2], 2)
    with pytest.raises(LocalMisuse):
        shamir.reconstruct([1, 2, 2], dealt[[0, 1, 1]], 2)
    with pytest.raises(LocalMisuse):
        shamir.reconstruct([1, 2, 3], dealt[:2], 2)
    with pytest.raises(LocalMisuse):
        shamir.deal(field.as_elements([7]), 2, 2, xof())
    with pytest.raises(LocalMisuse):
        shamir.polynomials(field.as_elements([7]), -1, xof())


def test_mpyc_opens_our_shares_and_we_open_mpycs() -> None:
    n, t, secrets = 7, 2, [0, 5, P - 1, 987654321]
    ours = shamir.deal(field.as_elements(secrets), n, t, xof())
    theirs = thresha.recombine(MPYC, [(i, [int(s) for s in ours[i - 1]]) for i in (2, 5, 7)])
    assert [int(v) % P for v in theirs] == secrets
    split = thresha.random_split(MPYC, [MPYC(s) for s in secrets], t, n)
    values = field.as_elements([[int(v) for v in split[i - 1]] for i in (1, 4, 6)])
    assert shamir.reconstruct([1, 4, 6], values, t).tolist() == secrets


def test_the_same_stream_deals_the_same_shares() -> None:
    secrets = field.as_elements([1, 2, 3])
    first, second = shamir.deal(secrets, 4, 1, xof("x")), shamir.deal(secrets, 4, 1, xof("x"))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, shamir.deal(secrets, 4, 1, xof("y")))


def test_shares_through_given_ones_open_to_the_secrets_from_any_t_plus_1() -> None:
    given = xof("given").elements((3, 40))  # the secrets and two shares
    dealt = shamir.shares_through(given, 7)
    assert np.array_equal(dealt[:2], given[1:])
    for chosen in ((0, 1, 2), (4, 5, 6), (0, 3, 6)):
        opened = shamir.reconstruct([i + 1 for i in chosen], dealt[list(chosen)], 2)
        assert np.array_equal(opened, given[0])
    with pytest.raises(LocalMisuse):
        shamir.shares_through(given, 2)
