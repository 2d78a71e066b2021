"""Meshes in the simulator: seeds without a violation, beacon sessions that run, the command line."""

from __future__ import annotations

import json
import os

import pytest

from protocols.errors import ConfigError
from tools.sim import files, runner
from tools.sim.__main__ import main
from tools.sim.mesh_scenario import CALM, Absence, draw


def test_some_meshes_without_a_violation():
    tally = runner.run(map(draw, range(8)), stop_at=3)
    assert not tally.failures
    assert tally.faults > 15
    assert tally.outcomes["mesh"] > 5


@pytest.mark.long
def test_many_meshes_without_a_violation():
    count = int(os.environ.get("COPPICE_SIM_MESHES", "300"))
    assert not runner.run(map(draw, range(10_000, 10_000 + count)), stop_at=3).failures


def test_without_faults_the_electorate_is_everybody():
    world = runner.simulate(CALM)
    assert not world.violations
    assert world.beacons.opened >= CALM.members
    heads = {node.keeper.record for node in world.nodes.values()}
    assert len(heads) == 1
    assert len(heads.pop().gateways) == CALM.members


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
