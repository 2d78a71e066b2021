"""tools/bootstrap.sh on machines that lack something: a stub Python and a bare PATH stand for them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "bash",
    "sh",
    "cat",
    "cksum",
    "cut",
    "dirname",
    "flock",
    "grep",
    "mkdir",
    "cp",
    "rm",
    "sed",
    "tail",
    "chmod",
)
STUB = """#!/bin/sh
# A Python that makes itself into a virtual environment, builds nothing, and says what it was told to run.
case "$*" in
    *version_info*) exit "${STUB_TOO_OLD:-0}" ;;
    --version) echo "Python 3.11.0" ;;
    "-m venv --clear "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *"import ensurepip"*) exit 0 ;;
    *"pip --version"*) exit 0 ;;
    *"import fastecdsa"*) exit "${STUB_FASTECDSA:-1}" ;;
    *sysconfig*) echo /nowhere ;;
    *"pip install"*) echo "installed $*" >&2; exit "${STUB_PIP:-0}" ;;
    *compileall*) exit 0 ;;
    *) echo "ran $*" ;;
esac
"""


class Machine:
    """A checkout and a PATH with only what is named."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.root / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "bootstrap.sh", self.root / "tools")
        for lock in ("requirements.lock", "requirements-dev.lock"):
            (self.root / lock).write_text("x==1\n")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "/nowhere")
        self.script("id", "echo 1000")

    def script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def bootstrap(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "bash"), str(self.root / "tools" / "bootstrap.sh"), *words]
        surroundings = {"PATH": str(self.bin), "HOME": str(self.root), **environment}
        return subprocess.run(
            command, env=surroundings, cwd="/", capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_no_python_is_one_clear_sentence(machine: Machine) -> None:
    told = machine.bootstrap("demo")
    assert told.returncode == 2
    assert "needs Python 3.11 or later" in told.stderr
    assert told.stdout == ""


def test_an_old_python_does_not_count(machine: Machine) -> None:
    machine.script("python3", STUB)
    assert "needs Python 3.11 or later" in machine.bootstrap("test", STUB_TOO_OLD="1").stderr


def test_without_a_compiler_and_not_root_the_exact_line_is_printed(machine: Machine) -> None:
    machine.script("python3", STUB)
    machine.script("apt-get", "exit 99")
    told = machine.bootstrap("run", "status")
    assert told.returncode == 2
    assert (
        "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends "
        "gcc libc6-dev libgmp-dev python3-dev python3-venv'" in told.stderr
    )
    assert "installed" not in told.stderr


@pytest.mark.parametrize(("manager", "word"), [("dnf", "gmp-devel"), ("apk", "gmp-dev")])
def test_other_package_managers_get_their_own_words(machine: Machine, manager: str, word: str) -> None:
    machine.script("python3", STUB)
    machine.script(manager, "exit 99")
    told = machine.bootstrap("setup")
    assert (told.returncode, f"{manager} " in told.stderr, word in told.stderr) == (2, True, True)


def test_as_root_the_packages_are_installed_and_set_up_goes_on(machine: Machine) -> None:
    machine.script("python3", STUB)
    machine.script("id", "echo 0")
    machine.script("apt-get", f'echo "$@" >> {machine.root}/apt.log')
    told = machine.bootstrap("run", "status", "--json")
    assert told.returncode == 0, told.stderr
    assert "libgmp-dev" in (machine.root / "apt.log").read_text()
    assert told.stdout == f"ran {machine.root}/node.py status --json\n"


def test_set_up_happens_once_and_again_when_the_lock_changes(machine: Machine) -> None:
    machine.script("python3", STUB)
    first = machine.bootstrap("demo", "--json", STUB_FASTECDSA="0")
    assert "--require-hashes -r" in first.stderr
    assert first.stdout == f"ran {machine.root}/node.py demo --json\n"
    second = machine.bootstrap("demo", "--json", STUB_FASTECDSA="0")
    assert (second.stdout, second.stderr) == (first.stdout, "")
    (machine.root / "requirements.lock").write_text("x==2\n")
    assert "installed" in machine.bootstrap("demo", STUB_FASTECDSA="0").stderr


def test_a_failed_installation_is_not_taken_for_done(machine: Machine) -> None:
    machine.script("python3", STUB)
    failed = machine.bootstrap("test", STUB_FASTECDSA="0", STUB_PIP="1")
    assert failed.returncode == 2
    assert "failed" in failed.stderr
    again = machine.bootstrap("test", "-x", STUB_FASTECDSA="0")
    assert "installed" in again.stderr
    assert again.stdout == "ran -m pytest -m not long -n auto --maxprocesses 4 --dist loadfile -x\n"


def test_testing_sets_up_for_running_as_well(machine: Machine) -> None:
    machine.script("python3", STUB)
    machine.bootstrap("test", STUB_FASTECDSA="0")
    assert machine.bootstrap("run", "status", STUB_FASTECDSA="0").stderr == ""


def test_an_unknown_word_shows_the_known_ones(machine: Machine) -> None:
    told = machine.bootstrap("deom")
    assert told.returncode == 2
    assert "tools/bootstrap.sh demo" in told.stderr


def test_the_lock_files_pin_exactly_and_name_no_source() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert len(pins) > 50
        assert all("==" in line for line in pins)
        assert text.count("--hash=sha256:") >= len(pins)


def test_the_scripts_are_free_of_syntax_errors() -> None:
    for script in ("tools/bootstrap.sh", ".ci/run"):
        subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    assert "bash tools/bootstrap.sh test" in (ROOT / ".ci" / "run").read_text()
    assert "bash tools/bootstrap.sh test" in (ROOT / "README.md").read_text()
