"""Who judges the judges: a wrong value, an odd roster, a hang and growth are seen as what they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.api.shapes import AnswerInfo, ErrorInfo, JobInfo, JobResult
from tools.chaos.oracle import Oracle
from tools.chaos.vitals import Vitals, growth, leaks, slope_mb
from tools.netlab.report import JobLine, Report

OWNERS = ("a", "b", "c")
ASKED = ("mean", "mean_radius")


@pytest.fixture
def oracle(tmp_path):
    return Oracle(tmp_path, OWNERS, ("mean_radius",), seed=1)


@pytest.fixture
def done(oracle):
    counted = ("a", "b")
    value = oracle.plaintext.value(*ASKED, counted)
    n = oracle.plaintext.value("count", ASKED[1], counted)
    result = JobResult(
        value, n, 2, "", (AnswerInfo(*ASKED, value, n),), "ab" * 32, 1.0, missing=("c",), counted=counted
    )
    return JobInfo("1", "done", oracle.spec([ASKED], 2, 5.0), 0.0, result=result)


def test_the_plaintext_over_the_claimed_roster_is_right(oracle, done):
    assert oracle.judge(done, 2) == ("right", "without c")


@pytest.mark.parametrize("shift", [1e-3, -1e-3])
def test_a_value_beside_it_is_wrong(oracle, done, shift):
    answer = done.result.answers[0]
    wrong = replace(done.result, answers=(replace(answer, value=answer.value + shift),))
    assert oracle.judge(replace(done, result=wrong), 2)[0] == "wrong"


@pytest.mark.parametrize("counted", [("a", "c"), ("a", "a"), ("a",), ("a", "b", "c")])
def test_the_right_value_under_another_roster_is_wrong(oracle, done, counted):
    assert oracle.judge(replace(done, result=replace(done.result, counted=counted)), 2)[0] == "wrong"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ErrorInfo("C-301", "0 sites contributed; nothing was opened"), "aborted"),
        (ErrorInfo("C-303", "no result; whether anything was opened is not known"), "unclear"),
        (ErrorInfo("C-900", "a bug"), "unclear"),
        (None, "unclear"),
    ],
)
def test_an_abort_must_be_definite(oracle, done, error, verdict):
    failed = replace(done, state="failed", result=None, error=error)
    assert oracle.judge(failed, 2)[0] == verdict


def test_a_job_that_has_not_ended_hangs(oracle, done):
    assert oracle.judge(replace(done, state="running", result=None), 2)[0] == "hung"


@pytest.mark.parametrize(
    ("expected", "fine"),
    [
        ("right", {"right"}),
        ("abort", {"aborted"}),
        ("right-or-abort", {"right", "aborted", "orphaned"}),
    ],
)
def test_a_lab_fails_by_everything_that_it_does_not_expect(expected, fine):
    for verdict in ("right", "aborted", "orphaned", "unclear", "wrong", "hung"):
        report = Report("lab", "a lab", 3)
        report.job(JobLine(0.0, "a", expected, verdict, "", 1.0, 3))
        assert report.ok == (verdict in fine)
        assert report.finish(as_json=True) == (0 if verdict in fine else 1)


def test_a_lab_in_which_nothing_was_asked_shows_nothing():
    assert not Report("lab", "a lab", 3).ok


def vitals(fds=30, rss_mb=80.0, threads=3, tasks=110):
    return Vitals(fds, rss_mb, threads, tasks)


def test_growth_is_told_apart_from_a_warm_up_and_from_noise():
    calm = [
        vitals(rss_mb=60.0),
        *(vitals(rss_mb=80.0 + number % 3, fds=30 + number % 2) for number in range(9)),
    ]
    assert not leaks("p1", calm)
    assert growth(calm)["rss_mb"] <= 1.0
    assert leaks("p1", [vitals(fds=30 + number) for number in range(12)]) == [
        "p1: fds grew by 8 over the run"
    ]
    assert leaks("p1", [vitals(rss_mb=80.0 + 3 * number) for number in range(12)])
    assert leaks("p1", [vitals(tasks=110 + number) for number in range(12)])
    assert growth([vitals(fds=number) for number in range(5)]) == {}


def test_memory_that_rises_slowly_with_the_jobs_is_a_leak_and_one_step_is_none():
    rising = [replace(vitals(rss_mb=80.0 + number), jobs=40 * number) for number in range(13)]
    assert slope_mb(rising) == 12.0
    assert leaks("p1", rising) == ["p1: memory rises by 12 MB in 480 jobs"]
    step = [replace(vitals(rss_mb=88.0 if number > 2 else 80.0), jobs=40 * number) for number in range(13)]
    assert slope_mb(step) == 0.0
    assert not leaks("p1", step)
    assert slope_mb([vitals(rss_mb=80.0 + number) for number in range(13)]) is None, "no jobs were counted"
