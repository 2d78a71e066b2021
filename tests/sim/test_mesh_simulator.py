"""Meshes in the simulator: seeds without a violation, one course for one seed, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.errors import ConfigError
from tools.sim import files, runner
from tools.sim.__main__ import main
from tools.sim.mesh_scenario import CALM, Absence, draw

ROOT = Path(__file__).resolve().parents[2]


def test_some_meshes_without_a_violation():
    tally = runner.run(map(draw, range(12)), stop_at=3)
    assert not tally.failures
    assert tally.faults > 20
    assert tally.outcomes["mesh"] > 8


@pytest.mark.long
def test_many_meshes_without_a_violation():
    count = int(os.environ.get("COPPICE_SIM_MESHES", "300"))
    assert not runner.run(map(draw, range(10_000, 10_000 + count)), stop_at=3).failures


def test_without_faults_the_electorate_is_everybody():
    world = runner.simulate(CALM)
    assert not world.violations
    heads = {node.keeper.record for node in world.nodes.values()}
    assert len(heads) == 1
    assert len(heads.pop().gateways) == CALM.members


def test_one_seed_gives_one_course_of_events_in_every_process():
    program = (
        "from tools.sim.runner import simulate\n"
        "from tools.sim.mesh_scenario import draw\n"
        "print([simulate(draw(seed), True).digest() for seed in (2, 5)])\n"
    )
    seen = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        seen.add(done.stdout)
    assert len(seen) == 1


def test_the_command_line_runs_and_replays_meshes(capsys):
    assert main(["run", "--mesh", "--seeds", "1", "--first", "3", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["violations"] == 0
    assert main(["replay", "--mesh", "3"]) == 0
    shown = capsys.readouterr().out
    assert "MeshScenario(seed=3" in shown
    assert "has a link to" in shown


def test_a_mesh_of_a_file(tmp_path):
    path = tmp_path / "mesh.toml"
    path.write_text(
        'kind = "mesh"\nepoch_s = 20.0\n'
        "[[absences]]\nindex = 2\nat_s = 20.0\nback_s = 30.0\npolite = false\ntorn = true\nshift_s = 0.0\n"
    )
    scenario = files.read(path)
    assert scenario.absences == (Absence(2, 20.0, 30.0, False, True, 0.0),)
    assert scenario.epoch_s == 20.0
    path.write_text('kind = "meshes"\n')
    with pytest.raises(ConfigError, match="meshes"):
        files.read(path)
    path.write_text('kind = "mesh"\n[[absences]]\nindex = 2\n')
    with pytest.raises(ConfigError, match="absences"):
        files.read(path)
