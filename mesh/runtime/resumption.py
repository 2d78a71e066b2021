"""Machines of sessions that a crash or a stop left open, rebuilt from what the journal kept."""

from __future__ import annotations

from mesh.runtime.journal import Unfinished
from protocols.errors import LocalMisuse, MeshError
from protocols.machine import Effect
from protocols.sessions.durable import DurableParty
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Plan
from protocols.sessions.records import RECORDS, Begun
from protocols.wire import codec

_RECORDS: dict[str, type] = {record.__name__: record for record in RECORDS}


def rebuilt(
    keys: PartyKeys, found: Unfinished, now: float, elapsed_s: float
) -> tuple[DurableParty, list[Effect]]:
    """The machine and what it has to say. Raises LocalMisuse if it cannot be rebuilt."""
    if not all(kind in _RECORDS for kind, _ in found.records):
        raise LocalMisuse("the journal has records of another version")
    records = [codec.decode(_RECORDS[kind], body) for kind, body in found.records]
    machine, effects = DurableParty.restore(keys, records, now, elapsed_s)
    if machine.plan.bulk is not None:
        raise LocalMisuse("masked vectors of a session do not survive a restart")
    return machine, effects


def plan_of(found: Unfinished) -> Plan | None:
    """The plan of a session that cannot be gone on with, to learn later how it ended."""
    if not found.records or found.records[0][0] != Begun.__name__:
        return None
    try:
        return codec.decode(Begun, found.records[0][1]).plan
    except MeshError:
        return None
