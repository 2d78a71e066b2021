"""Whole nodes in one process over the in-memory network, under a virtual clock.

Work that a node does in threads (journal, ledger, data) is done in place, so that the clock never jumps
ahead of it. Everything else is the node's own code.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
import trio.testing

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, JobInfo, JobSpec, PolicySpec, QuerySpec
from mesh.data.room import DataRoom
from mesh.net.memory_transport import MemoryNetwork, MemoryTransport
from mesh.overlay import certificate as certificates
from mesh.overlay.certificate import Certificate
from mesh.overlay.epoch_messages import HeadMoved
from mesh.runtime import identity as identities
from mesh.runtime import keystore
from mesh.runtime.home import Home
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.joining.admissions import Admissions
from mesh.runtime.joining.gatekeeper import Gatekeeper
from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.node import Node
from mesh.runtime.postman import Postman
from mesh.runtime.service import MemberService
from mesh.settings import Config
from protocols.identifiers import PartyId

DATASET = "rows"
COLUMN = "x"
STATISTICS = ("mean", "sum", "count", "variance", "histogram")
FORM_S = 60.0


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads' work is done at once: a thread takes real time, which a virtual clock does not see."""

    async def run_sync(function, *arguments, **_):
        await trio.lowlevel.checkpoint_if_cancelled()
        return function(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


def config(name: str, **settings: object) -> Config:
    """Settings as of the localhost profile."""
    usual = {"settle_s": 0.7, "suspicion_s": 4.0, "collect_s": 5.0, "total_s": 30.0, "ticket_s": 600.0}
    return Config(name=name, **(usual | settings))


def founder(folder: Path, name: str = "p1") -> NodeIdentity:
    """The identity of a node that has founded a mesh."""
    home = Home(folder / name)
    home.create()
    return identities.load(home, config(name), keystore.create(home))


def member(folder: Path, name: str, operator: NodeIdentity, serial: int) -> NodeIdentity:
    """A node with a certificate of the operator's."""
    alone = founder(folder, name)
    ours = alone.applicant
    now = int(time.time())
    certificate = Certificate(
        operator.mesh.mesh, ours.party, name, "default", ours.sealing_key, ours.vrf_key, True, 1, serial,
        now, now + 86_400,
    )  # fmt: skip
    signed = certificates.issue(operator.keys.operator.reveal(), certificate)
    keys = replace(alone.keys, operator=None)
    return replace(alone, keys=keys, mesh=operator.mesh, network_key=operator.network_key, certificate=signed)


@dataclass
class Member:
    """One node with what a test wants to touch."""

    home: Home
    identity: NodeIdentity
    transport: MemoryTransport
    journal: Journal
    node: Node
    service: MemberService
    scope: trio.CancelScope

    @property
    def party(self) -> PartyId:
        return self.identity.party

    async def ended(self, job: str) -> JobInfo:
        """Wait for the end of a job."""
        async for _ in self.service.watch(job):
            pass
        return await self.service.job(job)


class MemoryMesh:
    """Starts nodes; the first founds. `start` within a nursery that outlives the test's use of them."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork()
        self.members: list[Member] = []
        self._folder = folder
        self._nursery = nursery
        self._epoch = time.time() - trio.current_time()

    def clock(self) -> float:
        """Unix time that goes with trio's."""
        return self._epoch + trio.current_time()

    async def start(self, count: int, rows: Sequence[Sequence[float]] = ()) -> list[Member]:
        """`count` nodes that form a mesh; the first ones have `rows` each, and allow everything."""
        first = founder(self._folder)
        people = [first, *(member(self._folder, f"p{i + 1}", first, i) for i in range(1, count))]
        for index, identity in enumerate(people):
            await self.add(identity, rows[index] if index < len(rows) else ())
        with trio.fail_after(FORM_S):
            while not all(self._formed(m) for m in self.members):
                await trio.sleep(0.1)
        return self.members

    async def add(self, identity: NodeIdentity, rows: Sequence[float] = ()) -> Member:
        """One node more, which knows the first one's address."""
        name = identity.applicant.name
        home = Home(self._folder / name)
        if len(rows):
            register(home, rows)
        settings = config(name)
        journal = Journal(home.journal, identity.keys.identity.reveal())
        admissions = Admissions(identity, settings, journal, self.clock)
        gate = Gatekeeper(identity.mesh, identity.certificate, lambda: admissions.admits_guests)
        transport = self.network.transport(identity.party, gate)
        postman = Postman(transport, identity.keys.identity.reveal(), identity.mesh.mesh)
        fresh = not journal.recall(HeadMoved.__name__)
        head = self.members[0].node.overlay.keeper.record if self.members and fresh else None
        node = Node(
            identity, settings, journal, DataRoom(home.root), transport, gate, postman, admissions, head,
            self.clock,
        )  # fmt: skip
        if self.members:
            node._hints = {self.members[0].party: tuple(self.members[0].transport.addresses())}
        scope = await self._nursery.start(self._serve, journal, transport, postman, node)
        service = MemberService(node, self._nursery, trio.Event())
        self.members.append(Member(home, identity, transport, journal, node, service, scope))
        return self.members[-1]

    async def crash(self, member: Member) -> None:
        """The process is gone: nothing more is written, its links break."""
        journal = member.journal

        def lost(batch: object) -> None:
            for request in batch:
                request.error = JournalFull("the process is gone")

        journal._commit = lost
        member.node.jobs.save = lambda *_: None
        member.scope.cancel()
        self.members.remove(member)
        await trio.testing.wait_all_tasks_blocked()

    async def restart(self, member: Member) -> Member:
        """Start a crashed node again, from what its folder holds."""
        return await self.add(member.identity)

    async def _serve(self, journal, transport, postman, node, *, task_status):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(journal.run)
                await nursery.start(transport.run)
                await nursery.start(postman.run)
                await nursery.start(node.run)
                task_status.started(scope)

    def _formed(self, member: Member) -> bool:
        keeper = member.node.overlay.keeper
        count = len(self.members)
        return (
            len(member.node.overlay.view().alive) == count
            and len(keeper.record.gateways) == count
            and len(keeper.standings) == count
            and keeper.record.epoch >= 2
            and len({m.node.overlay.keeper.record.epoch for m in self.members}) == 1
        )


def register(home: Home, rows: Sequence[float]) -> None:
    """A data set of one column that everybody may compute on."""
    file = home.root / "rows.csv"
    file.write_text(f"{COLUMN}\n" + "".join(f"{value!r}\n" for value in rows))
    local = LocalData(home)
    local.data_add(DataSpec(str(file), DATASET))
    local.policy_init(DATASET, PolicySpec(allow=STATISTICS, min_sites=2, min_rows=1))
    policy = home.data / f"{DATASET}.policy.toml"
    policy.write_text(policy.read_text().replace('overlap = "refuse"', 'overlap = "allow"'))


def ask(*statistics: str, min_sites: int = 2) -> JobSpec:
    """A job over the column."""
    queries = tuple(QuerySpec(name, COLUMN) for name in statistics)
    return JobSpec(DATASET, queries, min_sites=min_sites, timeout_s=20.0, purpose="test")


def fresh_bytes(count: int) -> bytes:
    """Bytes that no peer expects."""
    return os.urandom(count)
