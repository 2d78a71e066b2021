"""Whole nodes that crash in mid-session and come back: the session goes on, its end is learned."""

from __future__ import annotations

import sqlite3

import pytest
import trio

from mesh.runtime.node import _hints as remembered
from tests.runtime.memory_mesh import MemoryMesh, ask, in_place

__all__ = ["in_place"]
ROWS = [[1.0, 2.0], [3.0], [4.0, 5.0], [6.0], [7.0]]


def sessions_of(member):
    return member.node.sessions


async def live(member):
    """Until a session of ours is live here; its driver."""
    with trio.fail_after(20):
        while True:
            for driver in sessions_of(member).registry.live.values():
                if driver.machine.plan.job.dataset == "rows" and driver._begun and driver.machine.deadline:
                    return driver
            await trio.sleep(0.001)


@pytest.mark.parametrize("who", [1, 4])
async def test_a_node_that_crashes_in_mid_session_goes_on_with_it(tmp_path, in_place, autojump_clock, who):
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = list(await mesh.start(5, ROWS))
        asker, victim = members[0], members[who]
        job = await asker.service.submit(ask("sum", "count"))
        driver = await live(victim)
        await mesh.crash(victim)
        assert driver.machine.outcome is None, "too late to show anything"
        back = await mesh.restart(victim)
        info = await asker.ended(job)
        assert info.result is not None, info
        sums = {answer.statistic: answer.value for answer in info.result.answers}
        if info.result.sites == 5:
            assert sums == {"sum": 28.0, "count": 7}
        assert sessions_of(back).counters["sessions_resumed"] >= 1
        with trio.fail_after(60):
            while back.journal.ending(driver.session) is None:
                await trio.sleep(0.1)
        assert back.journal.ending(driver.session).outcome == "Opened"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("away_s", [5.0, 120.0])
async def test_a_node_that_comes_back_after_the_end_learns_it_and_its_ledger_says_over_which_sites(
    tmp_path, in_place, autojump_clock, away_s
):
    """While the others still relay, after they have stopped, and when its own time is over as well."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = list(await mesh.start(5, ROWS))
        asker, victim = members[0], members[3]
        job = await asker.service.submit(ask("sum"))
        driver = await live(victim)
        await mesh.crash(victim)
        info = await asker.ended(job)
        assert info.result is not None, info
        await trio.sleep(away_s)
        back = await mesh.restart(victim)

        def known():
            return [e for e in back.node.room.history() if e.kind == "result"]

        with trio.fail_after(90):
            while not known():
                await trio.sleep(0.1)
        (entry,) = known()
        assert entry.session == driver.session.hex()
        counted = [e for e in asker.node.room.history() if e.kind == "result"]
        assert entry.body["roster"] == counted[-1].body["roster"]
        end = back.journal.ending(driver.session)
        assert (end.outcome, end.proof_kind) == ("Opened", "result")
        assert back.journal.left_open() == []
        nursery.cancel_scope.cancel()


async def test_a_journal_that_cannot_be_read_any_more_makes_the_node_abstain(
    tmp_path, in_place, autojump_clock
):
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = list(await mesh.start(5, ROWS))
        asker, victim = members[0], members[3]
        job = await asker.service.submit(ask("sum"))
        driver = await live(victim)
        await mesh.crash(victim)
        with sqlite3.connect(victim.home.journal) as journal:
            journal.execute("UPDATE records SET body = substr(body, 1, 20)")
        back = await mesh.restart(victim)
        assert (await asker.ended(job)).result is not None
        assert back.journal.ending(driver.session).outcome == "abandoned by a restart"
        assert sessions_of(back).counters["sessions_resumed"] == 0
        nursery.cancel_scope.cancel()


async def test_the_ledger_hears_of_the_end_at_once(tmp_path, in_place, autojump_clock):
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = list(await mesh.start(5, ROWS))
        job = await members[0].service.submit(ask("sum"))
        await members[0].ended(job)
        began = trio.current_time()
        with trio.fail_after(1):
            while not any(e.kind == "result" for e in members[0].node.room.history()):
                await trio.sleep(0.01)
        assert trio.current_time() - began < 1.0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("away_s", [0.0, 100.0])
async def test_who_asked_reads_the_result_though_its_node_crashed_meanwhile(
    tmp_path, in_place, autojump_clock, away_s
):
    """The session belongs to its plan: the others finish it; the job is there under its old name."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        asker = (await mesh.start(5, ROWS))[0]
        job = await asker.service.submit(ask("sum", "count"))
        driver = await live(asker)
        await mesh.crash(asker)
        assert driver.machine.outcome is None
        await trio.sleep(away_s)
        back = await mesh.restart(asker)
        info = await back.ended(job)
        assert info.result is not None, info
        assert info.result.session == driver.session.hex()
        sums = {answer.statistic: answer.value for answer in (await back.service.result(job)).answers}
        if info.result.sites == 5:
            assert sums == {"sum": 28.0, "count": 7}
        assert info.result.revealed
        assert set(info.result.counted) <= {"p1", "p2", "p3", "p4", "p5"}
        assert [known.id for known in await back.service.jobs()] == [job]
        nursery.cancel_scope.cancel()


async def test_ended_jobs_are_listed_after_a_restart_and_unbegun_ones_begin(
    tmp_path, in_place, autojump_clock
):
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        asker = (await mesh.start(5, ROWS))[0]
        done = await asker.service.submit(ask("sum"))
        before = await asker.ended(done)
        await trio.sleep(0.1)
        unbegun = await asker.service.submit(ask("count"))
        await mesh.crash(asker)
        back = await mesh.restart(asker)
        assert (await back.service.job(done)) == before
        info = await back.ended(unbegun)
        assert info.result is not None
        assert info.result.sites == len(ROWS)
        nursery.cancel_scope.cancel()


async def test_a_job_whose_plan_never_left_the_node_begins_anew(tmp_path, in_place, autojump_clock):
    """The job's file has the plan, the journal no word of it: a crash between the two."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        asker = (await mesh.start(5, ROWS))[0]
        asker.node.sessions.begin = lambda plan: None
        job = await asker.service.submit(ask("sum"))
        with trio.fail_after(20):
            while (await asker.service.job(job)).phase != "session":
                await trio.sleep(0.01)
        await mesh.crash(asker)
        back = await mesh.restart(asker)
        info = await back.ended(job)
        assert info.result is not None
        told = [event.text for event in back.service._jobs.get(job).events if event.kind == "phase"]
        assert any("before the session began; nothing was opened" in text for text in told)
        nursery.cancel_scope.cancel()


async def test_who_goes_down_twice_in_a_row_still_knows_where_everybody_was(
    tmp_path, in_place, autojump_clock
):
    """In between it hears of nobody but one; what it knew before must not be overwritten by that."""
    async with trio.open_nursery() as nursery:
        mesh = MemoryMesh(tmp_path, nursery)
        members = list(await mesh.start(5, ROWS))
        victim = members[3]
        await victim.node._remember_members()
        parties = {member.party for member in members if member is not victim}
        for member in [victim, *members[1:3], members[4]]:
            await mesh.crash(member)
        back = await mesh.restart(victim)
        back.node._hints = remembered(back.journal)
        assert len(back.node.overlay.view().members) < 5, "it has not heard of everybody yet"
        await back.node._remember_members()
        assert set(remembered(back.journal)) == parties
        nursery.cancel_scope.cancel()
