"""What the demo shows: a line a step for people, one JSON object for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field

from mesh.api.shapes import SCHEMA_VERSION

TOLERANCE = 1e-6
WIDTH = 78


@dataclass(frozen=True, slots=True)
class Comparison:
    """One answer beside the plaintext."""

    statistic: str
    column: str
    value: object
    plaintext: object
    n: int | None

    @property
    def agrees(self) -> bool:
        """Counts and histograms exactly, the others to TOLERANCE relative."""
        if isinstance(self.value, float) and isinstance(self.plaintext, float | int):
            return math.isclose(self.value, self.plaintext, rel_tol=TOLERANCE, abs_tol=1e-300)
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return value == self.plaintext


@dataclass(slots=True)
class Report:
    """Collects the facts and prints them as they come."""

    as_json: bool
    started: float
    peers: int = 0
    clusters: int = 0
    killed: list[str] = field(default_factory=list)
    results: list[Comparison] = field(default_factory=list)
    revealed: list[str] = field(default_factory=list)
    seconds_to_first_result: float | None = None
    bytes_sent: int = 0
    homes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def line(self, mark: str, text: str, seconds: float | None = None) -> None:
        """One step. Marks: ✓ done, ▸ going on, ✗ gone."""
        shown = f"{mark} {text}"
        if seconds is not None:
            shown = f"{shown:<{WIDTH}}{seconds:5.1f}s"
        print(shown, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def elapsed(self) -> float:
        """Seconds since the process began."""
        return time.monotonic() - self.started

    def answer(self, comparison: Comparison, seconds: float) -> None:
        """An answer arrived."""
        if self.seconds_to_first_result is None:
            self.seconds_to_first_result = round(self.elapsed(), 2)
        self.results.append(comparison)
        mark = "✓" if comparison.agrees else "✗"
        name = f"{comparison.statistic} {comparison.column}".strip()
        text = f"{name} = {_shown(comparison.value)}   plaintext {_shown(comparison.plaintext)}"
        self.line(mark, f"{text}   n {comparison.n}", seconds)
        if not comparison.agrees:
            self.problems.append(f"{name} differs from the plaintext")

    def problem(self, text: str) -> None:
        """Something went otherwise than it should."""
        self.problems.append(text)
        self.line("✗", text)

    def finish(self) -> int:
        """The closing words; the exit code."""
        ok = not self.problems and bool(self.results)
        if not self.as_json:
            first = self.seconds_to_first_result
            self.line(
                "✓" if ok else "✗", f"first result after {first} s · {self.bytes_sent:,} bytes between peers"
            )
            if not self.homes:
                self.line(" ", "Next: coppice init · coppice demo --keep")
            return 0 if ok else 1
        document: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "ok": ok,
            "peers": self.peers,
            "clusters": self.clusters,
            "killed": self.killed,
            "results": [asdict(result) for result in self.results],
            "seconds_to_first_result": self.seconds_to_first_result,
            "bytes_sent": self.bytes_sent,
            "revealed": self.revealed,
            "problems": self.problems,
        }
        if self.homes:
            document["homes"] = self.homes
        print(json.dumps(document), flush=True)
        return 0 if ok else 1


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(str(item) for item in value) + "]"
    return str(value)
