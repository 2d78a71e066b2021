"""`models run` on a mesh of real processes, played once by `inference_acts`; a test looks at one act."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
from tests.loopback.inference_acts import HELD, MODELS, ROOT

CLASSES = np.load(MODELS / "digits.npz")["mlp"].astype(int).tolist()
"""What the plaintext model says."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    folder: Path = tmp_path_factory.mktemp("inference")
    command = [sys.executable, "-m", "tests.loopback.inference_acts", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "error" not in found, found["error"]
    return found


def answer(act: dict, code: int = 0) -> dict:
    assert act["code"] == code, act
    return json.loads(act["out"])


def test_another_sites_images_get_the_plaintext_models_classes(seen):
    found = answer(seen["run"])
    assert found["value"] == CLASSES[:5]
    assert (found["n"], found["sites"], sorted(found["counted"])) == (5, 2, ["p1", "p2"])
    assert seen["file"]["value"] == CLASSES[:5]


def test_without_a_policy_the_owner_denies_and_the_error_says_what_to_allow(seen):
    error = answer(seen["denied"], 4)["error"]
    assert error["code"] == "C-305"
    assert "p2 does not let this program read 'digits': DENY by rule no_policy" in error["what"]
    assert error["fix"].startswith("its owner runs: coppice policy init digits --allow program --programs ")


def test_an_owner_finds_the_digest_and_reads_what_it_stands_for_before_it_allows_it(seen):
    error = answer(seen["denied"], 4)["error"]
    digest = re.search("--programs ([0-9a-f]{64})", error["fix"])[1]
    assert f"coppice programs show {digest[:16]}" in error["fix"]
    (alert,) = [one for one in answer(seen["alerts"])["alerts"] if one["code"] == "C-621"]
    assert alert["what"].startswith(
        f"p1 asks to run program {digest[:16]} over digits: DENY by rule no_policy"
    )
    assert f"coppice programs show {digest[:16]}" in alert["fix"]
    assert f"coppice policy init digits --allow program --programs {digest}" in alert["fix"]
    assert [one["digest"] for one in answer(seen["listed"])["programs"]] == [digest]
    found = answer(seen["read"])
    assert found["digest"] == digest
    by_owner = {one["owner"]: one for one in found["inputs"]}
    assert (by_owner["p2"]["shape"], by_owner["p2"]["low"], by_owner["p2"]["high"]) == ([5, 64], 0.0, 1.0)
    assert "p1" in by_owner
    assert [(one["name"], one["recipient"]) for one in found["outputs"]] == [("class", "p1")]
    assert {"matmul", "relu", "argmax"} <= {one["name"] for one in found["operations"]}
    assert found["cost"]["rounds"] == answer(seen["plan"])["rounds"]
    assert found["cost"]["sent_bytes"] > 0
    assert found["cost"]["memory_bytes"] > 0
    assert found["cost"]["seconds_wan"] > found["cost"]["seconds_lan"] > 0


def test_a_digest_that_nobody_asked_for_is_unknown(seen):
    assert answer(seen["at a stranger"], 2)["error"]["code"] == "C-404"


def test_an_approval_is_of_one_program_not_of_any(seen):
    error = answer(seen["another"], 4)["error"]
    assert "DENY by rule programs" in error["what"]


def test_a_dry_run_says_the_cost_and_what_is_revealed_to_whom(seen):
    report = answer(seen["plan"])
    assert report["rounds"] > 10
    assert report["costs"][0]["bytes_sent"] > 0
    assert report["revealed"][0] == "to p1: the class of each of 5 rows of digits at p2"
    assert report["revealed"][-1].startswith("to nobody: a weight")
    assert any("secret from the owner" in words for words in report["warnings"])


def test_rows_and_columns_that_do_not_fit_are_named_on_both_sides(seen):
    assert answer(seen["open"], 2)["error"]["fix"] == "say how many of the first: --limit N"
    error = answer(seen["narrow"], 2)["error"]
    assert (error["code"], error["what"]) == (
        "C-671",
        "a row of the model has 64 values, 2 columns are named",
    )
    words = answer(seen["too many"], 6)["error"]["what"]
    assert f"the program takes {HELD + 1} rows of 64 columns, here are {HELD} of 64" in words


def test_own_rows_and_every_output(seen):
    found = answer(seen["own"])
    scores = np.array([line["value"] for line in found["answers"]])
    assert scores.shape == (10, 3)
    assert scores.argmax(axis=0).tolist() == CLASSES[:3]
    assert np.abs(scores.sum(axis=0) - 1).max() < 0.01
