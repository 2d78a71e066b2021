"""Programs in the simulator: seeds without a violation, the command line."""

from __future__ import annotations

import json

from tools.sim.__main__ import main
from tools.sim.program_world import draw
from tools.sim.runner import run


def test_some_programs_without_a_violation():
    tally = run(map(draw, range(20)))
    assert not tally.failures
    assert tally.outcomes["opened"] > 10
    assert tally.faults > 10


def test_the_command_line_runs_and_replays_programs(capsys):
    assert main(["run", "--programs", "--seeds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["violations"] == 0
    assert main(["replay", "--programs", "1"]) == 0
    assert "ProgramScenario(seed=1" in capsys.readouterr().out
