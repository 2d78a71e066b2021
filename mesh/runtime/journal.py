"""What must not be contradicted is on disk before anybody hears of it.

SQLite in WAL mode with synchronous=FULL: a commit survives power loss; a torn last write is rolled back
by SQLite, as if it had never been asked for, and then nothing that depends on it was sent. One writer
task commits whatever is waiting in one transaction, so that sessions share the cost of a sync.

After a restart, sessions found open here are closed for good and never voted in again (`abandoned`):
a node that does not remember its secrets abstains rather than risk a second, different message.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from protocols.errors import ConfigError, MeshError
from protocols.identifiers import SessionId
from protocols.wire import codec

if TYPE_CHECKING:
    from trio_typing import TaskStatus


_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions
    (session BLOB PRIMARY KEY, started REAL NOT NULL, ended REAL, outcome TEXT);
CREATE TABLE IF NOT EXISTS records
    (id INTEGER PRIMARY KEY, session BLOB NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS mesh (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS records_of ON records (session);
"""
_BACKLOG = 1024
KEEP_SESSIONS = 10_000
"""Ended sessions kept for looking back; older ones are deleted with their records."""

Statement = tuple[str, tuple[object, ...]]


class JournalFull(MeshError):
    """The journal cannot be written, so nothing that depends on it may be sent."""

    code = "C-116"


@dataclass(slots=True)
class _Request:
    statements: Sequence[Statement]
    done: trio.Event
    error: JournalFull | None = None


class Journal:
    """The journal of one state folder. `run` must be running for the writing methods to return."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _open(path)
        send, receive = trio.open_memory_channel[_Request](_BACKLOG)
        self._requests = send
        self._incoming = receive

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; what was asked for before is still written, later requests fail."""
        task_status.started()
        try:
            async for request in self._incoming:
                await self._write_batch([request, *self._waiting()])
        finally:
            with trio.CancelScope(shield=True):
                await self._write_batch(self._waiting())
            self._incoming.close()
            self._connection.close()

    def _waiting(self) -> list[_Request]:
        requests: list[_Request] = []
        with contextlib.suppress(trio.WouldBlock):
            while True:
                requests.append(self._incoming.receive_nowait())
        return requests

    async def _write_batch(self, batch: list[_Request]) -> None:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._commit, batch)
        for request in batch:
            request.done.set()

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self._path.parent

    # -- sessions -----------------------------------------------------------------------------------

    async def begin(self, session: SessionId) -> None:
        """A session is live from now on. Raises JournalFull."""
        await self._write(
            [("INSERT INTO sessions (session, started) VALUES (?, ?)", (bytes(session), time.time()))]
        )

    async def persist(self, session: SessionId, records: Sequence[object]) -> None:
        """Store machine records; returns once they are durable. Raises JournalFull."""
        insert = "INSERT INTO records (session, kind, body) VALUES (?, ?, ?)"
        await self._write(
            [(insert, (bytes(session), type(record).__name__, codec.encode(record))) for record in records]
        )

    async def end(self, session: SessionId, outcome: str) -> None:
        """The session is over; `outcome` is for people. Raises JournalFull."""
        oldest = "SELECT session FROM sessions WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT -1 OFFSET ?"
        await self._write(
            [
                (
                    "UPDATE sessions SET ended = ?, outcome = ? WHERE session = ?",
                    (time.time(), outcome, bytes(session)),
                ),
                ("DELETE FROM records WHERE session = ?", (bytes(session),)),
                (f"DELETE FROM sessions WHERE session IN ({oldest})", (KEEP_SESSIONS,)),  # noqa: S608 - constant text
            ]
        )

    def knows(self, session: SessionId) -> bool:
        """Whether this session was ever begun here: it must not be begun again. Raises JournalFull."""
        question = "SELECT 1 FROM sessions WHERE session = ?"
        try:
            row = self._connection.execute(question, (bytes(session),)).fetchone()
        except sqlite3.Error as error:
            raise JournalFull(
                f"the journal {self._path} cannot be read: {error}", fix="look after its disk"
            ) from error
        return row is not None

    def abandon(self) -> int:
        """Close the sessions that a crash left open; how many. Call before `run`. Raises JournalFull."""
        update = "UPDATE sessions SET ended = ?, outcome = 'abandoned by a restart' WHERE ended IS NULL"
        try:
            with self._connection:
                cursor = self._connection.execute(update, (time.time(),))
                self._connection.execute("DELETE FROM records")
        except sqlite3.Error as error:
            raise self._full(error) from error
        return cursor.rowcount

    # -- the mesh -----------------------------------------------------------------------------------

    async def remember(self, record: object, *, replace: bool = False) -> None:
        """Store a record of the overlay (ticket, epoch, vote); `replace` drops earlier ones of its kind."""
        kind = type(record).__name__
        statements: list[Statement] = [("DELETE FROM mesh WHERE kind = ?", (kind,))] if replace else []
        statements.append(("INSERT INTO mesh (kind, body) VALUES (?, ?)", (kind, codec.encode(record))))
        await self._write(statements)

    async def forget(self, kind: str) -> None:
        """Drop all records of the overlay of one kind. Raises JournalFull."""
        await self._write([("DELETE FROM mesh WHERE kind = ?", (kind,))])

    def recall(self, kind: str) -> list[bytes]:
        """Encoded records of the overlay of one kind, oldest first."""
        rows = self._connection.execute("SELECT body FROM mesh WHERE kind = ? ORDER BY id", (kind,))
        return [bytes(body) for (body,) in rows]

    # -- writing ------------------------------------------------------------------------------------

    async def _write(self, statements: Sequence[Statement]) -> None:
        if not statements:
            return
        request = _Request(statements, trio.Event())
        try:
            await self._requests.send(request)
        except trio.BrokenResourceError:
            raise JournalFull("the journal is closed", fix="start the node again") from None
        await request.done.wait()
        if request.error is not None:
            raise request.error

    def _commit(self, batch: list[_Request]) -> None:
        """One transaction for all; if that fails, one each, so that only the guilty one fails."""
        try:
            self._execute(batch)
        except (sqlite3.Error, OSError):
            for request in batch:
                try:
                    self._execute([request])
                except (sqlite3.Error, OSError) as error:
                    request.error = self._full(error)

    def _full(self, error: Exception) -> JournalFull:
        return JournalFull(
            f"the journal {self._path} cannot be written: {error}",
            fix="free some space on its disk; nothing that depended on it was sent",
        )

    def _execute(self, batch: list[_Request]) -> None:
        with self._connection:
            for request in batch:
                for statement, parameters in request.statements:
                    self._connection.execute(statement, parameters)


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, check_same_thread=False, timeout=5.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        connection.commit()
        path.chmod(0o600)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"the journal {path} cannot be opened: {error}",
            code="C-117",
            fix="free some space; if the file is damaged move it away: the node then starts afresh",
        ) from error
    return connection
