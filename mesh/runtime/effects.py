"""The order in which a driver carries out what a machine wants: records first, then what depends on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.runtime.journal import Journal
from protocols.identifiers import SessionId
from protocols.machine import Effect, Persist


async def carry_out(
    journal: Journal, session: SessionId, effects: Sequence[Effect], do: Callable[[Effect], None]
) -> None:
    """`do` every effect but records, in order; records that follow one another are stored together.

    Raises JournalFull when one cannot be stored; nothing after it is done then.
    """
    records: list[object] = []
    for effect in effects:
        if isinstance(effect, Persist):
            records.append(effect.record)
            continue
        if records:
            await journal.persist(session, records)
            records = []
        do(effect)
    if records:
        await journal.persist(session, records)
