"""Committee programs on a mesh of real processes, played once by `program_acts`; a test looks at one act."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.loopback.program_acts import ROOT, ROWS

LIMIT_S = 180
STAYS = [stay for rows in ROWS.values() for _, stay, _ in rows]
MEDIAN = round(float(np.median(STAYS)), 3)
"""To the decimals that the rows have: floats add up to 9.579999999999998."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    folder: Path = tmp_path_factory.mktemp("programs")
    command = [sys.executable, "-m", "tests.loopback.program_acts", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "error" not in found, found["error"]
    return found


def value(act: dict, at: int = 0):
    assert act["state"] == "done", act
    return act["answers"][at]["value"]


def test_the_median_from_the_command_line_is_exact(seen):
    assert seen["cli"]["code"] == 0, seen["cli"]["err"]
    answer = json.loads(seen["cli"]["out"])
    assert answer["value"] == MEDIAN
    assert (answer["n"], answer["sites"]) == (len(STAYS), 4)
    assert answer["revealed"][0] == "to p1: median of length_of_stay, over at least 3 sites"
    assert any("number of rows of each" in words for words in answer["revealed"])


def test_a_dry_run_says_what_it_costs_and_reveals(seen):
    assert seen["plan"]["code"] == 0, seen["plan"]["err"]
    report = json.loads(seen["plan"]["out"])
    assert report["rounds"] > 10
    assert report["costs"][0]["bytes_sent"] > 0
    assert report["seconds"] > 0
    assert report["colluders"] == 2
    assert report["revealed"][0].startswith("to p1: median")
    assert any("exact once theirs are certified" in words for words in report["warnings"])


def test_order_statistics_and_counts(seen):
    line = sorted(STAYS)
    wanted = [line[max(0, int(np.ceil(q * len(line))) - 1)] for q in (0.25, 0.9)]
    assert value(seen["quantiles"]) == wanted
    assert value(seen["at_least"]) == [sum(stay >= limit for stay in STAYS) for limit in (5.0, 10.0)]


def test_groups_with_too_few_rows_stay_hidden(seen):
    by = {key: [s for rows in ROWS.values() for k, s, _ in rows if k == key] for key in (1, 2, 3, 9)}
    assert value(seen["group_by"], 0) == [len(by[key]) for key in (1, 2, 3, 9)]
    assert value(seen["group_by"], 1) == pytest.approx([sum(by[key]) for key in (1, 2, 3, 9)])


def test_accounts_that_at_least_two_sites_flag(seen):
    sites = [{account for _, _, account in rows} for rows in ROWS.values()]
    wanted = sorted(a for a in set().union(*sites) if sum(a in site for site in sites) >= 2)
    assert value(seen["flagged"]) == wanted


def test_a_value_out_of_range_is_refused_at_its_owner_with_the_range(seen):
    act = seen["out_of_range"]
    assert act["error"]["code"] == "C-301"
    reasons = {why for _, why in act["refusals"]}
    assert reasons == {"C-670: column 'length_of_stay' has a value outside the declared range [0, 5]"}


def test_a_program_that_the_owners_do_not_allow_is_denied_by_name_and_rule(seen):
    act = seen["not_allowed"]
    assert act["error"]["code"] == "C-305"
    assert {name for name, _ in act["refusals"]} == set(ROWS)
    assert all("rule allow: minimum is not one of" in why for _, why in act["refusals"])


def test_a_member_killed_in_the_middle_is_replaced_and_the_answer_is_right(seen):
    act = seen["killed"]
    assert value(act) == MEDIAN
    assert any("recount" in text for text in act["told"]), act["told"]
    begun = [text for text in act["told"] if "compute from layer" in text]
    assert len(begun) >= 2
    assert act["victim"] in begun[0]
    assert act["victim"] not in begun[-1]
