"""The simulator: some hundred seeds without a violation, one course for one seed, its command line."""

from __future__ import annotations

import json
import os

import pytest

from protocols.errors import ConfigError
from protocols.sessions import events
from tools.sim import runner, scale
from tools.sim.__main__ import main
from tools.sim.files import read
from tools.sim.scenario import Crash, Scenario, draw


def clean_run(first, count):
    tally = runner.run(map(draw, range(first, first + count)), stop_at=3)
    assert not tally.failures
    assert tally.sessions == count
    return tally


def test_some_seeds_without_a_violation():
    tally = clean_run(0, 100)
    assert tally.outcomes["opened"] > 50, "a simulator in which nothing opens shows nothing"
    assert len(tally.outcomes) > 3
    assert tally.faults > 100


@pytest.mark.long
def test_many_seeds_without_a_violation():
    clean_run(10_000, int(os.environ.get("COPPICE_SIM_SEEDS", "5000")))


def test_tracing_changes_nothing():
    quiet, loud = runner.simulate(draw(66)), runner.simulate(draw(66), tracing=True)
    assert quiet.messages == loud.messages
    assert loud.trace
    assert not quiet.trace


def test_without_faults_everybody_opens():
    for clusters in (0, 2):
        world = runner.simulate(Scenario(5, clusters=clusters))
        assert not world.violations
        assert all(isinstance(m.outcome, events.Opened) for m in world.machines.values())


def test_the_last_line_is_one_object(capsys):
    assert main(["run", "--seeds", "3", "--first", "40", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert {"seeds", "violations", "seconds", "sessions", "faults"} <= report.keys()
    assert (report["seeds"], report["violations"]) == (3, 0)


def test_replay_shows_the_steps(capsys):
    assert main(["replay", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("seed 3 commit ")
    assert "Scenario(seed=3" in shown
    assert "p5 starts" in shown
    assert "deal stage 0.0" in shown


def test_a_scenario_file_overrides_what_is_drawn(tmp_path):
    path = tmp_path / "kill.toml"
    path.write_text(
        "devices = 4\nclusters = 1\nsize = [4, 1]\n"
        "[[crashes]]\nindex = 2\nat_s = 0.05\nnoticed_s = 0.5\nback_s = -1.0\n"
    )
    scenario = read(path)
    assert scenario.crashes == (Crash(2, 0.05, 0.5, -1.0),)
    assert (scenario.size, scenario.devices) == ((4, 1), 4)
    assert main(["run", "--scenario", str(path), "--json"]) == 0
    path.write_text("devicez = 4\n")
    with pytest.raises(ConfigError, match="devicez"):
        read(path)


def test_a_violation_names_seed_commit_and_command(monkeypatch, capsys):
    from tools.sim import world

    class Grumpy(world.Checker):
        name = "grumpy"

        def end(self):
            return ["never content"]

    monkeypatch.setattr(world, "CHECKERS", (Grumpy,))
    assert main(["run", "--seeds", "1", "--first", "7"]) == 1
    shown = capsys.readouterr()
    assert "seed 7 commit " in shown.err
    assert "python -m tools.sim replay 7" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["failed_seeds"] == [7]


def test_cost_per_role_does_not_grow_with_the_mesh():
    small, large = (scale.measure(clusters * 14, clusters) for clusters in (6, 14))
    assert not small["violations"]
    assert not large["violations"]
    assert small["opened"] == 6 * 14
    for role in ("device", "cluster member", "cluster adder"):
        for cost in ("messages_sent", "messages_received"):
            assert large["roles"][role][cost] == pytest.approx(small["roles"][role][cost], abs=1.0)
    device = [report["roles"]["device"]["bytes_sent"] for report in (small, large)]
    assert device[0] == pytest.approx(device[1], rel=0.01)
