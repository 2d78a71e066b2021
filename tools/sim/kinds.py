"""What can be simulated: each kind draws its scenarios from a seed and runs them in a world of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from tools.sim import (
    departure_scenario,
    masked_scenario,
    mesh_scenario,
    program_world,
    scenario,
    splice_scenario,
    storm_scenario,
    vault_scenario,
)
from tools.sim.departure_scenario import DepartureScenario
from tools.sim.departure_world import DepartureWorld
from tools.sim.masked_scenario import MaskedScenario
from tools.sim.masked_world import MaskedWorld
from tools.sim.mesh_scenario import MeshScenario
from tools.sim.mesh_world import MeshWorld
from tools.sim.program_world import ProgramScenario, ProgramWorld
from tools.sim.scenario import Scenario
from tools.sim.vault_scenario import VaultScenario
from tools.sim.vault_world import VaultWorld
from tools.sim.world import World

AnyScenario = Scenario | DepartureScenario | MaskedScenario | MeshScenario | ProgramScenario | VaultScenario


class AnyWorld(Protocol):
    """What all worlds have in common."""

    violations: list[str]
    trace: list[str] | None
    messages: int

    def run(self) -> None:
        """To the end of the scenario, or to the first violation."""

    def digest(self) -> str:
        """Equal for equal scenarios, in every process."""

    @property
    def ending(self) -> str:
        """How it came out, in a word or two, to be counted."""

    @property
    def restored(self) -> int:
        """How many parties came back from their journals."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of simulation; `option` chooses it on the command line."""

    option: str
    what: str
    draw: Callable[[int], AnyScenario]


KINDS: Final = (
    Kind("", "sessions", scenario.draw),
    Kind("small", "small sessions: three devices, a committee of three", partial(scenario.draw, small=True)),
    Kind("storms", "storms: everybody crashes or is cut off, often, and comes back", storm_scenario.draw),
    Kind("splices", "sessions in which somebody splices messages", splice_scenario.draw),
    Kind(
        "departures",
        "departures: members and adders leave for good, one after another",
        departure_scenario.draw,
    ),
    Kind("masked", "sessions of masked vectors", masked_scenario.draw),
    Kind("mesh", "meshes: membership, epochs and their beacon sessions", mesh_scenario.draw),
    Kind("programs", "programs: committee computation", program_world.draw),
    Kind("vaults", "vaults: deposit, readings, renewals, deletion", vault_scenario.draw),
)


def world_of(drawn: AnyScenario, tracing: bool = False) -> AnyWorld:
    """The world that runs a scenario."""
    match drawn:
        case DepartureScenario():
            return DepartureWorld(drawn, tracing)
        case MaskedScenario():
            return MaskedWorld(drawn, tracing)
        case MeshScenario():
            return MeshWorld(drawn, tracing)
        case ProgramScenario():
            return ProgramWorld(drawn, tracing)
        case VaultScenario():
            return VaultWorld(drawn, tracing)
    return World(drawn, tracing)
