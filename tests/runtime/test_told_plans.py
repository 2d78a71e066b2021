"""A plan that was told before its asker's machine was made: the others may end its session without the asker,
so that nothing says that it was never begun, and its job does not begin anew.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from mesh.runtime import background
from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.vectors import masked
from protocols.errors import LocalMisuse
from protocols.identifiers import SessionId
from protocols.sessions.excerpt import KnownPlan
from tests.runtime.memory_mesh import MemoryMesh, ask, in_place
from tests.runtime.test_broken_links import ROUND, given
from tests.scenarios.pump import make_keys, make_plan

__all__ = ["given", "in_place"]
ROWS = [[1.0, 2.0], [3.0], [4.0, 5.0], [6.0]]
PLAN = make_plan(make_keys(8), length=2, size=(4, 1))


@pytest.fixture
def masking(monkeypatch):
    """Masks of vectors as they are made, the asker's first: it waits for `fails`, and is never made."""

    class Masking:
        plans = ()
        fails = trio.Event()

    run = background.run

    async def gated(function, *arguments):
        if function is not masked.mask:
            return await run(function, *arguments)
        first, Masking.plans = not Masking.plans, (*Masking.plans, arguments[0])
        if first:
            await Masking.fails.wait()
            raise LocalMisuse("no room for the masked vector")
        return await run(function, *arguments)

    monkeypatch.setattr(background, "run", gated)
    return Masking


async def told(members, masking):
    """Until all the others have masked theirs; the plan."""
    with trio.fail_after(30):
        while len(masking.plans) < len(members):
            await trio.sleep(0.01)
    assert len(set(masking.plans)) == 1
    return masking.plans[0]


async def test_who_crashes_with_its_plan_out_does_not_begin_the_job_anew(
    tmp_path, in_place, given, masking, autojump_clock, nursery
):
    mesh = MemoryMesh(tmp_path, nursery)
    nodes = list(await mesh.start(4))
    asker, other = nodes[:2]
    job = await asker.service.submit(replace(ROUND, min_sites=3))
    plan = await told(nodes, masking)
    await mesh.crash(asker)
    back = await mesh.restart(asker)
    info = await back.ended(job)
    assert info.result is None
    assert "is not known" in info.error.what
    assert set(masking.plans) == {plan}, "no other session was begun"
    assert other.journal.ending(plan.session).outcome == "Opened"
    with trio.fail_after(60):
        while (end := back.journal.ending(plan.session)) is None or end.proof is None:
            await trio.sleep(0.1)
    assert end.outcome == "Opened"


async def test_whose_own_part_fails_with_its_plan_out_does_not_say_that_nothing_was_opened(
    tmp_path, in_place, given, masking, autojump_clock, nursery
):
    mesh = MemoryMesh(tmp_path, nursery)
    nodes = list(await mesh.start(4))
    job = await nodes[0].service.submit(replace(ROUND, min_sites=3))
    plan = await told(nodes, masking)
    masking.fails.set()
    info = await nodes[0].ended(job)
    assert "is not known" in info.error.what
    assert set(masking.plans) == {plan}
    with trio.fail_after(60):
        while (end := nodes[1].journal.ending(plan.session)) is None:
            await trio.sleep(0.1)
    assert end.outcome == "Opened"


async def test_a_session_does_not_begin_whose_job_is_not_on_disk(tmp_path, in_place, autojump_clock, nursery):
    """After a crash the job's older plan would be all that is known of it."""
    mesh = MemoryMesh(tmp_path, nursery)
    asker = (await mesh.start(4, ROWS))[0]
    begun = []
    asker.node.sessions.begin = begun.append

    asker.node.jobs._folder = asker.home.root / "rows.csv"
    info = await asker.ended(await asker.service.submit(ask("sum")))
    assert "cannot be stored" in info.error.what
    assert not begun


async def test_what_a_full_disk_keeps_of_an_end_in_doubt_is_that_it_is_one(tmp_path, nursery):
    journal = Journal(tmp_path / "journal")
    await nursery.start(journal.run)
    session, write = SessionId(bytes(32)), journal._write
    await journal.begin(session)

    async def full(statements):
        if any(row[3:4] not in ((None,), ()) for _, row in statements if len(row) == 7):
            raise JournalFull("no space")
        await write(statements)

    journal._write = full
    await journal.end(session, "Aborted", plan=KnownPlan.of(PLAN))
    end = journal.ending(session)
    assert end.plan is None
    assert end.outcome != "Aborted"
