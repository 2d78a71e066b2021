"""Sessions whose parties crash and are cut off again and again: all end, who asked knows how, most open."""

from __future__ import annotations

from tools.sim import storm_scenario
from tools.sim.runner import run


def test_storms_leave_nobody_in_doubt():
    tally = run(map(storm_scenario.draw, range(20)), print)
    assert not tally.failures
    assert tally.restored > 40
    assert tally.outcomes["opened"] > 10
