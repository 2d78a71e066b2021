"""A vertical regression takes each column from exactly one site: two would be added, none would be zeros."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.api.shapes import JobSpec, QuerySpec
from mesh.data.policy import Policy
from mesh.data.room import DataRoom
from mesh.runtime.jobs.calculation import MOST_QUERIES, job_of
from mesh.runtime.jobs.inquiry import Inquiry, Poll, answer_to
from mesh.runtime.programs.jobs import check_columns
from protocols.errors import ConfigError
from protocols.identifiers import PartyId
from protocols.sessions.plan import Job, Query
from protocols.wire import codec

PARAMETERS = (-8.0, 8.0, 6.0, 8.0, 1.0)
ASKER = PartyId(b"\1" * 32)


def job(*columns: str, statistic: str = "logistic") -> Job:
    return Job("ward", tuple(Query(statistic, column, PARAMETERS) for column in columns), 2, "")


def test_columns_of_one_site_each_are_taken() -> None:
    check_columns(job("a", "b", "y"), {"north": ("a",), "south": ("b", "y")}, {})


def test_a_column_at_two_sites_is_refused_with_its_sites() -> None:
    with pytest.raises(ConfigError, match="'a' is at north, south") as caught:
        check_columns(job("a", "b", "y"), {"south": ("a", "b"), "north": ("a",), "east": ("y",)}, {})
    assert caught.value.code == "C-671"
    assert "'b'" not in str(caught.value)


def test_a_column_at_no_site_is_refused_with_what_there_is_and_who_refused() -> None:
    words = r"has column 'q' of 'ward': north has a; south has y; east refused \(DENY by rule min_rows\)"
    with pytest.raises(ConfigError, match=words):
        check_columns(
            job("a", "q", "y"), {"north": ("a",), "south": ("y",)}, {"east": "DENY by rule min_rows"}
        )


def test_every_site_may_have_a_column_of_other_programs() -> None:
    check_columns(job("a", statistic="median"), {"north": ("a",), "south": ("a",)}, {})


def test_an_owner_tells_which_of_the_columns_it_would_deal_and_no_other(tmp_path: Path) -> None:
    room = DataRoom(tmp_path)
    file = tmp_path / "rows.csv"
    file.write_text("a,other\n" + "1,2\n" * 20)
    room.add(file, "ward")
    room.init_policy("ward", Policy(allow=("logistic", "median"), min_sites=2))
    inquiry = Inquiry(bytes(16), job("a", "b", "y"), 3, 1)
    decision = room.consider(inquiry.job, ASKER, "lab", 3, 1)
    assert decision.held == ("a",)
    answer = codec.decode(
        type(answer_to(inquiry, decision, "")), codec.encode(answer_to(inquiry, decision, ""))
    )
    poll = Poll(frozenset({ASKER}))
    poll.answer(ASKER, answer)
    assert poll.held == {ASKER: ("a",)}
    denied = room.consider(job("b", "y"), ASKER, "lab", 3, 1)
    assert (denied.allowed, denied.held) == (False, ())
    median = Job("ward", (Query("median", "a", (0.0, 9.0, 0.0)),), 2, "")
    assert room.consider(median, ASKER, "lab", 3, 1).held == ()


def test_a_job_of_more_questions_than_a_plan_carries_is_refused_in_words() -> None:
    names = [f"c{at}" for at in range(MOST_QUERIES + 1)]
    taken = job_of(JobSpec("ward", tuple(QuerySpec("mean", name) for name in names[:-1]), 2), 2)
    assert len(codec.decode(Job, codec.encode(taken)).queries) == MOST_QUERIES
    with pytest.raises(ConfigError, match=f"{MOST_QUERIES + 1} questions, at most {MOST_QUERIES}"):
        job_of(JobSpec("ward", tuple(QuerySpec("mean", name) for name in names), 2), 2)


def test_a_mode_that_does_not_exist_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ConfigError, match="--mode B: there is no such mode") as caught:
        job_of(JobSpec("ward", (QuerySpec("mean", "a"),), 2, mode="B"), 2)
    assert caught.value.code == "C-101"
