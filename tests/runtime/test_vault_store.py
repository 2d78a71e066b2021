"""Fragments at rest: encrypted, bound to the node's keys, destroyed with their key, whole after a crash."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

import pytest

from mesh.data.errors import DataError
from mesh.data.vault import HeldRow, OwnRow, VaultEnded, VaultStore

KEY, VAULT = b"k" * 32, b"v" * 32
SHARE = b"0123456789abcdef" * 64


def held(vault: bytes = VAULT) -> HeldRow:
    return HeldRow(vault, "cardio", b"o" * 32, b"terms", None, 1.0, 1.0, 1024)


def files(folder: Path) -> list[Path]:
    return sorted(path for part in ("keys", "fragments") for path in (folder / part).iterdir())


def test_a_fragment_comes_back_and_lies_about_nowhere_in_clear(tmp_path: Path) -> None:
    store = VaultStore(tmp_path, KEY)
    store.put_fragment(VAULT, 0, b"a" * 32, SHARE)
    assert store.fragment(VAULT, 0) == (b"a" * 32, SHARE)
    assert store.fragment(VAULT, 1) is None
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SHARE[:16] not in path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    store.close()


def test_a_copied_folder_without_the_key_store_opens_nothing(tmp_path: Path) -> None:
    store = VaultStore(tmp_path, KEY)
    store.put_fragment(VAULT, 0, b"a" * 32, SHARE)
    store.close()
    thief = VaultStore(tmp_path, b"t" * 32)
    with pytest.raises(DataError) as caught:
        thief.fragment(VAULT, 0)
    assert caught.value.code == "C-650"


def test_erasing_destroys_the_key_so_that_a_kept_fragment_is_noise(tmp_path: Path) -> None:
    store = VaultStore(tmp_path, KEY)
    store.offered(held())
    store.put_fragment(VAULT, 0, b"a" * 32, SHARE)
    key, fragment = (next((tmp_path / part).iterdir()) for part in ("keys", "fragments"))
    linked = tmp_path / "backup-of-the-key-file"
    linked.hardlink_to(key)  # the same blocks on disk
    before, copy = linked.read_bytes(), fragment.read_bytes()
    store.end(VAULT, "cardio", 2.0, "erased by its owner", b"proof")
    assert files(tmp_path) == []
    assert linked.read_bytes() != before
    (tmp_path / "fragments" / fragment.name).write_bytes(copy)
    (tmp_path / "keys" / key.name).write_bytes(linked.read_bytes())
    assert store.fragment(VAULT, 0) is None
    assert store.tidy() == 1
    assert store.held() == ()
    assert store.ended(VAULT)[0].proof == b"proof"


def test_nothing_of_a_vault_is_stored_after_its_end(tmp_path: Path) -> None:
    """A renewal may be under way, or a share that was missed on its way here."""
    store = VaultStore(tmp_path, KEY)
    store.offered(held())
    store.end(VAULT, "cardio", 2.0, "erased by its owner", b"proof")
    for late in (
        partial(store.put_fragment, VAULT, 1, b"a" * 32, SHARE),
        partial(store.offered, held()),
        partial(store.use, VAULT, b"1", 3.0, b"reading"),
        partial(store.learn, VAULT, 1, b"holders"),
        partial(store.vote, VAULT, 0, "VoteCast", b"one"),
        partial(store.keep, VAULT, 1, b"of others"),
    ):
        with pytest.raises(VaultEnded):
            late()
    assert files(tmp_path) == []
    assert store.held() == store.uses(VAULT) == store.votes(VAULT, 0) == store.votes(VAULT, 1) == ()
    assert store.learning() == {}
    store.put_fragment(b"w" * 32, 1, b"a" * 32, SHARE)
    assert len(files(tmp_path)) == 2


def test_old_generations_go_and_the_certified_one_stays(tmp_path: Path) -> None:
    store = VaultStore(tmp_path, KEY)
    store.put_fragment(VAULT, 3, b"a" * 32, SHARE)
    store.put_fragment(VAULT, 4, b"b" * 32, SHARE + b"certified")
    store.put_fragment(VAULT, 4, b"c" * 32, SHARE + b"of another roster")
    store.erase_fragments(VAULT, below=4, keep=b"b" * 32)
    assert store.fragment(VAULT, 3) is None
    assert store.fragment(VAULT, 4) == (b"b" * 32, SHARE + b"certified")
    assert len(files(tmp_path)) == 2
    store.erase_fragments(VAULT)
    assert files(tmp_path) == []


def test_what_a_crash_left_without_a_row_is_erased_at_the_next_start(tmp_path: Path) -> None:
    store = VaultStore(tmp_path, KEY)
    store.put_fragment(VAULT, 0, b"a" * 32, SHARE)
    (tmp_path / "keys" / "half-written").write_bytes(b"x" * 72)
    (tmp_path / "fragments" / "half-written").write_bytes(b"y" * 64)
    store.close()
    again = VaultStore(tmp_path, KEY)
    assert again.tidy() == 1
    assert len(files(tmp_path)) == 2
    assert again.fragment(VAULT, 0) == (b"a" * 32, SHARE)


def test_ledger_votes_and_own_vaults_survive_a_restart(tmp_path: Path) -> None:
    store = VaultStore(tmp_path, KEY)
    store.offered(held())
    store.certified(VAULT, b"standing", 9.0)
    store.use(VAULT, b"1", 1.0, b"first")
    store.use(VAULT, b"1", 2.0, b"again")
    store.use(VAULT, b"2", 0.5, b"second")
    store.learn(VAULT, 3, b"holders")
    store.vote(VAULT, 0, "VoteCast", b"one")
    store.vote(VAULT, 1, "VoteCast", b"two")
    store.put_own(OwnRow(VAULT, "cardio", "/file", 1.0, b"standing", None))
    store.confirm(VAULT, b"p" * 32, b"word")
    store.close()
    again = VaultStore(tmp_path, KEY)
    assert again.held(VAULT)[0].standing == b"standing"
    assert again.held(name="cardio")[0].renewed == 9.0
    assert sum(row.size_bytes for row in again.held()) == 1024
    assert again.uses(VAULT) == (b"first", b"second")
    assert again.uses(VAULT, 1, 5) == (b"second",)
    assert (again.count_uses(VAULT), again.has_use(VAULT, b"2"), again.has_use(VAULT, b"3")) == (
        2,
        True,
        False,
    )
    assert again.learning() == {VAULT: (3, b"holders")}
    again.forget_votes(VAULT, 1)
    assert again.votes(VAULT, 0) == ()
    assert again.votes(VAULT, 1) == (("VoteCast", b"two"),)
    assert again.own("cardio")[0].standing == b"standing"
    assert again.confirmed(VAULT) == {b"p" * 32: b"word"}
    again.drop(VAULT)
    assert again.held() == again.uses(VAULT) == ()
    assert again.learning() == {}
    again.finish_own(VAULT)
    assert again.own() == ()
    assert [row.name for row in again.receipts()] == ["cardio"]
    assert again.confirmed(VAULT) == {b"p" * 32: b"word"}


def test_a_fragment_of_a_failed_round_is_not_taken_for_the_certified_one(tmp_path: Path) -> None:
    """A crash between a certificate and the erasure leaves both."""
    store = VaultStore(tmp_path, KEY)
    store.put_fragment(VAULT, 1, b"a" * 32, b"of a failed round")
    store.put_fragment(VAULT, 1, b"z" * 32, b"certified")
    assert store.fragment(VAULT, 1, b"z" * 32) == (b"z" * 32, b"certified")
    assert store.fragment(VAULT, 1, b"b" * 32) is None


def test_orders_about_vaults_that_never_stood_here_push_no_tombstone_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.data.vault.MAX_ENDED", 8)
    store = VaultStore(tmp_path, KEY)
    store.end(VAULT, "cardio", 1.0, "erased by its owner", b"proof")
    for index in range(20):
        store.end(bytes([index]) * 32, "x", 2.0 + index, "erased before it was certified here", b"proof")
    assert store.ended(VAULT)[0].proof == b"proof"
    assert len(store.ended()) == 9


def test_what_is_kept_for_others_is_noise_once_its_generation_is_over(tmp_path: Path) -> None:
    """What SQLite deletes stays in its log: a thief of the folder, with its keys, must not open it."""
    store, keys = VaultStore(tmp_path, KEY), tmp_path / "keys"
    sealed = []
    for generation, body in ((0, b"much" + SHARE), (0, b"less" + SHARE), (1, b"next" + SHARE)):
        store.keep(VAULT, generation, body)
        sealed.append(store._db.execute("SELECT body FROM kept ORDER BY generation DESC").fetchone()[0])
    assert (store.kept(VAULT, 0), store.kept(VAULT, 1)) == (b"less" + SHARE, b"next" + SHARE)
    assert len(list(keys.iterdir())) == 2
    store.erase_fragments(VAULT, below=1)
    assert (store.kept(VAULT, 0), store.kept(VAULT, 1)) == (None, b"next" + SHARE)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SHARE[:16] not in files
    assert all(body in files for body in sealed)  # they lie about; what opens them does not
    assert len(list(keys.iterdir())) == 1
    store.close()
    again = VaultStore(tmp_path, KEY)
    assert again.tidy() == 0
    assert again.kept(VAULT, 1) == b"next" + SHARE
    again.end(VAULT, "cardio", 2.0, "erased by its owner", None)
    assert list(keys.iterdir()) == []
    assert again.kept(VAULT, 1) is None
