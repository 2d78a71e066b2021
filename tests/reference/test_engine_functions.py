"""Functions of shared numbers against exact arithmetic, at their stated errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.engine import functions, ordering
from protocols.engine.committee import Committee, whole
from protocols.engine.numbers import Calculator, Number
from protocols.errors import LocalMisuse
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

SHAPES = [whole(3, 1), whole(5, 2)]
IDS = ["3,1", "5,2"]
RNG = np.random.default_rng(5)


def evaluate(
    committee: Committee,
    function: Callable[..., Number],
    *values: np.ndarray,
    low: float,
    high: float,
    rounds: int | None = None,
) -> np.ndarray:
    c = Calculator(committee)
    numbers = [c.given(v.shape, low, high) for v in values]
    result = function(c, *numbers)
    program = c.program(result.register)
    inputs = {n.register: deal(rns.encode(v, 16), committee) for n, v in zip(numbers, values, strict=True)}
    done = run(program, seats(committee), inputs)
    assert done.rounds == program.rounds
    assert rounds is None or done.rounds == rounds
    assert done.sent_bytes == {p: program.sent_bytes(committee, p) for p in committee.quorum}
    opened = rns.decode(
        reconstruct({p: out[0] for p, out in done.outputs.items()}, committee.t), result.scale
    )
    assert opened.min() >= result.low - 1e-3
    assert opened.max() <= result.high + 1e-3
    assert opened.shape == result.shape
    return opened


def quantised(x: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(x) * 65536) / 65536


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_affine_and_products(committee: Committee) -> None:
    x, y = quantised(RNG.uniform(-100, 100, (4, 3))), quantised(RNG.uniform(-100, 100, (3,)))

    def program(c: Calculator, a: Number, b: Number) -> Number:
        scaled = c.times_public(c.affine(a, -3, 1.5), np.array([0.5, -0.25, 2.0]))
        return c.add(c.mul(scaled, b), c.public_dot(a, np.eye(3)), -1)

    opened = evaluate(committee, program, x, y, low=-100, high=100, rounds=1)
    assert np.allclose(opened, (-3 * x + 1.5) * [0.5, -0.25, 2.0] * y - x, atol=(20 + 2) * 2.0**-16)


@pytest.mark.parametrize("committee", [*SHAPES, whole(7, 3)], ids=[*IDS, "7,3"])
def test_exp(committee: Committee) -> None:
    x = quantised(np.concatenate([[0, -32, -1e-4, -1, -4], RNG.uniform(-32, 0, 200)]))
    opened = evaluate(committee, functions.exp, x, low=-32, high=0, rounds=8)
    assert np.abs(opened - np.exp(x)).max() < 2e-6
    wide = quantised(np.concatenate([[3, 0, -500, 2.5], RNG.uniform(-8, 3, 50)]))
    opened = evaluate(committee, functions.exp, wide, low=-1000, high=3)
    assert np.abs(opened - np.exp(wide)).max() < 1e-6 * np.exp(3) + 2.0**-15


@pytest.mark.parametrize("committee", [*SHAPES, whole(7, 3)], ids=[*IDS, "7,3"])
def test_reciprocal(committee: Committee) -> None:
    x = quantised(
        np.concatenate([[0.01, 1, 0.25, 4, 1000, 999.9, 0.0101], np.exp(RNG.uniform(-4.6, 6.9, 200))])
    )
    opened = evaluate(committee, functions.reciprocal, x, low=0.01, high=1000)
    assert np.abs(opened - 1 / x).max() < 2.0**-16
    zero = np.array([0.0, 0.001])
    opened = evaluate(committee, lambda c, v: functions.reciprocal(c, v, 0.01), zero, low=0, high=1000)
    assert np.abs(opened).max() < 64 / 0.01


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_roots_and_log(committee: Committee) -> None:
    x = quantised(np.concatenate([[0.01, 1, 0.25, 4, 1000], np.exp(RNG.uniform(-4.6, 6.9, 100))]))
    root = evaluate(committee, lambda c, v: functions.roots(c, v)[0], x, low=0.01, high=1000)
    assert np.abs(root / np.sqrt(x) - 1).max() < 1e-5
    other = evaluate(committee, lambda c, v: functions.roots(c, v)[1], x, low=0.01, high=1000)
    assert np.abs(other - 1 / np.sqrt(x)).max() < 1e-5
    logs = evaluate(committee, functions.log, x, low=0.01, high=1000)
    assert np.abs(logs - np.log(x)).max() < 1.5e-5


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_sigmoid_and_tanh(committee: Committee) -> None:
    x = quantised(np.concatenate([[0, 16, -16, 15.9999, -15.9999, 1000, -1000], RNG.uniform(-20, 20, 150)]))
    opened = evaluate(committee, functions.sigmoid, x, low=-1000, high=1000)
    assert np.abs(opened - 1 / (1 + np.exp(-np.clip(x, -50, 50)))).max() < 1e-5 + 2.0**-15
    opened = evaluate(committee, functions.tanh, x, low=-1000, high=1000)
    assert np.abs(opened - np.tanh(x)).max() < 2e-5 + 2.0**-14


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_selection_and_order(committee: Committee) -> None:
    x = quantised(np.concatenate([[[3, 3, -2, 3, 1]], RNG.uniform(-50, 50, (6, 5))]))
    x = x if committee.t == 1 else x[:3, :3]
    assert np.array_equal(evaluate(committee, ordering.relu, x, low=-50, high=50), np.maximum(x, 0))
    assert np.array_equal(evaluate(committee, ordering.absolute, x, low=-50, high=50), np.abs(x))
    y = x[::-1].copy()
    y[0] = x[0]
    assert np.array_equal(evaluate(committee, ordering.equal, x, y, low=-50, high=50), x == y)
    assert np.array_equal(evaluate(committee, ordering.sort, x, low=-50, high=50), np.sort(x))
    top = evaluate(committee, lambda c, v: ordering.maximum_and_position(c, v)[0], x, low=-50, high=50)
    at = evaluate(committee, lambda c, v: ordering.maximum_and_position(c, v)[1], x, low=-50, high=50)
    assert np.array_equal(top, x.max(axis=1))
    assert np.array_equal(at, x.argmax(axis=1))


def test_softmax() -> None:
    x = quantised(RNG.uniform(-10, 10, (6, 5)))
    opened = evaluate(whole(3, 1), functions.softmax, x, low=-10, high=10)
    exact = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    assert np.abs(opened - exact).max() < 1e-5 + 2.0**-15


def test_merge_exchange_sorts_every_zero_one_input() -> None:
    for m in range(1, 11):
        for word in range(1 << m):
            bits = [word >> i & 1 for i in range(m)]
            for stage in ordering.stages(m):
                for i, j in stage:
                    if bits[i] > bits[j]:
                        bits[i], bits[j] = bits[j], bits[i]
            assert bits == sorted(bits)


def test_ranges_that_cannot_be_kept_are_refused() -> None:
    c = Calculator(whole(3, 1))
    x = c.given((2,), -(2.0**30), 2.0**30)
    with pytest.raises(LocalMisuse, match="does not fit"):
        c.mul(c.mul(x, x, 0), x)
    with pytest.raises(LocalMisuse, match="no elements"):
        c.given((2, 0), 0.0, 1.0)
    with pytest.raises(LocalMisuse, match="no range"):
        c.given((2,), 0.0, float("inf"))
    with pytest.raises(LocalMisuse, match="no sign"):
        functions.reciprocal(c, x)
    with pytest.raises(LocalMisuse, match="leaves the range"):
        functions.exp(c, x)
