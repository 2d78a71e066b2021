"""Work on a home without a node: init, data, policy, tickets."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.cli import lifecycle
from mesh.overlay import ticket as tickets
from mesh.runtime import keystore
from mesh.runtime.home import Home, MeshRecord
from protocols.identifiers import PartyId
from tests.cli.told import Told

# init


def test_init_makes_a_private_home_that_config_check_likes(
    tmp_path: Path, coppice: Callable[..., Told]
) -> None:
    home = Home(tmp_path / "new")
    told = coppice(
        "init", "--name", "n1", "--site", "ward-3", "--profile", "wan", "--no-gateway", "--json", home=home
    )
    answer = told.json
    assert (answer["name"], answer["site"], answer["profile"]) == ("n1", "ward-3", "wan")
    assert len(bytes.fromhex(answer["party"])) == 32
    shown = coppice("config", "show", "--json", home=home).json["settings"]
    assert (shown["node.name"], shown["node.site"], shown["node.gateway"]) == ("n1", "ward-3", False)
    port = int(answer["listen"][0].rpartition("/")[2])
    assert port in lifecycle.PORTS
    assert shown["network.listen"] == answer["listen"]
    seeds = keystore.load(home)
    assert seeds.identity.reveal().hex() not in told.out + told.err
    assert coppice("config", "check", home=home).code == 0


def test_init_twice_keeps_the_first_keys(home: Home, coppice: Callable[..., Told]) -> None:
    before = keystore.load(home)
    assert coppice("init", "--name", "other", home=home).code == 2
    assert keystore.load(home) == before


@pytest.mark.parametrize(
    "flags", [("--name", "two words"), ("--profile", "moon"), ("--listen", "localhost:80"), ("--site", "")]
)
def test_init_with_a_wrong_setting_changes_nothing(
    tmp_path: Path, coppice: Callable[..., Told], flags: tuple[str, str]
) -> None:
    home = Home(tmp_path / "new")
    told = coppice("init", *flags, home=home)
    assert (told.code, told.err.startswith("C-100")) == (2, True)
    assert not home.root.exists()


def test_init_with_a_passphrase_from_the_environment(
    tmp_path: Path, coppice: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nacl.pwhash.argon2id.OPSLIMIT_MODERATE", 1)
    monkeypatch.setattr("nacl.pwhash.argon2id.MEMLIMIT_MODERATE", 8192 * 1024)
    home = Home(tmp_path / "new")
    monkeypatch.setenv("COPPICE_PASSPHRASE", "correct horse")
    assert coppice("init", "--passphrase", home=home).code == 0
    assert keystore.is_sealed(home)
    monkeypatch.delenv("COPPICE_PASSPHRASE")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert coppice("init", "--passphrase", home=Home(tmp_path / "other")).err.startswith("C-153")
    assert not Home(tmp_path / "other").exists


# data and policy, without and with a node


def test_data_and_policy_offline(home: Home, coppice: Callable[..., Told], csv: str, tmp_path: Path) -> None:
    added = coppice("data", "add", csv, "--as", "readings", "--json", home=home).json
    assert (added["rows"], added["columns"]) == (20, {"temp": 20, "age": 20})
    assert coppice("data", "list", "--json", home=home).json["data"] == [
        {key: value for key, value in added.items() if key != "schema_version"}
    ]
    assert coppice("policy", "show", "readings", home=home).err.startswith("C-404")
    command = (
        "policy",
        "init",
        "readings",
        "--allow",
        "mean,histogram",
        "--min-sites",
        "3",
        "--expires",
        "2031-01-01",
    )
    assert 'allow = ["mean", "histogram"]' in coppice(*command, "--json", home=home).json["text"]
    assert coppice(*command, home=home).code == 2
    assert coppice(*command, "--replace", home=home).code == 0
    assert "2031-01-01" in coppice("policy", "show", "readings", home=home).out
    job = tmp_path / "job.toml"
    job.write_text('dataset="readings"\nmin_sites=2\n[[queries]]\nstatistic="mean"\ncolumn="temp"\n')
    told = coppice("policy", "test", str(job), "--json", home=home)
    assert (told.code, told.json["sentence"]) == (4, "DENY by rule min_sites: 2 < 3")
    job.write_text(job.read_text().replace("=2", "=3"))
    assert coppice("policy", "test", str(job), home=home).out == "ALLOW\n"
    assert "temp" in coppice("data", "show", "readings", home=home).out
    assert coppice("data", "remove", "readings", home=home).code == 0
    assert coppice("data", "list", "--json", home=home).json["data"] == []


def test_data_through_the_node_gives_the_same_answer(
    up: Home, home: Home, coppice: Callable[..., Told], csv: str
) -> None:
    online = coppice("data", "add", csv, "--as", "r", "--json", home=up).json
    offline = coppice("data", "add", csv, "--as", "r", "--json", home=home).json
    assert {**online, "added": 0} == {**offline, "added": 0}
    assert coppice("data", "remove", "r", "--json", home=up).json["done"] is True


def test_offline_work_is_refused_while_somebody_holds_the_home(
    home: Home, coppice: Callable[..., Told]
) -> None:
    with home.lock("node"):
        assert coppice("data", "list", home=home).err.startswith("C-140")


@pytest.mark.parametrize("expires", ["soon", "2031-13-01"])
def test_a_wrong_date_is_an_error(home: Home, coppice: Callable[..., Told], csv: str, expires: str) -> None:
    coppice("data", "add", csv, "--as", "readings", home=home)
    told = coppice("policy", "init", "readings", "--allow", "mean", "--expires", expires, home=home)
    assert (told.code, told.err.startswith("C-402")) == (2, True)


# join without a node


def make_ticket(valid_s: float = 3600.0) -> str:
    from nacl.signing import SigningKey

    seed = bytes(32)
    operator = PartyId(bytes(SigningKey(seed).verify_key))
    now = int(time.time())
    ticket = tickets.Ticket(
        id=bytes(16), operator=operator, inviter=operator, addresses=("/ip4/127.0.0.1/tcp/4710",),
        issued_s=now - 7200, expires_s=now + int(valid_s), network_key=bytes(32), secret=bytes(16),
    )  # fmt: skip
    return tickets.to_text(tickets.issue(seed, ticket))


def test_a_good_ticket_is_kept_for_up(home: Home, coppice: Callable[..., Told]) -> None:
    ticket = make_ticket()
    assert coppice("join", ticket, "--json", home=home).json["state"] == "waiting"
    assert home.pending_join() == ticket
    assert coppice("join", ticket, home=home).code == 0


@pytest.mark.parametrize(
    ("ticket", "code", "exit_code"),
    [
        ("hello", "C-220", 2),
        (make_ticket()[:-20], "C-220", 2),
        (make_ticket().replace("a", "b", 3), "C-220", 2),
        (make_ticket(-10.0), "C-222", 4),
    ],
    ids=["no ticket", "cut off", "mistyped", "expired"],
)
def test_a_bad_ticket_is_refused_and_not_kept(
    home: Home, coppice: Callable[..., Told], ticket: str, code: str, exit_code: int
) -> None:
    told = coppice("join", ticket, "--json", home=home)
    assert (told.code, told.json["error"]["code"]) == (exit_code, code)
    assert home.pending_join() is None


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (MeshRecord("ab" * 32, "cd" * 32, founder=True, members=3), "C-130"),
        (MeshRecord("ab" * 32, "cd" * 32, founder=False, members=1), "C-130"),
        (MeshRecord("ab" * 32, "cd" * 32, founder=True, members=1), None),
    ],
)
def test_a_node_of_another_mesh_does_not_join(
    home: Home, coppice: Callable[..., Told], record: MeshRecord, code: str | None
) -> None:
    home.save_mesh(record)
    told = coppice("join", make_ticket(), home=home)
    assert (told.err[:5] or None) == code
    assert (home.pending_join() is None) == (code is not None)


def test_joining_ones_own_mesh_is_pointless(home: Home, coppice: Callable[..., Told]) -> None:
    mesh = tickets.from_text(make_ticket()).ticket.identity.mesh
    home.save_mesh(MeshRecord(bytes(mesh).hex(), "cd" * 32, founder=False, members=3))
    assert coppice("join", make_ticket(), home=home).err.startswith("C-131")


def test_joining_needs_a_home(tmp_path: Path, coppice: Callable[..., Told]) -> None:
    told = coppice("join", make_ticket(), home=Home(tmp_path / "none"))
    assert (told.code, told.err[:5]) == (2, "C-142")


# bugs, pipes, speed
