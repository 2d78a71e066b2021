"""What must not be contradicted is on disk before anybody hears of it.

SQLite in WAL mode with synchronous=FULL: a commit survives power loss; a torn last write is rolled back
by SQLite, as if it had never been asked for, and then nothing that depends on it was sent. One writer
task commits whatever is waiting in one transaction, so that sessions share the cost of a sync.

After a restart all sessions are known at once (`knows`, `left_open`); what one of those left open had stored
is read when its turn comes (`unfinished`), for its machine to be rebuilt from. Which records machines need
before they speak is decided in protocols.sessions.durable.

Secrets at rest. Records hold shares and seeds, so each is sealed (XSalsa20-Poly1305) under a key of its
session alone, drawn at its beginning and itself sealed under a key derived from the node's identity: with a
passphrase on the keystore, the journal alone tells nothing. At a session's end its key and records are
deleted and overwritten (secure_delete) and the log is cut off, in the same breath if no other session is
live. So they are at once, while the session goes on, when our share in it was handed over: the machine's
state without that share takes their place, under a new key.
What stays is public within the session: how it ended, and the certified proof of that. A flash disk may
keep overwritten blocks; there only the passphrase protects.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from mesh.runtime.journal_tables import ADDED, ONLY_NEWEST, TABLES
from protocols.arithmetic.xof import derive
from protocols.errors import ConfigError, MeshError
from protocols.identifiers import SessionId
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.plan import Plan
from protocols.sessions.records import HandedOver, Snapshot
from protocols.wire import codec

if TYPE_CHECKING:
    from trio_typing import TaskStatus


_BACKLOG = 1024
CACHE_KIB = 512
"""Of pages, instead of SQLite's 2 MB: what is looked up is the end of a session now and then."""
CUT_EVERY = 32
"""Ends of sessions after which the log is cut off though others are live."""
KEEP_SESSIONS = 10_000
"""Ended sessions kept for looking back; older ones are deleted with their records."""

Statement = tuple[str, tuple[object, ...]]
_CUT, _CUT_NOW = "cut off the log", "cut off the log at once"
"""No SQL: asks for it once the transaction is done."""


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """A session that a crash left open, none of its records read yet; `first` names its first one's class."""

    session: SessionId
    started: float
    first: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A session that a crash left open: when it began, and its records' class names and encodings.

    `damaged`: there were records that cannot be read, so nobody can tell what was said; `told`: its plan, if
    that was told before there was any record.
    """

    session: SessionId
    started: float
    records: tuple[tuple[str, bytes], ...]
    damaged: bool = False
    told: bytes | None = None

    def __repr__(self) -> str:
        return f"Unfinished({self.session.short()}, {len(self.records)} records)"


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended here: for people, and the message that proves it, if one is known."""

    outcome: str
    epoch: int
    plan: bytes | None
    proof_kind: str | None
    proof: bytes | None


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

    def __init__(self, path: Path, secret: bytes | None = None) -> None:
        """`secret`: 32 bytes that the node knows again after a restart; None: a fresh one, for one life."""
        self._path = path
        self._box = SecretBox(derive(secret or os.urandom(32), "journal keys"))
        self._keys: dict[SessionId, SecretBox] = {}
        self._ends = 0
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

    async def begin(self, session: SessionId, plan: KnownPlan | None = None) -> None:
        """A session is live from now on; `plan`: if it is told before any record. Raises JournalFull."""
        key, told = os.urandom(SecretBox.KEY_SIZE), None if plan is None else codec.encode(plan)
        row = (bytes(session), time.time(), bytes(self._box.encrypt(key)), told)
        await self._write([("INSERT INTO sessions (session, started, key, plan) VALUES (?, ?, ?, ?)", row)])
        self._keys[session] = SecretBox(key)

    async def persist(self, session: SessionId, records: Sequence[object]) -> None:
        """Store machine records; returns once they are durable. Raises JournalFull.

        A `Snapshot` takes the place of all before it. If a share is gone with it, or with a `HandedOver`,
        nothing before it can be read any more: its session has a new key.
        """
        box = self._keys.get(session)
        if box is None:
            raise JournalFull("the session is over as far as the journal knows", fix="start a new one")
        asked: list[Statement] = []
        renewed = [i for i, record in enumerate(records) if isinstance(record, HandedOver | Snapshot)]
        if renewed:
            asked = [("DELETE FROM records WHERE session = ?", (bytes(session),))]
        if any(getattr(records[i], "erases", True) for i in renewed):
            box, asked[1:] = self._rekeyed(session)
        records = records[renewed[-1] if renewed else 0 :]
        for record in records:
            row = (bytes(session), type(record).__name__, bytes(box.encrypt(codec.encode(record))))
            asked.append(("INSERT INTO records (session, kind, body) VALUES (?, ?, ?)", row))
        await self._write(asked)
        self._keys[session] = box

    def _rekeyed(self, session: SessionId) -> tuple[SecretBox, list[Statement]]:
        """A new key for the session, and how to overwrite the old one: in one transaction with what is stored
        next, since a session without records is taken for one that never said anything, and begun anew.
        """
        key = os.urandom(SecretBox.KEY_SIZE)
        row = (bytes(self._box.encrypt(key)), bytes(session))
        return SecretBox(key), [("UPDATE sessions SET key = ? WHERE session = ?", row), (_CUT_NOW, ())]

    def newest_record(self, session: SessionId) -> int:
        """The number of its last record, 0 before the first; they rise. Raises JournalFull."""
        question = "SELECT ifnull(max(id), 0) FROM records WHERE session = ?"
        return int(self._read(question, (bytes(session),))[0][0])

    async def supersede(self, session: SessionId, kinds: Sequence[str], after: int, until: int) -> None:
        """Drop its records of these classes with numbers after < number <= until. Raises JournalFull."""
        marks = ", ".join("?" * len(kinds))
        drop = f"DELETE FROM records WHERE session = ? AND id > ? AND id <= ? AND kind IN ({marks})"  # noqa: S608
        await self._write([(drop, (bytes(session), after, until, *kinds))])

    async def abandon(self, session: SessionId, plan: Plan | None) -> None:
        """This node takes no part any more and does not know how it ends. Raises JournalFull."""
        known, epoch = (KnownPlan.of(plan), plan.epoch) if plan else (None, 0)
        await self.end(session, "abandoned by a restart", epoch=epoch, plan=known)

    async def discard(self, session: SessionId) -> None:
        """Nothing was ever said in this session: it is as if we had not heard of it. Raises JournalFull."""
        self._keys.pop(session, None)
        await self._write([("DELETE FROM sessions WHERE session = ?", (bytes(session),))])

    async def end(
        self,
        session: SessionId,
        outcome: str,
        *,
        epoch: int = 0,
        plan: object | None = None,
        proof: object | None = None,
    ) -> None:
        """The session is over; its secrets go. `outcome` is for people, `proof` a message that shows it,
        `plan` what an unclear end is to be cleared up with later: on a full disk only that it is unclear is
        kept. Raises JournalFull.
        """
        self._keys.pop(session, None)
        kind = None if proof is None else str(proof.KIND)  # type: ignore[attr-defined]  # messages have one
        body = None if proof is None else codec.encode(proof)
        wanted = None if plan is None else codec.encode(plan)
        row = (time.time(), outcome, epoch, wanted, kind, body, bytes(session))
        try:
            await self._write(self._ending(row))
        except JournalFull:
            words = outcome if plan is None else f"{outcome}, in doubt"
            await self._write(self._ending((row[0], words, epoch, None, None, None, row[6])))  # in no space

    def _ending(self, row: tuple[object, ...]) -> list[Statement]:
        oldest = "SELECT session FROM sessions WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT -1 OFFSET ?"
        update = (
            "UPDATE sessions SET ended = ?, outcome = ?, key = NULL, epoch = ?, plan = ?, proof_kind = ?, "
            "proof = ? WHERE session = ?"
        )
        return [
            (update, row),
            ("DELETE FROM records WHERE session = ?", (row[6],)),
            (f"DELETE FROM sessions WHERE session IN ({oldest})", (KEEP_SESSIONS,)),  # noqa: S608 - constant text
            (_CUT, ()),
        ]

    def knows(self, session: SessionId) -> bool:
        """Whether this session was ever begun here: it must not be begun again. Raises JournalFull."""
        return bool(self._read("SELECT 1 FROM sessions WHERE session = ?", (bytes(session),)))

    def ending(self, session: SessionId) -> End | None:
        """How a session ended; None if it is live or unknown. Raises JournalFull."""
        question = (
            "SELECT outcome, ifnull(epoch, 0), plan, proof_kind, proof FROM sessions "
            "WHERE session = ? AND ended IS NOT NULL"
        )
        rows = self._read(question, (bytes(session),))
        return End(*rows[0]) if rows else None

    def unclear(self, most: int) -> list[tuple[SessionId, bytes]]:
        """The last sessions that ended here without our knowing how, with their plans. Raises JournalFull."""
        rows = self._read(
            "SELECT session, plan FROM sessions WHERE ended IS NOT NULL AND plan IS NOT NULL "
            "AND proof IS NULL ORDER BY ended DESC LIMIT ?",
            (most,),
        )
        return [(SessionId(session), bytes(plan)) for session, plan in rows]

    def left_open(self) -> list[LeftOpen]:
        """Sessions that a crash left open, oldest first, to be gone on with or ended. Raises JournalFull."""
        rows = self._read(
            "SELECT session, started, ifnull((SELECT kind FROM records WHERE records.session = "
            "sessions.session ORDER BY id LIMIT 1), '') FROM sessions WHERE ended IS NULL ORDER BY started"
        )
        return [LeftOpen(SessionId(name), started, first) for name, started, first in rows]

    def unfinished(self, left: LeftOpen) -> Unfinished:
        """All of one of them. Raises JournalFull."""
        name = (bytes(left.session),)
        stored = self._read("SELECT kind, body FROM records WHERE session = ? ORDER BY id", name)
        rows = self._read("SELECT key, plan FROM sessions WHERE session = ?", name)
        ((sealed, told),) = rows or [(None, None)]
        try:
            self._keys[left.session] = box = SecretBox(self._box.decrypt(sealed or b""))
            records = tuple((str(kind), bytes(box.decrypt(body))) for kind, body in stored)
        except (CryptoError, ValueError, TypeError):
            records = ()
        damaged = not records and (bool(stored) or not sealed)  # the first record precedes every word
        return Unfinished(left.session, left.started, records, damaged, told)

    def _read(self, question: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise JournalFull(
                f"the journal {self._path} cannot be read: {error}", fix="look after its disk"
            ) from error

    # -- the mesh -----------------------------------------------------------------------------------

    async def remember(
        self, record: object, *, keep: int | None = None, instead_of: Sequence[type] = ()
    ) -> None:
        """Store a record of the overlay (ticket, epoch, vote), drop all but the newest `keep` of its kind and
        all of the classes `instead_of`: in one transaction. Raises JournalFull.
        """
        kind = type(record).__name__
        statements: list[Statement] = [
            ("INSERT INTO mesh (kind, body) VALUES (?, ?)", (kind, codec.encode(record)))
        ]
        if keep is not None:
            statements.append((ONLY_NEWEST, (kind, kind, keep)))
        statements += [("DELETE FROM mesh WHERE kind = ?", (cls.__name__,)) for cls in instead_of]
        await self._write(statements)

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
        asked = [statement for request in batch for statement, _ in request.statements]
        cuts, now = asked.count(_CUT), _CUT_NOW in asked
        self._ends += cuts
        if now or (cuts and (not self._keys or self._ends >= CUT_EVERY)):
            self._ends = 0
            with contextlib.suppress(sqlite3.Error):  # somebody reads along: next time
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _full(self, error: Exception) -> JournalFull:
        return JournalFull(
            f"the journal {self._path} cannot be written: {error}",
            fix="free some space on its disk; nothing that depended on it was sent",
        )

    def _execute(self, batch: list[_Request]) -> None:
        with self._connection:
            for request in batch:
                for statement, parameters in request.statements:
                    if statement in (_CUT, _CUT_NOW):
                        continue
                    self._connection.execute(statement, parameters)


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.touch(mode=0o600)  # its log takes the mode from it
        connection = sqlite3.connect(path, check_same_thread=False, timeout=5.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.executescript(TABLES)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(sessions)")}
        for column in ADDED.keys() - columns:
            connection.execute(f"ALTER TABLE sessions ADD COLUMN {column} {ADDED[column]}")
        connection.commit()
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(
            f"the journal {path} cannot be opened: {error}",
            code="C-117",
            fix="free some space; if the file is damaged move it away: the node then starts afresh",
        ) from error
    return connection
