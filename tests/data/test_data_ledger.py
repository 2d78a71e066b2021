"""What was asked and revealed: one hash chain that survives two writers, a full disk and tampering."""

from __future__ import annotations

import dataclasses
import resource
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.data.errors import DataError
from mesh.data.ledger import Ledger
from mesh.data.room import DataRoom
from tests.data.plans import OPEN, OTHER, OWNER, PARTIES, make_plan


def test_ledger_says_what_was_asked_and_revealed(room: DataRoom) -> None:
    plan = make_plan()
    room.authorize(plan, OWNER, "lab")
    room.record_use(plan, opened=True, roster=PARTIES[:3], answers=[{"statistic": "mean", "value": 10.0}])
    *_, approved, result = room.history("readings")
    assert (approved.kind, approved.session) == ("approved", plan.session.hex())
    assert approved.body["reveals"] == ["sum of temp", "number of rows of temp"]
    assert approved.body["requester"] == OTHER.hex()
    assert approved.body["threshold"] == 2
    assert result.body["roster"] == [party.hex() for party in PARTIES[:3]]
    assert result.body["answers"] == [{"statistic": "mean", "value": 10.0}]
    assert room.verify() == result.hash
    assert len(room.export().splitlines()) == len(room.history())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET body = replace(body, '\"rows\": 20', '\"rows\": 21') WHERE kind = 'approved'",
        "UPDATE entries SET kind = 'released' WHERE kind = 'result'",
        "UPDATE entries SET at = at + 1 WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 2",
        "UPDATE entries SET seq = seq + 10 WHERE seq = (SELECT max(seq) FROM entries)",
    ],
)
def test_a_ledger_that_was_tampered_with_is_found(tmp_path: Path, room: DataRoom, change: str) -> None:
    plan = make_plan()
    room.authorize(plan, OWNER)
    room.record_use(plan, opened=True, roster=PARTIES[:3])
    room.verify()
    with sqlite3.connect(tmp_path / "home" / "data" / "ledger.db") as connection:
        assert connection.execute(change).rowcount == 1
    for call in (room.verify, room.export):
        with pytest.raises(DataError) as caught:
            call()
        assert caught.value.code == "C-622"


@pytest.mark.parametrize(
    "body", ["{", "[]", "{}", '{"queries": [1], "rows": 1}', '{"queries": [], "rows": 1}']
)
def test_a_damaged_entry_denies_all_further_uses(tmp_path: Path, room: DataRoom, body: str) -> None:
    room.authorize(make_plan(), OWNER)
    with sqlite3.connect(tmp_path / "home" / "data" / "ledger.db") as connection:
        connection.execute("UPDATE entries SET body = ? WHERE kind = 'approved'", (body,))
    with pytest.raises(DataError, match="damaged") as caught:
        room.authorize(make_plan(nonce=b"2"), OWNER)
    assert caught.value.code == "C-622"


def test_no_approval_without_a_ledger(tmp_path: Path, room: DataRoom) -> None:
    path = tmp_path / "home" / "data" / "ledger.db"
    for file in path.parent.glob("ledger.db*"):
        file.unlink()
    path.write_bytes(b"not a database, and long enough to be looked at" * 50)
    for call in (lambda: room.authorize(make_plan(), OWNER), lambda: room.contribution(make_plan())):
        with pytest.raises(DataError) as caught:
            call()
        assert caught.value.code == "C-622"


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file may grow beyond `bytes_left`: writes fail as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_denies_and_loses_nothing(tmp_path: Path, csv: Path, room: DataRoom) -> None:
    plan, before = make_plan(), room.history()
    with full_disk(0), pytest.raises(DataError) as caught:
        room.authorize(plan, OWNER)
    assert caught.value.code == "C-622"
    with pytest.raises(DataError) as caught:
        room.contribution(plan)
    assert caught.value.code == "C-623"
    for change in (
        lambda: room.set_policy("readings", 'allow = ["sum"]'),
        lambda: room.remove("readings"),
        lambda: room.add(csv, "again"),
    ):
        with full_disk(0), pytest.raises(DataError) as caught:
            change()
        assert caught.value.code in ("C-615", "C-622")
    assert [info.name for info in room.list()] == ["readings"]
    assert room.show_policy("readings") == OPEN
    assert room.history() == before
    room.verify()
    assert room.authorize(plan, OWNER).allowed


def test_ledger_of_two_writers_at_once_stays_one_chain(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")

    def write(name: str) -> None:
        for number in range(25):
            with ledger.writing() as page:
                page.append(float(number), "dataset", name, "", {})

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.verify()
    assert [entry.seq for entry in ledger.entries()] == list(range(1, 51))


def test_a_block_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")

    def fail() -> None:
        with ledger.writing() as page:
            page.append(0.0, "dataset", "a", "", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ledger.entries() == ()


def test_two_budgets_are_not_spent_twice_by_simultaneous_plans(room: DataRoom) -> None:
    room.init_policy("readings", dataclasses.replace(OPEN, max_uses=1), replace=True)
    allowed: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda nonce: allowed.append(room.authorize(make_plan(nonce=nonce), OWNER).allowed),
            args=(bytes([number]),),
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(allowed) == [False] * 7 + [True]
