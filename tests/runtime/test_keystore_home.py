"""State folder and keys: permissions, the lock, atomic writes, passphrase, secrets that do not leak."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.runtime import home as homes
from mesh.runtime import keystore
from mesh.runtime.home import Home, MeshRecord
from mesh.runtime.keystore import Keys, Secret
from protocols.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "state")
    made.create()
    return made


def refused(code: str, call, *arguments) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_and_keys_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = Home(tmp_path / "state")
        home.create()
        keystore.create(home)
        home.save_pending_join("coppice1:secret")
    finally:
        os.umask(before)
    assert mode(home.root) == 0o700
    assert mode(home.data) == 0o700
    assert mode(home.keys) == 0o600
    assert mode(home.root / "join.ticket") == 0o600


def test_keys_come_back_and_are_never_overwritten(home: Home) -> None:
    keys = keystore.create(home)
    assert keystore.load(home) == keys
    refused("C-151", keystore.create, home)
    assert keystore.load(home) == keys


def test_operator_and_network_keys_are_added_later(home: Home) -> None:
    keys = keystore.create(home)
    founder = Keys(keys.identity, keys.sealing, keys.vrf, Secret.fresh(), Secret.fresh())
    keystore.save(home, founder)
    assert keystore.load(home) == founder


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644])
def test_keys_that_others_can_read_are_refused(home: Home, bits: int) -> None:
    keystore.create(home)
    home.keys.chmod(bits)
    error = refused("C-150", keystore.load, home)
    assert f"chmod 600 {home.keys}" in error.fix


def test_a_link_instead_of_the_key_file_is_refused(home: Home, tmp_path: Path) -> None:
    keystore.create(home)
    home.keys.rename(tmp_path / "elsewhere")
    home.keys.symlink_to(tmp_path / "elsewhere")
    refused("C-150", keystore.load, home)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format":1}', '{"format":2,"seeds":{}}', '{"format":1,"seeds":{"identity":"00"}}'],
)
def test_damaged_keys_are_named_and_their_content_is_not_shown(home: Home, content: str) -> None:
    keystore.create(home)
    home.keys.write_text(content)
    refused("C-152", keystore.load, home)


def test_a_damaged_seed_does_not_appear_in_the_error(home: Home) -> None:
    keystore.create(home)
    home.keys.write_text('{"format":1,"seeds":{"identity":"deadbeefXX","sealing":"00","vrf":"00"}}')
    error = refused("C-152", keystore.load, home)
    assert "deadbeef" not in str(error) + repr(error) + error.sentence()
    assert error.__cause__ is None


def test_a_passphrase_seals_the_keys(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nacl.pwhash.argon2id.OPSLIMIT_MODERATE", 1)
    monkeypatch.setattr("nacl.pwhash.argon2id.MEMLIMIT_MODERATE", 8192 * 1024)
    keys = keystore.create(home, "correct horse")
    assert keystore.is_sealed(home)
    assert keys.identity.reveal().hex() not in home.keys.read_text()
    assert keystore.load(home, lambda: "correct horse") == keys
    refused("C-153", keystore.load, home, lambda: "wrong")
    refused("C-153", keystore.load, home)
    monkeypatch.setenv("COPPICE_PASSPHRASE", "correct horse")
    assert keystore.load(home, keystore.ask_passphrase) == keys
    assert "COPPICE_PASSPHRASE" not in os.environ


def test_secrets_do_not_leak() -> None:
    value = bytes(range(32))
    keys = Keys(Secret(value), Secret(value), Secret(value))
    for shown in (repr(keys), str(keys), f"{keys.identity}", repr({"k": keys.identity})):
        assert value.hex() not in shown
        assert "redacted" in shown
    with pytest.raises(TypeError):
        pickle.dumps(keys.identity)
    with pytest.raises(ValueError, match="32"):
        Secret(b"short")
    assert Secret(value) == Secret(value)
    assert Secret(value) != value


def test_the_home_is_found_by_flag_then_environment_then_xdg(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COPPICE_HOME", str(tmp_path / "from-env"))
    assert Home.locate(Path("x")).root == Path.cwd() / "x"
    assert Home.locate().root == tmp_path / "from-env"
    monkeypatch.delenv("COPPICE_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert Home.locate().root == tmp_path / "xdg" / "coppice"


def test_a_folder_that_others_may_write_is_refused(home: Home) -> None:
    home.root.chmod(0o770)
    assert "chmod 700" in refused("C-143", home.check).fix


def test_no_folder_no_keys_and_an_impossible_folder(tmp_path: Path, home: Home) -> None:
    assert "coppice init" in refused("C-142", Home(tmp_path / "none").require).fix
    refused("C-142", home.require)
    (tmp_path / "file").write_text("")
    refused("C-141", Home(tmp_path / "file" / "state").create)


def test_the_lock_refuses_a_second_holder_and_names_the_first(home: Home) -> None:
    with home.lock("node"):
        error = refused("C-140", lambda: home.lock("node").__enter__())
        assert str(os.getpid()) in str(error)
        assert "(node)" in str(error)
        assert home.holder() == os.getpid()
    assert home.holder() is None
    with home.lock("node"):
        pass


def test_the_lock_is_released_by_an_error(home: Home) -> None:
    with pytest.raises(ZeroDivisionError), home.lock("node"):
        raise ZeroDivisionError
    assert home.holder() is None


def test_a_killed_holder_leaves_no_stale_lock(home: Home) -> None:
    script = (
        "import sys; from pathlib import Path; from mesh.runtime.home import Home\n"
        "with Home(Path(sys.argv[1])).lock('node'): print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(home.root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    assert home.holder() == child.pid
    assert str(child.pid) in str(refused("C-140", lambda: home.lock("node").__enter__()))
    child.send_signal(signal.SIGKILL)
    child.wait()
    with home.lock("node"):
        assert home.holder() == os.getpid()
    child.stdout.close()
    child.stdin.close()


def test_records_come_back(home: Home) -> None:
    assert home.mesh() is None
    assert home.certificate() is None
    assert home.pending_join() is None
    record = MeshRecord("ab", "cd", True, 3)
    home.save_mesh(record)
    home.save_certificate(b"\x00cert")
    home.save_pending_join("coppice1:t")
    assert (home.mesh(), home.certificate(), home.pending_join()) == (record, b"\x00cert", "coppice1:t")
    home.clear_pending_join()
    home.clear_pending_join()
    assert home.pending_join() is None


@pytest.mark.parametrize("content", [b"{", b'{"mesh": 1}', b"[]", b"x" * 70_000])
def test_a_damaged_record_is_an_error(home: Home, content: bytes) -> None:
    (home.root / "mesh.json").write_bytes(content)
    refused("C-144", home.mesh)


def test_a_write_that_fails_leaves_the_old_file_whole(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write("file", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(homes.os, "fsync", full)
    error = refused("C-145", home.write, "file", b"new")
    assert "No space left" in str(error)
    assert home.read("file") == b"old"
    assert {path.name for path in home.root.iterdir()} == {"file", "data", "logs"}
