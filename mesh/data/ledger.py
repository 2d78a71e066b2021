"""The owner's record of what was approved and what was revealed: SQLite, append only, hash chained.

Each entry's hash covers its content and the hash before it, so that an entry changed, removed or
inserted later is found by `verify`. Cutting off the newest entries cannot be seen from the file alone;
whoever needs that keeps the `head` elsewhere.

Kinds: `approved` (before anything leaves the device), `certified` (over which sites it is opened, if at all),
`result` (what was opened, over which sites),
`released` (the session ended and nothing was opened: the use is given back), `policy`, `dataset`, `note`
(words about our own rows: values cut to the clip, one class only).
Invariant: an approval is durable before it is answered; if it cannot be written, the answer is no.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mesh.data.errors import DataError
from mesh.data.overlap import Use
from mesh.data.uses import GENESIS, Entry, KnownUses, damaged

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, dataset TEXT NOT NULL,
    session TEXT NOT NULL, body TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_dataset ON entries (dataset, kind);
CREATE INDEX IF NOT EXISTS by_session ON entries (session);
"""
PATIENCE_S = 10.0
"""How long to wait for another process (the command line beside the daemon) that is writing."""


_PREPARING = threading.Lock()
"""SQLite does not wait its turn to make a file WAL: two that do it at once would fail as locked."""


class Ledger:
    """The ledger in one file. Every call opens the file anew, so any thread may call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = KnownUses()  # touched by who writes, and there is one at a time

    @contextmanager
    def writing(self) -> Iterator[Page]:
        """Exclusive access: what is read on the page stays true until the block ends, then it is stored.

        Raises DataError C-622 if the ledger cannot be written; nothing of the block is stored then, nor if
        the block raises.
        """
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Page(connection, self._known)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def entries(self, dataset: str | None = None) -> tuple[Entry, ...]:
        """All entries, oldest first, or those of one data set. Raises DataError C-622."""
        if not self._path.exists():
            return ()
        with self._connected() as connection:
            return Page(connection, KnownUses()).entries(dataset)

    def verify(self) -> str:
        """Check the chain and return its head. Raises DataError C-622 naming the first bad entry."""
        head = GENESIS
        for position, entry in enumerate(self.entries(), start=1):
            plain = entry.as_json()
            plain.pop("hash")
            if entry.seq != position or entry.hash != _chain(head, plain):
                raise DataError(
                    f"ledger {self._path}: entry {position} does not fit the one before it",
                    code="C-622",
                    fix="the file was changed by something else than coppice; compare with a backup",
                )
            head = entry.hash
        return head

    def export(self) -> str:
        """JSON lines, oldest first, after verifying."""
        self.verify()
        return "".join(json.dumps(entry.as_json(), sort_keys=True) + "\n" for entry in self.entries())

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None)) as connection:
                with _PREPARING:
                    self._prepare(connection)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise DataError(
                f"ledger {self._path}: {error}",
                code="C-622",
                fix="free disk space, or restore the file from a backup",
            ) from None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            self._path.chmod(0o600)
            connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_TABLE)


class Page:
    """The ledger while it is held."""

    def __init__(self, connection: sqlite3.Connection, known: KnownUses) -> None:
        """`known`: what the page before it knew."""
        self._connection = connection
        self._known = known

    def append(self, at: float, kind: str, dataset: str, session: str, body: dict[str, object]) -> Entry:
        """Add an entry."""
        row = self._connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        seq, head = (row[0] + 1, row[1]) if row else (1, GENESIS)
        plain: dict[str, object] = {
            "seq": seq,
            "at": at,
            "kind": kind,
            "dataset": dataset,
            "session": session,
            "body": body,
        }
        entry = Entry(seq, at, kind, dataset, session, body, _chain(head, plain))
        self._connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, at, kind, dataset, session, json.dumps(body, sort_keys=True), entry.hash),
        )
        return entry

    def entries(self, dataset: str | None = None, session: str | None = None) -> tuple[Entry, ...]:
        """Entries, oldest first, of one data set or session if given."""
        asked = {"dataset = ?": dataset, "session = ?": session}
        given = {clause: value for clause, value in asked.items() if value is not None}
        rows = self._connection.execute(
            "SELECT seq, at, kind, dataset, session, body, hash FROM entries WHERE "  # noqa: S608 - fixed clauses
            + " AND ".join([*given, "1"])
            + " ORDER BY seq",
            tuple(given.values()),
        )
        return tuple(
            Entry(seq, at, kind, name, of, _body(seq, body), hash_)
            for seq, at, kind, name, of, body, hash_ in rows
        )

    def approval(self, session: str) -> Entry | None:
        """The approval of a session, if there is one."""
        return next((entry for entry in self.entries(session=session) if entry.kind == "approved"), None)

    def standing(self, session: str) -> str | None:
        """How a session stands: `approved`, `released`, `result`, or None if it was never approved."""
        kinds = {entry.kind for entry in self.entries(session=session)}
        if "approved" not in kinds:
            return None
        return next((kind for kind in ("result", "released") if kind in kinds), "approved")

    def uses(self, dataset: str) -> tuple[Use, ...]:
        """Approved jobs that revealed something or may have, oldest first. Raises DataError C-622."""
        row = self._connection.execute(
            "SELECT hash FROM entries WHERE seq = ?", (self._known.seq,)
        ).fetchone()
        if (
            row[0] if row else GENESIS
        ) != self._known.head:  # what we read was rolled back, or the file is another
            self._known.forget()
        rows = self._connection.execute(
            "SELECT seq, at, kind, dataset, session, body, hash FROM entries WHERE seq > ? ORDER BY seq",
            (self._known.seq,),
        )
        for seq, at, kind, name, of, body, hash_ in rows:
            try:
                self._known.take(Entry(seq, at, kind, name, of, _body(seq, body), hash_))
            except DataError as error:
                self._known.skip(seq, hash_, name, error)
        return self._known.of(dataset)


def _body(seq: int, text: str) -> dict[str, object]:
    try:
        body = json.loads(text)
    except ValueError:
        raise damaged(seq) from None
    if not isinstance(body, dict):
        raise damaged(seq)
    return body


def _chain(head: str, plain: dict[str, object]) -> str:
    """Hash of an entry after the one whose hash is `head`."""
    text = json.dumps([head, plain], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"ledger").hexdigest()
