"""Every operation of a graph stays within the error that `accuracy` states, on random and edge inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.circuits import builder as b
from protocols.circuits import graph as g
from protocols.circuits.lower import encoded_input, lower
from protocols.circuits.passes import optimised
from protocols.engine.accuracy import BOUNDS
from protocols.engine.committee import Committee, whole
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

COMMITTEES = [whole(3, 1), whole(5, 2), whole(7, 2), whole(4, 1, "A")]
IDS = ["3,1", "5,2", "7,2", "4,1 A"]
RNG = np.random.default_rng(17)
ULP = 2.0**-16


def grid(x: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(x, dtype=np.float64) / ULP) * ULP


WIDE = grid(np.concatenate([[0, ULP, -ULP, 100, -100, 1, -1, 99.99], RNG.uniform(-100, 100, 40)]))
OTHER = grid(np.concatenate([[0, ULP, ULP, -100, -100, 1, 1, -99.99], RNG.uniform(-100, 100, 40)]))
POSITIVE = grid(np.concatenate([[1 / 64, 64, 1, 0.25, 4, 63.9], np.exp(RNG.uniform(-4.1, 4.1, 42))]))
BELOW = grid(np.concatenate([[0, -ULP, -32, -1, -31.99, -0.5], RNG.uniform(-32, 0, 42)]))

Case = tuple[str, Callable[..., b.Array], Callable[..., np.ndarray], np.ndarray, np.ndarray | None]


def rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(6, 8)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(rows(x) - rows(x).max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def bit_sum(x: b.Array) -> b.Array:
    return (x < 0).apply("not")


CASES: list[Case] = [
    ("add", lambda x, y: x + y + 0.5, lambda x, y: x + y + 0.5, WIDE, OTHER),
    ("sub", lambda x, y: x - y, lambda x, y: x - y, WIDE, OTHER),
    ("sum", lambda x: x.reshape(6, 8).sum(1), lambda x: rows(x).sum(1), WIDE, None),
    ("take", lambda x: x.reshape(6, 8).T[2:5], lambda x: rows(x).T[2:5], WIDE, None),
    ("concat", lambda x, y: b.concatenate([x, y]), lambda x, y: np.append(x, y), WIDE, OTHER),
    ("less", lambda x, y: x < y, lambda x, y: x < y, WIDE, OTHER),
    ("equal", lambda x, y: x == y, lambda x, y: x == y, WIDE, OTHER),
    ("not", bit_sum, lambda x: x >= 0, WIDE, None),
    ("where", lambda x, y: b.where(x < y, x, y), np.minimum, WIDE, OTHER),
    ("relu", b.relu, lambda x: np.maximum(x, 0), WIDE, None),
    ("abs", b.absolute, np.abs, WIDE, None),
    ("clamp", lambda x: b.clamp(x, -1, 2), lambda x: np.clip(x, -1, 2), WIDE, None),
    ("floor", b.floor, np.floor, WIDE, None),
    ("max", lambda x: b.maximum(x.reshape(6, 8)), lambda x: rows(x).max(1), WIDE, None),
    ("argmax", lambda x: b.argmax(x.reshape(6, 8)), lambda x: rows(x).argmax(1), WIDE, None),
    ("sort", lambda x: b.sort(x.reshape(6, 8)), lambda x: np.sort(rows(x)), WIDE, None),
    ("mul", lambda x, y: x * y, lambda x, y: x * y, WIDE, OTHER),
    (
        "inner",
        lambda x, y: (x.reshape(6, 8) * y.reshape(6, 8)).sum(1),
        lambda x, y: (rows(x) * rows(y)).sum(1),
        WIDE,
        OTHER,
    ),
    (
        "matmul",
        lambda x, y: x.reshape(6, 8) @ y.reshape(8, 6),
        lambda x, y: rows(x) @ y.reshape(8, 6),
        WIDE,
        OTHER,
    ),
    ("exp", b.exp, np.exp, BELOW, None),
    ("log", b.log, np.log, POSITIVE, None),
    ("reciprocal", b.reciprocal, lambda x: 1 / x, POSITIVE, None),
    ("sqrt", b.sqrt, np.sqrt, POSITIVE, None),
    ("rsqrt", b.rsqrt, lambda x: 1 / np.sqrt(x), POSITIVE, None),
    ("sigmoid", b.sigmoid, lambda x: 1 / (1 + np.exp(-x)), WIDE, None),
    ("tanh", b.tanh, np.tanh, WIDE, None),
    ("softmax", lambda x: b.softmax(x.reshape(6, 8)), softmax, WIDE, None),
]


def evaluate(graph: g.Graph, committee: Committee, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All results of a graph."""
    lowered = lower(optimised(graph), committee)
    inputs = {
        number.register: deal(encoded_input(number, values[name], name), committee)
        for name, number in lowered.inputs.items()
    }
    done = run(lowered.program, seats(committee), inputs)
    return [
        rns.decode(reconstruct({p: o[at] for p, o in done.outputs.items()}, committee.t), number.scale)
        for at, (_, _, number) in enumerate(lowered.outputs)
    ]


def declared(values: np.ndarray) -> b.Declared:
    return b.fixed(values.shape, float(values.min()), float(values.max()))


def test_every_operation_has_a_bound_and_a_case() -> None:
    operations = set(g.RULES) | {"sum", "take"}
    assert operations == set(BOUNDS) == {case[0] for case in CASES}


@pytest.mark.parametrize("committee", COMMITTEES, ids=IDS)
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_stated_error_holds(case: Case, committee: Committee) -> None:
    name, program, plain, x, y = case
    values = {"x": x} if y is None else {"x": x, "y": y}

    def traced(**arrays: b.Array) -> None:
        program(*arrays.values()).reveal_to(name="z")

    graph = b.trace(traced, **{k: declared(v) for k, v in values.items()})
    (found,) = evaluate(graph, committee, values)
    exact = np.asarray(plain(*values.values()), dtype=np.float64)
    bound = np.array([BOUNDS[name].at(committee, float(e)) for e in exact.ravel()])
    assert (np.abs(found - exact).ravel() <= bound).all(), np.abs(found - exact).ravel().max()


@pytest.mark.parametrize("committee", COMMITTEES[:1] + COMMITTEES[3:], ids=["3,1", "4,1 A"])
def test_division_by_a_secret_zero_is_nothing_and_flagged(committee: Committee) -> None:
    x = grid([5, -3, 7, 0, 8, 1, -6])
    y = grid([2, 0, -4, 0, ULP, 0.5, -0.001])

    def traced(x: b.Array, y: b.Array) -> None:
        quotient, vanished = b.divide(x, y, least=0.25)
        quotient.reveal_to(name="q")
        vanished.reveal_to(name="flag")

    graph = b.trace(traced, x=b.fixed(x.shape, -10, 10), y=b.fixed(y.shape, -4, 4))
    found, flag = evaluate(graph, committee, {"x": x, "y": y})
    small = np.abs(y) < 0.25
    assert np.array_equal(flag, small)
    assert np.array_equal(found[small], np.zeros(small.sum()))
    exact = x[~small] / y[~small]
    reciprocal, product = BOUNDS["reciprocal"], BOUNDS["mul"]
    bound = [10 * reciprocal.at(committee, 4.0) + product.at(committee, e) for e in exact]
    assert (np.abs(found[~small] - exact) <= bound).all()
