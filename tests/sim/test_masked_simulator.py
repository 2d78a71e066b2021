"""Simulated sessions of masked vectors: clean seeds, and that they are about what they are meant for."""

from __future__ import annotations

import pytest

from tools.sim import masked_scenario, runner
from tools.sim.masked_scenario import MaskedScenario, draw
from tools.sim.scenario import Crash

SEEDS = range(9_000_000, 9_000_024)
QUIET = MaskedScenario(1, min_sites=3, vector_s=0.3)
LATE = MaskedScenario(2, devices=6, clusters=1, min_sites=3, collect_s=6.0, total_s=20.0, vector_s=1.5)


def test_no_violation():
    tally = runner.run(map(draw, SEEDS))
    assert not tally.failures
    assert tally.outcomes["opened, with its vectors"] >= len(SEEDS) // 4


@pytest.mark.parametrize("clusters", [0, 1, 2])
@pytest.mark.parametrize("to_all", [False, True])
def test_without_faults_everybody_who_should_takes_the_total(clusters, to_all):
    world = runner.simulate(masked_scenario._masked(QUIET, clusters=clusters, to_all=to_all))
    assert not world.violations
    assert world.ending == "opened, with its vectors"


def test_a_substitute_of_the_root_that_asks_takes_the_total_of_a_slow_session():
    """It passes adders over that did all they should: nobody tells it of their certificate."""
    assert runner.simulate(draw(9_100_277)).ending == "opened, with its vectors"


@pytest.mark.parametrize("seed", [9_100_165, 9_100_243, 9_101_142])
def test_an_audit_blames_nobody_who_is_gone_and_ends(seed):
    assert not runner.simulate(draw(seed)).violations


def test_equal_seeds_give_equal_courses():
    drawn = masked_scenario._masked(LATE, crashes=(Crash(1, 0.5, 0.8, -1.0),))
    first, second = (runner.simulate(drawn, tracing=True) for _ in range(2))
    assert first.digest() == second.digest()
    assert not first.violations
