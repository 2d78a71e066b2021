"""The journal: durable before it returns, closed sessions after a restart, a full or damaged disk."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import trio

from mesh.runtime.journal import KEEP_SESSIONS, Journal, JournalFull, Unfinished
from protocols.errors import ConfigError
from protocols.identifiers import SessionId
from protocols.sessions.messages import AbortProof
from protocols.sessions.records import Closed, Dealt
from protocols.wire import codec
from tests.runtime.memory_mesh import in_place

__all__ = ["in_place"]
SECRET = bytes(range(32))
ONE, TWO = SessionId(bytes([1]) * 32), SessionId(bytes([2]) * 32)


def everything(journal: Journal) -> list[Unfinished]:
    return [journal.unfinished(left) for left in journal.left_open()]


def rows(path: Path, question: str) -> list[tuple]:
    with sqlite3.connect(path) as connection:
        return connection.execute(question).fetchall()


def fill(journal: Journal) -> None:
    """No page more than the file has now: what a full disk is to SQLite."""
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")


def free(journal: Journal) -> None:
    journal._connection.execute("PRAGMA max_page_count = 100000")


async def test_what_returned_is_in_the_file(tmp_path, nursery):
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    await journal.persist(ONE, [Dealt(3), Closed("C-302", "why")])
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in tmp_path.glob("journal.db*"):
        shutil.copy(file, copied)
    (found,) = everything(Journal(copied / "journal.db", SECRET))
    assert found.session == ONE
    assert [codec.decode({"Dealt": Dealt, "Closed": Closed}[kind], body) for kind, body in found.records] == [
        Dealt(3),
        Closed("C-302", "why"),
    ]
    files = sorted(tmp_path.glob("journal.db*"))
    assert [file.name for file in files] == ["journal.db", "journal.db-shm", "journal.db-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    nursery.cancel_scope.cancel()


async def test_a_torn_last_write_is_as_if_never_asked_for(tmp_path, nursery):
    """The log's tail lost at every length: the session that returned first is never lost."""
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    wal = tmp_path / "journal.db-wal"
    durable = wal.stat().st_size
    await journal.begin(TWO)
    whole = wal.read_bytes()
    assert len(whole) > durable
    for cut in {durable, durable + 1, (durable + len(whole)) // 2, len(whole) - 1}:
        torn = tmp_path / f"torn-{cut}"
        torn.mkdir()
        shutil.copy(path, torn / "journal.db")
        (torn / "journal.db-wal").write_bytes(whole[:cut])
        again = Journal(torn / "journal.db", SECRET)
        assert again.knows(ONE)
        assert not again.knows(TWO)
        assert [found.session for found in everything(again)] == [ONE]
    nursery.cancel_scope.cancel()


async def test_sessions_open_at_a_crash_are_handed_out_and_the_ended_ones_are_not(tmp_path):
    path = tmp_path / "journal.db"
    async with trio.open_nursery() as nursery:
        journal = Journal(path, SECRET)
        await nursery.start(journal.run)
        await journal.begin(ONE)
        await journal.persist(ONE, [Dealt(0)])
        await journal.begin(TWO)
        await journal.persist(TWO, [Dealt(1)])
        await journal.end(TWO, "Opened")
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        again = Journal(path, SECRET)
        (found,) = everything(again)
        assert (found.session, found.records) == (ONE, (("Dealt", codec.encode(Dealt(0))),))
        assert again.knows(ONE)
        await nursery.start(again.run)
        await again.persist(ONE, [Closed("C-302", "why")])  # it goes on under its old key
        (found,) = everything(again)
        assert [kind for kind, _ in found.records] == ["Dealt", "Closed"]
        await again.end(ONE, "Aborted")
        assert everything(again) == []
        nursery.cancel_scope.cancel()
    assert rows(path, "SELECT outcome, key FROM sessions ORDER BY started") == [
        ("Aborted", None),
        ("Opened", None),
    ]
    assert rows(path, "SELECT * FROM records") == [], "no secret outlives its session"


SEEDLIKE = bytes(range(100, 132))


async def test_records_are_sealed_at_rest_and_gone_from_the_files_after_the_end(tmp_path, nursery):
    """Neither the record nor its sealed form stays in the database or in its log."""
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    await journal.persist(ONE, [Closed("C-302", SEEDLIKE.hex())])

    def on_disk() -> bytes:
        return b"".join(file.read_bytes() for file in sorted(tmp_path.glob("journal.db*")))

    (key,), (body,) = rows(path, "SELECT key FROM sessions")[0], rows(path, "SELECT body FROM records")[0]
    assert SEEDLIKE.hex().encode() not in on_disk()
    assert bytes(body) in on_disk()
    await journal.end(ONE, "Opened")
    assert bytes(body) not in on_disk()
    assert bytes(key) not in on_disk()
    nursery.cancel_scope.cancel()


async def test_without_the_nodes_secret_the_records_cannot_be_read(tmp_path, nursery):
    path = tmp_path / "journal.db"
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    await journal.persist(ONE, [Dealt(0)])
    for secret in (None, bytes(32)):
        (found,) = everything(Journal(path, secret))
        assert found.records == ()
        assert found.damaged
    nursery.cancel_scope.cancel()


async def test_a_session_in_which_nothing_was_said_is_forgotten(tmp_path, nursery):
    journal = Journal(tmp_path / "journal.db", SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    (found,) = everything(Journal(tmp_path / "journal.db", SECRET))
    assert (found.records, found.damaged) == ((), False)
    await journal.discard(ONE)
    assert not journal.knows(ONE)
    await journal.begin(ONE)
    nursery.cancel_scope.cancel()


async def test_how_a_session_ended_is_kept_with_its_proof_or_its_plan(tmp_path, nursery):
    journal = Journal(tmp_path / "journal.db", SECRET)
    await nursery.start(journal.run)
    assert journal.ending(ONE) is None
    await journal.begin(ONE)
    assert journal.ending(ONE) is None
    await journal.end(ONE, "Aborted", epoch=7, plan=Dealt(5))
    assert journal.unclear(9) == [(ONE, codec.encode(Dealt(5)))]
    proof = AbortProof(())
    await journal.end(ONE, "Aborted", epoch=7, proof=proof)
    assert journal.unclear(9) == []
    end = journal.ending(ONE)
    assert (end.outcome, end.epoch, end.proof_kind) == ("Aborted", 7, AbortProof.KIND)
    assert codec.decode(AbortProof, end.proof) == proof
    nursery.cancel_scope.cancel()


async def test_after_its_end_nothing_more_is_stored_for_a_session(tmp_path, nursery):
    journal = Journal(tmp_path / "journal.db", SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    await journal.end(ONE, "Opened")
    with pytest.raises(JournalFull):
        await journal.persist(ONE, [Dealt(0)])
    nursery.cancel_scope.cancel()


async def test_a_journal_of_an_earlier_version_is_gone_on_with(tmp_path, nursery):
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE sessions "
            "(session BLOB PRIMARY KEY, started REAL NOT NULL, ended REAL, outcome TEXT)"
        )
        old.execute("INSERT INTO sessions VALUES (?, 1.0, NULL, NULL)", (bytes(ONE),))
    journal = Journal(path, SECRET)
    await nursery.start(journal.run)
    (found,) = everything(journal)
    assert found.records == ()
    await journal.end(ONE, "abandoned by a restart")
    assert everything(journal) == []
    nursery.cancel_scope.cancel()


async def test_a_session_is_begun_once(tmp_path, nursery):
    journal = Journal(tmp_path / "journal.db", SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    with pytest.raises(JournalFull):
        await journal.begin(ONE)
    nursery.cancel_scope.cancel()


async def test_a_full_disk_fails_the_one_that_needs_space_and_passes(tmp_path, nursery):
    journal = Journal(tmp_path / "journal.db", SECRET)
    await nursery.start(journal.run)
    await journal.begin(ONE)
    fill(journal)
    with pytest.raises(JournalFull) as caught:
        await journal.persist(ONE, [Closed("C-302", "x" * 100) for _ in range(200)])
    assert caught.value.code == "C-116"
    assert "free some space" in caught.value.fix
    await journal.end(ONE, "Aborted")
    free(journal)
    await journal.begin(TWO)
    assert journal.knows(TWO)
    assert rows(tmp_path / "journal.db", "SELECT count(*) FROM records") == [(0,)]
    nursery.cancel_scope.cancel()


async def test_in_one_batch_only_the_guilty_one_fails(tmp_path, in_place, nursery):
    """Requests that wait together share a transaction; one that does not fit leaves the others alone."""
    journal = Journal(tmp_path / "journal.db", SECRET)
    failed, stored = [], []
    async with trio.open_nursery() as before:
        await before.start(journal.run)
        await journal.begin(ONE)
        await journal.begin(TWO)
        before.cancel_scope.cancel()
    keys = journal._keys
    journal = Journal(tmp_path / "journal.db", SECRET)
    journal._keys.update(keys)
    fill(journal)

    async def write(session: SessionId, size: int) -> None:
        try:
            await journal.persist(session, [Closed("C-302", "x" * 200) for _ in range(size)])
            stored.append(session)
        except JournalFull:
            failed.append(session)

    async with trio.open_nursery() as writers:
        writers.start_soon(write, ONE, 300)
        writers.start_soon(write, TWO, 1)
        await trio.testing.wait_all_tasks_blocked()
        await nursery.start(journal.run)
    assert (failed, stored) == ([ONE], [TWO])
    nursery.cancel_scope.cancel()


async def test_after_its_end_the_journal_says_so(tmp_path):
    async with trio.open_nursery() as nursery:
        journal = Journal(tmp_path / "journal.db", SECRET)
        await nursery.start(journal.run)
        nursery.cancel_scope.cancel()
    with pytest.raises(JournalFull):
        await journal.begin(ONE)
    with pytest.raises(JournalFull):
        journal.knows(ONE)
    with pytest.raises(JournalFull):
        everything(journal)


async def test_what_was_asked_for_before_the_end_is_written(tmp_path):
    """A session's last word, said while the node goes down, arrives."""
    path = tmp_path / "journal.db"

    async def last_word(journal: Journal) -> None:
        with trio.CancelScope(shield=True):
            await journal.end(ONE, "Opened")

    async with trio.open_nursery() as nursery:
        journal = Journal(path, SECRET)
        await nursery.start(journal.run)
        await journal.begin(ONE)
        nursery.start_soon(last_word, journal)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert rows(path, "SELECT outcome FROM sessions") == [("Opened",)]


def test_a_damaged_file_is_told_with_what_to_do(tmp_path):
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(ConfigError) as caught:
        Journal(path, SECRET)
    assert caught.value.code == "C-117"
    assert "move it away" in caught.value.fix


async def test_old_sessions_are_forgotten_in_the_end(tmp_path, monkeypatch, nursery):
    monkeypatch.setattr("mesh.runtime.journal.KEEP_SESSIONS", 3)
    journal = Journal(tmp_path / "journal.db", SECRET)
    await nursery.start(journal.run)
    for number in range(6):
        session = SessionId(bytes([number]) * 32)
        await journal.begin(session)
        await journal.end(session, "Opened")
    known = [number for number in range(6) if journal.knows(SessionId(bytes([number]) * 32))]
    assert known == [3, 4, 5]
    assert KEEP_SESSIONS == 10_000
    nursery.cancel_scope.cancel()


def test_a_log_on_a_full_disk_is_lost_and_nothing_else(capsys):
    from mesh.runtime.logs import Lossy

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            raise OSError(28, "No space left on device")

    stream = Lossy(Full())
    assert stream.write("words") == 5
    stream.flush()
