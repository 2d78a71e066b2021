"""Neural networks as programs: weights and inputs both secret, the graph shows layers, shapes and ranges.

A `Network` is what a model file holds: operations in order (`layers`) and weights. `compiled` turns it into
a graph whose inputs are the sample (named by the model) and a secret input for each weight. On the way
normalisations disappear in the weights before them, and Relu moves behind MaxPool, where there is less of it.

Invariant: two models that differ in weights alone give the same graph, unless a range differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from protocols.circuits import builder
from protocols.circuits.builder import Array, Tracer
from protocols.circuits.graph import Graph, checked
from protocols.circuits.layers import HANDLERS, Floats, Operation, Value, Weights, normalisation
from protocols.errors import LocalMisuse


@dataclass(frozen=True, slots=True)
class Network:
    """A model: one sample goes in under `source`, one result comes out under `target`."""

    source: str
    shape: tuple[int, ...]
    target: str
    operations: tuple[Operation, ...]
    weights: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The graph, and the weights' values by the graph's input names; `sample` is the other input."""

    graph: Graph
    weights: Mapping[str, Floats]
    sample: str


def compiled(
    network: Network,
    *,
    low: float,
    high: float,
    reveal: str = "output",
    recipient: str = builder.EVERYONE,
    prefix: str = "",
    sample: str = "",
) -> Compiled:
    """The network for samples in [low, high]; `reveal` is "output", or "class": where it is largest.

    `prefix` goes before every input's name: sessions put the owner's place there, as in "0:"; `sample` names
    the sample's input instead, if another owns it. Raises LocalMisuse naming the operation that is not
    supported or whose shapes do not fit.
    """
    if reveal not in ("output", "class"):
        raise LocalMisuse(f"cannot reveal {reveal!r}", fix="reveal output or class")
    sample = sample or prefix + network.source
    work = _Compiler(network, low, high, prefix, sample)
    operations = _folded(network)
    last = operations[-1] if operations else None
    target = network.target
    if reveal == "class" and last is not None and last.kind == "Softmax" and last.outputs[0] == target:
        operations, target = operations[:-1], last.inputs[0]  # softmax does not move the largest
    for operation in operations:
        work.run(operation)
    result = work.values.get(target)
    if not isinstance(result, Array):
        raise LocalMisuse("the model's output does not depend on its input")
    if reveal == "class":
        rows = result.reshape(result.shape[0], -1)
        result = (rows >= 0.5)[:, 0] if rows.shape[1] == 1 else builder.argmax(rows)
    result.reveal_to(recipient, name=reveal)
    graph = checked(Graph(tuple(work.tracer.nodes), tuple(work.tracer.outputs)))
    return Compiled(graph, work.weights.secret, sample)


def _folded(network: Network) -> list[Operation]:
    """BatchNormalization behind Gemm or Conv becomes scale and shift of it; Relu moves behind MaxPool.

    The largest of a window is the same before and after Relu, and there are fewer elements behind.
    """
    uses: dict[str, int] = {network.target: 1}
    for operation in network.operations:
        for name in operation.inputs:
            uses[name] = uses.get(name, 0) + 1
    out: list[Operation] = []
    for operation in network.operations:
        before = out[-1] if out else None
        if (
            operation.kind == "BatchNormalization"
            and before is not None
            and before.kind in ("Gemm", "Conv")
            and before.outputs[0] == operation.inputs[0]
            and uses.get(before.outputs[0]) == 1
            and before.inputs[1] in network.weights
        ):
            scale, shift = normalisation(operation, [network.weights[i] for i in operation.inputs[1:5]])
            more = {**before.attributes, "_scale": scale, "_shift": shift}
            out[-1] = Operation(before.kind, before.inputs, operation.outputs, more, before.name)
        elif (
            operation.kind == "MaxPool"
            and before is not None
            and before.kind == "Relu"
            and before.outputs[0] == operation.inputs[0]
            and uses.get(before.outputs[0]) == 1
        ):
            out[-1] = replace(operation, inputs=before.inputs, outputs=before.outputs)
            out.append(replace(before, inputs=before.outputs, outputs=operation.outputs))
        else:
            out.append(operation)
    return out


class _Compiler:
    """Values by name while the operations are gone through."""

    def __init__(self, network: Network, low: float, high: float, prefix: str, name: str) -> None:
        self.tracer = Tracer()
        self.weights = Weights(self.tracer, prefix)
        self.values: dict[str, Value] = dict(network.weights)
        sample = {"kind": "fixed", "name": name, "low": float(low), "high": float(high)}
        self.values[network.source] = self.tracer.append("input", [], network.shape, **sample)

    def run(self, operation: Operation) -> None:
        """Add one operation. Raises LocalMisuse naming it."""
        handler = HANDLERS.get(operation.kind)
        label = f"{operation.kind} {operation.name or operation.outputs[0]}"
        if handler is None:
            raise LocalMisuse(f"{label} is not supported", fix="coppice models check FILE names alternatives")
        try:
            operands = [self.values[name] if name else None for name in operation.inputs]
            self.values[operation.outputs[0]] = handler(self.weights, operation, operands)
        except KeyError as error:
            raise LocalMisuse(f"{label} reads {error} before it is computed") from None
        except (LocalMisuse, ValueError) as error:
            fix = error.fix if isinstance(error, LocalMisuse) else "check the shapes of the model"
            raise LocalMisuse(f"{label}: {error.args[0]}", fix=fix) from None
