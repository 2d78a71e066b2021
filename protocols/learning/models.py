"""Models as flat vectors of weights: what a list of numbers means, its scores, losses and gradients.

Linear and logistic regression are the networks without a hidden layer; `mlp` has one or two. The vector is,
layer by layer, W (inputs, outputs) row by row and then b. Nothing here is executable or carries code: a model
is a kind, a few sizes and numbers, so that weights of a stranger can be wrong but not dangerous.

Per-row clipping (Abadi et al., CCS 2016) needs no gradient for each row: for a dense layer the squared norm
of one row's gradient is |delta|^2 (|a|^2 + 1), a its input, delta its error (Goodfellow, arXiv:1510.01799).

Symbols: m rows, d weights, a activations (m, width), delta errors (m, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof
from protocols.learning.faults import bad_model
from protocols.wire.bounds import AtMost, Between

Floats: TypeAlias = npt.NDArray[np.float64]

KINDS = ("linear", "logistic", "mlp", "plugin")
ACTIVATIONS = ("relu", "tanh")
TASKS = ("regression", "classification")
MAX_WIDTH = 4096
MAX_WEIGHTS = 1 << 25
"""256 MiB of float64: the most that a public input may hold."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which function the weights make.

    `outputs`: 1, or the number of classes from three on. A `plugin` has `outputs` weights of which only the
    owner's program knows the meaning.
    """

    kind: Annotated[str, AtMost(16)]
    task: Annotated[str, AtMost(16)]
    inputs: Annotated[int, Between(1, MAX_WIDTH)]
    outputs: Annotated[int, Between(1, MAX_WEIGHTS)] = 1
    hidden: Annotated[tuple[Annotated[int, Between(1, MAX_WIDTH)], ...], AtMost(2)] = ()
    activation: Annotated[str, AtMost(8)] = "relu"


def check(spec: ModelSpec) -> None:
    """Raise ConfigError C-640 unless `spec` is a model that there is."""
    if spec.kind not in KINDS or spec.task not in TASKS or spec.activation not in ACTIVATIONS:
        raise bad_model(f"there is no {spec.activation} {spec.kind} model for {spec.task}")
    if (spec.kind == "mlp") != bool(spec.hidden):
        raise bad_model("an mlp has one or two hidden layers, other models none")
    if spec.kind == "linear" and spec.task != "regression":
        raise bad_model("a linear model is a regression")
    if spec.kind == "logistic" and spec.task != "classification":
        raise bad_model("a logistic model is a classification")
    if spec.kind != "plugin" and (spec.outputs == 2 or spec.outputs > MAX_WIDTH):
        raise bad_model("two classes are one output, more are one output each")
    if spec.kind != "plugin" and spec.task == "regression" and spec.outputs != 1:
        raise bad_model("a regression has one output")
    if size(spec) > MAX_WEIGHTS:
        raise bad_model(f"{size(spec)} weights are more than {MAX_WEIGHTS}")


def size(spec: ModelSpec) -> int:
    """Number of weights."""
    if spec.kind == "plugin":
        return spec.outputs
    return sum(rows * columns + columns for rows, columns in shapes(spec))


def shapes(spec: ModelSpec) -> list[tuple[int, int]]:
    """(inputs, outputs) of each layer."""
    widths = (spec.inputs, *spec.hidden, spec.outputs)
    return list(pairwise(widths))


def layers(spec: ModelSpec, weights: Floats) -> list[tuple[Floats, Floats]]:
    """Views (W, b) of weights (d,). Raises ConfigError C-640 for another length."""
    if weights.shape != (size(spec),):
        raise bad_model(f"{weights.size} weights where the model has {size(spec)}")
    found, at = [], 0
    for rows, columns in shapes(spec):
        matrix = weights[at : at + rows * columns].reshape(rows, columns)
        at += rows * columns
        found.append((matrix, weights[at : at + columns]))
        at += columns
    return found


def initial(spec: ModelSpec, seed: bytes) -> Floats:
    """First weights (d,) float64: zeros without hidden layers, else uniform, variance 1/inputs (relu: 2)."""
    check(spec)
    weights = np.zeros(size(spec))
    if not spec.hidden:
        return weights
    gain = 2.0 if spec.activation == "relu" else 1.0
    for number, (matrix, _) in enumerate(layers(spec, weights)):
        words = Xof(seed, "initial weights", bytes([number])).uint64(matrix.size)
        uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
        matrix[:] = (uniform * np.sqrt(3.0 * gain / matrix.shape[0])).reshape(matrix.shape)
    return weights


def scores(spec: ModelSpec, weights: Floats, inputs: Floats) -> Floats:
    """Raw outputs (m, outputs) for inputs (m, inputs)."""
    return _forward(spec, layers(spec, weights), inputs)[-1]


def predict(spec: ModelSpec, weights: Floats, inputs: Floats) -> Floats:
    """(m,) values of a regression, (m,) probabilities of class 1, or (m, classes) probabilities."""
    raw = scores(spec, weights, inputs)
    if spec.task == "regression":
        return raw[:, 0]
    return _sigmoid(raw[:, 0]) if spec.outputs == 1 else _softmax(raw)


def losses(spec: ModelSpec, weights: Floats, inputs: Floats, labels: Floats) -> Floats:
    """Loss of each row, (m,): half the squared error, or the negative log likelihood."""
    raw = scores(spec, weights, inputs)
    if spec.task == "regression":
        return np.asarray(0.5 * (raw[:, 0] - labels) ** 2)
    if spec.outputs == 1:
        return np.asarray(np.logaddexp(0.0, raw[:, 0]) - labels * raw[:, 0])
    highest = raw.max(axis=1)
    total = highest + np.log(np.exp(raw - highest[:, None]).sum(axis=1))
    return np.asarray(total - raw[np.arange(len(raw)), labels.astype(np.int64)])


def correct(spec: ModelSpec, weights: Floats, inputs: Floats, labels: Floats) -> int:
    """Rows that a classifier gets right."""
    raw = scores(spec, weights, inputs)
    guess = (raw[:, 0] > 0) if spec.outputs == 1 else raw.argmax(axis=1)
    return int(np.count_nonzero(guess == labels))


def gradient(
    spec: ModelSpec, weights: Floats, inputs: Floats, labels: Floats, norm: float | None = None
) -> Floats:
    """Mean over the rows of the loss's gradient, (d,); each row's is first cut to L2 length `norm`, if given.

    Symbols in the module docstring.
    """
    parts = layers(spec, weights)
    activations = _forward(spec, parts, inputs)
    deltas: list[Floats] = [_error(spec, activations[-1], labels)]
    for (matrix, _), below in zip(reversed(parts[1:]), reversed(activations[1:-1]), strict=True):
        slope = (below > 0).astype(np.float64) if spec.activation == "relu" else 1.0 - below**2
        deltas.insert(0, (deltas[0] @ matrix.T) * slope)
    if norm is not None:
        lengths = np.sqrt(_squared_lengths(activations, deltas))
        scale = np.minimum(1.0, norm / np.maximum(lengths, 1e-300))
        deltas = [delta * scale[:, None] for delta in deltas]
    pieces: list[Floats] = []
    for below, delta in zip(activations[:-1], deltas, strict=True):
        pieces += [(below.T @ delta).ravel(), delta.sum(axis=0)]
    return np.asarray(np.concatenate(pieces) / len(inputs))


def _squared_lengths(activations: Sequence[Floats], deltas: Sequence[Floats]) -> Floats:
    """(m,) squared L2 length of each row's gradient."""
    terms = [
        (delta**2).sum(axis=1) * ((below**2).sum(axis=1) + 1.0)
        for below, delta in zip(activations[:-1], deltas, strict=True)
    ]
    return np.asarray(np.sum(terms, axis=0))


def _forward(spec: ModelSpec, parts: Sequence[tuple[Floats, Floats]], inputs: Floats) -> list[Floats]:
    """Inputs, activations of the hidden layers, raw outputs."""
    activations = [inputs]
    for number, (matrix, bias) in enumerate(parts):
        raw = activations[-1] @ matrix + bias
        if number < len(parts) - 1:
            raw = np.maximum(raw, 0.0) if spec.activation == "relu" else np.tanh(raw)
        activations.append(raw)
    return activations


def _error(spec: ModelSpec, raw: Floats, labels: Floats) -> Floats:
    """Derivative of each row's loss by its raw outputs, (m, outputs)."""
    if spec.task == "regression":
        return raw - labels[:, None]
    if spec.outputs == 1:
        return _sigmoid(raw) - labels[:, None]
    delta = _softmax(raw)
    delta[np.arange(len(raw)), labels.astype(np.int64)] -= 1.0
    return delta


def _sigmoid(raw: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * raw)))


def _softmax(raw: Floats) -> Floats:
    shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
