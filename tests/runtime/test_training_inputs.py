"""Public inputs between nodes, and what a device accepts as the next round: without any network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from mesh.runtime.jobs import inputs as module
from mesh.runtime.jobs.inputs import InputPiece, InputRequest, Inputs
from mesh.runtime.training.runs import Runs, next_round
from protocols.arithmetic import field
from protocols.errors import ConfigError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.learning import models, rounds
from protocols.learning.models import ModelSpec
from protocols.learning.rounds import Recipe, Round
from protocols.sessions import events
from protocols.sessions.plan import Job, Plan, Query
from protocols.statistics import registry
from protocols.statistics.update import Site
from protocols.wire.digest import digest

A, B, C = (PartyId(bytes([number]) * 32) for number in (1, 2, 3))
SPEC = ModelSpec("logistic", "classification", 2)
RECIPE = Recipe(SPEC, ("a", "b"), "y", (0.0, 0.0), (1.0, 1.0), max_weight=64)
BLOB = bytes(range(256)) * 9000


class Wire:
    """Stands for both postmen: hands each message to the other side; `twist` changes what is sent."""

    def __init__(self) -> None:
        self.ends: dict[PartyId, Inputs] = {}
        self.posted: list[object] = []
        self.twist = lambda message: message

    def end(self, me: PartyId) -> Inputs:
        wire = self

        class Postman:
            def post(self, to: tuple[PartyId, ...], message: object) -> int:
                wire.posted.append(message)
                changed = wire.twist(message)
                for party in to:
                    if changed is not None and party in wire.ends:
                        wire.ends[party].receive(me, changed)
                return 0

        self.ends[me] = Inputs(Postman())
        return self.ends[me]


async def test_a_blob_travels_in_pieces_and_is_what_was_named() -> None:
    wire = Wire()
    here, there = wire.end(A), wire.end(B)
    name = there.publish(BLOB)
    assert await here.obtain((name,), B) == (BLOB,)
    assert sum(isinstance(message, InputRequest) for message in wire.posted) == 3
    wire.posted.clear()
    assert await here.obtain((name, name), B) == (BLOB, BLOB)
    assert wire.posted == []


async def test_two_who_want_the_same_blob_fetch_it_once() -> None:
    wire = Wire()
    here, there = wire.end(A), wire.end(B)
    name = there.publish(BLOB)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.obtain, (name,), B)
        nursery.start_soon(here.obtain, (name,), B)
    assert sum(isinstance(message, InputRequest) for message in wire.posted) == 3


@pytest.mark.parametrize(
    "twist",
    [
        lambda m: dataclasses.replace(m, data=b"x" + m.data[1:]) if isinstance(m, InputPiece) else m,
        lambda m: dataclasses.replace(m, size=0) if isinstance(m, InputPiece) else m,
        lambda m: dataclasses.replace(m, offset=m.offset + 1) if isinstance(m, InputPiece) else m,
        lambda m: dataclasses.replace(m, data=b"") if isinstance(m, InputPiece) else m,
        lambda m: None if isinstance(m, InputPiece) else m,
    ],
    ids=["changed", "absent", "displaced", "empty", "silent"],
)
async def test_anything_else_than_the_named_blob_is_refused(
    twist, autojump_clock: trio.testing.MockClock
) -> None:
    wire = Wire()
    here, there = wire.end(A), wire.end(B)
    name = there.publish(BLOB)
    wire.twist = twist
    with pytest.raises(ConfigError) as caught:
        await here.obtain((name,), B)
    assert caught.value.code == "C-646"
    assert here.held(name) is None
    wire.twist = lambda message: message
    assert await here.obtain((name,), B) == (BLOB,)


async def test_pieces_that_nobody_asked_for_are_dropped() -> None:
    wire = Wire()
    here = wire.end(A)
    with pytest.raises(UnexpectedMessage):
        here.receive(B, InputPiece(rounds.blob_name(b"x"), 0, 1, b"x"))


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 100)
    here = Wire().end(A)
    names = [here.publish(bytes([number]) * 40) for number in range(4)]
    assert [here.held(name) is not None for name in names] == [False, False, True, True]
    monkeypatch.setattr(module, "MAX_BLOB_BYTES", 50)
    with pytest.raises(ConfigError):
        here.publish(bytes(51))


# -- runs -----------------------------------------------------------------------------------------------


def plan_of(current: Round) -> Plan:
    job = Job("d", (Query("update", "y", RECIPE.parameters),), 2, "", (current.name(),))
    return Plan(Digest(bytes(32)), 1, b"n" * 32, A, job, registry.job_length(job), 4, 1000, 2000, (), ())


def opened(plan: Plan, current: Round, sites: int = 2) -> events.Opened:
    """What a certified session of honest sites would tell."""
    rng = np.random.default_rng(1)
    total = np.zeros(plan.length, dtype=np.uint64)
    for site in range(sites):
        columns = {"a": rng.normal(size=9), "b": rng.normal(size=9), "y": rng.integers(0, 2, 9) * 1.0}
        vector = registry.encode_job(plan.job, columns, bytes([site]) * 32, Site((current.encoded(),)))
        total = field.add(total, vector)
    return events.Opened(None, total, (A, B)[:sites], digest("test", bytes([current.number])))


@pytest.fixture
def start() -> Round:
    return rounds.first(RECIPE, b"r" * 16, models.initial(SPEC, bytes(32)))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "models", Wire().end(A))


async def after_one(runs: Runs, start: Round) -> Round:
    runs._inputs.publish(start.encoded())
    plan = plan_of(start)
    event = opened(plan, start)
    await runs.ended(plan, event)
    after = next_round(plan, start, event)
    assert after is not None
    return after


async def test_a_device_makes_the_next_round_itself_and_keeps_it(runs: Runs, start: Round) -> None:
    after = await after_one(runs, start)
    assert after.number == 1
    assert not (after.weights == start.weights).all()
    assert runs._inputs.held(after.name()) is not None
    kept = runs.load(after.run.hex()[:6])
    assert (kept.round.weights == after.weights).all()
    assert len(kept.receipts) == 1
    assert (await runs.check(after.encoded())).number == 1


async def test_rounds_that_are_over_are_not_held_in_memory(runs: Runs, start: Round) -> None:
    states = [
        dataclasses.replace(start, number=number, weights=start.weights + number) for number in range(5)
    ]
    for state in states[1:]:
        await runs.keep(state, Digest(bytes(32)))
    held = [state.number for state in states if runs._inputs.held(state.name()) is not None]
    assert held == [3, 4]
    assert runs._inputs._size == sum(len(state.encoded()) for state in states[3:])


async def test_weights_that_do_not_follow_from_the_certified_total_are_refused(
    runs: Runs, start: Round
) -> None:
    after = await after_one(runs, start)
    forged = dataclasses.replace(after, weights=after.weights + 1e-9)
    with pytest.raises(ConfigError) as caught:
        await runs.check(forged.encoded())
    assert caught.value.code == "C-641"


async def test_the_round_of_another_number_of_the_same_run_is_refused_or_new(
    runs: Runs, start: Round
) -> None:
    """An old number with new weights contradicts; a later one is believed, as a newcomer must."""
    after = await after_one(runs, start)
    with pytest.raises(ConfigError) as caught:
        await runs.check(dataclasses.replace(start, number=1).encoded())
    assert caught.value.code == "C-641"
    assert (await runs.check(dataclasses.replace(after, number=9).encoded())).number == 9


async def test_a_device_waits_for_its_own_end_of_a_round_before_it_believes(
    runs: Runs, start: Round, mock_clock: trio.testing.MockClock
) -> None:
    # No autojump: it would jump over the wait while a thread computes the next round.
    runs._inputs.publish(start.encoded())
    runs.contributing(start)
    plan = plan_of(start)
    event = opened(plan, start)
    after = next_round(plan, start, event)
    assert after is not None
    forged = dataclasses.replace(after, weights=after.weights + 1)
    refused: list[str] = []

    async def ask() -> None:
        try:
            await runs.check(forged.encoded())
        except ConfigError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert refused == []
        await runs.ended(plan, event)
    assert refused == ["C-641"]


async def test_a_restarted_device_still_knows_what_was_certified(
    runs: Runs, start: Round, tmp_path: Path
) -> None:
    after = await after_one(runs, start)
    again = Runs(tmp_path / "models", Wire().end(A))
    with pytest.raises(ConfigError) as caught:
        await again.check(dataclasses.replace(after, weights=after.weights + 1).encoded())
    assert caught.value.code == "C-641"
    later = await after_one(again, after)
    assert len(again.load(later.run.hex()).receipts) == 2


async def test_an_aborted_round_changes_nothing(runs: Runs, start: Round) -> None:
    runs._inputs.publish(start.encoded())
    await runs.ended(plan_of(start), events.Aborted("C-301", "few", definite=True))
    assert list(runs.all()) == []
    assert (await runs.check(start.encoded())).number == 0


async def test_models_that_are_not_here_or_damaged(runs: Runs, start: Round, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        runs.load("ab")
    assert caught.value.code == "C-404"
    after = await after_one(runs, start)
    (tmp_path / "models" / f"{after.run.hex()}.round").write_bytes(b"torn")
    with pytest.raises(ConfigError) as caught:
        runs.load(after.run.hex())
    assert caught.value.code == "C-640"
