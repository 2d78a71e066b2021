"""One mesh of real processes put through its acts; prints a JSON object of what was seen.

Run as a program of its own, because a process that forks must have no threads:
    python -m tests.loopback.mesh_acts FOLDER
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, InviteSpec, JobInfo, JobSpec, PolicySpec, QuerySpec
from mesh.runtime import keystore
from mesh.runtime.demo.local_mesh import LISTEN, LocalMesh, Peer
from mesh.runtime.home import Home
from protocols.errors import MeshError
from tests.loopback.frame_files import tap_into

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("p1", "p2", "p3", "p4", "p5")
ROWS = {
    name: [131.4142135 + 17.31 * i + 3.77 * row + i * row / 7.0 for row in range(12 + i)]
    for i, name in enumerate(NAMES)
}
EDGES = (100.0, 150.0, 175.0, 200.0, 300.0)
EVERYTHING = ("mean", "sum", "count", "variance", "histogram")
PATIENCE_S = 40.0


class Acts:
    """The acts in order; `seen` is what the tests look at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mesh = LocalMesh(folder, NAMES, tap=tap_into)
        self.seen: dict[str, object] = {}
        self.readers: list[int] = []
        for name in NAMES:
            self._register(self.mesh.peers[name].home, ROWS[name], policy=name != "p5")
        self.p1 = self.mesh.peers["p1"]

    def _register(self, home: Home, rows: list[float], *, policy: bool) -> None:
        file = home.root / "readings.csv"
        file.write_text("temp\n" + "".join(f"{value!r}\n" for value in rows))
        local = LocalData(home)
        local.data_add(DataSpec(str(file), "readings"))
        if policy:
            local.policy_init("readings", PolicySpec(allow=EVERYTHING, min_sites=3))
            text = home.data / "readings.policy.toml"
            text.write_text(text.read_text().replace('overlap = "refuse"', 'overlap = "warn"'))

    def play(self) -> None:
        with self.mesh as mesh:
            mesh.start()
            mesh.wait_formed(PATIENCE_S)
            status = self.p1.client.status()
            self.seen["formed"] = {"alive": status.alive, "links": status.links, "state": status.state}
            self.seen["statistics"] = self._described(self._ask(EVERYTHING))
            self.seen["too few"] = self._described(self._ask(("mean",), min_sites=5))
            self.seen["command"] = self._command(
                "jobs", "submit", "mean", "readings.temp", "--min-sites", "5", "--watch"
            )
            self._tickets()
            self._full_disk()
            self._ends_and_returns()
            pids = [peer.pid for peer in mesh.running]
            self.seen["resident MB"] = max(_resident_mb(pid) for pid in pids)
        self.seen["left over"] = {
            "processes": [pid for pid in pids if _runs(pid)],
            "sockets": [name for name in NAMES if mesh.peers[name].home.socket.exists()],
            "holders": [name for name in NAMES if mesh.peers[name].home.holder() is not None],
        }

    # -- asking ---------------------------------------------------------------------------------------

    def _ask(self, statistics: tuple[str, ...], min_sites: int = 3) -> JobInfo:
        queries = tuple(QuerySpec(name, "temp", EDGES if name == "histogram" else ()) for name in statistics)
        client = self.p1.client
        job = client.submit(JobSpec("readings", queries, min_sites=min_sites, timeout_s=15.0, purpose="test"))
        return self._ended(job)

    def _ended(self, job: str) -> JobInfo:
        deadline = time.monotonic() + PATIENCE_S
        while not (info := self.p1.client.job(job)).ended and time.monotonic() < deadline:
            time.sleep(0.02)
        return info

    def _described(self, info: JobInfo) -> dict[str, object]:
        found: dict[str, object] = {
            "state": info.state,
            "refusals": [list(pair) for pair in info.refusals],
            "error": asdict(info.error) if info.error else None,
        }
        if info.result is not None:
            pooled = np.concatenate([ROWS[name] for name in info.result.counted])
            right = {
                "mean": float(pooled.mean()),
                "sum": float(pooled.sum()),
                "count": len(pooled),
                "variance": float(pooled.var(ddof=1)),
                "histogram": [int(n) for n in np.histogram(pooled, EDGES)[0]],
            }
            found["counted"] = sorted(info.result.counted)
            found["answers"] = [[a.statistic, a.value, right[a.statistic]] for a in info.result.answers]
        return found

    def _command(self, *words: str) -> dict[str, object]:
        command = [sys.executable, str(ROOT / "node.py"), *words, "--json", "--home", str(self.p1.home.root)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        return {"code": ran.returncode, "out": ran.stdout + ran.stderr}

    # -- tickets --------------------------------------------------------------------------------------

    def _tickets(self) -> None:
        """A ticket that is used, and one that is past: the newcomer hears why, and its ticket is gone."""
        invitation = self.p1.client.invite(InviteSpec())
        first = self._newcomer("q1", invitation.ticket)
        self.mesh.wait_formed(PATIENCE_S)
        second = self._newcomer("q2", invitation.ticket)
        self.seen["reused"] = self._end_of(second)
        short = self.p1.client.invite(InviteSpec(expires_s=1.0)).ticket
        time.sleep(max(0.0, 2.1 - time.time() % 1.0))
        self.seen["expired"] = self._end_of(self._newcomer("q3", short))
        changed = "a" if short[-9] != "a" else "b"
        self.seen["mistyped"] = self._end_of(self._newcomer("q4", short[:-9] + changed + short[-8:]))
        self.mesh._signal(first, signal.SIGTERM)
        self.mesh._reap(first)
        for name in ("q1", "q2", "q3", "q4"):
            del self.mesh.peers[name]
        self.mesh.wait_until(
            "q1 is gone",
            lambda: all(p.client.status().alive == len(NAMES) for p in self.mesh.running),
            PATIENCE_S,
        )
        self.mesh.wait_formed(PATIENCE_S)

    def _newcomer(self, name: str, ticket: str) -> Peer:
        home = Home(self.folder / name)
        home.create()
        keystore.create(home)
        peer = Peer(name, home, {"node.name": name, "network.listen": (LISTEN,)})
        self.mesh.peers[name] = peer
        home.save_pending_join(ticket)
        self.readers.append(self.mesh._fork(peer))
        return peer

    def _end_of(self, peer: Peer) -> dict[str, object]:
        deadline = time.monotonic() + PATIENCE_S
        code = None
        while code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(peer.pid, os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if pid else None
            time.sleep(0.02)
        if code is not None:
            peer.pid = 0
        log = peer.home.log.read_text()
        return {"code": code, "log": log[-600:], "traceback": "Traceback" in log}

    # -- a full disk ----------------------------------------------------------------------------------

    def _full_disk(self) -> None:
        """p2's files cannot grow: the others go on, p2 stays up, and is well again with its disk."""
        p2 = self.mesh.peers["p2"]
        grown = max(file.stat().st_size for file in p2.home.root.rglob("*") if file.is_file())
        resource.prlimit(p2.pid, resource.RLIMIT_FSIZE, (min(4096, grown), resource.RLIM_INFINITY))
        without = self._described(self._ask(("mean",)))
        answers = p2.client.status().state
        own = p2.client.submit(
            JobSpec("readings", (QuerySpec("mean", "temp"),), min_sites=3, timeout_s=8.0, purpose="test")
        )
        deadline = time.monotonic() + PATIENCE_S
        while not (info := p2.client.job(own)).ended and time.monotonic() < deadline:
            time.sleep(0.05)
        resource.prlimit(p2.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.seen["full disk"] = {
            "without": without,
            "p2": answers,
            "own": self._described(info) if info.result is None else {"state": info.state},
            "again": self._described(self._ask(("mean",))),
            "runs": _runs(p2.pid),
        }

    # -- ends and returns -----------------------------------------------------------------------------

    def _ends_and_returns(self) -> None:
        """SIGTERM and SIGINT in the middle of sessions, and a kill; each comes back by itself."""
        seen: list[dict[str, object]] = []
        for name, word, pause_s in (
            ("p3", signal.SIGTERM, 0.05),
            ("p4", signal.SIGINT, 0.2),
            ("p2", signal.SIGKILL, 0.1),
        ):
            peer = self.mesh.peers[name]
            client = self.p1.client
            job = client.submit(
                JobSpec("readings", (QuerySpec("mean", "temp"),), min_sites=3, timeout_s=15.0, purpose="test")
            )
            time.sleep(pause_s)
            self.mesh._signal(peer, word)
            code = self._end_of(peer)["code"]
            left = word != signal.SIGKILL and peer.home.socket.exists()
            holder = peer.home.holder()
            described = self._described(self._ended(job))
            self.mesh.restart(name)
            self.mesh.wait_formed(PATIENCE_S)
            seen.append({"name": name, "code": code, "socket": left, "holder": holder, "job": described})
        self.seen["ends"] = seen
        self.seen["after all"] = self._described(self._ask(("mean",)))


def _runs(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    """Play all acts in the folder given."""
    acts = Acts(Path(sys.argv[1]))
    try:
        acts.play()
    except MeshError as error:
        acts.seen["error"] = error.sentence()
    print(json.dumps(acts.seen))


if __name__ == "__main__":
    main()
