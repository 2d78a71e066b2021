"""What became of each round, and the figures of all."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

VERDICTS = ("right", "aborted", "orphaned", "unclear", "wrong", "hung")
"""right: the plaintext's answer. aborted: definite, with the reason. orphaned: the asker itself was killed
and the others ended the session by themselves. unclear: an abort that cannot exclude an opening.
wrong and hung: never."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: who asked, who was hit, when, and what came of it."""

    number: int
    asker: str
    victim: str
    roles: tuple[str, ...]
    moment_s: float
    verdict: str
    words: str
    seconds: float
    sessions: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """Collects rounds and problems of the mesh as a whole."""

    seed: int
    started: float = field(default_factory=time.monotonic)
    rounds: list[Round] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, found: Round) -> None:
        """Note a round and tell it on stderr."""
        self.rounds.append(found)
        roles = ", ".join(found.roles) or "no role"
        print(
            f"{found.number:4d} {found.verdict:8s} {found.asker} asked, {found.victim} ({roles}) hit after "
            f"{found.moment_s * 1000:4.0f} ms, {found.seconds:5.1f} s  {found.words}",
            file=sys.stderr,
            flush=True,
        )

    def problem(self, text: str) -> None:
        """Something that must not be, told at once."""
        self.problems.append(text)
        print(f"     PROBLEM {text}", file=sys.stderr, flush=True)

    @property
    def ok(self) -> bool:
        """Whether nothing happened that must not."""
        counts = Counter(found.verdict for found in self.rounds)
        return bool(self.rounds) and not self.problems and not counts["wrong"] + counts["hung"]

    def document(self) -> dict[str, object]:
        """All figures, as plain values."""
        counts = Counter(found.verdict for found in self.rounds)
        times = sorted(found.seconds for found in self.rounds)
        reasons = Counter(found.words for found in self.rounds if found.verdict not in ("right", "orphaned"))
        return {
            "ok": self.ok,
            "runs": len(self.rounds),
            **{verdict: counts[verdict] for verdict in VERDICTS},
            "seconds": round(time.monotonic() - self.started, 1),
            "longest_s": round(times[-1], 2) if times else None,
            "median_s": round(times[len(times) // 2], 2) if times else None,
            "seed": self.seed,
            "reasons": dict(reasons),
            "problems": self.problems,
        }

    def finish(self, as_json: bool) -> int:
        """The last line; the exit code."""
        document = self.document()
        if as_json:
            print(json.dumps(document), flush=True)
        else:
            for name, value in document.items():
                print(f"{name:10s} {value}")
        return 0 if self.ok else 1
