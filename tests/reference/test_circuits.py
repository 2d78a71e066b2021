"""Traced programs equal numpy, their cost is what a run measures, their hash is stable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.circuits import builder as b
from protocols.circuits import graph as g
from protocols.circuits.cost import WAN, cost, within_limits
from protocols.circuits.lower import encoded_input, lower
from protocols.circuits.passes import optimised
from protocols.engine.committee import Committee, whole
from protocols.errors import LocalMisuse, MalformedMessage
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

RNG = np.random.default_rng(9)


def evaluate(graph: g.Graph, committee: Committee, **values: np.ndarray) -> dict[str, np.ndarray]:
    """Run a graph in lockstep; the measured rounds and bytes must be the predicted ones."""
    lowered = lower(optimised(g.decode(graph.encoded())), committee)
    predicted = cost(lowered, committee)
    inputs = {
        number.register: deal(encoded_input(number, values[name], name), committee)
        for name, number in lowered.inputs.items()
    }
    done = run(lowered.program, seats(committee), inputs)
    assert done.rounds == predicted.rounds
    assert done.sent_bytes == predicted.sent_bytes
    results = {}
    for position, (name, _, number) in enumerate(lowered.outputs):
        shares = {point: out[position] for point, out in done.outputs.items()}
        results[name] = rns.decode(reconstruct(shares, committee.t), number.scale)
    return results


def quantised(x: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(x) * 65536) / 65536


def test_neural_layer_in_one_round_and_its_activation() -> None:
    def program(x: b.Array, w: b.Array, bias: b.Array) -> None:
        hidden = b.relu(x @ w + bias)
        hidden.reveal_to("clinic", name="hidden")
        (hidden.sum() * 0.5).reveal_to(name="half")
        b.sigmoid(x @ w)[:, 0].reveal_to("clinic", name="first")

    graph = b.trace(program, x=b.fixed((8, 30), -4, 4), w=b.fixed((30, 3), -1, 1), bias=b.fixed((3,), -1, 1))
    x, w, bias = (quantised(RNG.uniform(-1, 1, s)) for s in ((8, 30), (30, 3), (3,)))
    for committee in (whole(3, 1), whole(5, 2)):
        done = evaluate(graph, committee, x=x, w=w, bias=bias)
        hidden = np.maximum(x @ w + bias, 0)
        assert np.abs(done["hidden"] - hidden).max() < 2.0**-12
        assert np.abs(done["half"] - hidden.sum() / 2) < 2.0**-8
        assert np.abs(done["first"] - 1 / (1 + np.exp(-(x @ w)[:, 0]))).max() < 1e-4


CASES: list[tuple[str, Callable[[b.Array, b.Array], b.Array], Callable[..., np.ndarray], float]] = [
    ("arithmetic", lambda x, y: -(2 * x - y) * 0.25 + 3 - x, lambda x, y: -(2 * x - y) * 0.25 + 3 - x, 1e-4),
    ("where", lambda x, y: b.where(x <= y, x, 0.5), lambda x, y: np.where(x <= y, x, 0.5), 1e-4),
    ("logic", lambda x, y: (x < y) * (y > 0), lambda x, y: (x < y) & (y > 0), 0),
    ("equality", lambda x, y: (x == y) + (x != x), lambda x, y: (x == y).astype(int), 0),
    ("division", lambda x, y: x / b.clamp(y, 0.5, 9), lambda x, y: x / np.clip(y, 0.5, 9), 1e-3),
    ("sort", lambda x, y: b.sort(x - y), lambda x, y: np.sort(x - y), 0),
    ("argmax", lambda x, y: b.argmax(x) + b.maximum(y), lambda x, y: x.argmax(1) + y.max(1), 1e-4),
    ("inner", lambda x, y: (x * y).sum(1), lambda x, y: (x * y).sum(1), 1e-3),
    ("mean", lambda x, y: (x.T @ y).mean(0), lambda x, y: (x.T @ y).mean(0), 1e-3),
    ("softmax", lambda x, y: b.softmax(x) - b.exp(y - 10), lambda x, y: _softmax(x) - np.exp(y - 10), 1e-3),
    ("join", lambda x, y: b.concatenate([x[0], y[:, 1] * 2]), lambda x, y: np.append(x[0], y[:, 1] * 2), 0),
    (
        "roots",
        lambda x, y: b.sqrt(b.clamp(b.absolute(x), 1, 9)),
        lambda x, y: np.sqrt(np.clip(abs(x), 1, 9)),
        1e-4,
    ),
]


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "program", "plain", "tolerance"), CASES, ids=[c[0] for c in CASES])
def test_programs_equal_numpy(name, program, plain, tolerance) -> None:
    graph = b.trace(
        lambda x, y: program(x, y).reveal_to(name="z"), x=b.fixed((5, 4), -9, 9), y=b.fixed((5, 4), -9, 9)
    )
    x, y = (quantised(RNG.uniform(-9, 9, (5, 4))) for _ in range(2))
    y[1] = x[1]
    done = evaluate(graph, whole(3, 1), x=x, y=y)["z"]
    assert done.shape == plain(x, y).shape
    assert np.abs(done - plain(x, y)).max() <= tolerance


def test_integers_and_bits_stay_exact() -> None:
    """Accounts flagged by at least two banks: nothing is rounded, only the count comes out."""

    def program(a: b.Array, c: b.Array, d: b.Array) -> None:
        ((a + c + d) >= 2).sum().reveal_to(name="flagged")
        (a * 1000 - c * 7).reveal_to(name="linear")

    graph = b.trace(program, a=b.bits((50,)), c=b.bits((50,)), d=b.integers((50,), 0, 1))
    a, c, d = (RNG.integers(0, 2, 50) for _ in range(3))
    done = evaluate(graph, whole(4, 1), a=a, c=c, d=d)
    assert done["flagged"] == (a + c + d >= 2).sum()
    assert np.array_equal(done["linear"], a * 1000 - c * 7)


def test_passes_save_work_and_keep_results() -> None:
    def program(x: b.Array, y: b.Array) -> None:
        b.exp(x - 9)
        ((x * y).sum(1) + (y * x).sum(1)).reveal_to(name="z")
        ((x < y).sum(0)).reveal_to(name="w")

    graph = b.trace(program, x=b.fixed((5, 4), -9, 9), y=b.fixed((5, 4), -9, 9))
    better = optimised(graph)
    operations = [node.operation for node in better.nodes]
    assert operations.count("inner") <= 1
    assert "exp" not in operations
    committee = whole(3, 1)
    assert (
        cost(lower(better, committee), committee).busiest_bytes
        < cost(lower(graph, committee), committee).busiest_bytes
    )


def test_the_hash_binds_everything() -> None:
    def traced(high: float = 9, name: str = "z", who: str = "a") -> g.Graph:
        return b.trace(lambda x: b.relu(x).reveal_to(who, name=name), x=b.fixed((3,), -9, high))

    base = traced().digest()
    assert base == traced().digest()
    assert len({base, traced(high=8).digest(), traced(name="y").digest(), traced(who="b").digest()}) == 4
    assert g.decode(traced().encoded()).digest() == base


def test_forged_graphs_are_refused() -> None:
    good = b.trace(lambda x: b.relu(x).reveal_to(name="z"), x=b.fixed((3,), -9, 9))
    from dataclasses import replace

    relu = good.nodes[1]
    for bad in (
        replace(relu, shape=(4,)),
        replace(relu, inputs=(1,)),
        replace(relu, operation="sudo"),
        replace(relu, kind="integer"),
        replace(relu, operation="take", indices=np.array([0, 1, 9], dtype=np.uint32)),
    ):
        with pytest.raises(MalformedMessage, match="node 1"):
            g.decode(g.Graph((good.nodes[0], bad), good.outputs).encoded())
    with pytest.raises(MalformedMessage, match="output"):
        g.decode(g.Graph(good.nodes, (g.Output(5, "z", "a"),)).encoded())


def test_mistakes_are_named_while_tracing() -> None:
    def traced(program: Callable[[b.Array], None]) -> None:
        b.trace(program, x=b.fixed((3, 2), -9, 9))

    with pytest.raises(LocalMisuse, match="truth value"):
        traced(lambda x: x.reveal_to(name="z") if x < 0 else None)
    with pytest.raises(LocalMisuse, match="matmul"):
        traced(lambda x: (x @ x).reveal_to(name="z"))
    with pytest.raises(LocalMisuse, match="reveals nothing"):
        traced(lambda x: None)
    with pytest.raises(LocalMisuse, match="secret bit"):
        traced(lambda x: b.where(x, x, x).reveal_to(name="z"))
    divided = b.trace(lambda x: (1 / x).reveal_to(name="z"), x=b.fixed((3,), -9, 9))
    with pytest.raises(LocalMisuse, match=r"node 1 \(reciprocal\).*no sign"):
        lower(divided, whole(3, 1))


def test_values_outside_the_declared_range_stay_with_their_owner() -> None:
    lowered = lower(b.trace(lambda x: (x * 2).reveal_to(name="z"), x=b.fixed((3,), 0, 9)), whole(3, 1))
    with pytest.raises(LocalMisuse, match=r"'x' at index \(1,\).*\[0, 9\]"):
        encoded_input(lowered.inputs["x"], [1, 9.5, 2], "x")
    with pytest.raises(LocalMisuse, match=r"\[0, 9\]"):
        encoded_input(lowered.inputs["x"], [1, 2, float("nan")], "x")


def test_explain_and_limits() -> None:
    committee = whole(3, 1)
    graph = b.trace(lambda x: b.relu(x).reveal_to(name="z"), x=b.fixed((1000,), -9, 9))
    found = cost(lower(graph, committee), committee)
    assert found.rounds == 4
    assert "rounds       4" in found.explain()
    assert found.seconds(WAN) >= found.rounds * WAN.rtt_s
    assert 16_000 < found.memory_bytes < 3_000_000
    within_limits(found, rounds=4, sent_bytes=10**6, memory_bytes=10**8)
    with pytest.raises(LocalMisuse, match="4 rounds"):
        within_limits(found, rounds=3, sent_bytes=10**6, memory_bytes=10**8)


@pytest.mark.parametrize("committee", [whole(4, 1, "A"), whole(7, 2, "A")], ids=["4,1", "7,2"])
def test_mode_a_costs_what_it_says(committee: Committee) -> None:
    """`evaluate` compares measured rounds and bytes with the predicted ones."""
    graph = b.trace(
        lambda x, y: b.relu(x * y).sum(0).reveal_to(name="z"), x=b.fixed((6,), -9, 9), y=b.fixed((6,), -9, 9)
    )
    x, y = quantised(RNG.uniform(-9, 9, 6)), quantised(RNG.uniform(-9, 9, 6))
    done = evaluate(graph, committee, x=x, y=y)["z"]
    assert np.abs(done - np.maximum(x * y, 0).sum()) < 1e-2
    checked, passive = (cost(lower(graph, c), c) for c in (committee, whole(committee.n, committee.t)))
    assert checked.busiest_bytes > passive.busiest_bytes
    assert "mode A" in checked.explain()
    assert "before any output is opened" in checked.explain()


def test_preprocessing_is_what_depends_on_no_input() -> None:
    committee = whole(3, 1)
    products = b.trace(lambda x: (x * x).reveal_to(name="z"), x=b.fixed((64,), -9, 9))
    signs = b.trace(lambda x: (x < 0).reveal_to(name="z"), x=b.fixed((64,), -9, 9))
    assert cost(lower(products, committee), committee).preprocessing_bytes == 0
    found = cost(lower(signs, committee), committee)
    assert found.random_bits == 64
    assert 2 * 8 * 64 <= found.preprocessing_bytes < found.busiest_bytes
    assert "64 random bits" in found.explain()


def test_ranges_propagate_and_overflow_is_refused_with_the_node() -> None:
    """x^2 in [0, 2^40], x^4 in [0, 2^80] ...: refused while lowering, before anything runs."""

    def powers(x: b.Array) -> None:
        square = x * x
        fourth = square * square
        (fourth * fourth).reveal_to(name="z")

    committee = whole(3, 1)
    lower(b.trace(powers, x=b.fixed((3,), -2, 2)), committee)
    wide = b.trace(powers, x=b.fixed((3,), -(2.0**20), 2.0**20))
    with pytest.raises(LocalMisuse, match=r"node 2 \(mul\): a product in .* does not fit") as caught:
        lower(wide, committee)
    assert caught.value.fix == "declare narrower ranges"
    large = b.trace(lambda x: (x * 1e30).reveal_to(name="z"), x=b.fixed((3,), -(2.0**20), 2.0**20))
    with pytest.raises(LocalMisuse, match=r"node 2 \(mul\)"):
        lower(large, committee)
    tight = lower(
        b.trace(lambda x: (b.clamp(x, -1, 3) * 2 + 1).reveal_to(name="z"), x=b.fixed((3,), -9, 9)), committee
    )
    ((_, _, number),) = tight.outputs
    assert (number.low, number.high) == (-1, 7)
