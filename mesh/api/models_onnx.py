"""A model as an ONNX file: scaling, layers, and the last sigmoid, softmax or unit, on float32 rows.

ONNX is a protobuf message, and a network of ours needs a dozen of its fields (onnx/onnx.proto, IR version 8,
operators of version 17), so that they are written here: nobody who exports needs the package. A field is

    varint(number << 3 | kind)  then  a varint (kind 0)  or  varint(length) and bytes (kind 2)

A test reads the files with the package itself, checks them and compares what they compute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.api.shapes import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

OPSET = 17
IR_VERSION = 8
_FLOAT = 1
_INT_ATTRIBUTE = 2


def model(info: ModelInfo, layers: list[tuple[Floats, Floats]]) -> bytes:
    """The file: input `x` (rows, features), output `y` (rows, outputs), as metadata where it came from."""
    graph = _graph(info, layers)
    facts = {
        "run": info.run,
        "session": info.session,
        "label": info.label,
        "features": ",".join(info.features),
    }
    return b"".join(
        (
            _number(1, IR_VERSION),
            _text(2, "coppice"),
            _field(7, graph),
            _field(8, _text(1, "") + _number(2, OPSET)),
            *(_field(14, _text(1, key) + _text(2, value)) for key, value in facts.items()),
        )
    )


def _graph(info: ModelInfo, layers: list[tuple[Floats, Floats]]) -> bytes:
    constants: list[bytes] = []
    nodes: list[bytes] = []

    def constant(name: str, value: object) -> str:
        constants.append(_tensor(name, value))
        return name

    def node(kind: str, *inputs: str, output: str = "", **attributes: int) -> str:
        output = output or f"{kind.lower()}_{len(nodes)}"
        nodes.append(_node(kind, inputs, output, attributes))
        return output

    at = node("Sub", "x", constant("means", info.means))
    at = node("Div", at, constant("scales", info.scales))
    for number, (matrix, bias) in enumerate(layers):
        at = node("Gemm", at, constant(f"W{number}", matrix), constant(f"b{number}", bias))
        if number < len(layers) - 1:
            at = node("Relu" if info.activation == "relu" else "Tanh", at)
    if info.task == "regression":
        at = node("Mul", at, constant("label_scale", [info.label_scale]))
        at = node("Add", at, constant("label_mean", [info.label_mean]))
    else:
        at = node("Sigmoid", at) if info.outputs == 1 else node("Softmax", at, axis=1)
    node("Identity", at, output="y")
    return b"".join(
        (
            *(_field(1, one) for one in nodes),
            _text(2, "coppice"),
            *(_field(5, one) for one in constants),
            _field(11, _value("x", len(info.features))),
            _field(12, _value("y", info.outputs)),
        )
    )


def _node(kind: str, inputs: tuple[str, ...], output: str, attributes: dict[str, int]) -> bytes:
    return b"".join(
        (
            *(_text(1, one) for one in inputs),
            _text(2, output),
            _text(3, output),
            _text(4, kind),
            *(
                _field(5, _text(1, name) + _number(3, value) + _number(20, _INT_ATTRIBUTE))
                for name, value in attributes.items()
            ),
        )
    )


def _tensor(name: str, value: object) -> bytes:
    import numpy as np

    array = np.asarray(value, dtype="<f4")
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, _FLOAT) + _text(8, name) + _field(9, array.tobytes())


def _value(name: str, columns: int) -> bytes:
    """A table of float32: any number of rows."""
    shape = _field(1, _text(2, "rows")) + _field(1, _number(1, columns))
    return _text(1, name) + _field(2, _field(1, _number(1, _FLOAT) + _field(2, shape)))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _field(field, content.encode())
