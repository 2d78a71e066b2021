"""What is measured: each work as a program of ours, its inputs, and what it must give.

A work is written against the engine's `Calculator` (single operations) or as a graph (models, regression).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protocols.circuits import builder, jobs
from protocols.circuits.graph import Graph
from protocols.circuits.layers import Operation
from protocols.circuits.lower import lower
from protocols.circuits.network import Network, compiled
from protocols.circuits.passes import optimised
from protocols.engine import functions
from protocols.engine.committee import Committee
from protocols.engine.numbers import Calculator, Number
from protocols.engine.program import Program

Floats = npt.NDArray[np.float64]
FILES = Path(__file__).resolve().parents[2] / "tests" / "models"


@dataclass(frozen=True)
class Prepared:
    """A program for a committee, its input numbers with values, outputs with what they must be."""

    program: Program
    inputs: list[tuple[Number, Floats]]
    outputs: list[tuple[Number, Floats | None]]
    tolerance: float
    operations: int
    dealt: bool = False
    opened: bool = False


def _simple(
    write: Callable[..., Number], exact: Callable[..., Floats], tolerance: float, low: float, high: float
) -> Callable[[Committee, tuple[tuple[int, ...], ...], int], Prepared]:
    def prepare(committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int) -> Prepared:
        rng = np.random.default_rng(1)
        c = Calculator(committee)
        numbers = [c.given(shape, low, high) for shape in shapes]
        values = [np.rint(rng.uniform(low, high, shape) * 65536) / 65536 for shape in shapes]
        result = write(c, *numbers)
        program = c.program(result.register)
        inputs = list(zip(numbers, values, strict=True))
        return Prepared(program, inputs, [(result, exact(*values))], tolerance, operations)

    return prepare


def _opened(committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int) -> Prepared:
    rng = np.random.default_rng(1)
    c = Calculator(committee)
    x = c.given(shapes[0], -8, 8)
    values = np.rint(rng.uniform(-8, 8, shapes[0]) * 65536) / 65536
    program = c.program(c.revealed(x))
    return Prepared(program, [(x, values)], [(x, values)], 0.0, operations, opened=True)


def _dealt(committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int) -> Prepared:
    """No round at all: party 1 shares its values; the bench times dealing, sending and taking."""
    rng = np.random.default_rng(1)
    c = Calculator(committee)
    x = c.given(shapes[0], -8, 8)
    values = np.rint(rng.uniform(-8, 8, shapes[0]) * 65536) / 65536
    return Prepared(
        Program((x.register,), (), (x.register,)), [(x, values)], [(x, values)], 0.0, operations, True
    )


def _graph(
    committee: Committee,
    graph: Graph,
    values: dict[str, Floats],
    exact: Floats | None,
    tolerance: float,
    n: int,
) -> Prepared:
    lowered = lower(optimised(graph), committee)
    inputs = [(number, values[name]) for name, number in lowered.inputs.items()]
    return Prepared(lowered.program, inputs, [(lowered.outputs[0][2], exact)], tolerance, n)


def _regression(committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int) -> Prepared:
    """An epoch of batches of 128 on data of the size of the breast-cancer set, three pieces for sigmoid."""
    del shapes
    rng = np.random.default_rng(1)
    x = np.rint(rng.uniform(0, 1, (384, 31)) * 65536) / 65536
    y = (x @ rng.normal(0, 1, 31) > 0).astype(np.float64).reshape(-1, 1)

    def program(x: builder.Array, y: builder.Array, w: builder.Array) -> None:
        for at in range(0, 384, 128):
            rows, labels = x[at : at + 128], y[at : at + 128]
            z = rows @ w
            p = builder.clamp(z + 0.5, 0.0, 1.0)
            w = (
                builder.clamp(w - (rows.T @ (p - labels)) * (0.5 / 128), -8.0, 8.0)
                if at
                else w - (rows.T @ (p - labels)) * (0.5 / 128)
            )
        w.reveal_to(name="w")

    graph = builder.trace(
        program,
        x=builder.fixed(x.shape, 0, 1),
        y=builder.fixed(y.shape, 0, 1),
        w=builder.fixed((31, 1), -1, 1),
    )
    w = np.zeros((31, 1))
    values = {"x": x, "y": y, "w": w.copy()}
    for at in range(0, 384, 128):
        rows, labels = x[at : at + 128], y[at : at + 128]
        w = w - rows.T @ (np.clip(rows @ w + 0.5, 0, 1) - labels) * (0.5 / 128)
    return _graph(committee, graph, values, w, 1e-2, operations)


def _sigmoid_regression(
    committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int
) -> Prepared:
    """One full-batch step more than the first with the real sigmoid: the jobs' logistic regression."""
    del shapes
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (384, 30))
    y = (x.sum(1) > 15).astype(np.float64)
    graph = builder.trace(
        lambda x, y: jobs.logistic_regression([x], y, iterations=4).reveal_to(name="w"),
        x=builder.fixed(x.shape, 0, 1), y=builder.fixed(y.shape, 0, 1),
    )  # fmt: skip
    return _graph(committee, graph, {"x": x, "y": y}, None, 1e-2, operations)


def _perceptron(reveal: str) -> Callable[[Committee, tuple[tuple[int, ...], ...], int], Prepared]:
    def prepare(committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int) -> Prepared:
        return _forward(committee, shapes, operations, reveal)

    return prepare


def _forward(
    committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int, reveal: str
) -> Prepared:
    """784-128-10, random weights: the size of MNIST. `reveal` is "output", as the others', or "class"."""
    rng = np.random.default_rng(1)
    rows = shapes[0][0]
    x = np.rint(rng.uniform(0, 1, (rows, 784)) * 255) / 255
    weights = {
        "w1": rng.normal(0, 0.05, (784, 128)), "b1": rng.normal(0, 0.1, 128),
        "w2": rng.normal(0, 0.1, (128, 10)), "b2": rng.normal(0, 0.1, 10),
    }  # fmt: skip
    network = Network("x", x.shape, "s", (
        Operation("Gemm", ("x", "w1", "b1"), ("h",)), Operation("Relu", ("h",), ("r",)),
        Operation("Gemm", ("r", "w2", "b2"), ("s",)),
    ), weights)  # fmt: skip
    made = compiled(network, low=0, high=1, reveal=reveal)
    scores = np.maximum(x @ weights["w1"] + weights["b1"], 0) @ weights["w2"] + weights["b2"]
    values = {**made.weights, "x": x}
    if reveal == "output":
        return _graph(committee, made.graph, values, scores, 2e-2, operations)
    return _graph(committee, made.graph, values, scores.argmax(1).astype(np.float64), 0.5, operations)


def _digits(model: str) -> Callable[[Committee, tuple[tuple[int, ...], ...], int], Prepared]:
    def prepare(committee: Committee, shapes: tuple[tuple[int, ...], ...], operations: int) -> Prepared:
        from mesh.models.onnx_reader import read  # needs the package onnx

        digits = np.load(FILES / "digits.npz")
        rows = shapes[0][0]
        network = read(FILES / f"digits_{model}.onnx", batch=rows).network
        assert network is not None
        made = compiled(network, low=0, high=1, reveal="class")
        places = np.arange(rows) % len(digits["labels"])
        values = {**made.weights, made.sample: digits["images"][places] / 16.0}
        return _graph(
            committee, made.graph, values, digits[model][places].astype(np.float64), 0.5, operations
        )

    return prepare


@dataclass(frozen=True)
class Work:
    """Shapes and operations by size; `peer` is the MPyC driver's name for it, "" where it has none."""

    prepare: Callable[[Committee, tuple[tuple[int, ...], ...], int], Prepared]
    shapes: tuple[tuple[int, ...], ...]
    operations: int
    peer: str = ""
    peer_size: int = 0
    target: float = 10.0
    unit: str = "/s"


def _product(c: Calculator, x: Number, y: Number) -> Number:
    return c.mul(x, y)


_MUL = _simple(_product, lambda x, y: x * y, 2e-3, -8, 8)
_INT = _simple(lambda c, x, y: c.mul(x, y, 32), lambda x, y: x * y, 1e-9, -1000, 1000)
_DOT = _simple(lambda c, x, y: c.dot(x, y), lambda x, y: x @ y, 2e-3, -8, 8)
_LT = _simple(lambda c, x: c.negative(x), lambda x: (x < 0).astype(float), 0.0, -(2.0**23), 2.0**23)
_DIV = _simple(lambda c, x, y: c.mul(x, functions.reciprocal(c, y)), lambda x, y: x / y, 1e-2, 1, 8)
_EXP = _simple(functions.exp, np.exp, 1e-3, -4, 4)

WORKS: dict[str, Work] = {
    "mul_fxp_1e5": Work(_MUL, ((10**5,), (10**5,)), 10**5, "mul_fxp", 10_000, 100.0),
    "mul_fxp_1e6": Work(_MUL, ((10**6,), (10**6,)), 10**6, "mul_fxp", 10_000, 100.0),
    "mul_int_1e6": Work(_INT, ((10**6,), (10**6,)), 10**6, "mul_int", 200_000),
    "matmul128": Work(_DOT, ((128, 128), (128, 128)), 1, "matmul128_fxp", 0, 10.0, "matrices/s"),
    "matvec": Work(_DOT, ((1000, 30), (30, 1)), 1, "matvec_fxp", 0, 10.0, "products/s"),
    "compare_1e4": Work(_LT, ((10**4,),), 10**4, "lt_fxp", 1000, 100.0),
    "compare_1e5": Work(_LT, ((10**5,),), 10**5, "lt_fxp", 1000, 100.0),
    "open_1e6": Work(_opened, ((10**6,),), 10**6, "open_fxp", 10**6),
    "input_1e6": Work(_dealt, ((10**6,),), 10**6, "input_fxp", 10**6),
    "div_1e3": Work(_DIV, ((1000,), (1000,)), 1000, "div_fxp", 1000),
    "exp_1e3": Work(_EXP, ((1000,),), 1000),
    "logreg_epoch": Work(_regression, (), 1, "logreg", 1, 10.0, "epochs/s"),
    "logreg_sigmoid": Work(_sigmoid_regression, (), 1, "", 0, 10.0, "runs/s"),
    "mlp_1": Work(_perceptron("output"), ((1, 784),), 1, "mlp", 1, 1.0, "images/s"),
    "mlp_32": Work(_perceptron("output"), ((32, 784),), 32, "mlp", 32, 10.0, "images/s"),
    "mlp_class_1": Work(_perceptron("class"), ((1, 784),), 1, "", 0, 1.0, "images/s"),
    "digit_1": Work(_digits("mlp"), ((1, 64),), 1, "", 0, 10.0, "images/s"),
    "digits_1000": Work(_digits("mlp"), ((1000, 64),), 1000, "", 0, 10.0, "images/s"),
    "digits_mlp_all": Work(_digits("mlp"), ((360, 64),), 360, "", 0, 10.0, "images/s"),
    "digits_conv_all": Work(_digits("conv"), ((360, 64),), 360, "", 0, 10.0, "images/s"),
}
"""digits_mlp_all and digits_conv_all take the whole test set. MPyC 0.11 has no exp of vectors."""

DEFAULT = [name for name in WORKS if name not in ("logreg_sigmoid", "digits_mlp_all", "digits_conv_all")]
