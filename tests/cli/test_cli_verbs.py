"""Every verb against a scripted node in another process: output, exit codes, errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.cli import overview
from mesh.cli.catalogue import codes, lookup
from mesh.cli.jobs import job_spec
from mesh.cli.joining import _duration_s
from mesh.cli.output import table
from mesh.runtime.home import Home
from protocols.errors import ConfigError
from tests.cli.told import ROOT, Told

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
    data share rows.csv
    data share rows.csv --name cardio --holders 7 --threshold 2 --bins bmi=10:40:5 --allow mean,histogram
    data shared
    data unshare cardio
    jobs submit mean vault:cardio.bmi
    programs list
    programs show abababab
    programs show abababab --steps
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
        ("data share rows.csv --threshold 3", 4, "C-305"),
        ("data share rows.csv --bins bmi", 2, "C-101"),
        ("data share rows.csv --bins bmi=3,2,1", 2, "C-101"),
        ("data unshare nothing", 2, "C-404"),
        ("programs show cdcdcdcd", 2, "C-404"),
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
