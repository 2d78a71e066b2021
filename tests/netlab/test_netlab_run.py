"""A small lab for real: three sites in namespaces, one cut on the way; and what an interrupt leaves behind.

Skipped, with the sentence that says why, where there is no root, no TUN or no namespaces.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.netlab import namespaces

ROOT = Path(__file__).resolve().parents[2]
MISSING = namespaces.missing()
needs_namespaces = pytest.mark.skipif(bool(MISSING), reason=MISSING or "-")

LAB = """
title = "Three sites, one cut"
profile = "localhost"
[settings.mesh]
settle_s = 0.5
[link]
latency_ms = 10
jitter_ms = 2
mbit = 50
[[site]]
name = "site"
copies = 3
[[job]]
at = 0.1
from = ["site-2"]
ask = ["mean mean_radius", "histogram mean_texture"]
min_sites = 3
expect = "right"
counts = ["site-1", "site-2", "site-3"]
[[fault]]
at = 1.5
do = "cut"
what = ["site-3"]
for_s = 3.0
"""


def run(lab: Path) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    command = [sys.executable, "-m", "tools.netlab", "run", str(lab), "--json"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


def ours(pid: int) -> list[str]:
    """Namespaces of the lab that ran as `pid`."""
    return [path.name for path in namespaces.FOLDER.glob(f"{namespaces.PREFIX}{pid}-*")]


@pytest.fixture
def lab(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(LAB)
    return path


@needs_namespaces
def test_a_lab_runs_is_right_and_leaves_nothing_behind(lab):
    process = run(lab)
    answer, story = process.communicate(timeout=120)
    assert process.returncode == 0, story
    report = json.loads(answer.splitlines()[-1])
    assert (report["right"], report["jobs"], report["problems"]) == (1, 1, [])
    assert report["noticed_longest_s"] is not None
    assert report["cut_on_links"] > 0
    measured = report["links"][0]
    assert measured["rtt_ms"] <= measured["measured_rtt_ms"] + 3  # a loaded machine is late, never early
    assert measured["measured_mbit"] < 1.1 * measured["mbit"]
    assert not ours(process.pid)


@needs_namespaces
def test_an_interrupt_ends_every_process_and_removes_every_namespace(lab):
    process = run(lab)
    assert process.stderr is not None
    for line in process.stderr:
        if "formed a mesh" in line:
            break
    names = ours(process.pid)
    assert len(names) == 3
    held = subprocess.run(
        ["ip", "netns", "pids", names[0]], capture_output=True, text=True, check=True
    ).stdout
    assert held.split()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not ours(process.pid)
    assert not [pid for pid in held.split() if Path(f"/proc/{pid}").exists()]


@needs_namespaces
def test_what_a_killed_lab_left_is_cleaned_by_name_and_nothing_else():
    script = (
        "import os, signal\n"
        "from tools.netlab import namespaces\n"
        "from tools.netlab.topology import Site\n"
        "namespaces.make(Site('left', '198.18.1.1', ()))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    process.wait(timeout=30)
    assert ours(process.pid) == [f"{namespaces.PREFIX}{process.pid}-left"]
    stranger = f"stranger-{process.pid}"
    subprocess.run(["ip", "netns", "add", stranger], check=True)
    try:
        subprocess.run([sys.executable, "-m", "tools.netlab", "clean"], cwd=ROOT, check=True, timeout=60)
        assert not ours(process.pid)
        assert (namespaces.FOLDER / stranger).exists()
    finally:
        subprocess.run(["ip", "netns", "del", stranger], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_root_it_says_so():
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        os._exit(0 if namespaces.missing().startswith("netlab needs root") else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_only_our_own_namespaces_are_entered_or_removed():
    for refused in ("stranger", "../net", ""):
        with pytest.raises(ValueError, match="not a namespace of ours"):
            namespaces.enter(refused)
        with pytest.raises(ValueError, match="not a namespace of ours"):
            namespaces.remove(refused)
