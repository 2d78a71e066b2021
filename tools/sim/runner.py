"""Running many seeds, and one seed step by step; counting, and telling how to see a failure again."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.sim import memory
from tools.sim.kinds import AnyScenario, world_of
from tools.sim.mesh_stand_ins import fast_overlay
from tools.sim.scenario import Scenario
from tools.sim.stand_ins import fast_crypto


@dataclass(frozen=True, slots=True)
class Failure:
    """One seed at which a checker spoke up."""

    seed: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What a run of many seeds came to."""

    seeds: int = 0
    sessions: int = 0
    restored: int = 0
    faults: int = 0
    messages: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """The object of the last line of output."""
        return {
            "schema_version": 1,
            "seeds": self.seeds,
            "violations": len(self.failures),
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "sessions": self.sessions,
            "seeds_per_second": _rate(self.seeds, self.seconds),
            "seeds_per_cpu_second": _rate(self.seeds, self.cpu_seconds),
            "restored": self.restored,
            "faults": self.faults,
            "messages": self.messages,
            "outcomes": dict(sorted(self.outcomes.items())),
            "failed_seeds": [failure.seed for failure in self.failures],
        }


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    memory.forget()
    with fast_overlay(), fast_crypto(remember=True):
        yield


def simulate(scenario: AnyScenario, tracing: bool = False) -> Any:
    """Run one scenario to its end, with the stand-ins in place; gives the world of its kind."""
    with _stand_ins():
        world = world_of(scenario, tracing)
        world.run()
    return world


def run(
    scenarios: Iterable[AnyScenario],
    failed: Callable[[Failure], None] = lambda _: None,
    stop_at: int = 0,
) -> Tally:
    """Run all `scenarios`; `failed` hears of each failure; stop after `stop_at` failures (0: never)."""
    tally = Tally()
    begun, used = time.perf_counter(), time.process_time()
    with _stand_ins():
        for scenario in scenarios:
            world = world_of(scenario)
            world.run()
            tally.seeds += 1
            tally.faults += scenario.faults
            tally.messages += world.messages
            tally.outcomes[world.ending] += 1
            tally.restored += world.restored
            tally.sessions += isinstance(scenario, Scenario)
            if world.violations:
                failure = Failure(scenario.seed, tuple(world.violations))
                tally.failures.append(failure)
                failed(failure)
                if len(tally.failures) == stop_at:
                    break
            vars(world).clear()  # its parts know one another: so they are freed at once, and memory is warm
    tally.seconds, tally.cpu_seconds = time.perf_counter() - begun, time.process_time() - used
    return tally


def commit() -> str:
    """Short name of the commit that runs, or `unknown` outside a repository."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
