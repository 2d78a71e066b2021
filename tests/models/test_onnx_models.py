"""Model files: the digits models give the plaintext model's class; what cannot be computed is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mesh.cli.app import build
from mesh.models.advice import ALTERNATIVES, alternative
from mesh.models.onnx_reader import read
from protocols.arithmetic import rns
from protocols.circuits.layers import HANDLERS
from protocols.circuits.lower import encoded_input, lower
from protocols.circuits.network import compiled
from protocols.circuits.passes import optimised
from protocols.engine.committee import whole
from protocols.errors import ConfigError
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

HERE = Path(__file__).resolve().parent
DIGITS = np.load(HERE / "digits.npz")


@pytest.mark.parametrize(("model", "images"), [("mlp", 60), ("conv", 12)])
def test_digits_get_the_class_of_the_plaintext_model(model: str, images: int) -> None:
    """A short form; all 360 images: python -m tools.bench mpc --works digits."""
    report = read(HERE / f"digits_{model}.onnx", batch=images)
    assert report.network is not None
    made = compiled(report.network, low=0, high=1, reveal="class")
    committee = whole(3, 1)
    lowered = lower(optimised(made.graph), committee)
    values = {**made.weights, made.sample: DIGITS["images"][:images] / 16.0}
    inputs = {
        number.register: deal(encoded_input(number, values[name], name), committee)
        for name, number in lowered.inputs.items()
    }
    done = run(lowered.program, seats(committee), inputs)
    found = rns.to_ints(reconstruct({p: o[0] for p, o in done.outputs.items()}, 1))
    scale = lowered.outputs[0][2].scale
    agreed = (found >> scale if scale else found) == DIGITS[model][:images]
    assert agreed.mean() >= 0.995


def saved(path: Path, nodes: list, weights: dict, shape: list, outputs: tuple[str, ...] = ("y",)) -> Path:
    made = helper.make_graph(
        nodes, "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(w), k) for k, w in weights.items()],
    )  # fmt: skip
    path.write_bytes(helper.make_model(made).SerializeToString())
    return path


def check(file: Path, *more: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    code = build()(["models", "check", str(file), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def test_every_unsupported_operator_is_named_with_an_alternative(tmp_path: Path, capsys) -> None:
    node = helper.make_node
    file = saved(
        tmp_path / "m.onnx",
        [
            node("LeakyRelu", ["x"], ["a"], name="act"), node("LSTM", ["a", "w", "w"], ["b"]),
            node("Relu", ["b"], ["c"]), node("Frobnicate", ["c"], ["d"], domain="com.acme"),
            node("Conv", ["d", "w"], ["y"], kernel_shape=[3]),
        ],
        {"w": np.zeros((2, 2), dtype=np.float32)}, [1, 4],
    )  # fmt: skip
    code, answer = check(file, capsys=capsys)
    assert code == 2
    assert not answer["supported"]
    named = {finding["operation"]: finding for finding in answer["findings"]}
    assert set(named) == {"LeakyRelu", "LSTM", "Frobnicate", "Conv"}
    assert named["LeakyRelu"]["name"] == "act"
    assert "Relu" in named["LeakyRelu"]["alternative"]
    assert all(finding["alternative"] for finding in answer["findings"])
    assert "com.acme" in named["Frobnicate"]["problem"]


def test_dynamic_shapes_are_refused_in_a_sentence(tmp_path: Path, capsys) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    file = saved(tmp_path / "rows.onnx", nodes, {}, ["rows", 4])
    code, answer = check(file, capsys=capsys)
    assert code == 2
    assert answer["findings"][0]["problem"].startswith("has the dynamic shape (rows, 4)")
    assert answer["findings"][0]["alternative"] == "fix the rows with --batch N"
    code, answer = check(file, "--batch", "3", capsys=capsys)
    assert code == 0
    assert answer["sample"] == [3, 4]
    wide = saved(tmp_path / "wide.onnx", nodes, {}, [1, "width"])
    code, answer = check(wide, "--batch", "3", capsys=capsys)
    assert code == 2
    assert "width" in answer["findings"][0]["problem"]
    assert answer["findings"][0]["alternative"] == "export with fixed sizes"


def test_a_supported_model_is_costed_before_anything_runs(capsys) -> None:
    code, answer = check(
        HERE / "digits_conv.onnx", "--batch", "1", "--committee", "4,1", "--mode", "A", capsys=capsys
    )
    assert code == 0
    assert answer["supported"]
    assert answer["operators"]["Conv"] == 2
    assert answer["rounds"] > 10
    assert answer["sent_bytes"] > answer["preprocessing_bytes"] > 0
    assert len(answer["program"]) == 64
    assert "before any output is opened" in answer["explained"]


def test_shapes_that_do_not_fit_are_findings(tmp_path: Path, capsys) -> None:
    file = saved(
        tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        {"w": np.zeros((5, 2), dtype=np.float32)}, [1, 4],
    )  # fmt: skip
    code, answer = check(file, capsys=capsys)
    assert code == 2
    assert "MatMul dense" in answer["findings"][0]["problem"]


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        read(tmp_path / "missing.onnx")
    assert caught.value.code == "C-660"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff\x00not a model" * 10)
    with pytest.raises(ConfigError, match="no ONNX model"):
        read(broken)
    two = saved(
        tmp_path / "two.onnx",
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Tanh", ["x"], ["z"])],
        {}, [1, 4], ("y", "z"),
    )  # fmt: skip
    assert "2 outputs" in read(two).findings[0].problem


def test_models_that_training_here_wrote_can_be_computed(tmp_path: Path) -> None:
    """mesh.api.models writes Sub, Div, Gemm, Tanh and Sigmoid or Softmax: all are supported."""
    assert {"Sub", "Div", "Gemm", "Relu", "Tanh", "Sigmoid", "Softmax", "Identity", "Mul", "Add"} <= set(
        HANDLERS
    )


def test_advice_is_about_what_is_not_supported() -> None:
    assert not set(ALTERNATIVES) & set(HANDLERS)
    assert alternative("Unheard") != ""
