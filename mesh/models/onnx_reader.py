"""ONNX files: which operators a committee cannot compute, and the model as plain data for the compiler.

Reading happens where the model is: on the submitter. The file is data, never code: no operator of it is run
here, external weight files are not followed, and sizes are bounded before anything is unpacked.

Source: the ONNX specification, IR and operators of the default domain, opsets 7 to 25.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.models.advice import alternative
from protocols.circuits.layers import HANDLERS, Operation
from protocols.circuits.network import Network
from protocols.errors import ConfigError

LARGEST_FILE_BYTES = 256 << 20
"""A model beyond is no model that a committee computes in minutes."""

MOST_OPERATIONS = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the model may not have, and what to do instead."""

    operation: str
    name: str
    problem: str
    alternative: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a model file holds; `network` when nothing stands against it."""

    file: str
    operators: dict[str, int]
    parameters: int
    findings: tuple[Finding, ...]
    network: Network | None


def read(path: Path, *, batch: int | None = None) -> Report:
    """Check a file; `batch` fixes a first dimension that the file leaves open.

    Raises ConfigError C-660 (no such file, no ONNX, too large), C-661 (the package onnx is missing).
    """
    model = _loaded(path)
    weights = {tensor.name: _array(tensor, path) for tensor in model.graph.initializer}
    findings: list[Finding] = []
    operations: list[Operation] = []
    for node in model.graph.node[:MOST_OPERATIONS]:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            weights[node.output[0]] = _constant(node, path)
            continue
        operations.append(_operation(node))
        findings += _judged(node, operations[-1])
    if len(model.graph.node) > MOST_OPERATIONS:
        findings.append(
            Finding("model", "", f"more than {MOST_OPERATIONS} operations", "use a smaller model")
        )
    sample, shape, more = _sample(model.graph, weights, batch)
    findings += more
    if len(model.graph.output) != 1:
        findings.append(
            Finding("model", "", f"{len(model.graph.output)} outputs", "export the scores as the only output")
        )
    counts: dict[str, int] = {}
    for operation in operations:
        counts[operation.kind] = counts.get(operation.kind, 0) + 1
    network = None
    if not findings:
        network = Network(sample, shape, model.graph.output[0].name, tuple(operations), weights)
    parameters = sum(int(array.size) for array in weights.values() if array.dtype.kind == "f")
    return Report(str(path), counts, parameters, tuple(findings), network)


def _loaded(path: Path) -> Any:
    try:
        import onnx  # type: ignore[import-not-found,unused-ignore]  # an optional package
    except ImportError:
        raise ConfigError(
            "reading models needs the package onnx", code="C-661", fix="pip install 'coppice-mesh[onnx]'"
        ) from None
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ConfigError(f"{path} has more than 256 MiB", code="C-660", fix="use a smaller model")
        return onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", code="C-660", fix="name an existing .onnx file"
        ) from None
    except ConfigError:
        raise
    except Exception:  # protobuf's DecodeError has no stable place to import it from
        raise ConfigError(f"{path} is no ONNX model", code="C-660", fix="export the model as ONNX") from None


def _array(tensor: Any, path: Path) -> Any:
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        raise ConfigError(
            f"{path} keeps weights in other files", code="C-660", fix="export them into the model file"
        )
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        raise ConfigError(
            f"{path}: weight {tensor.name!r} is damaged", code="C-660", fix="export the model again"
        ) from None


def _constant(node: Any, path: Path) -> Any:
    import numpy as np

    for attribute in node.attribute:
        if attribute.name == "value":
            return _array(attribute.t, path)
        if attribute.name in ("value_float", "value_int"):
            return np.asarray(attribute.f if attribute.name == "value_float" else attribute.i)
        if attribute.name in ("value_floats", "value_ints"):
            return np.asarray(attribute.floats if attribute.name == "value_floats" else attribute.ints)
    raise ConfigError(f"{path}: a Constant without numbers", code="C-660", fix="export the model again")


def _operation(node: Any) -> Operation:
    from onnx import AttributeProto, helper

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.TENSOR):
            continue
        value = helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return Operation(node.op_type, tuple(node.input), tuple(node.output), attributes, node.name)


def _judged(node: Any, operation: Operation) -> list[Finding]:
    """What stands against one operation."""
    kind, name = operation.kind, operation.name or (operation.outputs[0] if operation.outputs else "")
    if node.domain not in ("", "ai.onnx"):
        what = f"is an operator of the domain {node.domain}"
        return [Finding(kind, name, what, alternative(kind))]
    if kind not in HANDLERS:
        return [Finding(kind, name, "is not computed by committees", alternative(kind))]
    if any(operation.outputs[1:]) and kind != "Dropout":
        return [
            Finding(kind, name, "has more than one output", "export the model for inference, not training")
        ]
    found = []
    attributes = operation.attributes
    if kind in ("Conv", "MaxPool", "AveragePool"):
        kernel = attributes.get("kernel_shape", (0, 0))
        if len(kernel) != 2:
            found.append(
                Finding(kind, name, f"is {len(kernel)}-dimensional", "reshape to images (N, C, H, W)")
            )
        if attributes.get("ceil_mode", 0):
            found.append(Finding(kind, name, "has ceil_mode", "pad the image so that windows fit"))
    if kind == "BatchNormalization" and attributes.get("training_mode", 0):
        found.append(Finding(kind, name, "is in training mode", "export the model for inference"))
    if kind == "Reshape" and attributes.get("allowzero", 0):
        found.append(Finding(kind, name, "has allowzero", "reshape to sizes above 0"))
    return found


def _sample(
    graph: Any, weights: dict[str, Any], batch: int | None
) -> tuple[str, tuple[int, ...], list[Finding]]:
    """(name, shape) of the one input that is no weight, and what stands against it."""
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        finding = Finding("model", "", f"{len(inputs)} inputs", "export a model with one input, the sample")
        return "", (), [finding]
    value = inputs[0]
    shape: list[int] = []
    words: list[str] = []
    for at, dimension in enumerate(value.type.tensor_type.shape.dim):
        size = dimension.dim_value if dimension.HasField("dim_value") else 0
        if size <= 0 and at == 0 and batch is not None:
            size = batch
        shape.append(size)
        words.append(str(size) if size > 0 else dimension.dim_param or "?")
    if shape and all(size > 0 for size in shape):
        return value.name, tuple(shape), []
    problem = (
        f"has the dynamic shape ({', '.join(words) or '?'}): costs and the program's hash need fixed sizes"
    )
    fix = (
        "fix the rows with --batch N"
        if all(s > 0 for s in shape[1:]) and shape
        else "export with fixed sizes"
    )
    return value.name, (), [Finding("input", value.name, problem, fix)]
