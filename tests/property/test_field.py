"""Field arithmetic against Python's integers and galois, at the edges and at random."""

from __future__ import annotations

import warnings

import galois
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic import field
from protocols.arithmetic.field import P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

EDGES = [0, 1, 2, 3, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 60, P // 2, P // 2 + 1]
EDGES += [P - 1 - x for x in EDGES[:8]]
GF = galois.GF(P, primitive_element=37, verify=False)
edge_or_any = st.sampled_from(EDGES) | st.integers(0, P - 1)


def element(value: int) -> field.Elements:
    return np.array(value, dtype=np.uint64)


def random_elements(shape: tuple[int, ...], label: str = "test") -> field.Elements:
    """Uniform, but every fourth element is an edge."""
    xof = Xof(bytes(32), label)
    values = xof.elements(shape).ravel()
    pick = xof.uint64(values.size)
    edges = np.array(EDGES, dtype=np.uint64)
    return np.where(pick % 4 == 0, edges[(pick >> 8) % len(EDGES)], values).reshape(shape)


def python_matmul(a: field.Elements, b: field.Elements) -> list[list[int]]:
    columns = [[int(x) for x in column] for column in b.T]
    return [
        [sum(int(x) * y for x, y in zip(row, column, strict=True)) % P for column in columns] for row in a
    ]


@given(edge_or_any, edge_or_any)
def test_scalars_agree_with_python(a: int, b: int) -> None:
    x, y = element(a), element(b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int(field.add(x, y)) == (a + b) % P
        assert int(field.sub(x, y)) == (a - b) % P
        assert int(field.mul(x, y)) == a * b % P
        assert int(field.neg(x)) == -a % P


def test_every_pair_of_edges_multiplies() -> None:
    edges = np.array(EDGES, dtype=np.uint64)
    table = field.mul(edges[:, None], edges[None, :])
    assert table.tolist() == [[a * b % P for b in EDGES] for a in EDGES]


def test_vectors_agree_with_galois() -> None:
    a, b = random_elements((3000,), "a"), random_elements((3000,), "b")
    ga, gb = GF(a.astype(object)), GF(b.astype(object))
    assert field.mul(a, b).tolist() == (ga * gb).tolist()
    assert field.add(a, b).tolist() == (ga + gb).tolist()
    assert field.sub(a, b).tolist() == (ga - gb).tolist()
    nonzero = a[a > 0]
    assert field.inv(nonzero).tolist() == (GF(nonzero.astype(object)) ** -1).tolist()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((), (5,)),
        ((1,), (70_000,)),
        ((3, 1), (40_000,)),
        ((3, 40_000), (3, 1)),
        ((40_000, 3), (40_000, 1)),
        ((40_000, 1), (3,)),
        ((2, 1, 5), (7, 1)),
        ((0,), (1,)),
        ((2, 50_000), (2, 50_000)),
    ],
)
def test_mul_broadcasts_like_numpy_and_in_any_memory_order(
    left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    a, b = random_elements(left, "a"), random_elements(right, "b")
    shape = np.broadcast_shapes(left, right)
    full_a, full_b = np.broadcast_to(a, shape).ravel(), np.broadcast_to(b, shape).ravel()
    expected = field.mul(full_a.copy(), full_b.copy()).reshape(shape)
    product = field.mul(a, b)
    assert product.shape == shape
    assert product.dtype == np.uint64
    assert np.array_equal(product, expected)
    flipped = field.mul(np.asfortranarray(a), np.asfortranarray(b))
    assert np.array_equal(flipped, expected)
    if full_a.size:
        i = full_a.size // 2
        assert int(expected.ravel()[i]) == int(full_a[i]) * int(full_b[i]) % P


@given(st.lists(edge_or_any, min_size=1, max_size=20), st.integers(-5, 70))
@settings(max_examples=40)
def test_power_and_inverse(values: list[int], exponent: int) -> None:
    a = np.array([v or 1 for v in values], dtype=np.uint64)
    assert field.power(a, exponent).tolist() == [pow(int(v), exponent, P) for v in a]
    assert (field.mul(a, field.inv(a)) == 1).all()


def test_zero_has_no_inverse() -> None:
    with pytest.raises(ZeroDivisionError):
        field.inv(np.array([3, 0, 5], dtype=np.uint64))
    with pytest.raises(ZeroDivisionError):
        field.power(element(0), -1)


@pytest.mark.parametrize("shape", [(1, 300), (9, 300), (100, 300), (300, 9), (5000,), (8, 1), (0, 4)])
def test_total_is_the_sum_along_any_axis(shape: tuple[int, ...]) -> None:
    for values in (random_elements(shape), np.full(shape, P - 1, dtype=np.uint64)):
        for axis in range(len(shape)):
            expected = values.astype(object).sum(axis=axis) % P
            assert field.total(values, axis).tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 1, 1), (2, 3, 2), (7, 700, 2), (3, 2049, 4), (40, 512, 33), (2, 0, 3)]
)
def test_matmul_agrees_with_python(m: int, k: int, n: int) -> None:
    a, b = random_elements((m, k), "a"), random_elements((k, n), "b")
    assert field.matmul(a, b).tolist() == python_matmul(a, b)
    worst_a, worst_b = np.full_like(a, P - 1), np.full_like(b, P - 1)
    assert field.matmul(worst_a, worst_b).tolist() == [[k % P] * n for _ in range(m)]


def test_matmul_is_exact_where_every_limb_is_full() -> None:
    """Sums of nearly full limbs: an inner product of more than 512 would leave 2^53 and lose odd bits."""
    offsets = Xof(bytes(32), "limbs").uint64(2 * 5 * 2048 * 3).reshape(3, -1) % 64
    low, mid, top = ((1 << 21) - 1 - offsets[0], (1 << 21) - 1 - offsets[1], (1 << 19) - 1 - offsets[2])
    full = low + (mid << np.uint64(21)) + (top << np.uint64(42))
    a, b = full[: 5 * 2048].reshape(5, 2048), full[5 * 2048 :].reshape(2048, 5)
    assert field.matmul(a, b).tolist() == python_matmul(a, b)


def test_matmul_of_vectors_has_numpys_shapes() -> None:
    a, b = random_elements((4, 6), "a"), random_elements((6,), "b")
    assert field.matmul(a, b).tolist() == [row[0] for row in python_matmul(a, b[:, None])]
    assert field.matmul(b, a.T).tolist() == field.matmul(a, b).tolist()
    with pytest.raises(LocalMisuse):
        field.matmul(a, a)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7, 16, 50])
def test_combine_is_a_matrix_product(m: int) -> None:
    rows, coefficients = random_elements((m, 257), "rows"), random_elements((m,), "c")
    expected = python_matmul(coefficients[None, :], rows)[0]
    assert field.combine(coefficients, rows).tolist() == expected
    worst = np.full((m, 40_000), P - 1, dtype=np.uint64)
    assert set(field.combine(worst[:, 0].copy(), worst).tolist()) == {m}


def test_combine_small_takes_small_weights_only() -> None:
    rows = random_elements((3, 100))
    for weights in ([1, 1, 1], [0, 3, 5], [7, 900, 100_000], [0, 0, 0]):
        expected = python_matmul(np.array([weights], dtype=np.uint64), rows)[0]
        assert field.combine_small(weights, rows).tolist() == expected
    worst = np.full((2, 10), P - 1, dtype=np.uint64)
    for weight in (8, 9, 17):
        assert set(field.combine_small([weight, 0], worst).tolist()) == {P - weight}
    assert set(field.combine_small([1 << 19, (1 << 19) - 1], worst).tolist()) == {P - (1 << 20) + 1}
    for weights in ([-1, 0, 0], [1 << 20, 0, 0]):
        with pytest.raises(LocalMisuse):
            field.combine_small(weights, rows)


@given(edge_or_any, st.integers(0, 300), st.integers(0, 3))
@settings(max_examples=40)
def test_powers(rho: int, count: int, first: int) -> None:
    assert field.powers(rho, count, first).tolist() == [pow(rho, k, P) for k in range(first, first + count)]


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=30))
def test_signed_integers_enter_and_leave(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    assert field.from_signed(array).tolist() == [v % P for v in values]
    small = array >> 4
    assert field.to_signed(field.from_signed(small)).tolist() == small.tolist()


def test_as_elements_reduces_all_integers_and_refuses_the_rest() -> None:
    assert field.as_elements([1 << 200, -1, P]).tolist() == [(1 << 200) % P, P - 1, 0]
    assert field.as_elements([[1, 2], [3, -4]]).shape == (2, 2)
    assert field.as_elements(np.array([2**64 - 1, P], dtype=np.uint64)).tolist() == [(2**64 - 1) % P, 0]
    assert field.as_elements(np.array([-1, 5], dtype=np.int8)).tolist() == [P - 1, 5]
    assert int(field.as_elements(7)) == 7
    for bad in ([1.5], np.array([1.0]), ["3"], [True], [None]):
        with pytest.raises(LocalMisuse):
            field.as_elements(bad)


def test_operands_are_left_alone_and_results_are_canonical() -> None:
    a, b = random_elements((500,), "a"), random_elements((500,), "b")
    kept = a.copy(), b.copy()
    for result in (
        field.add(a, b),
        field.sub(a, b),
        field.mul(a, b),
        field.neg(a),
        field.combine(a[:2], b.reshape(2, 250)),
    ):
        assert field.is_canonical(result)
    assert not field.is_canonical(np.array([P], dtype=np.uint64))
    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])


def test_other_dtypes_are_refused_instead_of_becoming_floats() -> None:
    good, bad = random_elements((4,)), np.arange(4)
    for call in (field.add, field.sub, field.mul, field.dot, field.matmul):
        with pytest.raises(LocalMisuse):
            call(good, bad)
    for call in (field.neg, field.inv, field.total, lambda x: field.from_signed(x.astype(np.float64))):
        with pytest.raises(LocalMisuse):
            call(bad)
    with pytest.raises(LocalMisuse):
        field.combine(good, bad[:, None])


def test_threads_do_not_share_scratch() -> None:
    from concurrent.futures import ThreadPoolExecutor

    a, b = random_elements((200_000,), "a"), random_elements((200_000,), "b")
    expected = field.mul(a, b)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: field.mul(a, b), range(12)))
    assert all(np.array_equal(result, expected) for result in results)
