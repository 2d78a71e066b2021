"""Machines of sessions that a crash or a stop left open, rebuilt from what the journal kept."""

from __future__ import annotations

import time
from pathlib import Path

import structlog
import trio

from mesh.runtime import background
from mesh.runtime.journal import Journal, JournalFull, LeftOpen, Unfinished
from mesh.runtime.vectors import masked
from mesh.runtime.vectors.store import VectorStore
from protocols.errors import LocalMisuse, MeshError
from protocols.identifiers import PartyId, SessionId
from protocols.machine import Effect
from protocols.sessions.durable import DurableParty
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_VECTOR
from protocols.sessions.plan import Plan
from protocols.sessions.records import RECORDS, Begun, HandedOver, Snapshot
from protocols.wire import codec

log = structlog.get_logger("coppice.session")

_RECORDS: dict[str, type] = {record.__name__: record for record in RECORDS}
_FIRST: dict[str, type[Begun | HandedOver | Snapshot]] = {
    record.__name__: record for record in (Begun, HandedOver, Snapshot)
}
"""Records that a session's can begin with; each has the plan."""


def rebuilt(
    keys: PartyKeys, found: Unfinished, now: float, elapsed_s: float, spool: Path
) -> tuple[DurableParty, list[Effect], VectorStore | None]:
    """The machine, what it has to say, and its masked vectors. Raises LocalMisuse if it cannot be rebuilt.

    Vectors that were under way are sent again by whoever offered them; our own must be here.
    """
    if not all(kind in _RECORDS for kind, _ in found.records):
        raise LocalMisuse("the journal has records of another version")
    records: list[object] = [codec.decode(_RECORDS[kind], body) for kind, body in found.records]
    machine, effects = DurableParty.restore(keys, records, now, elapsed_s)
    store = masked.reopen_store(spool, machine.plan)
    if machine.masked != NO_VECTOR and (store is None or machine.masked not in store):
        raise LocalMisuse("the masked vector that was dealt is not in the spool any more")
    return machine, effects, store


async def gone_on_with(
    journal: Journal, keys: PartyKeys, left: LeftOpen, spool: Path
) -> tuple[DurableParty, VectorStore | None, list[Effect]] | None:
    """The machine of a session that was left open, its vectors, and what it has to say first.

    None, and an entry in the journal, if the session cannot be gone on with.
    """
    session = left.session
    found: Unfinished | None = None
    try:
        found = await trio.to_thread.run_sync(journal.unfinished, left)
        if not (found.records or found.damaged or found.told):
            await journal.discard(session)
            return None
        if not (found.records or found.damaged):
            raise LocalMisuse("its plan was told, but what we deal was not made yet")
        times = trio.current_time(), time.time() - found.started
        machine, effects, store = await background.run(rebuilt, keys, found, *times, spool)
    except Exception as error:  # a record that breaks the machine ends this session, not the node
        log.warning("session abandoned", session=session.short(), why=repr(error))
        await abandon(journal, session, plan_of(found, keys.party) if found else None)
        masked.drop_store(spool, session)
        return None
    log.info("session resumed", session=session.short(), records=len(found.records))
    return machine, store, effects


async def abandon(journal: Journal, session: SessionId, plan: Plan | None) -> None:
    """Take no part in a session any more; if the journal cannot be written, it is done at the next start."""
    try:
        await journal.abandon(session, plan)
    except JournalFull as full:
        log.warning("journal", why=str(full))


def plan_of(found: Unfinished, me: PartyId) -> Plan | None:
    """The plan, as we know it, of a session that cannot be gone on with, to learn later how it ended."""
    name, body = found.records[0] if found.records else ("", b"")
    first: type[Begun | HandedOver | Snapshot] | None = _FIRST.get(name)
    try:
        if found.told is not None and not found.records:
            return codec.decode(KnownPlan, found.told).read(me)
        return None if first is None else codec.decode(first, body).plan.read(me)
    except MeshError:
        return None
