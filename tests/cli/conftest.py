"""Homes with and without a scripted node, and the command itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.runtime.home import Home
from tests.cli.told import CSV, ROOT, Told


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
