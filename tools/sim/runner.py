"""Running many seeds, and one seed step by step; counting, and telling how to see a failure again."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from protocols.sessions import events
from tools.sim import memory
from tools.sim.scenario import Scenario
from tools.sim.stand_ins import fast_crypto
from tools.sim.world import World


@dataclass(frozen=True, slots=True)
class Failure:
    """One seed at which a checker spoke up."""

    seed: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """What a run of many seeds came to."""

    sessions: int = 0
    faults: int = 0
    messages: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """The object of the last line of output."""
        return {
            "schema_version": 1,
            "seeds": self.sessions,
            "violations": len(self.failures),
            "seconds": round(self.seconds, 3),
            "sessions": self.sessions,
            "sessions_per_second": round(self.sessions / self.seconds, 1) if self.seconds else 0.0,
            "faults": self.faults,
            "messages": self.messages,
            "outcomes": dict(sorted(self.outcomes.items())),
            "failed_seeds": [failure.seed for failure in self.failures],
        }


def simulate(scenario: Scenario, tracing: bool = False) -> World:
    """Run one scenario to its end, with the stand-ins in place."""
    memory.forget()
    with fast_crypto(remember=True):
        world = World(scenario, tracing)
        world.run()
    return world


def run(
    scenarios: Iterable[Scenario], failed: Callable[[Failure], None] = lambda _: None, stop_at: int = 0
) -> Tally:
    """Run all `scenarios`; `failed` hears of each failure; stop after `stop_at` failures (0: never)."""
    tally = Tally()
    begun = time.perf_counter()
    memory.forget()
    with fast_crypto(remember=True):
        for scenario in scenarios:
            world = World(scenario)
            world.run()
            _count(tally, world)
            if world.violations:
                failure = Failure(scenario.seed, tuple(world.violations))
                tally.failures.append(failure)
                failed(failure)
                if len(tally.failures) == stop_at:
                    break
    tally.seconds = time.perf_counter() - begun
    return tally


def _count(tally: Tally, world: World) -> None:
    tally.sessions += 1
    tally.faults += world.scenario.faults
    tally.messages += world.messages
    outcome = world.machines[world.plan.initiator].outcome
    if isinstance(outcome, events.Opened):
        tally.outcomes["opened"] += 1
    elif isinstance(outcome, events.Aborted):
        tally.outcomes[f"{'definite' if outcome.definite else 'open'} {outcome.code}"] += 1
    else:
        tally.outcomes["initiator gone"] += 1


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
