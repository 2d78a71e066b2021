"""What an owner is told of a program it is asked for: what is read, what is not laid out, whom it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.data.policy import ALLOW, Decision, Policy, deny
from mesh.data.room import DataRoom
from mesh.runtime.jobs.inquiry import Inquiry
from mesh.runtime.programs import reading
from mesh.runtime.programs.reading import MOST_ASKED, Asked
from protocols.circuits.builder import Array, divide, fixed, trace
from protocols.circuits.graph import Graph
from protocols.errors import LocalMisuse
from protocols.identifiers import Digest, PartyId
from protocols.programs.plan import Limits
from protocols.sessions.plan import Job, Query

LIMITS = Limits(rounds=20_000, sent_bytes=1 << 30, memory_bytes=1 << 28)
ASKER, OWNER = PartyId(b"\1" * 32), PartyId(b"\2" * 32)
NAMES = {ASKER: "lab", OWNER: "ward"}


def told(graph: Graph, limits: Limits = LIMITS, owners: tuple[PartyId, ...] = (ASKER, OWNER)):
    return reading._told(graph, list(owners), NAMES.__getitem__, (4, 1), limits)


def ratio() -> Graph:
    def program(**inputs: Array) -> None:
        quotient, _ = divide(inputs["0:w"], inputs["1:a|b"])
        quotient.reveal_to(ASKER.hex(), name="ratio")

    return trace(program, **{"0:w": fixed((3, 2), -4, 4), "1:a|b": fixed((3, 2), 0, 100)})


def test_inputs_have_ranges_and_owners_outputs_have_recipients():
    found = told(ratio())
    given = [(one.owner, one.columns, one.shape, one.low, one.high) for one in found.inputs]
    assert given == [("lab", ("w",), (3, 2), -4, 4), ("ward", ("a", "b"), (3, 2), 0, 100)]
    assert [(one.name, one.recipient, one.shape) for one in found.outputs] == [("ratio", "lab", (3, 2))]
    assert found.cost is not None
    assert found.cost.rounds > 0
    assert len(found.steps) == sum(one.times for one in found.operations)


def test_a_division_by_a_secret_zero_is_pointed_out():
    assert any("secret zero" in note for note in told(ratio()).notes)


def test_owners_are_not_guessed_without_an_asker():
    assert {one.owner for one in told(ratio(), owners=()).inputs} == {""}


def test_a_program_beyond_the_limits_is_read_but_not_laid_out(monkeypatch: pytest.MonkeyPatch):
    def never(*_: object) -> None:
        raise AssertionError("laid out")

    monkeypatch.setattr(reading, "lower", never)
    found = told(ratio(), Limits(rounds=1, sent_bytes=1, memory_bytes=8))
    assert found.cost is None
    assert "the plan allows 8 in memory" in found.beyond
    assert found.outputs[0].recipient == "lab"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    room = DataRoom(tmp_path)
    file = tmp_path / "rows.csv"
    file.write_text("a\n1\n2\n")
    room.add(file, "ward")
    room.init_policy("ward", Policy(allow=("mean",), min_sites=2))
    return Asked(room)


def inquiry(number: int, statistic: str = "program") -> Inquiry:
    job = Job("ward", (Query(statistic, "a", ()),), 2, "", (Digest(number.to_bytes(32, "big")),))
    return Inquiry(bytes(16), job, 2, 1)


async def test_a_refused_program_is_an_alert_that_keeps_what_is_allowed_already(asked: Asked):
    await asked.note(inquiry(7), ASKER, "lab", deny("allow", "program is not one of mean"))
    (alert,) = asked.alerts()
    digest = (7).to_bytes(32, "big").hex()
    assert f"--allow mean,program --programs {digest}" in alert.fix
    assert asked.requester(digest) == ASKER
    await asked.note(inquiry(7), ASKER, "lab", ALLOW)
    assert asked.alerts() == ()
    assert [one.allowed for one in asked.all()] == [True]


@pytest.mark.parametrize(
    ("question", "decision"),
    [(inquiry(7, "update"), ALLOW), (inquiry(7), deny("dataset", "no data set of that name"))],
)
async def test_models_and_data_sets_of_others_are_not_kept(
    asked: Asked, question: Inquiry, decision: Decision
):
    await asked.note(question, ASKER, "lab", decision)
    assert asked.all() == ()


async def test_the_oldest_questions_go_first(asked: Asked):
    for number in range(MOST_ASKED + 3):
        await asked.note(inquiry(number), ASKER, "lab", ALLOW)
    assert len(asked.all()) == MOST_ASKED
    assert asked.requester((0).to_bytes(32, "big").hex()) is None


async def test_a_digest_is_named_by_eight_digits_and_only_if_it_is_the_only_one(asked: Asked):
    digest = (7).to_bytes(32, "big").hex()
    await asked.note(inquiry(7), ASKER, "lab", ALLOW)
    assert reading._full(digest[:8], asked) == digest
    with pytest.raises(LocalMisuse):
        reading._full(digest[:7], asked)
    await asked.note(inquiry(8), ASKER, "lab", ALLOW)
    with pytest.raises(LocalMisuse):
        reading._full(digest[:8], asked)
