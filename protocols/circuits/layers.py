"""Operations of neural networks on secret arrays, by the names that ONNX gives them.

A value is either known to the submitter (a numpy array: weights, shapes) or secret (an `Array`). A weight
that meets a secret becomes a secret input of the graph (`Weights`); its range is the power of two above its
largest magnitude, which is all the graph tells of it.

What a layer costs: Gemm, MatMul and Conv one opening an output; Relu a comparison an element; MaxPool
comparisons in log2(window) stages; Flatten, Reshape, Transpose, Identity, Dropout, average pooling nothing.

Source: the ONNX specification, operators of the default domain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.circuits import builder, windows
from protocols.circuits.builder import Array, Tracer
from protocols.circuits.windows import Window
from protocols.errors import LocalMisuse

Floats = npt.NDArray[np.float64]
Value = Array | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its ONNX name, value names, attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


class Weights:
    """The graph so far, and the weights that became secret inputs of it, by name."""

    def __init__(self, tracer: Tracer, prefix: str = "") -> None:
        self.tracer = tracer
        self._prefix = prefix
        self.secret: dict[str, Floats] = {}
        self._inputs: dict[str, Array] = {}

    def weight(self, name: str, values: npt.ArrayLike) -> Array:
        """A secret input of the graph for values that the submitter knows."""
        reals = np.asarray(values, dtype=np.float64)
        if not np.isfinite(reals).all():
            raise LocalMisuse(f"weight {name!r} holds NaN or infinity", fix="train the model again")
        stem = label = self._prefix + name[-50:]
        copies = 0
        while label in self.secret and not np.array_equal(self.secret[label], reals):
            copies += 1
            label = f"{stem}.{copies}"
        if label not in self._inputs:
            largest = max(float(np.abs(reals).max(initial=0.0)), 2.0**-10)
            bound = 2.0 ** math.ceil(math.log2(largest))
            declared = {"kind": "fixed", "name": label, "low": -bound, "high": bound}
            self._inputs[label] = self.tracer.append("input", [], reals.shape, **declared)
            self.secret[label] = reals
        return self._inputs[label]

    def secretly(self, operation: Operation, at: int, value: Value | None) -> Array:
        """The operand as a secret: itself, or a weight."""
        if isinstance(value, Array):
            return value
        if value is None:
            raise LocalMisuse("an operand is missing")
        return self.weight(operation.inputs[at], value)


def normalisation(operation: Operation, parts: list[npt.NDArray[Any]]) -> tuple[Floats, Floats]:
    """(scale, shift) of a BatchNormalization from gamma, beta, mean, variance."""
    gamma, beta, mean, variance = (np.asarray(part, dtype=np.float64) for part in parts)
    scale = gamma / np.sqrt(variance + operation.attributes.get("epsilon", 1e-5))
    return scale, beta - mean * scale


Operands = list[Value | None]


def _known(value: Value | None) -> npt.NDArray[Any]:
    if isinstance(value, Array) or value is None:
        raise LocalMisuse("needs weights that the model file holds", fix="do not compute this operand")
    return value


def _given(value: Value | None) -> Array:
    if not isinstance(value, Array):
        raise LocalMisuse("works on the sample, not on weights alone")
    return value


def _gemm(c: Weights, op: Operation, operands: Operands) -> Array:
    """alpha A' B' + beta C; B and C are folded with alpha, beta and a normalisation behind."""
    x, w = _given(operands[0]), np.asarray(_known(operands[1]), dtype=np.float64)
    flags = op.attributes
    x = x.T if flags.get("transA", 0) else x
    w = (w.T if flags.get("transB", 0) else w) * flags.get("alpha", 1.0)
    scale, shift = flags.get("_scale", 1.0), flags.get("_shift", 0.0)
    out = x @ c.weight(op.inputs[1], w * scale)
    if len(operands) > 2 and operands[2] is not None:
        bias = np.asarray(_known(operands[2]), dtype=np.float64) * flags.get("beta", 1.0)
        return out + c.weight(op.inputs[2], bias * scale + shift)
    return out + c.weight(f"{op.outputs[0]}.shift", shift) if "_shift" in flags else out


def _matmul(c: Weights, op: Operation, operands: Operands) -> Array:
    left, right = (c.secretly(op, at, value) for at, value in enumerate(operands[:2]))
    if len(left.shape) > 2 and len(right.shape) == 2:
        rows = left.reshape(-1, left.shape[-1]) @ right
        return rows.reshape(*left.shape[:-1], right.shape[1])
    return left @ right


def _conv(c: Weights, op: Operation, operands: Operands) -> Array:
    """Windows times kernel, group by group."""
    x, kernel = _given(operands[0]), np.asarray(_known(operands[1]), dtype=np.float64)
    if len(x.shape) != 4 or kernel.ndim != 4:
        raise LocalMisuse("only two-dimensional convolutions", fix="reshape to (N, C, H, W)")
    scale, shift = op.attributes.get("_scale"), op.attributes.get("_shift", 0.0)
    bias = _known(operands[2]) if len(operands) > 2 and operands[2] is not None else np.zeros(kernel.shape[0])
    bias = np.asarray(bias, dtype=np.float64)
    if scale is not None:
        kernel, bias = kernel * scale[:, None, None, None], bias * scale + shift
    group = int(op.attributes.get("group", 1))
    outputs, per_group = kernel.shape[0], kernel.shape[1]
    if per_group * group != x.shape[1] or outputs % group:
        raise LocalMisuse(f"a kernel of {kernel.shape} in {group} groups does not fit {x.shape[1]} channels")
    indices = windows.gather(x.shape, _window(op, x.shape, kernel.shape[2:]))
    n, oh, ow = indices.shape[:3]
    padded = _zero_padded(x, indices)
    parts = []
    for g in range(group):
        taken = indices[:, :, :, g * per_group : (g + 1) * per_group].reshape(n * oh * ow, -1)
        matrix = kernel[g * outputs // group : (g + 1) * outputs // group].reshape(outputs // group, -1).T
        parts.append(
            padded.taken(np.where(taken < 0, x_size(x), taken)) @ c.weight(_part(op, g, group), matrix)
        )
    rows = parts[0] if group == 1 else _side_by_side(parts)
    rows = rows + c.weight(f"{op.inputs[1]}.bias", bias)
    places = np.arange(n * oh * ow * outputs).reshape(n, oh, ow, outputs).transpose(0, 3, 1, 2)
    return rows.taken(places)


def x_size(x: Array) -> int:
    """Elements of an array; the index of the zero behind them."""
    return math.prod(x.shape)


def _part(op: Operation, g: int, group: int) -> str:
    return op.inputs[1] if group == 1 else f"{op.inputs[1]}.{g}"


def _zero_padded(x: Array, indices: windows.Indices) -> Array:
    return builder.concatenate([x, x.trace.constant(np.zeros(1))]) if (indices < 0).any() else x.reshape(-1)


def _side_by_side(parts: list[Array]) -> Array:
    """Columns of equally tall matrices next to each other."""
    tall, wide = parts[0].shape
    flat = builder.concatenate(parts)
    places = np.arange(len(parts) * tall * wide).reshape(len(parts), tall, wide)
    return flat.taken(places.transpose(1, 0, 2).reshape(tall, -1))


def _window(op: Operation, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    strides = tuple(op.attributes.get("strides", (1, 1)))
    dilations = tuple(op.attributes.get("dilations", (1, 1)))
    pads = tuple(op.attributes.get("pads", (0, 0, 0, 0)))
    auto = op.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = windows.same_pads(reach, strides, shape[2:], auto == "SAME_UPPER")
    if op.attributes.get("ceil_mode", 0):
        raise LocalMisuse("ceil_mode is not supported", fix="pad the image instead")
    return Window((kernel[0], kernel[1]), (strides[0], strides[1]), pads, (dilations[0], dilations[1]))


def _max_pool(c: Weights, op: Operation, operands: Operands) -> Array:
    del c
    x = _given(operands[0])
    indices = windows.gather(x.shape, _window(op, x.shape, tuple(op.attributes["kernel_shape"])))
    n, oh, ow, channels, size = indices.shape
    rows = x.reshape(-1).taken(windows.inside_only(indices).reshape(-1, size))
    return _channels_first(builder.maximum(rows), (n, oh, ow, channels))


def _average_pool(c: Weights, op: Operation, operands: Operands) -> Array:
    del c
    x = _given(operands[0])
    kernel = tuple(op.attributes.get("kernel_shape", x.shape[2:]))  # without one: GlobalAveragePool
    indices = windows.gather(x.shape, _window(op, x.shape, kernel))
    n, oh, ow, channels, size = indices.shape
    counted = np.full(indices.shape[:-1], size)
    if not op.attributes.get("count_include_pad", 0):
        counted = np.maximum(1, (indices >= 0).sum(axis=-1))
    padded = _zero_padded(x, indices)
    rows = padded.taken(np.where(indices < 0, x_size(x), indices).reshape(-1, size)).sum(1)
    factor = 1.0 / counted.ravel()
    means = rows * (float(factor[0]) if (factor == factor[0]).all() else factor)
    return _channels_first(means, (n, oh, ow, channels))


def _channels_first(flat: Array, shape: tuple[int, ...]) -> Array:
    return flat.taken(np.arange(math.prod(shape)).reshape(shape).transpose(0, 3, 1, 2))


def _batch_normalisation(c: Weights, op: Operation, operands: Operands) -> Array:
    x = _given(operands[0])
    scale, shift = normalisation(op, [_known(value) for value in operands[1:5]])
    shape = (1, -1) + (1,) * (len(x.shape) - 2)
    first = c.weight(f"{op.outputs[0]}.scale", scale.reshape(shape))
    return x * first + c.weight(f"{op.outputs[0]}.shift", shift.reshape(shape))


def _arithmetic(c: Weights, op: Operation, operands: Operands) -> Value:
    x, y = operands[:2]
    if not isinstance(x, Array) and not isinstance(y, Array):
        whole = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op.kind]
        return np.asarray(whole(_known(x), _known(y)))
    if op.kind == "Div":
        if isinstance(y, Array):
            raise LocalMisuse("divides by a computed value", fix="divide by a constant, or use Softmax")
        inverse = c.weight(f"{op.inputs[1]}.inverse", 1.0 / np.asarray(_known(y), dtype=np.float64))
        return _given(x) * inverse
    left, right = c.secretly(op, 0, x), c.secretly(op, 1, y)
    if op.kind == "Mul":
        return left * right
    return left + right if op.kind == "Add" else left - right


def _softmax(c: Weights, op: Operation, operands: Operands) -> Array:
    del c
    x = _given(operands[0])
    axis = op.attributes.get("axis", -1) % len(x.shape)
    if axis != len(x.shape) - 1:
        raise LocalMisuse("Softmax runs along the last axis only", fix="transpose before it")
    return builder.softmax(x.reshape(-1, x.shape[-1])).reshape(*x.shape)


def _reshape(c: Weights, op: Operation, operands: Operands) -> Value:
    del c
    x = operands[0]
    assert x is not None
    if op.kind == "Flatten":
        axis = op.attributes.get("axis", 1) % (len(x.shape) + 1)
        return x.reshape(math.prod(x.shape[:axis]), -1)
    target = [int(size) for size in _known(operands[1])]
    sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(target)]
    return x.reshape(*sizes)


def _transpose(c: Weights, op: Operation, operands: Operands) -> Value:
    del c
    x = operands[0]
    assert x is not None
    order = tuple(op.attributes.get("perm", range(len(x.shape))[::-1]))
    if not isinstance(x, Array):
        return x.transpose(order)
    return x.taken(np.arange(x_size(x)).reshape(x.shape).transpose(order))


def _passed(c: Weights, op: Operation, operands: Operands) -> Value:
    del c, op
    assert operands[0] is not None
    return operands[0]


def _elementwise(function: Callable[[Array], Array]) -> Callable[[Weights, Operation, Operands], Value]:
    def apply(c: Weights, op: Operation, operands: Operands) -> Value:
        del c, op
        return function(_given(operands[0]))

    return apply


HANDLERS: dict[str, Callable[[Weights, Operation, Operands], Value]] = {
    "Add": _arithmetic,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalisation,
    "Conv": _conv,
    "Div": _arithmetic,
    "Dropout": _passed,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "GlobalAveragePool": _average_pool,
    "Identity": _passed,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _arithmetic,
    "Relu": _elementwise(builder.relu),
    "Reshape": _reshape,
    "Sigmoid": _elementwise(builder.sigmoid),
    "Softmax": _softmax,
    "Sub": _arithmetic,
    "Tanh": _elementwise(builder.tanh),
    "Transpose": _transpose,
}
"""By the ONNX name of the operation."""
