"""Scenarios of files: a seed, and whatever of the drawn scenario is to be otherwise.

kind = "mesh"            # or "session", which is meant without it
seed = 7                 # drawn from this seed, then overridden; without it nothing goes wrong
loss = 0.1
[[crashes]]              # lists of tables replace what was drawn
index = 2
at_s = 0.05
noticed_s = 0.5
back_s = 3.0
restores = true
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from protocols.errors import ConfigError
from tools.sim import mesh_scenario, scenario
from tools.sim.mesh_scenario import Absence, MeshCut, MeshScenario
from tools.sim.scenario import Crash, Cut, Scenario

_TABLES: dict[type, dict[str, type]] = {
    Scenario: {"crashes": Crash, "cuts": Cut},
    MeshScenario: {"absences": Absence, "cuts": MeshCut},
}


def read(path: Path) -> Scenario | MeshScenario:
    """The scenario of a file. Raises ConfigError naming the key."""
    try:
        given: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", fix="give a TOML file of Scenario fields") from None
    kind = given.pop("kind", "session")
    if kind not in ("session", "mesh"):
        raise ConfigError(f"{path}: kind is {kind!r}", fix='use "session" or "mesh"')
    start: Scenario | MeshScenario
    if kind == "mesh":
        start = mesh_scenario.draw(int(given["seed"])) if "seed" in given else mesh_scenario.CALM
    else:
        start = scenario.draw(int(given["seed"])) if "seed" in given else Scenario(0)
    known = {field.name for field in dataclasses.fields(start)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}", fix=f"use one of {', '.join(sorted(known))}")
    for key, table in _TABLES[type(start)].items():
        if key in given:
            given[key] = tuple(_made(path, key, table, item) for item in given[key])
    return dataclasses.replace(start, **_tuples(given))


def _made(path: Path, key: str, table: type, item: dict[str, Any]) -> Any:
    try:
        return table(**_tuples(item))
    except TypeError as error:
        names = ", ".join(field.name for field in dataclasses.fields(table))
        raise ConfigError(f"{path}: [[{key}]]: {error}", fix=f"give {names}") from None


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    return {key: frozen(value) for key, value in table.items()}
