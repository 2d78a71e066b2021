"""Layers of neural networks equal plain numpy: convolutions, pooling, normalisation, shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.circuits.layers import HANDLERS, Operation
from protocols.circuits.lower import encoded_input, lower
from protocols.circuits.network import Compiled, Network, compiled
from protocols.circuits.passes import optimised
from protocols.engine.committee import whole
from protocols.errors import LocalMisuse
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

RNG = np.random.default_rng(23)
ONE = whole(3, 1)


def evaluate(made: Compiled, sample: np.ndarray) -> np.ndarray:
    """The one result of a compiled network."""
    lowered = lower(optimised(made.graph), ONE)
    values = {**made.weights, made.sample: sample}
    inputs = {
        number.register: deal(encoded_input(number, np.asarray(values[name]), name), ONE)
        for name, number in lowered.inputs.items()
    }
    done = run(lowered.program, seats(ONE), inputs)
    number = lowered.outputs[0][2]
    return rns.decode(reconstruct({p: o[0] for p, o in done.outputs.items()}, 1), number.scale)


def layer(kind: str, sample: np.ndarray, *weights: np.ndarray, **attributes: Any) -> np.ndarray:
    """One operation on a sample with weights behind it."""
    names = tuple(f"w{i}" for i in range(len(weights)))
    operation = Operation(kind, ("x", *names), ("y",), attributes)
    network = Network("x", sample.shape, "y", (operation,), dict(zip(names, weights, strict=True)))
    return evaluate(compiled(network, low=-4, high=4), sample)


def images(*shape: int) -> np.ndarray:
    return np.rint(RNG.uniform(-4, 4, shape) * 65536) / 65536


def convolved(x, kernel, bias, *, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1) -> np.ndarray:
    """By the definition, element by element."""
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    m, per, kh, kw = kernel.shape
    oh = (x.shape[2] - (kh - 1) * dilations[0] - 1) // strides[0] + 1
    ow = (x.shape[3] - (kw - 1) * dilations[1] - 1) // strides[1] + 1
    out = np.zeros((x.shape[0], m, oh, ow))
    for o in range(m):
        g = o // (m // group)
        for i in range(oh):
            for j in range(ow):
                top, left = i * strides[0], j * strides[1]
                seen = x[:, g * per : (g + 1) * per,
                         top : top + kh * dilations[0] : dilations[0],
                         left : left + kw * dilations[1] : dilations[1]]  # fmt: skip
                out[:, o, i, j] = (seen[:, :, :kh, :kw] * kernel[o]).sum((1, 2, 3)) + bias[o]
    return out


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"strides": (2, 1), "pads": (1, 0, 1, 2)},
        {"dilations": (2, 2), "pads": (1, 1, 1, 1)},
        {"group": 2},
        {"group": 4, "strides": (2, 2)},
    ],
)
def test_convolution(how: dict[str, Any]) -> None:
    x = images(2, 4, 6, 5)
    kernel, bias = RNG.normal(0, 0.5, (4, 4 // how.get("group", 1), 3, 2)), RNG.normal(0, 0.5, 4)
    attributes = {"kernel_shape": (3, 2), **how}
    found = layer("Conv", x, kernel, bias, **attributes)
    assert np.abs(found - convolved(x, kernel, bias, **how)).max() < 2e-3


def test_same_padding_makes_as_many_windows_as_strides_need() -> None:
    x, kernel = images(1, 1, 5, 5), RNG.normal(0, 0.5, (1, 1, 2, 2))
    for auto, pads in (("SAME_UPPER", (0, 0, 1, 1)), ("SAME_LOWER", (1, 1, 0, 0))):
        found = layer("Conv", x, kernel, np.zeros(1), kernel_shape=(2, 2), auto_pad=auto)
        assert np.abs(found - convolved(x, kernel, np.zeros(1), pads=pads)).max() < 1e-3


def test_pooling() -> None:
    x = images(2, 2, 4, 6)
    blocks = x.reshape(2, 2, 2, 2, 3, 2)
    even = {"kernel_shape": (2, 2), "strides": (2, 2)}
    assert np.array_equal(layer("MaxPool", x, **even), blocks.max((3, 5)))
    assert np.abs(layer("AveragePool", x, **even) - blocks.mean((3, 5))).max() < 1e-4
    assert np.abs(layer("GlobalAveragePool", x)[:, :, 0, 0] - x.mean((2, 3))).max() < 1e-4
    edges = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    low = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    seen = np.lib.stride_tricks.sliding_window_view(low, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    assert np.array_equal(layer("MaxPool", x, **edges), seen.max((4, 5)))
    known = np.where(np.isfinite(seen), seen, 0).sum((4, 5)) / np.isfinite(seen).sum((4, 5))
    assert np.abs(layer("AveragePool", x, **edges) - known).max() < 1e-4
    with_zeros = np.where(np.isfinite(seen), seen, 0).sum((4, 5)) / 9
    assert np.abs(layer("AveragePool", x, **edges, count_include_pad=1) - with_zeros).max() < 1e-4


def test_dense_layers_shapes_and_activations() -> None:
    x, w, bias = images(3, 5), RNG.normal(0, 0.5, (4, 5)), RNG.normal(0, 0.5, 4)
    found = layer("Gemm", x, w, bias, transB=1, alpha=0.5, beta=2.0)
    assert np.abs(found - (0.5 * x @ w.T + 2 * bias)).max() < 1e-3
    assert np.abs(layer("MatMul", x, w.T) - x @ w.T).max() < 1e-3
    assert np.abs(layer("Sub", x, np.full(5, 0.25)) - (x - 0.25)).max() < 1e-4
    assert np.abs(layer("Div", x, np.full(5, 3.0)) - x / 3).max() < 1e-3
    assert np.array_equal(layer("Relu", x), np.maximum(x, 0))
    assert np.abs(layer("Tanh", x) - np.tanh(x)).max() < 1e-3
    assert np.abs(layer("Sigmoid", x) - 1 / (1 + np.exp(-x))).max() < 1e-3
    power = np.exp(x - x.max(1, keepdims=True))
    assert np.abs(layer("Softmax", x, axis=-1) - power / power.sum(1, keepdims=True)).max() < 1e-3
    stack = images(2, 3, 4)
    assert np.array_equal(layer("Transpose", stack, perm=(2, 0, 1)), stack.transpose(2, 0, 1))
    assert np.array_equal(layer("Flatten", stack, axis=1), stack.reshape(2, 12))
    assert np.array_equal(layer("Reshape", stack, np.array([0, -1])), stack.reshape(2, 12))
    assert np.array_equal(layer("Dropout", stack), layer("Identity", stack))


def test_normalisation_alone_and_folded_into_the_layer_before() -> None:
    x = images(2, 3, 4, 4)
    parts = [RNG.uniform(0.5, 2, 3), RNG.normal(0, 1, 3), RNG.normal(0, 1, 3), RNG.uniform(0.5, 2, 3)]
    gamma, beta, mean, variance = (part.reshape(1, 3, 1, 1) for part in parts)
    exact = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    assert np.abs(layer("BatchNormalization", x, *parts) - exact).max() < 2e-3
    kernel, bias = RNG.normal(0, 0.5, (3, 3, 1, 1)), RNG.normal(0, 0.5, 3)
    weights = dict(zip(("k", "b", "g", "be", "m", "v"), (kernel, bias, *parts), strict=True))
    operations = (
        Operation("Conv", ("x", "k", "b"), ("c",), {"kernel_shape": (1, 1)}),
        Operation("BatchNormalization", ("c", "g", "be", "m", "v"), ("n",)),
        Operation("Relu", ("n",), ("r",)),
        Operation("MaxPool", ("r",), ("y",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    )
    made = compiled(Network("x", x.shape, "y", operations, weights), low=-4, high=4)
    kinds = [node.operation for node in made.graph.nodes]
    assert kinds.index("max") < kinds.index("relu")
    assert "mul" not in kinds
    normal = (convolved(x, kernel, bias) - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    pooled = np.maximum(normal, 0).reshape(2, 3, 2, 2, 2, 2).max((3, 5))
    assert np.abs(evaluate(made, x) - pooled).max() < 5e-3


def test_the_class_alone_can_be_revealed() -> None:
    x, w = images(4, 5), RNG.normal(0, 1, (5, 3))
    operations = (Operation("MatMul", ("x", "w"), ("s",)), Operation("Softmax", ("s",), ("y",)))
    made = compiled(Network("x", x.shape, "y", operations, {"w": w}), low=-4, high=4, reveal="class")
    assert "softmax" not in [node.operation for node in made.graph.nodes]
    assert np.array_equal(evaluate(made, x), (x @ w).argmax(1))
    one = compiled(
        Network("x", x.shape, "y", (*operations[:1], Operation("Sigmoid", ("s",), ("y",))), {"w": w[:, :1]}),
        low=-4, high=4, reveal="class",
    )  # fmt: skip
    assert np.array_equal(evaluate(one, x), (x @ w[:, 0] >= 0).astype(int))


def test_the_graph_tells_shapes_and_ranges_but_no_weight() -> None:
    w = RNG.normal(0, 0.3, (5, 3))
    made = [
        compiled(
            Network("x", (4, 5), "y", (Operation("MatMul", ("x", "w"), ("y",)),), {"w": v}), low=0, high=1
        )
        for v in (w, np.clip(w * 0.99, -0.9, 0.9))
    ]
    assert made[0].graph.digest() == made[1].graph.digest()
    inputs = [node for node in made[0].graph.nodes if node.operation == "input"]
    assert {node.name for node in inputs} == {"x", "w"}
    assert all(np.log2(node.high) % 1 == 0 for node in inputs)


def test_input_names_take_the_owners_place() -> None:
    w = RNG.normal(0, 0.3, (5, 3))
    network = Network("x", (4, 5), "y", (Operation("MatMul", ("x", "w"), ("y",)),), {"w": w})
    made = compiled(network, low=0, high=1, prefix="0:")
    assert {n.name for n in made.graph.nodes if n.operation == "input"} == {"0:x", "0:w"}
    assert made.sample == "0:x"
    assert set(made.weights) == {"0:w"}


def test_mistakes_name_the_operation() -> None:
    def one(kind: str, shape: tuple[int, ...], weights: dict[str, Any], **attributes: Any) -> None:
        operation = Operation(kind, ("x", *weights), ("y",), attributes, name="layer7")
        compiled(Network("x", shape, "y", (operation,), weights), low=0, high=1)

    with pytest.raises(LocalMisuse, match="Sin layer7 is not supported"):
        one("Sin", (2, 3), {})
    with pytest.raises(LocalMisuse, match="MatMul layer7"):
        one("MatMul", (2, 3), {"w": np.zeros((4, 4))})
    with pytest.raises(LocalMisuse, match="NaN"):
        one("MatMul", (2, 3), {"w": np.full((3, 4), np.nan)})
    with pytest.raises(LocalMisuse, match="last axis"):
        one("Softmax", (2, 3), {}, axis=0)
    with pytest.raises(LocalMisuse, match="does not fit an image"):
        one("MaxPool", (1, 1, 2, 2), {}, kernel_shape=(3, 3))
    assert len(HANDLERS) >= 18
