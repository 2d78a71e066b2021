"""Which marks of a member's state are on disk: the inputs, and later ones as often as the disk should bear.

A mark is stored record by record beside the layers, which do not wait for it, since it binds nobody. The
next one follows after KEEP_EVERY_S, or later if the last one was long: KEPT_BYTES_S on average.

Invariant: of later marks those stay that take together MOST_STORED_BYTES, and in any case the newest two, so
neither the journal nor a restart, which reads all of them, grows with the length of the program. The inputs
stay: all members have them, and whatever else is lost, the program can go on from there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import structlog
import trio

from mesh.runtime.journal import Journal, JournalFull
from protocols.identifiers import SessionId
from protocols.programs import keeping
from protocols.programs.keeping import Kept, KeptPiece, State
from protocols.programs.messages import FIRST, Mark
from protocols.programs.party import ProgramParty

log = structlog.get_logger("coppice.program")

KEEP_EVERY_S = 1.0
"""Between two marks that are stored: what a restarted member has to be handed is at most as old."""
KEPT_BYTES_S = 8 << 20
MOST_STORED_BYTES = 64 << 20
_KINDS = (Kept.__name__, KeptPiece.__name__)


class MarkKeeper:
    """Of one session. Storing runs in the nursery given."""

    def __init__(self, journal: Journal, session: SessionId) -> None:
        self._journal = journal
        self._session = session
        self._done: set[Mark] = set()
        self._from = -math.inf
        self._storing = False
        self._stored: deque[tuple[int, int, int]] = deque()
        """Of later marks, oldest first: the last record before them, their last one, their size in bytes."""

    def resume(self, machine: ProgramParty) -> None:
        """What a restarted member holds is stored already."""
        computing = machine.member.computing if machine.member else None
        self._done.update(computing.marks if computing else ())

    def keep(self, now: float, machine: ProgramParty, nursery: trio.Nursery) -> None:
        """Store the newest mark if it is time."""
        if self._storing or now < self._from:
            return
        states = keeping.newest(machine, self._done)
        if states:
            self._storing = True
            nursery.start_soon(self._store, states)

    async def _store(self, states: Sequence[State]) -> None:
        try:
            for state in states:
                await self._store_one(state)
        except JournalFull as error:
            log.warning("a mark is not kept", session=self._session.short(), why=error.sentence())
        finally:
            size = sum(state.size_bytes for state in states)
            self._from = trio.current_time() + max(KEEP_EVERY_S, size / KEPT_BYTES_S)
            self._storing = False

    async def _store_one(self, state: State) -> None:
        journal, session = self._journal, self._session
        before = await trio.to_thread.run_sync(journal.newest_record, session)
        for record in state.records():
            await journal.persist(session, [record])
        if state.mark == FIRST:
            return
        after = await trio.to_thread.run_sync(journal.newest_record, session)
        self._stored.append((before, after, state.size_bytes))
        while len(self._stored) > 2 and sum(size for _, _, size in self._stored) > MOST_STORED_BYTES:
            first, last, _ = self._stored.popleft()
            await journal.supersede(session, _KINDS, first, last)
