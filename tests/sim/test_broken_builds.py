"""For each checker of each world: a build that is broken on purpose, and that the checker sees it."""

from __future__ import annotations

import inspect
import re

import pytest

from tests.sim import (
    broken_departures,
    broken_masked,
    broken_meshes,
    broken_programs,
    broken_sessions,
    broken_splices,
    broken_vaults,
)
from tests.sim.broken_builds import first_caught
from tools.sim import (
    departure_world,
    masked_world,
    mesh_admission,
    mesh_beacons,
    mesh_world,
    program_world,
    vault_checkers,
    vault_world,
    world,
)
from tools.sim.checkers import CHECKERS
from tools.sim.departure_world import DEPARTURE_CHECKERS
from tools.sim.mesh_checkers import MESH_CHECKERS
from tools.sim.runner import run

WITHIN = 1000
BUILDS = [
    *broken_sessions.BUILDS,
    *broken_departures.BUILDS,
    *broken_splices.BUILDS,
    *broken_masked.BUILDS,
    *broken_meshes.BUILDS,
    *broken_programs.BUILDS,
    *broken_vaults.BUILDS,
]

WORLDS = {
    "sessions": (CHECKERS, (world,), broken_sessions.BUILDS),
    "departures": (DEPARTURE_CHECKERS, (departure_world,), broken_departures.BUILDS),
    "masked": ((), (masked_world,), broken_masked.BUILDS),
    "meshes": (MESH_CHECKERS, (mesh_world, mesh_beacons, mesh_admission), broken_meshes.BUILDS),
    "programs": ((), (program_world,), broken_programs.BUILDS),
    "vaults": ((), (vault_checkers, vault_world), broken_vaults.BUILDS),
}


@pytest.mark.parametrize("kind", WORLDS)
def test_every_checker_has_a_broken_build(kind):
    """Whatever a world may complain of, by class or in passing, some build makes it complain of."""
    checkers, modules, builds = WORLDS[kind]
    sources = "".join(inspect.getsource(module) for module in modules)
    in_passing = set(re.findall(r'(?:complain|violations\.append)\(f?"([a-z ]+):', sources))
    named = {checker.name for checker in checkers} | in_passing
    assert named - {"raised"} <= {broken.checker for broken in builds}
    assert any(broken.checker == "raised" for broken in BUILDS), "one catch, alike in all worlds"


@pytest.mark.parametrize("broken", BUILDS, ids=str)
def test_the_right_checker_sees_each_broken_build(broken):
    """The build's seed caught it once; others are tried when the draw or the protocol have changed."""
    caught = first_caught(broken, (broken.seed, *range(60)))
    assert caught is not None
    assert not run([broken.draw(caught)]).failures


@pytest.mark.long
@pytest.mark.parametrize("broken", BUILDS, ids=str)
def test_the_simulator_catches_it_within_a_thousand_seeds(broken):
    assert first_caught(broken, range(WITHIN)) is not None, f"not even seed {broken.seed}"
