"""Inference: requests without sense, rows that do not fit, programs that an owner lets read its rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mesh.api.shapes import InferenceSpec
from mesh.data import policy
from mesh.data.errors import DataError
from mesh.data.policy import Asked, Policy, PolicyRequest
from mesh.runtime.programs import inference
from mesh.runtime.programs.inference import check
from protocols.circuits.builder import Array, fixed, trace
from protocols.circuits.graph import Graph
from protocols.errors import ConfigError, LocalMisuse
from protocols.programs import split

MODEL = str(Path(__file__).resolve().parents[1] / "models" / "digits_mlp.onnx")
SPEC = InferenceSpec(model=MODEL, dataset="digits", columns=("a", "b"), limit=2)
PROGRAM = "ab" * 32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": "/x.csv"}, "name the rows once"),
        ({"dataset": ""}, "name the rows once"),
        ({"columns": ()}, "which columns"),
        ({"columns": ("a", "a")}, "named twice"),
        ({"columns": tuple(map(str, range(65)))}, "65 columns of another site are more than 64"),
        ({"limit": 0}, "no number of rows"),
        ({"reveal": "weights"}, "there is no such answer"),
        ({"mode": "B"}, "there is no such mode"),
        ({"low": 1.0}, "no range"),
        ({"high": float("nan")}, "no range"),
    ],
)
def test_a_request_without_sense_is_refused_with_its_fix(change: dict, words: str) -> None:
    check(SPEC)
    with pytest.raises(ConfigError, match=words) as caught:
        check(dataclasses.replace(SPEC, **change))
    assert caught.value.code == "C-101"
    assert caught.value.fix


def test_rows_of_a_file_that_do_not_fit(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n0.5,1\n0.25,0\n")
    spec = InferenceSpec(model=MODEL, rows=str(file))
    rows = inference._own_rows(spec)
    assert rows.columns == ("a", "b")
    assert rows.values.tolist() == [[0.5, 1.0], [0.25, 0.0]]
    with pytest.raises(ConfigError, match="a row of the model has 64 values, 2 columns are named"):
        inference._network(spec, rows)
    with pytest.raises(ConfigError, match=r"--limit 3: .* has 2 rows"):
        inference._own_rows(dataclasses.replace(spec, limit=3))
    file.write_text("a,b\n0.5,1\n0.25,\n")
    with pytest.raises((ConfigError, DataError)):
        inference._own_rows(spec)


def graph(rows: int) -> Graph:
    def program(**inputs: Array) -> None:
        inputs["1:*"].sum().reveal_to(name="sum")

    return trace(program, **{"1:*": fixed((rows, 2), 0, 1)})


def test_the_first_rows_of_the_jobs_columns_fill_an_input() -> None:
    held = {"b": np.array([0.0, 0.25, 1.0]), "a": np.array([1.0, 0.5, 0.75])}
    found = split.columns_for(graph(2), 1, held)
    assert found["1:*"].tolist() == [[0.0, 1.0], [0.25, 0.5]]
    assert split.columns_for(graph(2), 0, held) == {}


@pytest.mark.parametrize(
    ("rows", "held", "words"),
    [
        (4, {"a": [0, 1], "b": [0, 1]}, "takes 4 rows of 2 columns, here are 2 of 2"),
        (2, {"a": [0, 1]}, "takes 2 rows of 2 columns, here are 2 of 1"),
        (2, {"a": [0, 1], "b": [0]}, "missing in different rows"),
        (2, {"a": [0, 1], "b": [0, 1.5]}, r"a value lies outside the declared range \[0, 1\]"),
        (2, {"a": [0, 1], "b": [0, float("nan")]}, "outside the declared range"),
    ],
)
def test_what_an_owner_cannot_deal_is_said_without_a_value(rows: int, held: dict, words: str) -> None:
    arrays = {name: np.array(values, dtype=np.float64) for name, values in held.items()}
    with pytest.raises(LocalMisuse, match=words):
        split.columns_for(graph(rows), 1, arrays)


def request(*inputs: str) -> PolicyRequest:
    return PolicyRequest(
        "digits", (Asked("program", "a"),), 2, 2, 1, "cd" * 32, "lab", {"a": 20}, 0.0, inputs=inputs
    )


def test_a_program_is_denied_unless_its_owner_lists_it() -> None:
    rules = Policy(allow=("program",), min_sites=2)
    assert policy.evaluate(rules, request(PROGRAM)).rule == "programs"
    listed = dataclasses.replace(rules, programs=(PROGRAM,))
    assert policy.evaluate(listed, request(PROGRAM)).allowed
    assert policy.evaluate(listed, request("cd" * 32)).rule == "programs"
    assert policy.evaluate(listed, request()).rule == "programs"
    assert policy.evaluate(dataclasses.replace(rules, programs=("*",)), request(PROGRAM)).allowed
    assert policy.evaluate(Policy(min_sites=2, programs=("*",)), request(PROGRAM)).rule == "allow"


def test_programs_in_a_policy_file() -> None:
    rules = Policy(allow=("program",), programs=(PROGRAM,))
    assert policy.parse(policy.render(rules, "digits")) == rules
    with pytest.raises(DataError, match="64 hexadecimal digits"):
        policy.parse('allow = ["program"]\nprograms = ["abc"]\n')
