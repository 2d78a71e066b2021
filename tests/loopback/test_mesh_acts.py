"""A whole mesh of real processes, played once by `mesh_acts`; each test looks at one act."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.loopback.frame_files import frames
from tests.loopback.mesh_acts import NAMES, ROOT, ROWS

LIMIT_S = 180


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("acts")
    command = [sys.executable, "-m", "tests.loopback.mesh_acts", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert "error" not in seen, seen["error"]
    return seen, folder


@pytest.fixture
def seen(played) -> dict:
    return played[0]


def right(job: dict, counted: set[str]) -> None:
    """The job is done over exactly these sites, with the plaintext's answers."""
    assert job["state"] == "done", job
    assert set(job["counted"]) == counted
    for statistic, value, expected in job["answers"]:
        if statistic in ("count", "histogram"):
            assert value == expected
        else:
            assert math.isclose(value, expected, rel_tol=1e-6)


def test_founding_and_joining(seen):
    assert seen["formed"] == {"alive": 5, "links": 4, "state": "member"}


def test_statistics_equal_the_plaintext(seen):
    assert len(seen["statistics"]["answers"]) == 5
    right(seen["statistics"], {"p1", "p2", "p3", "p4"})


def test_a_site_without_policy_refuses_by_name_and_reason(seen):
    ((who, why),) = seen["statistics"]["refusals"]
    assert who == "p5"
    assert "rule no_policy" in why


def test_fewer_sites_than_asked_says_who_is_missing(seen):
    error = seen["too few"]["error"]
    assert error["what"].startswith("4 of 5 required sites")
    assert "p5 (DENY by rule no_policy" in error["what"]
    assert seen["command"]["code"] == 4
    assert "p5 (DENY by rule no_policy" in seen["command"]["out"]


@pytest.mark.parametrize(
    ("act", "code", "words"),
    [
        ("reused", "C-226", "already used by q1"),
        ("expired", "C-222", "expired"),
        ("mistyped", "C-220", "wrong"),
    ],
)
def test_a_bad_ticket_is_told_to_who_comes_with_it(seen, act, code, words):
    end = seen[act]
    assert end["code"] == 1
    assert code in end["log"]
    assert words in end["log"]
    assert not end["traceback"]


def test_a_full_disk_stops_what_depends_on_it_and_nothing_else(seen):
    act = seen["full disk"]
    right(act["without"], {"p1", "p3", "p4"})
    assert [code for who, code in act["without"]["refusals"] if who == "p2" and "C-622" in code]
    assert (act["p2"], act["runs"]) == ("member", True)
    assert act["own"]["error"]["code"] == "C-116"
    assert "nothing was opened" in act["own"]["error"]["what"]
    right(act["again"], {"p1", "p2", "p3", "p4"})


def test_a_node_ended_in_a_session_leaves_nothing_and_rejoins_by_itself(seen):
    for end in seen["ends"]:
        assert end["code"] == (-9 if end["name"] == "p2" else 0)
        assert (end["socket"], end["holder"]) == (False, None)
        right(end["job"], set(end["job"]["counted"]))
        assert len(end["job"]["counted"]) >= 3
    right(seen["after all"], {"p1", "p2", "p3", "p4"})


def test_nothing_is_left_over(seen):
    assert seen["left over"] == {"processes": [], "sockets": [], "holders": []}


def test_a_node_stays_small(seen):
    assert 0 < seen["resident MB"] <= 120


def test_no_row_and_no_site_s_sum_in_any_frame_of_any_process(played):
    """Before encryption and after decryption, over the whole life of the mesh."""
    _, folder = played
    needles = []
    for name in NAMES:
        rows = np.array(ROWS[name])
        for value in (*rows, rows.sum(), rows.mean(), rows.var(ddof=1)):
            needles += [struct.pack("<d", value), struct.pack(">d", value), repr(float(value)).encode()]
    for name in NAMES:
        payloads = [payload for _, _, payload in frames(folder / name / "frames")]
        assert len(payloads) > 100
        joined = b"--".join(payloads)
        assert b"readings" in joined, "the tap sees frames in clear"
        assert not [needle for needle in needles if needle in joined]
