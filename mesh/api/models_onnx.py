"""A model as an ONNX graph: scaling, layers, and the last sigmoid, softmax or unit, on float32 rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mesh.api.shapes import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

OPSET = 17


def graph(info: ModelInfo, layers: list[tuple[Floats, Floats]]) -> Any:
    """An onnx.ModelProto with input `x` (rows, features) and output `y`. Needs the package onnx."""
    import numpy as np
    from onnx import (  # type: ignore[import-not-found,unused-ignore]  # an optional package
        TensorProto,
        helper,
        numpy_helper,
    )

    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    def node(kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    at = node("Sub", ["x", constant("means", info.means)])
    at = node("Div", [at, constant("scales", info.scales)])
    for number, (matrix, bias) in enumerate(layers):
        at = node("Gemm", [at, constant(f"W{number}", matrix), constant(f"b{number}", bias)])
        if number < len(layers) - 1:
            at = node("Relu" if info.activation == "relu" else "Tanh", [at])
    if info.task == "regression":
        at = node("Mul", [at, constant("label_scale", [info.label_scale])])
        at = node("Add", [at, constant("label_mean", [info.label_mean])])
    else:
        at = node("Sigmoid", [at]) if info.outputs == 1 else node("Softmax", [at], axis=1)
    nodes.append(helper.make_node("Identity", [at], ["y"]))
    made = helper.make_graph(
        nodes,
        "coppice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(info.features)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", info.outputs])],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    facts = {"run": info.run, "session": info.session, "features": ",".join(info.features)}
    helper.set_model_props(model, facts)
    return model
