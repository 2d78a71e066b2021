"""Fragments of other people's vaults at rest, and what this node deposited itself.

    vaults/vaults.db          terms, standings, ledger of readings, tombstones, orders, receipts
    vaults/keys/V-G-O         the data key of one fragment (vault, generation, origin), wrapped
    vaults/fragments/V-G-O    the fragment, XSalsa20-Poly1305 under its data key

The wrapping key comes from the node's key store, so a copied folder without `keys` opens nothing. To erase is
to destroy the data key (see `data_keys`): the fragment is noise then, wherever copies of it are. What is kept
of a generation for fellow holders (`keep`) is sealed shares: they go with the generation in the same way.

Order of writing: key, fragment, both synced, then the row; a crash between leaves a file without a row, which
`tidy` erases. Which generation counts is what the stored standing says, and nothing else. Of a vault that
ended nothing is stored any more, whatever was under way when it did.

Every call blocks; one thread at a time (the runtime has a limiter of one).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from nacl.exceptions import CryptoError

from mesh.data.data_keys import DataKeys
from mesh.data.errors import DataError
from mesh.data.synced_files import sync_folder, write_synced
from mesh.data.vault_tables import TABLES

_TAG_BYTES = 8
MAX_RECEIPTS = 256
MAX_ENDED = 4096
"""Of each reason: orders about vaults that never stood here push out none about those that did."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One vault of which a fragment is (or was offered) here. `standing` is None before it was certified."""

    vault: bytes
    name: str
    owner: bytes
    terms: bytes
    standing: bytes | None
    since: float
    renewed: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class EndedRow:
    """A vault that was erased here: `proof` is the owner's order, None when its time was over."""

    vault: bytes
    name: str
    at: float
    reason: str
    proof: bytes | None


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A vault that this node deposited; `proof` is our order to erase it, once given."""

    vault: bytes
    name: str
    source: str
    since: float
    standing: bytes
    proof: bytes | None


class VaultEnded(DataError):
    """There is to be nothing here of a vault that ended."""


class VaultStore:
    """The vaults of one state folder. `wrapping_key`: 32 bytes derived from the key store."""

    def __init__(self, folder: Path, wrapping_key: bytes) -> None:
        self._folder = folder
        self._keys = DataKeys(folder / "keys", wrapping_key)
        with _explained(folder):
            for part in (folder, self._keys.folder, self._fragments):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "vaults.db").touch(mode=0o600)  # its log takes the mode from it
            self._db = sqlite3.connect(folder / "vaults.db", check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.executescript(TABLES)

    def __repr__(self) -> str:
        return f"VaultStore({str(self._folder)!r})"

    @property
    def _fragments(self) -> Path:
        return self._folder / "fragments"

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- fragments ------------------------------------------------------------------------------------

    def put_fragment(self, vault: bytes, generation: int, origin: bytes, share: bytes) -> None:
        """Store one fragment under a fresh data key; durable on return. Raises DataError, VaultEnded."""
        self._refuse_ended(vault)
        name = _name(vault, generation, origin)
        with _explained(self._folder):
            write_synced(self._fragments / name, self._keys.seal(name, share))
            self._db.execute("INSERT OR REPLACE INTO fragments VALUES (?, ?, ?)", (vault, generation, origin))

    def fragment(
        self, vault: bytes, generation: int, origin: bytes | None = None
    ) -> tuple[bytes, bytes] | None:
        """(origin, share) of a generation, or None if there is none. Raises DataError C-650.

        Give the `origin` wherever it is known: rounds that failed leave fragments of the same generation.
        """
        wanted = "WHERE vault = ? AND generation = ? AND origin = coalesce(?, origin)"
        place = (vault, generation, origin)
        row = self._db.execute(f"SELECT origin FROM fragments {wanted}", place).fetchone()  # noqa: S608 - fixed
        if row is None:
            return None
        name = _name(vault, generation, row[0])
        with _explained(self._folder):
            try:
                return bytes(row[0]), self._keys.open(name, (self._fragments / name).read_bytes())
            except CryptoError:
                raise DataError(
                    "a fragment does not open with this node's keys",
                    code="C-650",
                    fix="restore the folder as a whole, keys and vaults of one time",
                ) from None

    def erase_fragments(self, vault: bytes, below: int | None = None, keep: bytes | None = None) -> None:
        """Destroy fragments: all, those of generations below one, and at that one all but `keep`'s origin.

        And what was kept for fellow holders of those generations.
        """
        query = "SELECT generation, origin FROM fragments WHERE vault = ?"
        for generation, origin in self._db.execute(query, (vault,)).fetchall():
            if below is not None and generation >= below and (generation > below or origin == keep):
                continue
            with _explained(self._folder):
                place = (vault, generation, origin)
                self._destroy(_name(*place))
                self._db.execute("DELETE FROM fragments WHERE (vault, generation, origin) = (?, ?, ?)", place)
        query = (
            "SELECT generation, tag FROM kept WHERE vault = ? AND generation < coalesce(?, generation + 1)"
        )
        for generation, tag in self._db.execute(query, (vault, below)).fetchall():
            with _explained(self._folder):
                self._keys.destroy(_name(vault, generation, tag))
                self._db.execute("DELETE FROM kept WHERE (vault, generation) = (?, ?)", (vault, generation))

    def orphans(self) -> set[bytes]:
        """Vaults of which fragments are here and nothing else: a deposit or renewal that did not end."""
        query = "SELECT DISTINCT vault FROM fragments WHERE vault NOT IN (SELECT vault FROM held)"
        return {bytes(vault) for (vault,) in self._db.execute(query)}

    def tidy(self) -> int:
        """Destroy what a crash left: files of no row, fragments of ended vaults; how many files."""
        ended = "SELECT DISTINCT vault FROM fragments NATURAL JOIN ended"
        for (vault,) in self._db.execute(ended).fetchall():
            self.erase_fragments(vault)
        rows = "SELECT vault, generation, origin FROM fragments UNION SELECT vault, generation, tag FROM kept"
        known = {_name(*row) for row in self._db.execute(rows)}
        folders = (self._keys.folder, self._fragments)
        stray = {path.name for folder in folders for path in folder.iterdir()} - known
        for name in stray:
            self._destroy(name)
        return len(stray)

    def _destroy(self, name: str) -> None:
        self._keys.destroy(name)
        (self._fragments / name).unlink(missing_ok=True)
        sync_folder(self._fragments)

    # -- vaults held for others -----------------------------------------------------------------------

    def offered(self, row: HeldRow) -> None:
        """Remember a vault's terms before its receipt is sent."""
        self._add("INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *astuple(row))

    def certified(self, vault: bytes, standing: bytes, at: float) -> None:
        """From now on this standing counts."""
        self._run("UPDATE held SET standing = ?, renewed = ? WHERE vault = ?", standing, at, vault)

    def held(self, vault: bytes | None = None, name: str | None = None) -> tuple[HeldRow, ...]:
        """All vaults here, or those of one id or name."""
        rows = self._db.execute(
            "SELECT * FROM held WHERE vault = coalesce(?, vault) AND name = coalesce(?, name) ORDER BY since",
            (vault, name),
        )
        return tuple(HeldRow(*row) for row in rows)

    def end(self, vault: bytes, name: str, at: float, reason: str, proof: bytes | None) -> None:
        """Erase everything of a vault and remember that it ended."""
        self.erase_fragments(vault)
        with _explained(self._folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._forget(vault)
                self._db.execute(
                    "INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?, ?)", (vault, name, at, reason, proof)
                )
                self._db.execute(
                    "DELETE FROM ended WHERE vault IN (SELECT vault FROM ended WHERE reason = ? "
                    "ORDER BY at DESC LIMIT -1 OFFSET ?)",
                    (reason, MAX_ENDED),
                )
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def drop(self, vault: bytes) -> None:
        """Erase a vault that we hold no longer, without a tombstone: it lives on elsewhere."""
        self.erase_fragments(vault)
        with _explained(self._folder):
            self._forget(vault)

    def _forget(self, vault: bytes) -> None:
        tables = ("kept", "votes", "ledger", "learning", "held")  # the last says that there is something
        for table in tables:
            self._db.execute(f"DELETE FROM {table} WHERE vault = ?", (vault,))  # noqa: S608 - fixed names

    def ended(self, vault: bytes | None = None, name: str | None = None) -> tuple[EndedRow, ...]:
        """Vaults that were erased here."""
        rows = self._db.execute(
            "SELECT * FROM ended WHERE vault = coalesce(?, vault) AND name = coalesce(?, name) ORDER BY at",
            (vault, name),
        )
        return tuple(EndedRow(*row) for row in rows)

    # -- ledger and votes -----------------------------------------------------------------------------

    def use(self, vault: bytes, use: bytes, at: float, body: bytes) -> None:
        """Write down a reading before consenting to it; the same use twice is one."""
        self._add("INSERT OR IGNORE INTO ledger VALUES (NULL, ?, ?, ?, ?)", vault, use, at, body)

    def has_use(self, vault: bytes, use: bytes) -> bool:
        """Whether a reading of this name is written down."""
        query = "SELECT 1 FROM ledger WHERE vault = ? AND use = ?"
        return self._db.execute(query, (vault, use)).fetchone() is not None

    def count_uses(self, vault: bytes) -> int:
        """How many different readings are written down."""
        return int(self._db.execute("SELECT count(*) FROM ledger WHERE vault = ?", (vault,)).fetchone()[0])

    def bytes_of_uses(self, vault: bytes) -> int:
        """How much they take."""
        query = "SELECT coalesce(sum(length(body)), 0) FROM ledger WHERE vault = ?"
        return int(self._db.execute(query, (vault,)).fetchone()[0])

    def uses(self, vault: bytes, first: int = 0, most: int = -1) -> tuple[bytes, ...]:
        """Readings in the order of writing, from the `first` one on, `most` of them (-1: all)."""
        rows = self._db.execute(
            "SELECT body FROM ledger WHERE vault = ? ORDER BY entry LIMIT ? OFFSET ?", (vault, most, first)
        )
        return tuple(bytes(body) for (body,) in rows)

    def learn(self, vault: bytes, generation: int, holders: bytes) -> None:
        """We hold a seat since `generation` and do not know yet what was read before; these parties do."""
        self._add("INSERT OR REPLACE INTO learning VALUES (?, ?, ?)", vault, generation, holders)

    def learned(self, vault: bytes) -> None:
        """The ledger is whole from now on."""
        self._run("DELETE FROM learning WHERE vault = ?", vault)

    def learning(self) -> dict[bytes, tuple[int, bytes]]:
        """Vaults whose ledger is not whole here: (generation, holders)."""
        rows = self._db.execute("SELECT vault, generation, holders FROM learning")
        return {bytes(vault): (generation, bytes(holders)) for vault, generation, holders in rows}

    def vote(self, vault: bytes, generation: int, kind: str, body: bytes) -> None:
        """Store a record of a renewal before anybody hears of it."""
        self._add("INSERT INTO votes VALUES (?, ?, ?, ?)", vault, generation, body, kind)

    def votes(self, vault: bytes, generation: int) -> tuple[tuple[str, bytes], ...]:
        """Records of one generation's renewal, oldest first."""
        query = "SELECT kind, body FROM votes WHERE vault = ? AND generation = ? ORDER BY rowid"
        rows = self._db.execute(query, (vault, generation))
        return tuple((kind, bytes(body)) for kind, body in rows)

    def forget_votes(self, vault: bytes, below: int) -> None:
        """Records of generations that are over."""
        self._run("DELETE FROM votes WHERE vault = ? AND generation < ?", vault, below)

    def keep(self, vault: bytes, generation: int, body: bytes) -> None:
        """Store what fellow holders may have missed of a generation, instead of what was kept; b"": none."""
        place, tag = (vault, generation), os.urandom(_TAG_BYTES)
        self._refuse_ended(vault)
        with _explained(self._folder):
            query = "SELECT tag FROM kept WHERE (vault, generation) = (?, ?)"
            before = self._db.execute(query, place).fetchone()
            if body:
                sealed = self._keys.seal(_name(*place, tag), body)
                self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", (*place, tag, sealed))
            else:
                self._db.execute("DELETE FROM kept WHERE (vault, generation) = (?, ?)", place)
            if before is not None:
                self._keys.destroy(_name(*place, before[0]))

    def kept(self, vault: bytes, generation: int) -> bytes | None:
        """What `keep` stored last, if it is of this generation and was not destroyed since."""
        query = "SELECT tag, body FROM kept WHERE (vault, generation) = (?, ?)"
        row = self._db.execute(query, (vault, generation)).fetchone()
        try:
            return self._keys.open(_name(vault, generation, row[0]), row[1]) if row else None
        except (CryptoError, OSError):
            return None

    # -- vaults of our own ----------------------------------------------------------------------------

    def put_own(self, row: OwnRow) -> None:
        """Remember a deposit, or its newest standing."""
        self._run("INSERT OR REPLACE INTO own VALUES (?, ?, ?, ?, ?, ?)", *astuple(row))

    def own(self, name: str | None = None, vault: bytes | None = None) -> tuple[OwnRow, ...]:
        """Vaults that we deposited."""
        rows = self._db.execute(
            "SELECT * FROM own WHERE name = coalesce(?, name) AND vault = coalesce(?, vault) ORDER BY since",
            (name, vault),
        )
        return tuple(OwnRow(*row) for row in rows)

    def finish_own(self, vault: bytes) -> None:
        """Everybody confirmed: what they signed is kept, of the last MAX_RECEIPTS vaults that had a name."""
        self._run(
            "INSERT OR REPLACE INTO receipts (vault, name, source, since, standing, proof) "
            "SELECT * FROM own WHERE vault = ? AND name <> ''",
            vault,
        )
        self._run("DELETE FROM own WHERE vault = ?", vault)
        self._run("DELETE FROM receipts WHERE entry <= (SELECT max(entry) FROM receipts) - ?", MAX_RECEIPTS)
        kept = "(SELECT vault FROM own UNION SELECT vault FROM receipts)"
        self._run(f"DELETE FROM confirmed WHERE vault NOT IN {kept}")  # noqa: S608 - fixed names

    def receipts(self) -> tuple[OwnRow, ...]:
        """Vaults of ours that everybody erased, in the order in which that came to pass."""
        columns = "vault, name, source, since, standing, proof"
        rows = self._db.execute(f"SELECT {columns} FROM receipts ORDER BY entry")  # noqa: S608 - fixed names
        return tuple(OwnRow(*row) for row in rows)

    def confirm(self, vault: bytes, party: bytes, body: bytes) -> None:
        """A holder's signed word that it erased its fragment."""
        self._run("INSERT OR REPLACE INTO confirmed VALUES (?, ?, ?)", vault, party, body)

    def confirmed(self, vault: bytes) -> dict[bytes, bytes]:
        """Confirmations by party."""
        rows = self._db.execute("SELECT party, body FROM confirmed WHERE vault = ?", (vault,))
        return {bytes(party): bytes(body) for party, body in rows}

    def _refuse_ended(self, vault: bytes) -> None:
        if self._db.execute("SELECT 1 FROM ended WHERE vault = ?", (vault,)).fetchone():
            raise VaultEnded("nothing of a vault is stored after its end", code="C-650", fix="share it anew")

    def _add(self, statement: str, vault: bytes, *values: object) -> None:
        self._refuse_ended(vault)
        self._run(statement, vault, *values)

    def _run(self, statement: str, *values: object) -> int:
        with _explained(self._folder):
            return self._db.execute(statement, values).rowcount


def _name(vault: bytes, generation: int, origin: bytes) -> str:
    return f"{bytes(vault).hex()}-{generation}-{bytes(origin).hex()[:16]}"


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise DataError(
            f"the vaults in {folder} cannot be read or written: {error}",
            code="C-650",
            fix="free some space or repair the folder; nothing that depended on it was sent",
        ) from error
