"""Running many seeds, and one seed step by step; counting, and telling how to see a failure again."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from tools.sim import memory
from tools.sim.mesh_scenario import MeshScenario
from tools.sim.mesh_stand_ins import fast_overlay
from tools.sim.mesh_world import MeshWorld
from tools.sim.program_world import ProgramScenario, ProgramWorld
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

    seeds: int = 0
    sessions: int = 0
    restored: int = 0
    faults: int = 0
    messages: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """The object of the last line of output."""
        return {
            "schema_version": 1,
            "seeds": self.seeds,
            "violations": len(self.failures),
            "seconds": round(self.seconds, 3),
            "sessions": self.sessions,
            "seeds_per_second": round(self.seeds / self.seconds, 1) if self.seconds else 0.0,
            "restored": self.restored,
            "faults": self.faults,
            "messages": self.messages,
            "outcomes": dict(sorted(self.outcomes.items())),
            "failed_seeds": [failure.seed for failure in self.failures],
        }


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    memory.forget()
    with fast_overlay(), fast_crypto(remember=True):
        yield


def simulate(scenario: Scenario, tracing: bool = False) -> World:
    """Run one session to its end, with the stand-ins in place."""
    with _stand_ins():
        world = World(scenario, tracing)
        world.run()
    return world


def simulate_mesh(scenario: MeshScenario, tracing: bool = False) -> MeshWorld:
    """Run one mesh to its end, with the stand-ins in place."""
    with _stand_ins():
        world = MeshWorld(scenario, tracing)
        world.run()
    return world


def simulate_program(scenario: ProgramScenario, tracing: bool = False) -> ProgramWorld:
    """Run one program to its end, with the stand-ins in place."""
    with _stand_ins():
        world = ProgramWorld(scenario, tracing)
        world.run()
    return world


def _world(scenario: Scenario | MeshScenario | ProgramScenario) -> World | MeshWorld | ProgramWorld:
    if isinstance(scenario, MeshScenario):
        return MeshWorld(scenario)
    return ProgramWorld(scenario) if isinstance(scenario, ProgramScenario) else World(scenario)


def run(
    scenarios: Iterable[Scenario | MeshScenario | ProgramScenario],
    failed: Callable[[Failure], None] = lambda _: None,
    stop_at: int = 0,
) -> Tally:
    """Run all `scenarios`; `failed` hears of each failure; stop after `stop_at` failures (0: never)."""
    tally = Tally()
    begun = time.perf_counter()
    with _stand_ins():
        for scenario in scenarios:
            world = _world(scenario)
            world.run()
            tally.seeds += 1
            tally.faults += scenario.faults
            tally.messages += world.messages
            tally.outcomes[_outcome(world)] += 1
            if isinstance(world, World):
                tally.sessions += 1
                tally.restored += len(world.faults.restored)
            if world.violations:
                failure = Failure(scenario.seed, tuple(world.violations))
                tally.failures.append(failure)
                failed(failure)
                if len(tally.failures) == stop_at:
                    break
    tally.seconds = time.perf_counter() - begun
    return tally


def _outcome(world: World | MeshWorld | ProgramWorld) -> str:
    """How the initiator's session or program ended; or whether a mesh stayed within what electorates bear."""
    if isinstance(world, MeshWorld):
        return "mesh" if world.in_model else "mesh with too many liars for an electorate"
    outcome = world.machines[world.plan.initiator].outcome
    if isinstance(outcome, events.Opened | ProgramOpened):
        return "opened"
    if isinstance(outcome, events.Aborted):
        return f"{'definite' if outcome.definite else 'open'} {outcome.code}"
    return "initiator gone"


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
