"""rns against Python integers: random and edge residues, limbs, fixed point."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse

M = rns.MODULUS
EDGES = [0, 1, 2, M - 1, M - 2, rns.P, rns.Q, rns.P - 1, rns.Q - 1, 1 << 61, (1 << 61) - 1, 1 << 121, 31, 30]


def integers(count: int, label: str) -> list[int]:
    xof = Xof(bytes(32), label)
    drawn = [int.from_bytes(xof.read(16), "big") % M for _ in range(count)]
    return EDGES + [M - e for e in EDGES if e] + drawn


def value(a: rns.Residues) -> list[int]:
    return [int(x) % M for x in rns.to_ints(a).ravel()]


def test_ring_operations_equal_python_integers() -> None:
    x = integers(500, "x")
    y = list(reversed(integers(500, "y")))
    a, b = rns.from_ints(x), rns.from_ints(y)
    pairs = list(zip(x, y, strict=True))
    assert value(rns.add(a, b)) == [(i + j) % M for i, j in pairs]
    assert value(rns.sub(a, b)) == [(i - j) % M for i, j in pairs]
    assert value(rns.mul(a, b)) == [i * j % M for i, j in pairs]
    assert value(rns.neg(a)) == [-i % M for i in x]
    for k in (-7, 3, -1, 0, 1 << 60, -(1 << 100)):
        assert value(rns.scale(a, k)) == [i * k % M for i in x]
    third = rns.scale(a, Fraction(-1, 3))
    assert value(rns.scale(third, -3)) == x
    for bits in (0, 1, 16, 31, 50):
        assert value(rns.shift_left(a, bits)) == [(i << bits) % M for i in x]


def test_edge_products_of_each_residue() -> None:
    edge = [
        0,
        1,
        2,
        rns.Q - 1,
        rns.Q - 2,
        (1 << 55) - 1,
        1 << 55,
        (1 << 60) - 1,
        1 << 60,
        (1 << 31) - 1,
        1 << 31,
    ]
    a, b = np.meshgrid(np.array(edge, dtype=np.uint64), np.array(edge, dtype=np.uint64))
    expected = [[i * j % rns.Q for i in edge] for j in edge]
    assert rns.mul_q(a, b).tolist() == expected
    both = rns.mul(np.stack([a] * 2), np.stack([b] * 2))
    assert both[1].tolist() == expected
    assert both[0].tolist() == [[i * j % rns.P for i in edge] for j in edge]


def test_blocks_are_seamless() -> None:
    count = rns.BLOCK * 2 + 5
    a = np.stack([Xof(bytes(32), "a").elements(count) % np.uint64(m) for m in rns.MODULI])
    b = np.stack([Xof(bytes(32), "b").elements(count) % np.uint64(m) for m in rns.MODULI])
    product = rns.mul(a, b)
    for at in (0, rns.BLOCK - 1, rns.BLOCK, count - 1):
        for row, m in enumerate(rns.MODULI):
            assert int(product[row, at]) == int(a[row, at]) * int(b[row, at]) % m


def test_limbs_and_floor_shift() -> None:
    x = integers(300, "limbs")
    high, low = rns.to_limbs(rns.from_ints(x))
    assert [(int(top) << 61) + int(rest) for top, rest in zip(high, low, strict=True)] == x
    assert value(rns.from_limbs(high, low)) == x
    for bits in (0, 1, 16, 40, 60):
        assert value(rns.floor_shift(high, low, bits)) == [i >> bits for i in x]


def test_matmul_equals_python_integers() -> None:
    a = rns.from_ints(np.array(integers(1400 - 14, "a")[: 2 * 700], dtype=object).reshape(2, 700))
    b = rns.from_ints(np.array(integers(2100, "b")[: 700 * 3], dtype=object).reshape(700, 3))
    exact = rns.to_ints(a).dot(rns.to_ints(b))
    assert value(rns.matmul(a, b)) == [int(x) % M for x in exact.ravel()]
    assert value(rns.matmul(a[:, 0], b)) == [int(x) % M for x in exact[0]]


def test_matmul_of_the_largest_entries_is_exact() -> None:
    """Every limb product and every sum at its bound, in all shapes of the pieces."""
    for m, k, n in ((1, 1100, 40), (40, 1100, 1), (3, 512, 5), (130, 513, 100), (1, 1, 1)):
        a, b = (
            np.stack([np.full(shape, q - 1, dtype=np.uint64) for q in rns.MODULI])
            for shape in ((m, k), (k, n))
        )
        assert (rns.matmul(a, b) == np.uint64(k)).all()


def test_totals() -> None:
    x = integers(99, "t")
    grid = np.array(x[:120], dtype=object).reshape(12, 10)
    a = rns.from_ints(grid)
    assert value(rns.total(a, 0)) == [int(v) % M for v in grid.sum(axis=0)]
    assert value(rns.total(a, -1)) == [int(v) % M for v in grid.sum(axis=1)]
    assert value(rns.total(a[:, :5], 0)) == [int(v) % M for v in grid[:5].sum(axis=0)]


def test_broadcasting_follows_numpy_behind_the_residue_axis() -> None:
    a = rns.from_ints(np.arange(6).reshape(2, 3))
    row = rns.from_ints(np.array([1, -2, 3]))
    assert rns.to_ints(rns.mul(a, row)).tolist() == (np.arange(6).reshape(2, 3) * [1, -2, 3]).tolist()
    assert rns.to_ints(rns.sub(row, a)).tolist() == ([1, -2, 3] - np.arange(6).reshape(2, 3)).tolist()


def test_fixed_point_round_trip_and_refusals() -> None:
    x = np.array([0.0, 1.5, -1.5, 2.0**23, -(2.0**23), 1e-9, -3.25, 0.1])
    encoded = rns.encode(x, 16)
    assert rns.decode(encoded, 16).tolist() == (np.rint(x * 65536) / 65536).tolist()
    assert rns.decode(rns.mul(encoded, encoded), 32)[3] == 2.0**46
    for bad in (np.nan, np.inf, 2.0**24, -(2.0**24)):
        with pytest.raises(LocalMisuse, match=r"index \(1,\)"):
            rns.encode([0.0, bad], 16)
    with pytest.raises(LocalMisuse):
        rns.from_ints([1.5])
