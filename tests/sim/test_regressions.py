"""Courses of events that once broke something, kept as scenarios: a changed draw does not lose them."""

from __future__ import annotations

import pytest

from tools.sim.mesh_scenario import Absence, MeshScenario
from tools.sim.runner import simulate
from tools.sim.scenario import Crash, Cut, Scenario
from tools.sim.vault_scenario import Asks, Outage, VaultScenario

SESSIONS = {
    "a handover reached a restarted member that had the total already": Scenario(
        seed=1984,
        length=2,
        latency_s=(0.02, 0.4),
        loss=0.005,
        skew=0.05,
        crashes=(
            Crash(2, 0.046210208524534904, 1.1332231104254313, -1.0, in_step=True),
            Crash(4, 0.3962853668172506, 2.090342709019094, 5.2561443338948575, True, True),
            Crash(5, 0.06374020307841193, 0.46106138181629525, -1.0, in_step=True),
        ),
        byzantine=((2, "unopenable"),),
    ),
    "a restarted party's deadline was rounded to just after the moment it was woken": Scenario(
        seed=1756,
        clusters=1,
        length=5,
        min_sites=3,
        latency_s=(0.02, 0.4),
        loss=0.03,
        skew=0.001,
        declining=(3, 4),
        crashes=(
            Crash(0, 0.06458834061239331, -1.0, -1.0),
            Crash(2, 0.1265863120328672, -1.0, -1.0, in_step=True),
            Crash(4, 0.053068197015282204, 1.5290028876278288, 1.8058420775315793, True),
        ),
        cuts=(Cut((1, 2, 4), 0.09091836597021716, 4.473789014035742, True),),
    ),
    "the next rank took over from a slow adder and proposed nothing": Scenario(
        seed=3193,
        size=(3, 1),
        clusters=1,
        length=2,
        min_sites=3,
        collect_s=6.0,
        latency_s=(0.02, 0.4),
        skew=0.001,
    ),
    "an adder proposed after a certain end, and differently once restored": Scenario(
        seed=1013353,
        devices=6,
        min_sites=2,
        collect_s=2.0,
        latency_s=(0.001, 0.005),
        loss=0.03,
        in_order=True,
        skew=0.05,
        crashes=(
            Crash(3, 5.740708696227838, 7.482599410780659, 6.271522158193406, True),
            Crash(2, 0.013203880958034531, 1.3526702525185326, -1.0, in_step=True),
            Crash(1, 0.09911178473249976, 1.1878973443563823, 5.2314910311063265, True),
        ),
    ),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions(name):
    assert not simulate(SESSIONS[name]).violations


MESHES = {
    "the operator came back outside an electorate that could run no beacon": MeshScenario(
        seed=1238,
        members=4,
        joins_s=(0.0, 3.1973814725962644, 2.993337950619342, 3.0070739171360605),
        missing=((0, 2),),
        in_order=False,
        clocks_s=(0.21677097162027315, 0.05685079155732464, 0.08522537470364688, -0.19898170089143663),
        absences=(
            Absence(0, 24.46769316088761, 38.312042595909155, True, True, 0.007003443983968682),
            Absence(2, 35.19657132959701, -1.0, True, False, 0.23687813639098954),
        ),
    ),
}


@pytest.mark.parametrize("name", MESHES)
def test_meshes(name):
    assert not simulate(MESHES[name]).violations


VAULTS = {
    "nobody passed on what a crashed holder had dealt to some only": VaultScenario(
        seed=143,
        size=(7, 2),
        spare=1,
        epoch_s=30.0,
        latency_s=(0.005, 0.02),
        loss=0.02,
        in_order=False,
        outages=(Outage(8, 30.86, -1.0), Outage(10, 0.07, 0.53)),
        byzantine=((7, "mutate"),),
    ),
    "new shares were called bad before a slow check could tell who lied": VaultScenario(
        seed=125,
        spare=1,
        epoch_s=8.0,
        latency_s=(0.001, 0.3),
        loss=0.02,
        outages=(Outage(0, 0.289704876142155, -1.0),),
        byzantine=((3, "wrong-check"),),
    ),
    "a newcomer agreed to a reading that it knew, against another one that it knew": VaultScenario(
        seed=102,
        spare=2,
        epoch_s=8.0,
        min_sites=3,
        asks=(
            Asks(index=1, at_s=2.42272325974964, sites=(1, 2, 3, 4, 5), few=True),
            Asks(index=1, at_s=4.501313667768523, sites=(0, 1, 2, 3, 5), few=True),
            Asks(index=1, at_s=7.8041503634849345, sites=(0, 2, 3, 4, 5), few=True),
            Asks(index=1, at_s=29.865298692186983, sites=(0, 1, 2, 3, 4, 5), few=True),
            Asks(index=1, at_s=32.53142884983851, sites=(0, 2, 3, 4, 5), few=True),
            Asks(index=1, at_s=43.70547366345639, sites=(0, 1, 2, 3, 4, 5), few=True),
            Asks(index=1, at_s=45.59897954253946, sites=(0, 2, 3, 4, 5), few=True),
            Asks(index=1, at_s=59.42701815762903, sites=(0, 1, 2, 3, 4, 5), few=True),
        ),
        latency_s=(0.005, 0.02),
        outages=(Outage(4, 10.765490814093178, -1.0, in_step=True),),
        byzantine=((3, "yes-man"),),
    ),
}


@pytest.mark.parametrize("name", VAULTS)
def test_vaults(name):
    assert not simulate(VAULTS[name]).violations
