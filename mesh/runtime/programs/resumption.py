"""Program sessions that a crash or a stop left open: told apart from sums, rebuilt from what was kept."""

from __future__ import annotations

from mesh.runtime.journal import LeftOpen, Unfinished
from protocols.errors import LocalMisuse
from protocols.machine import Effect
from protocols.programs.keeping import Kept, KeptPiece, restored
from protocols.programs.party import ProgramParty
from protocols.programs.plan import Limits
from protocols.programs.records import RECORDS, ProgramBegun
from protocols.sessions.keys import PartyKeys
from protocols.wire import codec

_RECORDS: dict[str, type] = {record.__name__: record for record in (*RECORDS, Kept, KeptPiece)}


def is_program(left: LeftOpen) -> bool:
    """Whether it is a program's session in which we may hold a seat."""
    return left.first == ProgramBegun.__name__


def rebuilt(
    keys: PartyKeys, found: Unfinished, now: float, limits: Limits
) -> tuple[ProgramParty, list[Effect]]:
    """The machine and what it has to say. Raises LocalMisuse if it cannot come back."""
    if not all(kind in _RECORDS for kind, _ in found.records):
        raise LocalMisuse("the journal has records of another version")
    records: list[object] = [codec.decode(_RECORDS[kind], body) for kind, body in found.records]
    return restored(keys, records, now, limits)
