"""The journal after a crash: how long until 1,000 sessions are known again and the live ones go on.

One session of plain statistics is run among machines that store what `durable` asks for; the fullest log of
a party (a member or an adder) is then written into a journal as often as there are live sessions, under names
of their own, beside ended ones with their proofs. Then the file is opened afresh:

    serving_s    the journal opened, every session known (its plan would be refused now): from here on the
                 node serves, and goes on with the live sessions one after another
    first_s      until the first of them goes on
    read_s       the live sessions' records read and unsealed, all together
    rebuild_s    their machines rebuilt, from their states and what was heard after these, all together
    all_s        until every live session goes on: its machine rebuilt, its deadline armed

What is said to a session before its turn is kept, and brings its turn forward, so that a live session is late
by rebuild_s_each then; the deadline of one that nobody speaks to may be late by all_s.

With --inputs parties store no states: then every input is replayed, signatures and sealings checked again.
Times are of the CPU. A node has at most 256 live sessions (`session.max_live`), 16 by default.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import trio

from mesh.runtime.journal import Journal
from mesh.runtime.resumption import rebuilt
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.identifiers import PartyId, SessionId
from protocols.machine import Effect, Persist
from protocols.sessions import events
from protocols.sessions.durable import DurableParty
from protocols.sessions.plan import Query
from protocols.wire import codec
from tools.bench.accounts import Accounts
from tools.bench.network import Network
from tools.bench.tree import Tree, build

SECRET = bytes(range(32))


class _Disks(Network):
    """Keeps what each party stores."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree, Accounts())
        self.disks: dict[PartyId, list[object]] = defaultdict(list)

    def _carry_out(self, party: PartyId, effect: Effect) -> None:
        if isinstance(effect, Persist):
            self.disks[party].append(effect.record)
        super()._carry_out(party, effect)


def measure(
    sessions: int, live: int, devices: int, length: int, inputs_only: bool = False
) -> dict[str, object]:
    """Figures of one restart. Raises LocalMisuse if the session to be stored did not open."""
    tree = build(devices, length, None, Query("sum", "x", ()), None)
    network = _Disks(tree)
    for index, party in enumerate(sorted(tree.roles)):
        seed = (index + 1).to_bytes(32, "big")
        vector = Xof(seed, "bench").elements(length) % np.uint64(1 << 20) if party in tree.devices else None
        machine = DurableParty(tree.plan, tree.keys[party], seed, vector)
        machine.snapshot_every = 0 if inputs_only else machine.snapshot_every
        network.start(party, machine)
    network.settle()
    outcome = network.machines[tree.plan.initiator].outcome
    if not isinstance(outcome, events.Opened):
        raise LocalMisuse(f"the session did not open: {outcome}")
    fullest = max(network.disks, key=lambda party: _size(network.disks[party]))
    records = network.disks[fullest]
    with tempfile.TemporaryDirectory(prefix="coppice-bench-") as folder:
        path = Path(folder) / "journal.db"
        trio.run(_fill, path, records, sessions, live, outcome.result)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        began = time.process_time()
        journal = Journal(path, SECRET)
        known = all(journal.knows(_name(index)) for index in range(sessions))
        left = journal.left_open()
        opened = time.process_time()
        keys = tree.keys[fullest]
        read_s, ends = 0.0, []
        for one in left:
            reads = time.process_time()
            found = journal.unfinished(one)
            read_s += time.process_time() - reads
            rebuilt(keys, found, 0.0, 1.0, Path(folder))
            ends.append(time.process_time())
        ready = time.process_time()
    return {
        "sessions": sessions,
        "live": len(left),
        "exact": known and len(left) == live,
        "records_each": len(records),
        "record_bytes_each": _size(records),
        "journal_bytes": size,
        "serving_s": opened - began,
        "first_s": (ends[0] if ends else opened) - began,
        "read_s": read_s,
        "rebuild_s": ready - opened - read_s,
        "rebuild_s_each": (ready - opened - read_s) / max(1, live),
        "all_s": ready - began,
    }


def _size(records: list[object]) -> int:
    return sum(len(codec.encode(record)) for record in records)


def _name(index: int) -> SessionId:
    return SessionId(index.to_bytes(32, "big"))


async def _fill(path: Path, records: list[object], sessions: int, live: int, proof: object) -> None:
    journal = Journal(path, SECRET)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        for index in range(sessions):
            await journal.begin(_name(index))
            if index < live:
                await journal.persist(_name(index), records)
            else:
                await journal.end(_name(index), "Opened", epoch=1, proof=proof)
        nursery.cancel_scope.cancel()
