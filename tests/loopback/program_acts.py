"""One mesh of real processes that runs committee programs; prints a JSON object of what was seen.

Run as a program of its own, because a process that forks must have no threads:
    python -m tests.loopback.program_acts FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, JobInfo, JobSpec, PolicySpec, QuerySpec
from mesh.runtime.demo.local_mesh import LocalMesh
from mesh.runtime.home import Home
from protocols.errors import MeshError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("p1", "p2", "p3", "p4", "p5")
ALLOWED = ("median", "quantiles", "top", "at_least", "group_by", "overlap", "flagged", "mean")
ROWS = {
    name: [
        (1 + (5 * i + row) % 4, round(1.25 + 3.5 * i + 0.77 * row, 2), 10 * row + i % 2)
        for row in range(6 + i)
    ]
    for i, name in enumerate(NAMES[:4])
}
"""diagnosis, length_of_stay, account of each stay."""


class Acts:
    """The acts in order; `seen` is what the tests look at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mesh = LocalMesh(folder, NAMES)
        self.seen: dict[str, object] = {}
        for name, rows in ROWS.items():
            self._register(self.mesh.peers[name].home, rows)
        self.p1 = self.mesh.peers["p1"]

    def _register(self, home: Home, rows: list[tuple[int, float, int]]) -> None:
        file = home.root / "ward.csv"
        lines = "".join(f"{a},{b!r},{c}\n" for a, b, c in rows)
        file.write_text("diagnosis,length_of_stay,account\n" + lines)
        local = LocalData(home)
        local.data_add(DataSpec(str(file), "ward"))
        local.policy_init("ward", PolicySpec(allow=ALLOWED, min_sites=3, min_rows=1))
        text = home.data / "ward.policy.toml"
        text.write_text(text.read_text().replace('overlap = "refuse"', 'overlap = "allow"'))

    def play(self) -> None:
        """Everything."""
        with self.mesh:
            self.mesh.start()
            self.mesh.wait_formed()
            self.seen["cli"] = self._cli("median", "ward.length_of_stay", "--watch", "--json")
            self.seen["plan"] = self._plan("median", "ward.length_of_stay", "--range", "0:100", "--json")
            for name, columns, parameters in (
                ("quantiles", ("length_of_stay",), (0.0, 100.0, 2.0, 0.25, 0.9)),
                ("at_least", ("length_of_stay",), (0.0, 100.0, 2.0, 5.0, 10.0)),
                ("group_by", ("diagnosis", "length_of_stay"), (0.0, 100.0, 2.0, 2.0, 1.0, 2.0, 3.0, 9.0)),
                ("flagged", ("account",), (0.0, 127.0, 0.0, 2.0)),
            ):
                self.seen[name] = self._run(name, columns, parameters)
            self.seen["out_of_range"] = self._run("median", ("length_of_stay",), (0.0, 5.0, 2.0))
            self.seen["not_allowed"] = self._run("minimum", ("length_of_stay",), (0.0, 100.0, 2.0))
            self.seen["killed"] = self._killed()

    def _plan(self, *words: str) -> dict[str, object]:
        command = [sys.executable, "node.py", "plan", *words, "--home", str(self.p1.home.root)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return {"code": ran.returncode, "out": ran.stdout, "err": ran.stderr[-2000:]}

    def _cli(self, *words: str) -> dict[str, object]:
        command = [sys.executable, "node.py", "jobs", "submit", *words, "--home", str(self.p1.home.root)]
        began = time.monotonic()
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        return {"code": ran.returncode, "out": ran.stdout, "err": ran.stderr[-2000:], "seconds": seconds}

    def _run(
        self, statistic: str, columns: tuple[str, ...], parameters: tuple[float, ...]
    ) -> dict[str, object]:
        queries = tuple(QuerySpec(statistic, column, parameters) for column in columns)
        job = self.p1.client.submit(JobSpec("ward", queries, min_sites=3, timeout_s=60.0, purpose="test"))
        return self._ended(job)

    def _ended(self, job: str) -> dict[str, object]:
        told = [event.text for event in self.p1.client.watch(job, 90.0)]
        info: JobInfo = self.p1.client.job(job)
        seen: dict[str, object] = {"state": info.state, "told": told, "refusals": info.refusals}
        if info.error is not None:
            seen["error"] = asdict(info.error)
        if info.result is not None:
            seen["answers"] = [asdict(answer) for answer in info.result.answers]
            seen["counted"] = list(info.result.counted)
            seen["seconds"] = info.result.seconds
            seen["bytes"] = info.result.bytes_sent
        return seen

    def _killed(self) -> dict[str, object]:
        """Kill a member of the quorum while layers are computed."""
        parameters = (0.0, 100.0, 2.0)
        queries = (QuerySpec("median", "length_of_stay", parameters),)
        spec = JobSpec("ward", queries, min_sites=3, timeout_s=60.0, purpose="test")
        job = self.p1.client.submit(spec)
        killed: list[str] = []

        def watch() -> None:
            for event in self.p1.client.watch(job, 90.0):
                if event.kind == "phase" and dict(event.data).get("phase") == "computing" and not killed:
                    members = dict(event.data)["members"].split(", ")
                    killed.append(next(name for name in members if name != "p1"))
                    time.sleep(0.15)
                    self.mesh.kill(killed[0])

        thread = threading.Thread(target=watch)
        thread.start()
        seen = self._ended(job)
        thread.join()
        return {**seen, "victim": killed[0]}


def main() -> None:
    """Play in the folder given."""
    acts = Acts(Path(sys.argv[1]))
    try:
        acts.play()
    except MeshError as error:
        acts.seen["error"] = error.sentence()
    print(json.dumps(acts.seen))


if __name__ == "__main__":
    main()
