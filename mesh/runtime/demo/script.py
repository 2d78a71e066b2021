"""The demo's acts: form a mesh, ask, kill a sub-aggregator, kill a committee member, compare."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

from mesh.api.local_data import LocalData
from mesh.api.shapes import ClusterInfo, DataSpec, JobEvent, JobResult, JobSpec, PolicySpec, QuerySpec, Tree
from mesh.data.partition import sample, split_csv
from mesh.runtime.demo.local_mesh import LocalMesh
from mesh.runtime.demo.plaintext import Plaintext
from mesh.runtime.demo.report import Comparison, Report
from protocols.errors import MeshError

DATASET = "rows"
MIN_SITES = 3
JOB_S = 30.0
SETTLE_S = 0.3
"""All peers come at once: there is nothing to wait for before the next epoch."""
STATISTICS = ("mean", "sum", "count", "variance", "histogram")
PROGRAMS = ("median", "quantiles", "minimum", "maximum", "top", "at_least")
"""Not asked here; allowed so that who keeps the mesh (--keep) can ask them."""
HOSPITALS = 4


class Script:
    """One run of the demo."""

    def __init__(
        self, folder: Path, peers: int, data: Path | None, columns: tuple[str, ...], seed: int, report: Report
    ) -> None:
        self.report = report
        self.columns = columns
        self._random = random.Random(seed)  # noqa: S311 - chooses whom to kill, nothing secret
        self._seed = seed
        self._own_data = data
        self.mesh = LocalMesh(
            folder, [f"p{number}" for number in range(1, peers + 1)], {"mesh.settle_s": SETTLE_S}
        )
        everybody = list(self.mesh.peers.values())
        self.owners = everybody if data is not None else everybody[:HOSPITALS]
        self.asker = everybody[0]
        report.peers = peers
        self._load(folder)

    def _load(self, folder: Path) -> None:
        """Split the rows over the owners; each registers its own part and says what may be computed on it."""
        source = self._own_data or sample()
        parts = folder / "parts"
        parts.mkdir()
        files = split_csv(source, parts, len(self.owners), seed=self._seed, columns=self.columns)
        for owner, file in zip(self.owners, files, strict=True):
            local = LocalData(owner.home)
            local.data_add(DataSpec(str(file), DATASET))
            local.policy_init(DATASET, PolicySpec(allow=(*STATISTICS, *PROGRAMS), min_sites=MIN_SITES))
            policy = owner.home.data / f"{DATASET}.policy.toml"
            policy.write_text(policy.read_text().replace('overlap = "refuse"', 'overlap = "warn"'))
        names = [owner.name for owner in self.owners]
        self.plaintext = Plaintext(dict(zip(names, files, strict=True)), self.columns)

    def run(self, keep: bool) -> bool:
        """All acts; whether the mesh was left running."""
        report = self.report
        with self.mesh:
            self.mesh.start()
            self.mesh.wait_formed()
            tree = self.asker.client.tree()
            adding = {stage.adder for stage in _stages(tree)}
            self.asker = next((owner for owner in self.owners if owner.name not in adding), self.asker)
            report.clusters = len(tree.clusters)
            adders = ", ".join(cluster.adder for cluster in tree.clusters)
            text = f"{report.peers} peers on loopback · {report.clusters} clusters · sub-aggregators {adders}"
            report.line("✓", text, report.elapsed())
            what = "hospitals loaded breast-cancer" if self._own_data is None else "peers loaded"
            report.line(
                "✓", f"{len(self.owners)} {what} rows ({self.plaintext.rows}; they stay where they are)"
            )
            self._ask([("mean", self.columns[0])], None)
            self._ask([(name, column) for column in self.columns for name in STATISTICS], "sub-aggregator")
            self._ask([("variance", column) for column in self.columns], "committee member")
            report.bytes_sent = self._bytes()
            if keep:
                self._hand_over()
        return keep

    # -- one question -----------------------------------------------------------------------------------

    def _ask(self, wanted: list[tuple[str, str]], victim: str | None) -> None:
        """Submit one job; kill somebody while its session runs; compare what comes back."""
        report = self.report
        queries = tuple(QuerySpec(name, column, self._parameters(name, column)) for name, column in wanted)
        spec = JobSpec(DATASET, queries, min_sites=MIN_SITES, timeout_s=JOB_S, purpose="coppice demo")
        tree = self.asker.client.tree()
        stage = tree.root or tree.clusters[0]
        names = f"{wanted[0][0]} {wanted[0][1]}" if len(wanted) == 1 else f"{len(wanted)} statistics"
        depth = 2 if tree.root else 1
        threshold = f"threshold {stage.threshold} of {len(stage.committee)}"
        report.line("▸", f"{names} by secure sum · {threshold} · tree depth {depth}")
        began = time.monotonic()
        try:
            job = self.asker.client.submit(spec)
            name, role = self._choose(victim, tree) if victim else ("", "")
            killer = self._kill_soon(name) if victim else None
            handed_over = [e for e in self.asker.client.watch(job) if e.kind == "handover"]
            if killer is not None:
                killer.join()
                self._tell_loss(role, tree, handed_over)
            result = self.asker.client.result(job)
        except MeshError as error:
            report.problem(f"{names}: {error.sentence()}")
            return
        self._compare(result, time.monotonic() - began)

    def _parameters(self, statistic: str, column: str) -> tuple[float, ...]:
        return self.plaintext.edges(column) if statistic == "histogram" else ()

    def _compare(self, result: JobResult, seconds: float) -> None:
        for index, answer in enumerate(result.answers):
            expected = self.plaintext.value(answer.statistic, answer.column, result.counted)
            comparison = Comparison(answer.statistic, answer.column, answer.value, expected, answer.n)
            self.report.answer(comparison, seconds if index == 0 else 0.0)
        for words in result.revealed:
            if words not in self.report.revealed:
                self.report.revealed.append(words)
        if result.missing:
            self.report.line(
                " ", f"certified roster: {', '.join(result.counted)} (without {', '.join(result.missing)})"
            )

    # -- losses -----------------------------------------------------------------------------------------

    def _kill_soon(self, name: str) -> threading.Thread:
        """Kill a peer from a thread, while the job's session is under way."""
        self.report.killed.append(name)
        pause_s = self._random.uniform(0.02, 0.12)

        def kill() -> None:
            time.sleep(pause_s)
            self.mesh.kill(name)

        thread = threading.Thread(target=kill)
        thread.start()
        return thread

    def _choose(self, role: str, tree: Tree) -> tuple[str, str]:
        """Whom to kill, and as what: a holder of the role, preferably without data; never who asks."""
        holders = {
            "sub-aggregator": [stage.adder for stage in _stages(tree)],
            "committee member": list(_stages(tree)[-1].committee),
        }
        owners = {owner.name for owner in self.owners}
        for wanted in (role, "committee member"):
            free = [n for n in holders[wanted] if n != self.asker.name and n not in self.report.killed]
            without = [name for name in free if name not in owners]
            if free:
                return self._random.choice(sorted(without or free)), wanted
        others = [name for name in self.mesh.peers if name != self.asker.name]
        return self._random.choice(sorted(others)), "peer"

    def _tell_loss(self, role: str, before: Tree, handed_over: list[JobEvent]) -> None:
        name = self.report.killed[-1]
        after = self.asker.client.tree()
        heirs = {c.label: c.adder for c in _stages(after)}
        elected = [heirs.get(c.label, "") for c in _stages(before) if c.adder == name]
        words = [f"{heir} elected" for heir in elected if heir]
        words += [event.text for event in handed_over]
        consequence = " → " + ", ".join(words) if words else ""
        self.report.line("  ✗", f"{name} ({role}) killed on purpose{consequence}")

    # -- the end ----------------------------------------------------------------------------------------

    def _bytes(self) -> int:
        sent = 0
        for peer in self.mesh.running:
            values = dict(peer.client.metrics().values)
            sent += int(values.get("bytes_sent", 0))
        return sent

    def _hand_over(self) -> None:
        """--keep: the mesh goes on without us."""
        report = self.report
        running = self.mesh.running
        report.homes = [str(peer.home.root) for peer in running]
        self.mesh.release()
        report.line("✓", f"left running: {len(running)} peers under {self.mesh.folder}")
        report.line(" ", f"try: coppice status --home {running[0].home.root}")
        report.line(" ", f"stop: for home in {self.mesh.folder}/p*; do coppice down --home $home; done")


def _stages(tree: Tree) -> tuple[ClusterInfo, ...]:
    return (*tree.clusters, tree.root) if tree.root else tree.clusters
