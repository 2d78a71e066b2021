"""Every verb against a scripted node in another process: output, exit codes, errors, offline work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh.cli import lifecycle, overview
from mesh.cli.catalogue import codes, lookup
from mesh.cli.jobs import job_spec
from mesh.cli.joining import _duration_s
from mesh.cli.main import run
from mesh.cli.output import table
from mesh.overlay import ticket as tickets
from mesh.runtime import keystore
from mesh.runtime.home import Home, MeshRecord
from protocols.errors import ConfigError
from protocols.identifiers import PartyId

ROOT = Path(__file__).resolve().parents[2]
CSV = "temp,age\n" + "".join(f"{row / 2},{row}\n" for row in range(20))


class Told:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        document = json.loads(self.out)
        assert document["schema_version"] == 1
        return document


@pytest.fixture
def coppice(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    def call(*words: str, home: Home | None = None) -> Told:
        capsys.readouterr()
        code = run([*words, *(["--home", str(home.root)] if home else [])])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return Told(code, shown.out, shown.err)

    return call


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """An initialised home with a scripted node on it, for the whole module."""
    home = Home(tmp_path_factory.mktemp("node") / "state")
    assert run(["init", "--name", "a", "--profile", "localhost", "--home", str(home.root)]) == 0
    command = [sys.executable, "-m", "tests.runtime.scripted_node", str(home.root)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    yield home
    assert run(["down", "--home", str(home.root)]) == 0
    assert child.wait(timeout=10) == 0
    child.stdout.close()


@pytest.fixture
def home(tmp_path: Path, coppice: Callable[..., Told]) -> Home:
    """An initialised home without a node."""
    made = Home(tmp_path / "state")
    assert coppice("init", "--name", "a", "--profile", "localhost", home=made).code == 0
    return made


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "readings.csv"
    path.write_text(CSV)
    return str(path)


ANSWERED = """
    status
    peers
    tree
    invite
    invite --expires 30m --confirm --qr
    join coppice1:x
    requests list
    requests show r1
    requests accept r1
    requests approve r1
    requests deny r1 --reason no
    jobs list
    jobs submit mean readings.temp
    jobs submit mean readings.temp --watch --min-sites 3 --timeout 5
    jobs submit mean,variance readings.temp,age --dry-run
    jobs submit histogram readings.temp --bins 0:40:5
    jobs watch ok
    jobs result ok
    jobs logs ok
    jobs cancel ok
    plan mean readings.temp
    data list
    config check
    config show --origin
    doctor
    explain
    explain C-301
    version
    completion zsh
""".strip().splitlines()


@pytest.mark.parametrize("command", ANSWERED)
def test_json_is_one_object_and_text_is_text(up: Home, coppice: Callable[..., Told], command: str) -> None:
    told = coppice(*command.split(), "--json", home=up)
    assert told.code == 0
    assert not told.json.get("error")
    spoken = coppice(*command.split(), home=up)
    assert spoken.code == 0
    assert spoken.out.strip()
    assert not spoken.out.startswith("{")


@pytest.mark.parametrize(
    ("command", "exit_code", "code"),
    [
        ("jobs submit mean readings.temp --purpose refused --watch", 4, "C-305"),
        ("jobs result late", 5, "C-303"),
        ("jobs submit mean readings.temp --purpose late --watch", 5, "C-303"),
        ("jobs result few", 6, "C-301"),
        ("jobs result bug", 1, "C-900"),
        ("jobs watch bug", 1, "C-900"),
        ("jobs watch unknown", 2, "C-404"),
        ("jobs watch held --timeout -14.9", 5, "C-306"),
        ("jobs cancel unknown", 2, "C-404"),
        ("requests accept r9", 2, "C-404"),
        ("requests show r9", 2, "C-404"),
        ("plan mean two.x", 4, "C-305"),
        ("data show nothing", 2, "C-612"),
        ("data add /nowhere.csv --as x", 2, "C-601"),
        ("jobs submit mean readings", 2, "C-101"),
        ("jobs submit histogram readings.temp", 2, "C-101"),
        ("jobs submit mean readings.temp --bins 0:1:1", 2, "C-101"),
        ("jobs submit histogram readings.temp --bins 3,2,1", 2, "C-101"),
        ("jobs submit histogram readings.temp --bins 0:10:0", 2, "C-101"),
        ("invite --expires soon", 2, "C-101"),
        ("invite --expires 99d", 2, "C-101"),
        ("up", 2, "C-140"),
        ("up --detach", 2, "C-140"),
        ("up --set network.mdns", 2, "C-101"),
        ("up --set network.mdns=perhaps", 2, "C-100"),
        ("init", 2, "C-140"),
        ("explain C-999", 2, "C-101"),
        ("config check /nowhere.toml", 2, "C-146"),
        ("stauts", 2, "C-101"),
        ("status --frob", 2, "C-101"),
        ("jobs submit mean", 2, "C-101"),
        ("jobs submit mean readings.temp --min-sites many", 2, "C-101"),
    ],
)
def test_errors_have_a_code_a_fix_and_the_right_exit(
    up: Home, coppice: Callable[..., Told], command: str, exit_code: int, code: str
) -> None:
    told = coppice(*command.split(), "--json", home=up)
    assert told.code == exit_code
    error = told.json["error"]
    assert (error["code"], error["exit"]) == (code, exit_code)
    assert told.err.splitlines()[-1].startswith(code) or code == "C-100"
    assert coppice(*command.split(), home=up).out == ""
    assert "secret detail" not in told.out + told.err


def test_unknown_words_suggest_the_right_ones(coppice: Callable[..., Told]) -> None:
    assert 'Did you mean "status"' in coppice("stauts").err


@pytest.mark.parametrize(
    "command", ["status", "peers", "tree", "invite", "jobs list", "requests list", "plan mean a.b"]
)
def test_without_a_node_the_exit_code_is_3(home: Home, coppice: Callable[..., Told], command: str) -> None:
    told = coppice(*command.split(), "--json", home=home)
    assert told.code == 3
    assert told.json["error"]["code"] == "C-510"
    assert f"coppice up --detach --home {home.root}" in told.err


def test_progress_is_json_lines_when_nobody_watches(up: Home, coppice: Callable[..., Told]) -> None:
    told = coppice("jobs", "watch", "ok", "--json", home=up)
    events = [json.loads(line) for line in told.err.splitlines()]
    assert [event["kind"] for event in events] == ["planned", "ended"]
    assert told.json["value"] == 21.5


def test_the_result_in_words(up: Home, coppice: Callable[..., Told]) -> None:
    text = coppice("jobs", "result", "ok", home=up).out
    for part in ("mean temp = 21.5", "n = 120", "4 sites", "missing: d", "the mean"):
        assert part in text


def test_status_in_words_shows_alerts_with_their_fix(up: Home, coppice: Callable[..., Told]) -> None:
    text = coppice("status", home=up).out
    assert "All is well." in text
    assert "! C-610: readings has no policy · coppice policy init readings" in text


def test_down_without_a_node_is_fine_and_says_so(home: Home, coppice: Callable[..., Told]) -> None:
    assert coppice("down", "--json", home=home).json["was_running"] is False
    assert coppice("down", home=Home(home.root / "none")).code == 2


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


def test_a_bug_shows_one_line_and_where_the_traceback_is(
    up: Home, coppice: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(answer: object) -> str:
        secret = "swordfish"  # noqa: F841
        raise ZeroDivisionError

    monkeypatch.setattr(overview, "_status_text", broken)
    told = coppice("status", home=up)
    assert told.code == 1
    assert len(told.err.splitlines()) == 1
    path = Path(re.search(r"traceback is in (\S+);", told.err)[1])
    assert "ZeroDivisionError" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()


def test_a_closed_pipe_is_not_an_error(up: Home) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, str(ROOT / "node.py"), "config", "show", "--home", str(up.root)]
    told = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (told.returncode, told.stderr) == (0, "")


def test_the_entry_point_in_a_process_of_its_own(up: Home) -> None:
    command = [sys.executable, str(ROOT / "node.py"), "status", "--json", "--home", str(up.root)]
    told = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=30)
    assert (told.returncode, json.loads(told.stdout)["name"]) == (0, "a")


def test_a_verb_loads_few_modules(up: Home) -> None:
    """What a verb costs is what it loads (0.16 s of processor for these); a test does not count seconds."""
    script = (
        "import sys, node; sys.argv[0] = 'coppice'; code = node.main()\n"
        "ours = {name for name in sys.modules if name.partition('.')[0] in ('mesh', 'protocols')}\n"
        "print(code, len(sys.modules), len(ours), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, "status", "--home", str(up.root)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    code, modules, ours = map(int, told.stderr.split())
    assert code == 0
    assert modules < 220
    assert ours < 25


# the catalogue


def test_every_code_of_the_source_is_explained() -> None:
    used = set()
    for room in ("mesh", "protocols", "tools"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name != "catalogue.py":
                used |= set(re.findall(r'"(C-\d{3})"', path.read_text()))
    unexplained = sorted(code for code in used if lookup(code) is None)
    assert not unexplained
    assert len(used) > 50


def test_every_explanation_has_a_meaning_and_a_fix() -> None:
    for code in codes():
        meaning, fix = lookup(code) or ("", "")
        assert len(meaning) > 10
        assert len(fix) > 5


# small parts


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("30m", 1800), ("24h", 86_400), ("7D", 604_800), ("1.5h", 5400)]
)
def test_lifetimes(text: str, seconds: float) -> None:
    assert _duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "0", "31d", "1w", "nan", "inf"])
def test_lifetimes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        _duration_s(text)


def test_bins_by_range_and_by_list() -> None:
    assert job_spec("histogram", "d.c", None, "0:30:10", None, "").queries[0].parameters == (0, 10, 20, 30)
    assert job_spec("histogram", "d.c", None, "0,18,65.5", None, "").queries[0].parameters == (0, 18, 65.5)
    mixed = job_spec("histogram,mean", "d.c,e", 4, "0:1:1", 9.0, "why")
    assert [(query.statistic, query.column, len(query.parameters)) for query in mixed.queries] == [
        ("histogram", "c", 2), ("mean", "c", 0), ("histogram", "e", 2), ("mean", "e", 0),
    ]  # fmt: skip
    assert (mixed.min_sites, mixed.timeout_s, mixed.purpose) == (4, 9.0, "why")


def test_tables_line_up() -> None:
    text = table(("A", "LONG"), [("x", None), (True, 1.5), (("p", "q"), "")])
    assert text.splitlines() == ["A     LONG", "x     -", "yes   1.5", "p, q  -"]
    assert table(("A",), []) == "none"
