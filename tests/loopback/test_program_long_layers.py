"""A program whose layers and state are longer than a peer's queue, over the real transport. A member dies in
the middle, comes back with what its journal holds, and the program ends with the right output."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import trio

from mesh.runtime import postman as post
from mesh.runtime.journal import Journal
from mesh.runtime.postman import Postman
from mesh.runtime.programs.driver import ProgramDriver
from mesh.runtime.programs.resumption import rebuilt
from protocols.circuits.builder import fixed, trace
from protocols.identifiers import Digest
from protocols.programs import split
from protocols.programs.keeping import Kept, KeptPiece
from protocols.programs.messages import SESSION_MESSAGES, Layer
from protocols.programs.party import ProgramParty
from protocols.programs.recipient import ProgramOpened
from protocols.sessions.messages import PeersLost
from protocols.wire import codec, envelope
from tests.loopback.net_nodes import meet, node
from tests.scenarios.program_pump import LIMITS, Pump, keys_of
from tests.scenarios.test_program_columns import own

MESH = Digest(bytes(32))
SIDE = 800
QUEUE_BYTES = 8 << 20
"""Of the postman in this test, so that 10 MB are too much for it; 1450 for SIDE are for the usual one."""
KINDS = {kind.KIND: kind for kind in SESSION_MESSAGES}


@dataclass
class Member:
    """One node: transport, postman, journal, and the driver of its machine."""

    number: int
    folder: object
    plan: object
    transport: object = None
    postman: object = None
    driver: object = None
    journal: object = None
    scope: object = None
    told: list = None
    ended: trio.Event = None
    layers: Counter = None

    async def serve(self, nursery, machine=None, task_status=trio.TASK_STATUS_IGNORED):
        """Everything until the scope is cancelled; without a machine: what the journal holds."""
        keys, effects = keys_of(self.number), None
        self.told, self.ended, self.layers = [], trio.Event(), Counter()
        with trio.CancelScope() as self.scope:
            async with trio.open_nursery() as inner:
                self.journal = Journal(self.folder / f"journal-{self.number}.db", bytes([self.number]) * 32)
                await inner.start(self.journal.run)
                self.transport = node(self.number)
                await inner.start(self.transport.run)
                self.postman = Postman(self.transport, bytes([self.number]) * 32, MESH)
                await inner.start(self.postman.run)
                if machine is None:
                    (left,) = self.journal.left_open()
                    found = self.journal.unfinished(left)
                    machine, effects = rebuilt(keys, found, trio.current_time(), LIMITS)
                self.driver = ProgramDriver(
                    machine, self.postman, self.journal, self.told.append, Counter(), effects
                )
                inner.start_soon(self._mail)
                inner.start_soon(self._events)
                task_status.started()
                await trio.sleep_forever()

    async def run(self):
        await self.driver.run()
        self.ended.set()

    async def _mail(self):
        async for frame in self.transport.frames:
            letter = envelope.verify(frame.payload, mesh=MESH)
            if letter.kind in KINDS:
                message = codec.decode(KINDS[letter.kind], letter.body)
                if isinstance(message, Layer):
                    self.layers[message.layer, letter.sender] += 8 * message.words.size
                self.driver.deliver(letter.sender, message, len(letter.body))

    async def _events(self):
        async for _ in self.transport.events:
            linked = self.transport.links()
            lost = tuple(p for p in self.plan.parties if p != self.transport.me and p not in linked)
            self.driver.deliver(self.transport.me, PeersLost(lost))


def programs():
    """Three members' machines for the sum of a large outer product, squared; and what comes out."""
    parties = sorted(keys_of(i).party for i in range(2))
    places = [parties.index(keys_of(i).party) for i in range(2)]
    shapes = dict(
        sorted({f"{places[0]}:w": fixed((SIDE, 1), -1, 1), f"{places[1]}:a": fixed((1, SIDE), -1, 1)}.items())
    )

    def program(**inputs) -> None:
        first, second = inputs.values()
        large = first * second
        (large * large).sum().reveal_to(name="total")

    graph = trace(program, **shapes)
    rng = np.random.default_rng(1)
    mine, theirs = rng.uniform(-1, 1, (SIDE, 1)), rng.uniform(-1, 1, (1, SIDE))
    values = {
        0: (split.encoded_program(graph, places[0], {f"{places[0]}:w": mine}), 0),
        1: (split.encoded_program(graph, places[1], {f"{places[1]}:a": theirs}), 0),
    }
    pump = Pump(own(graph, 2), [{"w": []}, {"a": []}], n=3, t=1, graph=graph, values=values)
    plan = replace(pump.plan, patience_ms=30_000, collect_ms=10_000)
    machines = [ProgramParty(plan, keys_of(i), bytes([i]) * 32, values.get(i), graph=graph) for i in range(3)]
    return plan, machines, float(((mine * theirs) ** 2).sum())


async def test_layers_above_a_queue_and_a_member_that_comes_back_with_a_large_state(
    tmp_path, nursery, monkeypatch
):
    monkeypatch.setattr(post, "MAX_QUEUED_BYTES", QUEUE_BYTES)
    plan, machines, right = programs()
    members = [Member(i, tmp_path, plan) for i in range(3)]
    for member, machine in zip(members, machines, strict=True):
        await nursery.start(member.serve, nursery, machine)
    meet(*(member.transport for member in members))
    with trio.fail_after(20):
        while any(len(member.transport.links()) < 2 for member in members):
            await trio.sleep(0.01)
    for member in members:
        nursery.start_soon(member.run)
    victim = members[2]
    with trio.fail_after(100):
        while not large_mark(victim):
            await trio.sleep(0.02)
        victim.scope.cancel()
        back = Member(2, tmp_path, plan)
        await nursery.start(back.serve, nursery)
        meet(*(member.transport for member in (*members[:2], back)))
        nursery.start_soon(back.run)
        while not members[0].told or not any(isinstance(e, ProgramOpened) for e in members[0].told):
            await trio.sleep(0.02)
    (outcome,) = [e for e in members[0].told if isinstance(e, ProgramOpened)]
    assert abs(float(outcome.outputs["total"]) - right) < 1e-3 * right
    assert max(members[0].layers.values()) > QUEUE_BYTES
    assert back.driver.machine.member.computing.attempt.number > 0
    assert back.driver.machine.member.computing.attempt.mark.layer > 0
    nursery.cancel_scope.cancel()


def large_mark(member) -> bool:
    """Whether a mark after the inputs is on its disk."""
    rows = member.journal._read("SELECT kind FROM records ORDER BY id")
    kinds = [kind for (kind,) in rows]
    return kinds.count(Kept.__name__) >= 2 and kinds.count(KeptPiece.__name__) > 8
