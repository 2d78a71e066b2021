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
from dataclasses import dataclass, replace
from pathlib import Path

from mesh.data.errors import DataError
from mesh.data.overlap import Use
from mesh.data.policy import Asked

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, dataset TEXT NOT NULL,
    session TEXT NOT NULL, body TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_dataset ON entries (dataset, kind);
CREATE INDEX IF NOT EXISTS by_session ON entries (session);
"""
GENESIS = "0" * 64
PATIENCE_S = 10.0
"""How long to wait for another process (the command line beside the daemon) that is writing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    seq: int
    at: float
    kind: str
    dataset: str
    session: str
    body: dict[str, object]
    hash: str

    def as_json(self) -> dict[str, object]:
        """Plain values, for the export."""
        return {
            "seq": self.seq,
            "at": self.at,
            "kind": self.kind,
            "dataset": self.dataset,
            "session": self.session,
            "body": self.body,
            "hash": self.hash,
        }


_PREPARING = threading.Lock()
"""SQLite does not wait its turn to make a file WAL: two that do it at once would fail as locked."""


class Ledger:
    """The ledger in one file. Every call opens the file anew, so any thread may call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def writing(self) -> Iterator[Page]:
        """Exclusive access: what is read on the page stays true until the block ends, then it is stored.

        Raises DataError C-622 if the ledger cannot be written; nothing of the block is stored then, nor if
        the block raises.
        """
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Page(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def entries(self, dataset: str | None = None) -> tuple[Entry, ...]:
        """All entries, oldest first, or those of one data set. Raises DataError C-622."""
        if not self._path.exists():
            return ()
        with self._connected() as connection:
            return Page(connection).entries(dataset)

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

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

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
        """Approved jobs that revealed something or may have, oldest first."""
        approved: dict[str, Use] = {}
        released: set[str] = set()
        for entry in self.entries(dataset):
            if entry.kind == "approved":
                approved[entry.session] = _use(entry)
            elif entry.kind == "released":
                released.add(entry.session)
            elif entry.kind in ("certified", "result") and entry.session in approved:
                # Certain knowledge that something was opened outweighs an earlier release.
                released.discard(entry.session)
                if entry.body.get("known", True):
                    sites = _sites(entry, "roster")
                    known = replace(approved[entry.session], sites=sites, certain=True, others=0)
                    approved[entry.session] = known
        return tuple(use for session, use in approved.items() if session not in released)


def _use(entry: Entry) -> Use:
    queries, rows = entry.body.get("queries"), entry.body.get("rows")
    if not isinstance(queries, list) or not isinstance(rows, int):
        raise _damaged(entry.seq)
    try:
        asked = tuple(
            Asked(statistic, column, tuple(parameters)) for statistic, column, parameters in queries
        )
    except (TypeError, ValueError):
        raise _damaged(entry.seq) from None
    data_digest = str(entry.body.get("data_digest"))
    inputs, fewest = entry.body.get("inputs", []), entry.body.get("min_sites")
    if not isinstance(inputs, list) or not isinstance(fewest, int):
        raise _damaged(entry.seq)
    return Use(
        entry.session,
        entry.at,
        asked,
        _sites(entry, "sites"),
        rows,
        data_digest,
        tuple(map(str, inputs)),
        fewest,
        certain=False,
        fewest=_least(entry, fewest),
        requester=str(entry.body.get("requester", "")),
        others=_whole_number(entry, "others", 0),
    )


def _least(entry: Entry, min_sites: int) -> int:
    """Sites without which the session opens nothing; entries of earlier versions name `min_sites` alone."""
    return _whole_number(entry, "least", min_sites)


def _whole_number(entry: Entry, key: str, otherwise: int) -> int:
    value = entry.body.get(key, otherwise)
    if not isinstance(value, int):
        raise _damaged(entry.seq)
    return value


def _sites(entry: Entry, key: str) -> frozenset[str]:
    value = entry.body.get(key)
    if not isinstance(value, list):
        raise _damaged(entry.seq)
    return frozenset(map(str, value))


def _body(seq: int, text: str) -> dict[str, object]:
    try:
        body = json.loads(text)
    except ValueError:
        raise _damaged(seq) from None
    if not isinstance(body, dict):
        raise _damaged(seq)
    return body


def _damaged(seq: int) -> DataError:
    return DataError(
        f"ledger: entry {seq} is damaged",
        code="C-622",
        fix="the file was changed by something else than coppice; compare with a backup",
    )


def _chain(head: str, plain: dict[str, object]) -> str:
    """Hash of an entry after the one whose hash is `head`."""
    text = json.dumps([head, plain], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=32, person=b"ledger").hexdigest()
