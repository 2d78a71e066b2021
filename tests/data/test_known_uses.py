"""What the ledger says of earlier uses is read once, and is what reading all of it anew would give."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from mesh.data import ledger as ledgers
from mesh.data.errors import DataError
from mesh.data.ledger import Ledger, Page

DATASETS = ("a", "b")
SITES = [f"{number:064x}" for number in range(4)]


def approve(page: Page, session: str, dataset: str = "a") -> None:
    body = {"queries": [["mean", "x", []]], "rows": 5, "sites": SITES, "min_sites": 2, "data_digest": "00"}
    page.append(1.0, "approved", dataset, session, body)


def end(page: Page, kind: str, session: str, dataset: str = "a") -> None:
    page.append(2.0, kind, dataset, session, {} if kind == "released" else {"roster": SITES[:3]})


def uses(ledger: Ledger, dataset: str = "a"):
    with ledger.writing() as page:
        return page.uses(dataset)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the entries that were read for their content."""
    seen: list[int] = []
    original = ledgers._body

    def body(seq: int, text: str):
        seen.append(seq)
        return original(seq, text)

    monkeypatch.setattr(ledgers, "_body", body)
    return seen


def test_each_entry_is_read_once_however_often_a_plan_is_judged(tmp_path: Path, read: list[int]) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for number in range(20):
        with ledger.writing() as page:
            approve(page, f"s{number}")
            page.uses("a")
        uses(ledger)
    assert len(uses(ledger)) == 20
    assert read == list(range(1, 21))


def test_what_uses_have_in_common_is_kept_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with ledger.writing() as page:
        for number in range(10):
            approve(page, f"s{number}")
            end(page, "result", f"s{number}")
    found = uses(ledger)
    assert len({id(use.sites) for use in found}) == 1
    assert len({id(use.queries) for use in found}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_uses_are_those_of_a_ledger_read_anew(tmp_path: Path, seed: int) -> None:
    """Approved, ended in any way and order, other processes writing too, blocks that fail in between."""
    dice = random.Random(seed)
    path = tmp_path / "ledger.db"
    ours, theirs = Ledger(path), Ledger(path)
    for number in range(60):
        dataset, session = dice.choice(DATASETS), f"s{dice.randrange(12)}"
        try:
            with dice.choice((ours, theirs)).writing() as page:
                if dice.random() < 0.4:
                    approve(page, f"{dataset}{session}", dataset)
                else:
                    kind = dice.choice(("released", "certified", "result"))
                    end(page, kind, f"{dataset}{session}", dataset)
                page.uses(dataset)
                if dice.random() < 0.2:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        if number % 3 == 0:
            assert uses(ours, dataset) == uses(Ledger(path), dataset)
    assert any(uses(ours, dataset) for dataset in DATASETS)


def test_another_file_in_its_place_is_read_from_the_start(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    other = Ledger(tmp_path / "backup.db")
    for chosen, names in ((ledger, "pqr"), (other, "xyz")):
        with chosen.writing() as page:
            for name in names:
                approve(page, name)
    assert [use.session for use in uses(ledger)] == ["p", "q", "r"]
    for leftover in tmp_path.glob("ledger.db-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "ledger.db")
    assert [use.session for use in uses(ledger)] == ["x", "y", "z"]


def test_a_damaged_entry_closes_its_own_data_set_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    with ledger.writing() as page:
        approve(page, "one", "a")
        approve(page, "two", "b")
    good = sqlite3.connect(path).execute("SELECT body FROM entries WHERE seq = 1").fetchone()[0]
    for body in ("{", "{}"):
        _rewrite(path, body)
        ledger = Ledger(path)
        with pytest.raises(DataError, match="entry 1"):
            uses(ledger)
        assert [use.session for use in uses(ledger, "b")] == ["two"]
        with pytest.raises(DataError, match="entry 1"):
            uses(ledger)
        _rewrite(path, good)
        assert [use.session for use in uses(ledger)] == ["one"]


def _rewrite(path: Path, body: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET body = ? WHERE seq = 1", (body,))
