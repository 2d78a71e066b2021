"""For each checker of each world: a build that is broken on purpose, and that the checker sees it."""

from __future__ import annotations

import pytest

from tests.sim import broken_meshes, broken_programs, broken_sessions, broken_vaults
from tests.sim.broken_builds import first_caught
from tools.sim.runner import run

WITHIN = 1000
BUILDS = [*broken_sessions.BUILDS, *broken_meshes.BUILDS, *broken_programs.BUILDS, *broken_vaults.BUILDS]


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
