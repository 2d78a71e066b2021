"""Plays a lab's timeline: faults begin and end, jobs are asked and judged, observers watch who is noticed.

One thread, one heap of things to do, and a look at the nodes in between. A node that is paused or dead is
not asked; a job of one that died is looked up when it is back.

Invariant: every job gets a verdict; every fault with an end is undone; at the end every link is up.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from mesh.api.outcome import AnswerTimeout, NodeUnreachable
from mesh.config import resolve
from mesh.runtime.jobs.attempts import ATTEMPTS
from protocols.errors import MeshError
from tools.chaos import audit
from tools.netlab.launch import Daemon, settings_of
from tools.netlab.orders import Orders
from tools.netlab.probes import measure
from tools.netlab.report import FaultLine, JobLine, Report
from tools.netlab.sites import Sites
from tools.netlab.topology import Asked, Fault

LOOK_S = 0.1
ABORT_S = 3.0
GRACE_S = 10.0
"""A job may take its attempts, each with its deadline and the wait for abort ballots, and a slow machine."""
OBSERVERS = 2


@dataclass(slots=True)
class _Job:
    asked: Asked
    daemon: Daemon
    job: str
    began: float
    until: float


@dataclass(slots=True)
class _Fault:
    fault: Fault
    began: float
    watches: list[tuple[Daemon, str]]
    noticed_s: float | None = None


class Schedule:
    """One run of a lab, from nothing to the report."""

    def __init__(self, sites: Sites, report: Report, orders: Orders) -> None:
        self._sites = sites
        self._orders = orders
        self._lab = sites.lab
        self._report = report
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._jobs: list[_Job] = []
        self._faults: list[_Fault] = []
        self._aborted: list[str] = []
        self._epoch0 = 0.0

    def run(self, *, hold: bool = False) -> None:
        """Everything, in order; with `hold` a person may go on with the mesh before it ends."""
        report, lab = self._report, self._lab
        report.measured(measure(lab, self._sites.names))
        try:
            self._sites.start()
            took = self._sites.wait_until(f"{len(lab.nodes)} nodes form", self._sites.whole, lab.formed_s)
            report.say(f"{len(lab.nodes)} nodes formed a mesh")
            report.figures["formed_s"] = round(took, 1)
            self._play()
            self._end()
            if hold:
                self.hold()
        except MeshError as error:
            report.problem(error.sentence())
        self._account()
        self._sites.stop_daemons()
        homes = [daemon.home for daemon in self._sites.daemons.values()]
        for words in audit.contradictions(homes, self._aborted):
            report.problem(words)

    def hold(self) -> None:
        """Keep the mesh for a person's orders until interrupted; the report follows."""
        self._report.say("held: python -m tools.netlab do cut A B · heal · kill N · pause · resume · restart")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                self._look()
                time.sleep(LOOK_S)

    # -- the timeline ---------------------------------------------------------------------------------

    def _play(self) -> None:
        self._epoch0 = time.monotonic()
        for fault in self._lab.faults:
            self._push(fault.at, functools.partial(self._strike, fault))
        for asked in self._lab.jobs:
            self._push(asked.at, functools.partial(self._ask, asked))
        while self._heap or self._jobs:
            while self._heap and self._heap[0][0] <= self._now():
                heapq.heappop(self._heap)[2]()
            self._look()
            due = self._heap[0][0] - self._now() if self._heap else LOOK_S
            time.sleep(max(0.0, min(LOOK_S, due)))

    def _push(self, at: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (at, next(self._order), what))

    def _now(self) -> float:
        return time.monotonic() - self._epoch0

    def _look(self) -> None:
        self._sites.check_alive()
        self._orders.serve(self._sites)
        for fault in self._faults:
            self._watch(fault)
        for job in list(self._jobs):
            if job.daemon.answers:
                self._look_at(job)
            elif time.monotonic() > job.until:  # its node never came back
                self._judged(job, "orphaned", "nobody is there to ask", 0)

    # -- faults ---------------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        watches = self._watches(fault)
        self._report.say(f"{fault.do} {' '.join(fault.what)}")
        self._sites.act(fault.do, fault.what)
        struck = _Fault(fault, time.monotonic(), watches)
        self._faults.append(struck)
        if fault.for_s is not None:
            self._push(self._now() + fault.for_s, lambda: self._mend(struck))

    def _mend(self, struck: _Fault) -> None:
        fault = struck.fault
        self._faults.remove(struck)
        self._report.fault(FaultLine(fault.at, fault.do, fault.what, fault.for_s, struck.noticed_s))
        self._sites.act({"cut": "heal", "kill": "restart", "pause": "resume"}[fault.do], fault.what)
        self._report.say(f"{fault.do} {' '.join(fault.what)} is over")

    def _watches(self, fault: Fault) -> list[tuple[Daemon, str]]:
        """Who watches whom: of a cut link both ends, of a node a few others."""
        daemons = list(self._sites.daemons.values())
        if fault.do == "cut":
            inside = [d for d in daemons if d.node.site == fault.what[0]]
            others = fault.what[1:] or [site.name for site in self._lab.sites if site.name != fault.what[0]]
            outside = [d for d in daemons if d.node.site in others]
            pairs = [(outside[0], inside[0]), (inside[0], outside[0])]
        else:
            target = self._sites.daemons[fault.what[0]]
            pairs = [(d, target) for d in daemons if d.node.name not in fault.what and d.answers][:OBSERVERS]
        return [(observer, target.node.name) for observer, target in pairs if target.answers]

    def _watch(self, struck: _Fault) -> None:
        for watch in list(struck.watches):
            observer, target = watch
            if not observer.answers:
                continue
            try:
                seen = next((peer.direct for peer in observer.client.peers() if peer.name == target), False)
            except (NodeUnreachable, AnswerTimeout):
                continue
            if not seen:
                struck.watches.remove(watch)
                if not struck.watches:
                    struck.noticed_s = time.monotonic() - struck.began

    # -- jobs -----------------------------------------------------------------------------------------

    def _ask(self, asked: Asked) -> None:
        daemon = self._sites.daemons[asked.by]
        spec = self._sites.oracle.spec(asked.ask, asked.min_sites, asked.timeout_s)
        began = time.monotonic()
        try:
            job = daemon.client.submit(spec)
        except MeshError as error:
            self._report.job(
                JobLine(asked.at, asked.by, asked.expect, "aborted", f"not begun: {error.sentence()}", 0.0, 0)
            )
            return
        patience_s = ATTEMPTS * (asked.timeout_s + ABORT_S) + GRACE_S
        self._jobs.append(_Job(asked, daemon, job, began, began + patience_s))

    def _look_at(self, job: _Job) -> None:
        asked, now = job.asked, time.monotonic()
        sites = 0
        try:
            info = job.daemon.client.job(job.job)
            if not info.ended and now < job.until:
                return
            verdict, words = self._sites.oracle.judge(info, asked.min_sites)
            self._note_aborted(job, verdict)
            if info.result is not None:
                sites = info.result.sites
                words = "; ".join(filter(None, (words, *self._roster(asked, info.result.counted))))
        except (NodeUnreachable, AnswerTimeout) as error:
            if now < job.until:
                return
            verdict, words = "hung", error.sentence()
        except MeshError as error:  # the node was restarted and does not know the job
            verdict, words = "orphaned", error.sentence()
        self._judged(job, verdict, words, sites)

    def _judged(self, job: _Job, verdict: str, words: str, sites: int) -> None:
        self._jobs.remove(job)
        asked, seconds = job.asked, round(time.monotonic() - job.began, 2)
        self._report.job(JobLine(asked.at, asked.by, asked.expect, verdict, words, seconds, sites))

    def _roster(self, asked: Asked, counted: tuple[str, ...]) -> list[str]:
        """Reports rows that should have counted and did not, or the other way round."""
        found = [f"{name} does not count" for name in asked.counts if name not in counted]
        found += [f"{name} counts" for name in asked.without if name in counted]
        for words in found:
            self._report.problem(f"in the job of {asked.by} at {asked.at:g} s {words}")
        return found

    def _note_aborted(self, job: _Job, verdict: str) -> None:
        sessions = [
            dict(event.data)["session"]
            for event in job.daemon.client.events(job.job)
            if event.kind == "phase" and "session" in dict(event.data)
        ]
        if verdict == "aborted":
            self._aborted += sessions
        elif verdict in ("right", "unclear"):
            self._aborted += sessions[:-1]

    # -- the end --------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Everything that can come back is back: one mesh again, and every session has ended."""
        for struck in list(self._faults):
            if struck.fault.do == "cut":
                self._mend(struck)
        took = self._sites.wait_until("the mesh is whole again", self._sites.whole, self._lab.formed_s)
        self._report.figures["whole_again_s"] = round(took, 1)
        daemons = self._sites.running
        flags = settings_of(self._lab, self._lab.nodes[0])
        config = resolve(None, flags=flags, environment={}, profile=self._lab.profile).config
        self._sites.wait_until(
            "every session has ended",
            lambda: not any(audit.open_sessions(daemon.home) for daemon in daemons),
            2 * config.total_s + GRACE_S,
        )

    def _account(self) -> None:
        """Bytes on the links, and how exact the router was."""
        if self._sites.router is None:
            return
        counts = self._sites.router.counts()
        links = counts.pop("links")
        assert isinstance(links, dict)
        for what in ("bytes", "packets", "lost", "overflowed", "cut"):
            counts[f"{what}_on_links"] = sum(link[what] for link in links.values())
        self._report.figures |= counts
