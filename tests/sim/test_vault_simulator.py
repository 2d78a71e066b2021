"""Vaults in the simulator: seeds without a violation, the command line."""

from __future__ import annotations

import json
import os

import pytest

from protocols.vault.reading import ReadingOpened
from tools.sim.__main__ import main
from tools.sim.runner import run, simulate
from tools.sim.vault_scenario import Asks, Outage, VaultScenario, draw


def test_some_vaults_without_a_violation():
    tally = run(map(draw, range(6)))
    assert not tally.failures
    assert tally.faults > 10
    assert tally.restored > 0
    assert tally.outcomes["held"] > 3


@pytest.mark.long
def test_many_vaults_without_a_violation():
    count = int(os.environ.get("COPPICE_SIM_VAULTS", "300"))
    assert not run(map(draw, range(10_000, 10_000 + count)), stop_at=3).failures


def test_a_lost_holder_is_replaced_and_the_vault_answers_without_its_owner():
    scenario = VaultScenario(
        3,
        epoch_s=30.0,
        asks=(Asks(1, 5.0), Asks(2, 60.0), Asks(1, 92.0, few=True)),
        outages=(Outage(0, 2.0, -1.0), Outage(4, 10.0, -1.0), Outage(6, 40.0, -1.0)),
    )
    world = simulate(scenario)
    assert not world.violations
    assert all(isinstance(inquiry.machine.outcome, ReadingOpened) for inquiry in world.inquiries)
    seated = {world.label(party) for party in world.newest(None).members}
    assert seated == {"p3", "p5", "p7", "p8"}


def test_the_command_line_runs_and_replays_vaults(capsys):
    assert main(["run", "--vaults", "--seeds", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "vaults"
    assert main(["replay", "--vaults", "1"]) == 0
    assert "VaultScenario(seed=1" in capsys.readouterr().out
