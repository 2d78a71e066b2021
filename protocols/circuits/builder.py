"""Tracing programs written like numpy.

    def program(x: Array, w: Array, b: Array) -> None:
        y = relu(x @ w + b)
        y[:, 0].reveal_to("clinic", name="score")

    graph = trace(program, x=fixed((8, 30), -4, 4), w=fixed((30, 1), -1, 1), b=fixed((1,), -1, 1))

Arrays are secret; Python numbers and numpy arrays beside them are public constants of the graph. What
is computed may not depend on secret values: an Array has no truth value and no length but its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.circuits.graph import Graph, Node, Output, checked, refuse
from protocols.errors import LocalMisuse

EVERYONE = "everyone"
WIDEST = 2.0**40
"""An upper end that clamps nothing."""


@dataclass(frozen=True, slots=True)
class Declared:
    """An input: its shape, kind and the range its owner's values are checked against."""

    shape: tuple[int, ...]
    kind: str
    low: float
    high: float


def fixed(shape: tuple[int, ...], low: float, high: float) -> Declared:
    """Secret reals in [low, high], rounded to 2^-16."""
    return Declared(shape, "fixed", low, high)


def integers(shape: tuple[int, ...], low: int, high: int) -> Declared:
    """Secret integers in [low, high]."""
    return Declared(shape, "integer", low, high)


def bits(shape: tuple[int, ...]) -> Declared:
    """Secret zeros and ones; their owner is trusted to give no other number."""
    return Declared(shape, "bit", 0, 1)


class Tracer:
    """The graph so far: what `trace` and compilers of model files append to."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.outputs: list[Output] = []

    def append(
        self, operation: str, operands: list[Array], shape: tuple[int, ...] = (), **more: Any
    ) -> Array:
        """One more node; its shape and kind are inferred."""
        node = Node(operation, tuple(x.number for x in operands), shape, more.pop("kind", ""), **more)
        found = refuse(node, [self.nodes[x.number] for x in operands])
        self.nodes.append(replace(node, shape=tuple(int(size) for size in found[0]), kind=found[1]))
        return Array(self, len(self.nodes) - 1)

    def constant(self, values: npt.ArrayLike) -> Array:
        """A public operand."""
        reals = np.asarray(values, dtype=np.float64)
        return self.append("constant", [], reals.shape, reals=reals.ravel())


class Array:
    """A secret array of a traced program."""

    __array_ufunc__ = None  # numpy defers to our operators
    __hash__ = None  # type: ignore[assignment]  # == makes a secret bit

    def __init__(self, trace: Tracer, number: int) -> None:
        self.trace = trace
        self.number = number

    @property
    def node(self) -> Node:
        """Its node in the graph."""
        return self.trace.nodes[self.number]

    @property
    def shape(self) -> tuple[int, ...]:
        """As numpy's."""
        return self.node.shape

    def __repr__(self) -> str:
        return f"Array({self.node.operation}, {self.node.kind}, {self.shape})"

    def __bool__(self) -> bool:
        raise LocalMisuse("a secret has no truth value", fix="use where(condition, a, b)")

    def apply(self, operation: str, *others: Any, reverse: bool = False, **more: Any) -> Array:
        """A node on this array and others; numbers and numpy arrays become constants."""
        operands = [self, *(x if isinstance(x, Array) else self.trace.constant(x) for x in others)]
        if any(x.trace is not self.trace for x in operands):
            raise LocalMisuse("arrays of two programs cannot be mixed")
        return self.trace.append(operation, operands[::-1] if reverse else operands, **more)

    def __add__(self, other: Any) -> Array:
        return self.apply("add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Array:
        return self.apply("sub", other)

    def __rsub__(self, other: Any) -> Array:
        return self.apply("sub", other, reverse=True)

    def __mul__(self, other: Any) -> Array:
        return self.apply("mul", other)

    __rmul__ = __mul__

    def __neg__(self) -> Array:
        return self * -1

    def __truediv__(self, other: Any) -> Array:
        if isinstance(other, Array):
            return self.apply("mul", reciprocal(other))
        return self.apply("mul", 1.0 / np.asarray(other, dtype=np.float64))

    def __rtruediv__(self, other: Any) -> Array:
        return reciprocal(self).apply("mul", other)

    def __matmul__(self, other: Any) -> Array:
        return _matmul(self, other, reverse=False)

    def __rmatmul__(self, other: Any) -> Array:
        return _matmul(self, other, reverse=True)

    def __lt__(self, other: Any) -> Array:
        return self.apply("less", other)

    def __gt__(self, other: Any) -> Array:
        return self.apply("less", other, reverse=True)

    def __le__(self, other: Any) -> Array:
        return self.apply("less", other, reverse=True).apply("not")

    def __ge__(self, other: Any) -> Array:
        return self.apply("less", other).apply("not")

    def __eq__(self, other: object) -> Array:  # type: ignore[override]  # as numpy: element by element
        return self.apply("equal", other)

    def __ne__(self, other: object) -> Array:  # type: ignore[override]  # as numpy: element by element
        return self.apply("equal", other).apply("not")

    def taken(self, indices: npt.NDArray[Any]) -> Array:
        """Elements by flat index; the result has the indices' shape."""
        flat = indices.astype(np.uint32).ravel()
        return self.trace.append("take", [self], indices.shape, indices=flat)

    def _numbers(self) -> npt.NDArray[np.int64]:
        return np.arange(int(np.prod(self.shape, dtype=np.int64))).reshape(self.shape)

    def __getitem__(self, key: Any) -> Array:
        return self.taken(np.asarray(self._numbers()[key]))

    def reshape(self, *shape: int) -> Array:
        """As numpy's."""
        return self.taken(self._numbers().reshape(*shape))

    @property
    def T(self) -> Array:  # noqa: N802  # numpy's name
        """As numpy's."""
        return self.taken(self._numbers().T)

    def sum(self, axis: int | None = None) -> Array:
        """Along an axis, or of all elements."""
        if axis is None:
            return self.reshape(-1).sum(0)
        return self.trace.append("sum", [self], axis=axis % len(self.shape))

    def mean(self, axis: int | None = None) -> Array:
        """Along an axis, or of all elements."""
        total = self.sum(axis)
        elements = int(np.prod(self.shape, dtype=np.int64)) // max(
            1, int(np.prod(total.shape, dtype=np.int64))
        )
        return total.apply("mul", 1.0 / elements)

    def reveal_to(self, recipient: str = EVERYONE, *, name: str) -> None:
        """Make this array a result for one recipient."""
        if any(o.name == name and o.recipient == recipient for o in self.trace.outputs):
            raise LocalMisuse(
                f"{name!r} is revealed to {recipient!r} twice", fix="give results names of their own"
            )
        self.trace.outputs.append(Output(self.number, name, recipient))


def _matmul(x: Array, other: Any, *, reverse: bool) -> Array:
    """@ of 1-D or 2-D operands."""
    y = other if isinstance(other, Array) else x.trace.constant(other)
    left, right = (y, x) if reverse else (x, y)
    flat_left, flat_right = len(left.shape) == 1, len(right.shape) == 1
    left = left.reshape(1, -1) if flat_left else left
    right = right.reshape(-1, 1) if flat_right else right
    product = left.apply("matmul", right)
    rows, columns = product.shape
    shape = (() if flat_left else (rows,)) + (() if flat_right else (columns,))
    return product if shape == product.shape else product.reshape(*shape)


def _function(operation: str) -> Callable[[Array], Array]:
    def function(x: Array) -> Array:
        return x.apply(operation)

    function.__name__ = operation
    function.__doc__ = f"{operation} of every element, or along the last axis of (rows, m)."
    return function


relu, absolute, exp, log, reciprocal = (_function(o) for o in ("relu", "abs", "exp", "log", "reciprocal"))
floor = _function("floor")
sqrt, rsqrt, sigmoid, tanh = (_function(o) for o in ("sqrt", "rsqrt", "sigmoid", "tanh"))
softmax, sort, maximum, argmax = (_function(o) for o in ("softmax", "sort", "max", "argmax"))


def clamp(x: Array, low: float, high: float) -> Array:
    """x moved into [low, high]: also the way to promise a positive divisor."""
    return x.apply("clamp", low=float(low), high=float(high))


def divide(x: Array, y: Array, least: float = 2.0**-8) -> tuple[Array, Array]:
    """(x / y, secret bits that say where |y| < least): there the quotient is 0. y may have any sign.

    Nothing shows whether a divisor vanished unless the flag is revealed. Raises LocalMisuse for least <= 0.
    """
    if least <= 0.0:
        raise LocalMisuse(f"divide needs a least divisor above 0, not {least:g}", fix="for example 2**-8")
    negative = y < 0
    size = where(negative, -y, y)
    vanishes = size < least
    quotient = x * reciprocal(clamp(size, least, WIDEST))
    return where(vanishes, 0.0, where(negative, -quotient, quotient)), vanishes


def where(condition: Array, x: Any, y: Any) -> Array:
    """x where the secret bit is 1, else y."""
    return condition.apply("where", x, y)


def concatenate(parts: list[Array]) -> Array:
    """Flat arrays one after the other."""
    return parts[0].apply("concat", *parts[1:])


def trace(program: Callable[..., None], **inputs: Declared) -> Graph:
    """Run a program on symbolic inputs; the graph of what it revealed, checked.

    Raises LocalMisuse for shapes that do not fit or a program that reveals nothing.
    """
    tracer = Tracer()
    arrays = {
        name: tracer.append(
            "input", [], d.shape, kind=d.kind, name=name, low=float(d.low), high=float(d.high)
        )
        for name, d in inputs.items()
    }
    program(**arrays)
    if not tracer.outputs:
        raise LocalMisuse("the program reveals nothing", fix="call reveal_to on its results")
    return checked(Graph(tuple(tracer.nodes), tuple(tracer.outputs)))
