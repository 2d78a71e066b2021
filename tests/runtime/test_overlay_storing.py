"""Nothing about epochs leaves a node that its journal does not have, whatever fails or speaks meanwhile."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.overlay.agreement import (
    _PREVOTE,
    Agreement,
    Ballot,
    BallotCast,
    Candidate,
    Lock,
    Proposal,
)
from mesh.overlay.epoch_messages import HeadMoved
from mesh.overlay.epoch_record import (
    Certified,
    EpochIntent,
    EpochRecord,
    EpochVote,
    sign_vote,
    vote_payload,
)
from mesh.overlay.epochs import EpochKeeper
from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.overlay_driver import OverlayDriver
from protocols.machine import Broadcast, Persist, Send
from protocols.wire.digest import digest
from protocols.wire.envelope import sign_statement
from tests.scenarios.overlay_mesh import IDENTITY, NOW, PEERS, make_record, make_view, peer_of

MESH = PEERS[:3]
HEAD = make_record(MESH, epoch=1)


class Disk:
    """A journal that may refuse, and may be slow."""

    def __init__(self) -> None:
        self.full = False
        self.rows: list[object] = []
        self.slow: trio.Event | None = None

    async def remember(self, record, *, keep=None, instead_of=()) -> None:
        del keep
        await trio.lowlevel.checkpoint()
        if self.full:
            raise JournalFull("full", fix="make room")
        if self.slow is not None:
            await self.slow.wait()
        self.rows = [row for row in self.rows if not isinstance(row, tuple(instead_of))] + [record]


class Post:
    def __init__(self) -> None:
        self.sent: list[object] = []

    def post(self, to, message, epoch=0) -> None:
        del to, epoch
        self.sent.append(message)


class Members:
    def __init__(self, me) -> None:
        self._me = me

    def link_up(self, now, peer):
        del now, peer
        return []

    def view(self, now):
        return make_view(MESH, self._me, now=now)


def driver_of(me, disk: Disk) -> OverlayDriver:
    driver = object.__new__(OverlayDriver)
    driver.me, driver.counters, driver._clock = me.party, Counter(), lambda: NOW
    driver._owed, driver._paying, driver._journal, driver._postman = [], trio.Lock(), disk, Post()
    driver._publish, driver._wake, driver.membership = lambda event: None, trio.Event(), Members(me)
    driver.keeper = EpochKeeper(IDENTITY, me.party, me.seed, HEAD, bytes(32))
    driver.keeper._accepts = lambda *_: True
    return driver


def successor() -> EpochRecord:
    intent = EpochIntent(IDENTITY.mesh, 2, HEAD.digest, HEAD.gateways, int(NOW))
    return EpochRecord(intent, digest("beacon"), digest("session"))


def prevote(peer, record: EpochRecord) -> Ballot:
    signature = sign_statement(peer.seed, _PREVOTE, vote_payload(record.digest, 0))
    return Ballot(2, 0, False, record.digest, EpochVote(peer.party, signature))


async def lead_up(driver: OverlayDriver, proposer) -> None:
    """One message more, and the member prevotes and precommits in one step."""
    await driver.receive(proposer.party, prevote(proposer, successor()))


def roles():
    proposer = peer_of(Agreement(HEAD, MESH[0].party, MESH[0].seed).proposer(0))
    return proposer, next(peer for peer in MESH if peer is not proposer)


def unstored(driver: OverlayDriver, disk: Disk) -> list[object]:
    """What was said of votes without a record of it."""
    stored = [row for row in disk.rows if isinstance(row, BallotCast)]
    ballots = [row.ballot for row in stored]
    locks = [row.lock for row in stored]
    return [
        said
        for said in driver._postman.sent
        if (isinstance(said, Ballot) and said not in ballots)
        or (isinstance(said, Lock) and said not in locks)
    ]


async def test_after_a_write_that_failed_votes_are_stored_before_they_are_told_again() -> None:
    proposer, me = roles()
    disk = Disk()
    driver = driver_of(me, disk)
    await lead_up(driver, proposer)
    disk.full = True
    await driver.receive(proposer.party, Proposal(Candidate(successor(), None), 0, None))
    assert driver.counters["journal_full"] == 1
    assert driver._postman.sent == []
    disk.full = False
    await driver.link_up(proposer.party)
    finals = [said.final for said in driver._postman.sent if isinstance(said, Ballot)]
    assert finals == [False, True]
    assert unstored(driver, disk) == []


async def test_what_another_task_tells_waits_for_a_slow_disk_as_well() -> None:
    proposer, me = roles()
    disk = Disk()
    driver = driver_of(me, disk)
    await lead_up(driver, proposer)
    disk.slow = trio.Event()
    async with trio.open_nursery() as nursery:
        proposal = Proposal(Candidate(successor(), None), 0, None)
        nursery.start_soon(driver.receive, proposer.party, proposal)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(driver.link_up, proposer.party)
        await trio.testing.wait_all_tasks_blocked()
        assert not any(isinstance(said, Ballot | Lock) for said in driver._postman.sent)
        disk.slow.set()
    assert any(isinstance(said, Lock) for said in driver._postman.sent)
    assert unstored(driver, disk) == []


async def test_a_new_head_takes_no_ballot_of_the_next_height_along() -> None:
    """Two tasks pay for one head; a ballot that is cast after it stays."""
    _, me = roles()
    disk = Disk()
    driver = driver_of(me, disk)
    cast = BallotCast(Ballot(3, 0, True, HEAD.digest, sign_vote(me.seed, me.party, HEAD.digest, 0)), None)
    disk.slow = trio.Event()
    head = driver.keeper._my_head()
    async with trio.open_nursery() as nursery:
        for effects in (
            [Persist(HeadMoved(Certified(HEAD, 0, (), None)))],
            [Send(PEERS[1].party, head)],
            [Persist(cast), Broadcast((PEERS[1].party,), cast.ballot)],
        ):
            nursery.start_soon(driver.carry_out, effects)
            await trio.testing.wait_all_tasks_blocked()
        disk.slow.set()
    assert [type(row) for row in disk.rows] == [HeadMoved, BallotCast]
    assert driver._postman.sent == [head, cast.ballot]


@pytest.mark.parametrize("instead", [(), (BallotCast,)])
async def test_the_journal_keeps_the_newest_and_drops_the_rest_at_once(instead) -> None:
    _, me = roles()
    cast = BallotCast(Ballot(3, 0, True, HEAD.digest, sign_vote(me.seed, me.party, HEAD.digest, 0)), None)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.db", bytes(32))
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            await journal.remember(cast)
            for epoch in range(5):
                await journal.remember(make_record(MESH, epoch=epoch), keep=3, instead_of=instead)
            assert len(journal.recall(EpochRecord.__name__)) == 3
            assert len(journal.recall(BallotCast.__name__)) == (0 if instead else 1)
            nursery.cancel_scope.cancel()


def test_a_chain_of_another_mesh_is_not_restored() -> None:
    """Of the mesh that its founder was alone in, before it joined this one."""
    me = MESH[0]
    other = digest("another mesh")
    keeper = EpochKeeper(IDENTITY, me.party, me.seed, HEAD, bytes(32))
    for epoch in (1, 2):
        record = EpochRecord(
            EpochIntent(other, epoch, HEAD.digest, (me.party,), int(NOW)), HEAD.beacon, HEAD.session
        )
        keeper.restore(HeadMoved(Certified(record, 0, (), bytes(64))))
    assert keeper.record == HEAD
