"""The typed graph of a program: what owners read, approve by hash, and every member evaluates.

A node applies one operation to earlier nodes. Its shape and kind follow from theirs by the table
below; `checked` recomputes them, so a decoded graph is as trustworthy as a traced one.

Kinds: public (known to all), integer and fixed (shared, fixed with scale 16), bit (shared 0 or 1).
Invariant: the canonical encoding (`wire.codec`) is the graph; equal digests mean equal programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between
from protocols.wire.digest import digest

MOST_NODES = 1 << 16
MOST_ELEMENTS = 1 << 26
"""Elements of one array: 2^26 shares are a gigabyte."""

KINDS = ("public", "integer", "fixed", "bit")
Shape = tuple[int, ...]

Indices = Annotated[npt.NDArray[np.uint32], AtMost(MOST_ELEMENTS)]
Reals = Annotated[npt.NDArray[np.float64], AtMost(MOST_ELEMENTS)]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation. `axis` for sum; `low`, `high` for input and clamp; `reals` for constants."""

    operation: Annotated[str, AtMost(16)]
    inputs: Annotated[tuple[int, ...], AtMost(1024)]
    shape: Annotated[tuple[Annotated[int, Between(0, MOST_ELEMENTS)], ...], AtMost(8)]
    kind: Annotated[str, AtMost(8)]
    name: Annotated[str, AtMost(64)] = ""
    axis: Annotated[int, Between(0, 8)] = 0
    low: float = 0.0
    high: float = 0.0
    indices: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.uint32))
    reals: Reals = field(default_factory=lambda: np.zeros(0, dtype=np.float64))


@dataclass(frozen=True)
class Output:
    """A node revealed under a name to one recipient: a party's name, or "everyone"."""

    node: int
    name: Annotated[str, AtMost(64)]
    recipient: Annotated[str, AtMost(64)]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which operands come first."""

    nodes: Annotated[tuple[Node, ...], AtMost(MOST_NODES)]
    outputs: Annotated[tuple[Output, ...], AtMost(256)]

    def encoded(self) -> bytes:
        """Canonical CBOR."""
        return codec.encode(self)

    def digest(self) -> Digest:
        """What owners approve."""
        return digest("graph/1", self.encoded())

    @property
    def inputs(self) -> dict[str, int]:
        """Node number of each named input."""
        return {node.name: at for at, node in enumerate(self.nodes) if node.operation == "input"}


def decode(data: bytes) -> Graph:
    """A received graph, checked. Raises MalformedMessage."""
    return checked(codec.decode(Graph, data))


def _same(shapes: list[Shape]) -> Shape:
    return shapes[0]


def _broadcast(shapes: list[Shape]) -> Shape:
    return np.broadcast_shapes(*shapes)


def _where(shapes: list[Shape]) -> Shape:
    if np.broadcast_shapes(*shapes) != shapes[0]:
        raise ValueError("the condition of where must have the shape of the result")
    return shapes[0]


def _matmul(shapes: list[Shape]) -> Shape:
    left, right = shapes
    if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        raise ValueError(f"{left} @ {right}")
    return left[0], right[1]


def _inner(shapes: list[Shape]) -> Shape:
    return np.broadcast_shapes(*shapes)[:-1]


def _row(shapes: list[Shape]) -> Shape:
    if len(shapes[0]) != 2 or shapes[0][1] < 1:
        raise ValueError(f"takes (rows, m), not {shapes[0]}")
    return (shapes[0][0],)


def _rows(shapes: list[Shape]) -> Shape:
    _row(shapes)
    return shapes[0]


def _flat(shapes: list[Shape]) -> Shape:
    return (sum(math.prod(shape) for shape in shapes),)


@dataclass(frozen=True)
class Rule:
    """Operands (0: any number), the result's shape, and its kind ("": that of the operands)."""

    arity: int
    shape: Callable[[list[Shape]], Shape]
    kind: str = ""


RULES: dict[str, Rule] = {
    "add": Rule(2, _broadcast),
    "sub": Rule(2, _broadcast),
    "mul": Rule(2, _broadcast),
    "inner": Rule(2, _inner),
    "matmul": Rule(2, _matmul),
    "concat": Rule(0, _flat),
    "where": Rule(3, _where),
    "less": Rule(2, _broadcast, "bit"),
    "equal": Rule(2, _broadcast, "bit"),
    "not": Rule(1, _same, "bit"),
    "relu": Rule(1, _same),
    "abs": Rule(1, _same),
    "floor": Rule(1, _same, "integer"),
    "clamp": Rule(1, _same),
    "max": Rule(1, _row),
    "argmax": Rule(1, _row, "integer"),
    "sort": Rule(1, _rows),
    "exp": Rule(1, _same, "fixed"),
    "log": Rule(1, _same, "fixed"),
    "reciprocal": Rule(1, _same, "fixed"),
    "sqrt": Rule(1, _same, "fixed"),
    "rsqrt": Rule(1, _same, "fixed"),
    "sigmoid": Rule(1, _same, "fixed"),
    "tanh": Rule(1, _same, "fixed"),
    "softmax": Rule(1, _rows, "fixed"),
}


def inferred(node: Node, operands: list[Node]) -> tuple[Shape, str]:
    """(shape, kind) that follow from the operands. Raises ValueError with what does not fit."""
    shapes = [operand.shape for operand in operands]
    if node.operation in ("input", "constant"):
        return _source(node, operands)
    kind = _joint_kind([operand.kind for operand in operands])
    if node.operation == "take":
        limit = math.prod(shapes[0]) if len(shapes) == 1 else -1
        if node.indices.size != math.prod(node.shape) or (
            node.indices.size and int(node.indices.max()) >= limit
        ):
            raise ValueError("take beyond its operand")
        return node.shape, operands[0].kind
    if node.operation == "sum":
        if len(shapes) != 1 or node.axis >= len(shapes[0]):
            raise ValueError(f"sum over axis {node.axis}")
        return shapes[0][: node.axis] + shapes[0][node.axis + 1 :], "integer" if kind == "bit" else kind
    rule = RULES.get(node.operation)
    if rule is None:
        raise ValueError("is no operation")
    if (rule.arity and len(operands) != rule.arity) or not operands:
        raise ValueError(f"takes {rule.arity or 'some'} operands, not {len(operands)}")
    if node.operation == "where" and operands[0].kind != "bit":
        raise ValueError(f"needs a secret bit as its condition, not {operands[0].kind}")
    if node.operation == "where":
        kind = _joint_kind([operand.kind for operand in operands[1:]])
    if node.operation == "not" and kind != "bit":
        raise ValueError(f"needs a secret bit, not {kind}")
    if kind == "bit" and node.operation == "mul" and "public" in [operand.kind for operand in operands]:
        kind = "integer"
    if kind == "bit" and node.operation in ("add", "sub", "inner", "matmul", "max", "where"):
        kind = "integer"
    return rule.shape(shapes), rule.kind or kind


def _joint_kind(kinds: list[str]) -> str:
    """fixed wins over integer, integer over bit; public operands do not matter beside secret ones."""
    for kind in ("fixed", "integer", "bit"):
        if kind in kinds:
            return kind
    return "public"


def _source(node: Node, operands: list[Node]) -> tuple[Shape, str]:
    if operands:
        raise ValueError("takes no operands")
    if node.operation == "constant":
        if node.reals.size != math.prod(node.shape) or not np.isfinite(node.reals).all():
            raise ValueError("values that are not finite or do not fill the shape")
        return node.shape, "public"
    if not (math.isfinite(node.low) and math.isfinite(node.high) and node.low <= node.high and node.name):
        raise ValueError("an input needs a name and a finite range")
    if node.kind not in ("integer", "fixed", "bit"):
        raise ValueError(f"an input cannot be {node.kind}")
    return node.shape, node.kind


def checked(graph: Graph) -> Graph:
    """The graph itself if every node is what the table says. Raises MalformedMessage naming the node."""
    names: set[str] = set()
    for at, node in enumerate(graph.nodes):
        try:
            if any(not 0 <= operand < at for operand in node.inputs):
                raise ValueError("reads a later node")
            found = inferred(node, [graph.nodes[operand] for operand in node.inputs])
            if found[0] != node.shape or (found[1] != node.kind and found[1] != "public"):
                raise ValueError(f"is declared {node.shape} {node.kind} but computes {found[0]} {found[1]}")
            if math.prod(node.shape) > MOST_ELEMENTS or (node.operation == "input" and node.name in names):
                raise ValueError("is too large or repeats a name")
        except ValueError as error:
            raise MalformedMessage(f"node {at} ({node.operation}) {error}") from None
        names |= {node.name} if node.operation == "input" else set()
    if any(not 0 <= output.node < len(graph.nodes) for output in graph.outputs):
        raise MalformedMessage("an output names no node")
    return graph


def refuse(node: Node, operands: list[Node]) -> tuple[Shape, str]:
    """`inferred` for the tracer: a mistake is the caller's. Raises LocalMisuse."""
    try:
        return inferred(node, operands)
    except ValueError as error:
        raise LocalMisuse(f"{node.operation}: {error}", fix="check the shapes of the operands") from None
