"""A graph for one committee becomes an engine program; ranges are worked out on the way.

Invariant: a pure function of (graph, committee), so all members run the same steps.
Raises LocalMisuse naming the node when a range cannot be kept: before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.circuits.graph import Graph, Node
from protocols.engine import decompose, functions, ordering
from protocols.engine.committee import Committee
from protocols.engine.numbers import SCALE, Calculator, Number
from protocols.engine.program import Program
from protocols.errors import LocalMisuse

Operand = Number | npt.NDArray[Any]


@dataclass(frozen=True)
class Lowered:
    """The program with the numbers that go in and come out, by name."""

    program: Program
    inputs: dict[str, Number]
    outputs: tuple[tuple[str, str, Number], ...]
    """(name, recipient, number), in the order of the program's output registers."""


def lower(graph: Graph, committee: Committee) -> Lowered:
    """Steps that compute the graph's outputs."""
    c = Calculator(committee)
    values: list[Operand] = []
    inputs: dict[str, Number] = {}
    for at, node in enumerate(graph.nodes):
        try:
            value = _value(c, node, [values[operand] for operand in node.inputs])
        except LocalMisuse as error:
            raise LocalMisuse(f"node {at} ({node.operation}): {error.args[0]}", fix=error.fix) from None
        if node.operation == "input":
            assert isinstance(value, Number)
            inputs[node.name] = value
        values.append(value)
    outputs = []
    for output in graph.outputs:
        value = values[output.node]
        if not isinstance(value, Number):
            raise LocalMisuse(f"output {output.name!r} is public", fix="reveal secrets only")
        outputs.append((output.name, output.recipient, value))
    return Lowered(c.program(*(number.register for _, _, number in outputs)), inputs, tuple(outputs))


def _value(c: Calculator, node: Node, operands: list[Operand]) -> Operand:
    if node.operation == "constant":
        reals = node.reals.reshape(node.shape)
        whole = (
            reals.size > 0 and bool((np.abs(reals) < 2.0**53).all()) and bool((reals == np.rint(reals)).all())
        )
        return reals.astype(np.int64) if whole else reals
    if node.operation == "input":
        return c.given(node.shape, node.low, node.high, SCALE if node.kind == "fixed" else 0)
    secret = [operand for operand in operands if isinstance(operand, Number)]
    if node.operation in _BINARY:
        return _BINARY[node.operation](c, operands[0], operands[1])
    if node.operation in _FUNCTIONS:
        return _FUNCTIONS[node.operation](c, secret[0])
    return _structural(c, node, operands)


def _structural(c: Calculator, node: Node, operands: list[Operand]) -> Number:
    numbers = [_secret(c, operand) for operand in operands]
    x = numbers[0]
    if node.operation == "take":
        return c.take(x, node.indices.astype(np.int64).reshape(node.shape))
    if node.operation == "sum":
        return c.sum(x, node.axis)
    if node.operation == "concat":
        return c.concatenate([c.reshape(number, (number.count,)) for number in numbers])
    if node.operation == "clamp":
        return functions.clamp(c, x, node.low, node.high)
    if node.operation == "where":
        return c.select(x, numbers[1], numbers[2])
    raise LocalMisuse(f"{node.operation} has no lowering")


def _secret(c: Calculator, operand: Operand) -> Number:
    return operand if isinstance(operand, Number) else c.constant(operand)


def _add(c: Calculator, x: Operand, y: Operand) -> Number:
    if isinstance(x, Number) and isinstance(y, Number):
        return c.add(x, y)
    number, public = (x, y) if isinstance(x, Number) else (y, x)
    assert isinstance(number, Number)
    assert not isinstance(public, Number)
    return c.affine(c.at_least(number, public), 1, public)


def _sub(c: Calculator, x: Operand, y: Operand) -> Number:
    if isinstance(y, Number):
        return c.add(x, y, -1) if isinstance(x, Number) else c.affine(c.at_least(y, x), -1, x)
    return _add(c, x, -y)


def _mul(c: Calculator, x: Operand, y: Operand) -> Number:
    if isinstance(x, Number) and isinstance(y, Number):
        return c.mul(x, y, max(min(x.scale, SCALE), min(y.scale, SCALE)))
    number, public = (x, y) if isinstance(x, Number) else (y, x)
    assert isinstance(number, Number)
    assert not isinstance(public, Number)
    return c.times_public(number, public)


def _inner(c: Calculator, x: Operand, y: Operand) -> Number:
    a, b = _secret(c, x), _secret(c, y)
    return c.inner(a, b, max(min(a.scale, SCALE), min(b.scale, SCALE)))


def _matmul(c: Calculator, x: Operand, y: Operand) -> Number:
    if isinstance(x, Number) and isinstance(y, Number):
        return c.dot(x, y, max(min(x.scale, SCALE), min(y.scale, SCALE)))
    if isinstance(x, Number):
        assert not isinstance(y, Number)
        return c.public_dot(x, y)
    assert isinstance(y, Number)
    return c.public_dot(y, x, left=True)


def _less(c: Calculator, x: Operand, y: Operand) -> Number:
    return c.negative(_sub(c, x, y))


def _equal(c: Calculator, x: Operand, y: Operand) -> Number:
    return ordering.zero(c, _sub(c, x, y))


_BINARY: dict[str, Callable[[Calculator, Operand, Operand], Number]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "inner": _inner,
    "matmul": _matmul,
    "less": _less,
    "equal": _equal,
}


def _argmax(c: Calculator, x: Number) -> Number:
    position = ordering.maximum_and_position(c, x)[1]
    assert position is not None
    return position


_FUNCTIONS: dict[str, Callable[[Calculator, Number], Number]] = {
    "not": lambda c, x: c.complement(x),
    "relu": ordering.relu,
    "abs": ordering.absolute,
    "floor": lambda c, x: decompose.floor_to(c, x, 0),
    "max": lambda c, x: ordering.maximum_and_position(c, x, position=False)[0],
    "argmax": _argmax,
    "sort": ordering.sort,
    "exp": functions.exp,
    "log": functions.log,
    "reciprocal": functions.reciprocal,
    "sqrt": lambda c, x: functions.roots(c, x)[0],
    "rsqrt": lambda c, x: functions.roots(c, x)[1],
    "sigmoid": functions.sigmoid,
    "tanh": functions.tanh,
    "softmax": functions.softmax,
}


def encoded_input(number: Number, values: npt.ArrayLike, name: str) -> rns.Residues:
    """An owner's values as residues to be dealt, (2, *shape).

    Raises LocalMisuse naming the input, the index and the declared range when a value lies outside.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != number.shape:
        raise LocalMisuse(f"input {name!r} has shape {array.shape}, the program takes {number.shape}")
    with np.errstate(invalid="ignore"):
        bad = ~((array >= number.low) & (array <= number.high))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise LocalMisuse(
            f"input {name!r} at index {at} is outside its declared range [{number.low:g}, {number.high:g}]",
            fix="clip the value or ask for a program with a wider range",
        )
    return rns.encode(array, number.scale, max(1, number.bits - number.scale + 1))
