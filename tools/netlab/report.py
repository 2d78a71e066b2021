"""What a lab shows: a line for each thing that happens, and one object of all figures.

Invariant: a run is well only if every job came to what the lab expects and nothing that must not be was seen.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from tools.netlab.probes import Measured

EXPECTED = {
    "right": ("right",),
    "abort": ("aborted",),
    "right-or-abort": ("right", "aborted", "orphaned"),
}
VERDICTS = ("right", "aborted", "orphaned", "unclear", "wrong", "hung")


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job: when it was asked, what came of it."""

    at: float
    by: str
    expected: str
    verdict: str
    words: str
    seconds: float
    sites: int


@dataclass(frozen=True, slots=True)
class FaultLine:
    """One fault. `noticed_s`: until the slowest of a few observers had dropped the link; None: never did."""

    at: float
    do: str
    what: tuple[str, ...]
    for_s: float | None
    noticed_s: float | None


@dataclass(slots=True)
class Report:
    """Collects the facts of one lab and tells them on stderr as they come."""

    lab: str
    title: str
    nodes: int
    began: float = field(default_factory=time.monotonic)
    figures: dict[str, object] = field(default_factory=dict)
    links: list[Measured] = field(default_factory=list)
    jobs: list[JobLine] = field(default_factory=list)
    faults: list[FaultLine] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line of the story, with the seconds since the start."""
        print(f"{time.monotonic() - self.began:7.1f}  {text}", file=sys.stderr, flush=True)

    def measured(self, found: list[Measured]) -> None:
        """What the links do."""
        self.links = found
        for one in found:
            self.say(
                f"{one.sites[0]} - {one.sites[1]}: round trip {one.measured_rtt_ms} ms (lab says "
                f"{one.rtt_ms:g}), {one.measured_mbit} Mbit/s (lab says {one.mbit:g})"
            )

    def job(self, line: JobLine) -> None:
        """A job came to its end."""
        self.jobs.append(line)
        self.say(f"{line.verdict}: {line.by} asked, {line.sites} sites, {line.seconds:.1f} s  {line.words}")
        if line.verdict not in EXPECTED[line.expected]:
            self.problem(f"the job of {line.by} at {line.at:g} s is {line.verdict}: {line.words}")

    def fault(self, line: FaultLine) -> None:
        """A fault is over, or the run is."""
        self.faults.append(line)
        seen = "not noticed" if line.noticed_s is None else f"noticed after {line.noticed_s:.1f} s"
        self.say(f"{line.do} {' '.join(line.what)}: {seen}")

    def problem(self, text: str) -> None:
        """Something that must not be."""
        self.problems.append(text)
        self.say(f"PROBLEM {text}")

    @property
    def ok(self) -> bool:
        """Whether all went as the lab expects."""
        return bool(self.jobs) and not self.problems

    def document(self) -> dict[str, object]:
        """All figures, as plain values."""
        counts = Counter(line.verdict for line in self.jobs)
        noticed = sorted(line.noticed_s for line in self.faults if line.noticed_s is not None)
        right = sorted(line.seconds for line in self.jobs if line.verdict == "right")
        return {
            "lab": self.lab,
            "ok": self.ok,
            "nodes": self.nodes,
            "jobs": len(self.jobs),
            **{verdict: counts[verdict] for verdict in VERDICTS if counts[verdict] or verdict == "right"},
            "job_median_s": round(right[len(right) // 2], 2) if right else None,
            "job_longest_s": round(right[-1], 2) if right else None,
            "faults": len(self.faults),
            "noticed_longest_s": round(noticed[-1], 2) if noticed else None,
            **self.figures,
            "links": [asdict(one) for one in self.links],
            "seconds": round(time.monotonic() - self.began, 1),
            "problems": self.problems,
        }

    def finish(self, as_json: bool) -> int:
        """The last words; the exit code."""
        document = self.document()
        if as_json:
            print(json.dumps(document), flush=True)
        else:
            print(f"{'✓' if self.ok else '✗'} {self.title}")
            for name, value in document.items():
                print(f"  {name:18s} {value}")
        return 0 if self.ok else 1
