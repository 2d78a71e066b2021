"""`up` and `down` with a real node: detached, in the foreground, twice, with a taken port, killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.runtime.home import Home

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60


def coppice(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "node.py"), *words, "--home", str(home.root)]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "state")
    assert coppice(made, "init", "--name", "a", "--profile", "localhost").returncode == 0
    yield made
    if made.holder() is not None:
        coppice(made, "down", "--force")
    assert made.holder() is None


def test_detached_twice_status_down(home: Home) -> None:
    first = coppice(home, "up", "--detach", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["pid"] == home.holder()
    second = coppice(home, "up", "--detach")
    assert (second.returncode, second.stderr[:5]) == (2, "C-140")
    status = coppice(home, "status", "--json")
    assert json.loads(status.stdout)["name"] == "a"
    assert coppice(home, "down", "--json").returncode == 0
    assert home.holder() is None
    assert not home.socket.exists()
    assert coppice(home, "status").returncode == 3


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_foreground_is_a_clean_end(home: Home, word: signal.Signals) -> None:
    command = [sys.executable, str(ROOT / "node.py"), "up", "--json", "--home", str(home.root)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["state"] == "up"
    child.send_signal(word)
    _, heard = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 0
    assert "Traceback" not in heard
    assert home.holder() is None
    assert not home.socket.exists()


BEGIN = "print('began', flush=True); import sys, node; sys.argv[0] = 'coppice'; sys.exit(node.main())"


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3, 0.6, 1.0])
def test_ctrl_c_at_any_moment_of_the_start(home: Home, delay_s: float) -> None:
    """Interrupted before the node is up: no traceback, no lock, no socket, and the next start works."""
    command = [sys.executable, "-c", BEGIN, "up", "--home", str(home.root)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "began\n"
    time.sleep(delay_s)  # the moment is the thing under test; whatever it hits must do
    child.send_signal(signal.SIGINT)
    _, heard = child.communicate(timeout=LIMIT_S)
    assert "Traceback" not in heard
    assert child.returncode in (0, 130)
    assert home.holder() is None
    assert not home.socket.exists()
    with home.lock("test"):
        pass


def test_a_port_in_use_is_told_by_the_detached_start(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        told = coppice(home, "up", "--detach", "--listen", address, "--json")
    assert told.returncode == 2
    error = json.loads(told.stdout)["error"]
    assert error["code"] == "C-111"
    assert address.rpartition("/")[2] in error["what"]
    assert error["fix"]
    assert home.holder() is None


def test_a_killed_node_leaves_nothing_in_the_way(home: Home) -> None:
    assert coppice(home, "up", "--detach").returncode == 0
    pid = home.holder()
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert coppice(home, "status").returncode == 3
    assert coppice(home, "up", "--detach").returncode == 0
    assert coppice(home, "status").returncode == 0
    assert coppice(home, "down").returncode == 0


def test_a_bad_setting_is_told_before_anything_starts(home: Home) -> None:
    home.config.write_text(home.config.read_text() + "\n[session]\nmin_sites = 1\n")
    told = coppice(home, "up", "--detach")
    assert (told.returncode, told.stderr[:5]) == (2, "C-100")
    assert "session.min_sites (config.toml:" in told.stderr
