"""Letting others in, over restarts and full disks; and the jobs of this node's person."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from mesh.api.shapes import InviteSpec
from mesh.overlay import joining, ticket
from mesh.overlay.epoch_record import genesis
from mesh.overlay.joining import JoinGrant, JoinRefusal, TicketSpent
from mesh.runtime.jobs.records import MAX_EVENTS, Jobs, cancelled_by_person
from mesh.runtime.joining.admissions import MAX_PENDING, Admissions
from mesh.runtime.journal import Journal, JournalFull
from protocols.errors import LocalMisuse, MeshError, Refused
from tests.runtime.memory_mesh import MemoryMesh, ask, config, founder, in_place, member

__all__ = ["in_place"]


class Desk:
    """An inviter with its journal; `restart` is a new process on the same folder."""

    def __init__(self, folder, nursery):
        self.folder, self.nursery = folder, nursery
        self.identity = founder(folder, "inviter")
        self.now = 1_900_000_000.0
        seed = self.identity.keys.operator.reveal()
        self.record = genesis(self.identity.mesh, seed, self.identity.party, bytes(32), self.now)
        self.scope = None

    async def restart(self):
        if self.scope is not None:
            self.scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
        self.journal = Journal(self.folder / "desk.db")
        self.scope = await self.nursery.start(self._run)
        self.admissions = Admissions(self.identity, config("inviter"), self.journal, lambda: self.now)
        return self

    async def _run(self, *, task_status):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                await inner.start(self.journal.run)
                task_status.started(scope)

    async def ticket(self, **spec):
        invitation = await self.admissions.invite(InviteSpec(**spec), ("/ip4/127.0.0.1/tcp/1",))
        return ticket.from_text(invitation.ticket).ticket

    async def asked(self, ticket, who):
        seed = who.keys.identity.reveal()
        return await self.admissions.asked(joining.request(ticket, who.applicant, seed), self.record)


@pytest.fixture
async def desk(tmp_path, in_place, autojump_clock, nursery):
    return await Desk(tmp_path, nursery).restart()


def code(answer):
    assert isinstance(answer, JoinRefusal), answer
    return answer.code, answer.final


async def test_a_ticket_admits_one_party_and_that_one_again(desk):
    a, b = founder(desk.folder, "a"), founder(desk.folder, "b")
    paper = await desk.ticket()
    grant = await desk.asked(paper, a)
    assert isinstance(grant, JoinGrant)
    assert (await desk.asked(paper, a)).certificate == grant.certificate
    assert code(await desk.asked(paper, b)) == ("C-226", True)
    await desk.restart()
    assert (await desk.asked(paper, a)).certificate == grant.certificate
    assert code(await desk.asked(paper, b)) == ("C-226", True)
    second = await desk.asked(await desk.ticket(), b)
    assert second.certificate.certificate.serial > grant.certificate.certificate.serial


async def test_expired_unknown_and_forged_tickets(desk):
    a = founder(desk.folder, "a")
    paper = await desk.ticket(expires_s=60.0)
    forged = replace(paper, secret=bytes(16))
    assert code(await desk.asked(forged, a)) == ("C-224", True)
    assert code(await desk.asked(replace(paper, id=bytes(16)), a)) == ("C-223", True)
    request = joining.request(paper, a.applicant, founder(desk.folder, "b").keys.identity.reveal())
    assert code(await desk.admissions.asked(request, desk.record)) == ("C-225", True)
    desk.now += 61
    assert code(await desk.asked(paper, a)) == ("C-222", True)


@pytest.mark.parametrize(("verdict", "end"), [("accept", None), ("deny", ("C-228", True))])
async def test_a_person_s_word_is_awaited_over_a_restart(desk, verdict, end):
    a = founder(desk.folder, "a")
    paper = await desk.ticket(confirm=True)
    for _ in range(2):
        assert code(await desk.asked(paper, a)) == ("C-227", False)
    await desk.restart()
    assert code(await desk.asked(paper, a)) == ("C-227", False)
    (waiting,) = desk.admissions.requests
    assert (waiting.state, waiting.phrase) == ("waiting", joining.phrase(paper, a.applicant))
    await desk.admissions.answer(waiting.id, verdict)
    await desk.restart()
    answer = await desk.asked(paper, a)
    assert isinstance(answer, JoinGrant) if end is None else code(answer) == end
    with pytest.raises(LocalMisuse):
        await desk.admissions.answer("nobody", "accept")


async def test_a_yes_is_for_all_keys_of_the_one_who_asked(desk):
    """Same party name, another sealing key: the person compared another phrase."""
    a = founder(desk.folder, "a")
    paper = await desk.ticket(confirm=True)
    await desk.asked(paper, a)
    await desk.admissions.answer(desk.admissions.requests[0].id, "accept")
    swapped = replace(
        a, applicant=replace(a.applicant, sealing_key=founder(desk.folder, "b").applicant.sealing_key)
    )
    assert code(await desk.asked(paper, swapped)) == ("C-225", True)
    assert isinstance(await desk.asked(paper, a), JoinGrant)


async def test_those_who_wait_are_few(desk):
    a = founder(desk.folder, "a")
    paper = await desk.ticket(confirm=True)
    await desk.asked(paper, a)
    request, info = next(iter(desk.admissions._requests.values()))
    for number in range(MAX_PENDING):
        desk.admissions._requests[str(number)] = (request, info)
    with pytest.raises(MeshError, match="too many requests"):
        await desk.asked(paper, founder(desk.folder, "b"))


async def test_no_grant_before_its_record_is_stored_not_at_the_second_try_either(desk, monkeypatch):
    a, b = founder(desk.folder, "a"), founder(desk.folder, "b")
    paper = await desk.ticket()

    async def full(record, *, replace=False):
        raise JournalFull("no space", fix="free some")

    with monkeypatch.context() as patch:
        patch.setattr(desk.journal, "remember", full)
        for _ in range(2):
            with pytest.raises(JournalFull):
                await desk.asked(paper, a)
    assert desk.journal.recall(TicketSpent.__name__) == []
    assert isinstance(await desk.asked(paper, a), JoinGrant)
    assert len(desk.journal.recall(TicketSpent.__name__)) == 1
    await desk.restart()
    assert code(await desk.asked(paper, b)) == ("C-226", True)


async def test_only_the_operator_s_node_admits(desk):
    plain = member(desk.folder, "plain", desk.identity, 5)
    admissions = Admissions(plain, config("plain"), desk.journal, lambda: desk.now)
    assert not admissions.admits_guests
    with pytest.raises(Refused):
        await admissions.invite(InviteSpec(), ())
    request = joining.request(await desk.ticket(), plain.applicant, plain.keys.identity.reveal())
    assert code(await admissions.asked(request, desk.record)) == ("C-226", True)


# -- jobs -----------------------------------------------------------------------------------------------


async def test_watchers_hear_everything_in_order_and_the_end(autojump_clock, nursery):
    jobs = Jobs(4)
    job = jobs.new(ask("mean"))
    heard: list[list[str]] = [[], []]

    async def watch(into):
        async for event in jobs.watch(job.info.id):
            into.append(event.text)

    nursery.start_soon(watch, heard[0])
    for number in range(MAX_EVENTS + 10):
        job.emit("progress", str(number))
        if number == 5:
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(watch, heard[1])
    job.fail(cancelled_by_person(), cancelled=True)
    await trio.testing.wait_all_tasks_blocked()
    expected = [*(str(number) for number in range(MAX_EVENTS)), cancelled_by_person().sentence()]
    assert heard == [expected, expected]
    assert job.info.state == "cancelled"


def test_ended_jobs_make_room_for_new_ones_running_ones_do_not():
    jobs = Jobs(2)
    first, second = jobs.new(ask("mean")), jobs.new(ask("sum"))
    with pytest.raises(LocalMisuse) as caught:
        jobs.new(ask("count"))
    assert caught.value.code == "C-406"
    first.fail(cancelled_by_person())
    third = jobs.new(ask("count"))
    assert [job.info.id for job in jobs.all()] == [third.info.id, second.info.id]
    assert jobs.running == 2
    with pytest.raises(LocalMisuse) as caught:
        jobs.get(first.info.id)
    assert caught.value.code == "C-404"


async def test_a_bug_in_one_job_ends_that_job_and_a_cancelled_one_says_so(
    tmp_path, in_place, autojump_clock, nursery, monkeypatch
):
    mesh = MemoryMesh(tmp_path, nursery)
    a, *_ = await mesh.start(3, [[1.0, 2.0], [3.0, 5.0], [8.0]])

    async def broken(inquiry):
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(a.node, "poll", broken)
        info = await a.ended(await a.service.submit(ask("mean")))
        assert (info.state, info.error.code) == ("failed", "C-900")
    job = await a.service.submit(ask("mean"))
    info = await a.service.cancel(job)
    assert info.state == "cancelled"
    info = await a.ended(await a.service.submit(ask("sum")))
    assert info.result.value == pytest.approx(19.0)
