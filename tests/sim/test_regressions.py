"""Courses of events that once broke something, kept as scenarios: a changed draw does not lose them."""

from __future__ import annotations

import pytest

from tools.sim.mesh_scenario import Absence, MeshScenario
from tools.sim.runner import simulate
from tools.sim.scenario import Crash, Cut, Scenario
from tools.sim.vault_scenario import Asks, Outage, VaultCut, VaultScenario

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
    "a ballot for a handover came before the proposal it was for, and was taken for forged": Scenario(
        seed=6200901,
        clusters=1,
        devices=6,
        length=1,
        min_sites=2,
        collect_s=2.0,
        latency_s=(0.001, 0.005),
        in_order=False,
        skew=0.001,
        declining=(1,),
        crashes=(Crash(2, 0.03002615939746426, 1.7560838589533418, 4.365003832710103, True),),
        cuts=(Cut((0, 1), 0.04673168281867532, 2.993742463733082, True),),
        byzantine=((2, "two-rosters"),),
    ),
    "one that began late had been replaced, and opened its old share; the others had no sum": Scenario(
        seed=2420573,
        devices=3,
        min_sites=3,
        collect_s=2.0,
        total_s=20.0,
        latency_s=(0.02, 0.4),
        skew=0.001,
        crashes=(
            Crash(4, 1.7435300484089673, 4.456221288460249, 6.146636552477998, restores=True, in_step=True),
            Crash(3, 0.007512989410894811, 1.9755595113354971, 4.767865363577, restores=True, in_step=True),
        ),
    ),
    "a part of the plan was changed to one of another session, whose party's ballots looked forged": Scenario(
        seed=2308754,
        clusters=2,
        devices=3,
        length=3,
        min_sites=2,
        collect_s=2.0,
        total_s=20.0,
        latency_s=(0.02, 0.4),
        duplicate=0.05,
        skew=0.05,
        slow=(3,),
        crashes=(Crash(1, 0.02936210390326587, 3.0048946653506374, -1.0),),
        cuts=(Cut((0, 4, 5), 0.06172024775862895, 2.8479231794236193, True),),
        byzantine=((5, "mutate"), (5, "mutate")),
        by_role=True,
    ),
    "two adders that hold seats voted for different handovers and answered each other without end": Scenario(
        seed=3072843,
        clusters=1,
        spare=2,
        min_sites=3,
        collect_s=2.0,
        latency_s=(0.001, 0.005),
        duplicate=0.05,
        skew=0.001,
        crashes=(
            Crash(4, 2.427860283792401, 3.414039477644873, 7.271551361210276, False),
            Crash(1, 0.09303435149572506, 0.8164578460057724, -1.0, False, True),
        ),
        cuts=(Cut((0, 2, 4), 0.03977304247882353, 1.886870170458229, True),),
        byzantine=((4, "fake-claims"),),
    ),
    "a cut too short to be seen swallowed the result on its way to who asked": Scenario(
        seed=4059089,
        spare=2,
        devices=3,
        min_sites=2,
        collect_s=2.0,
        duplicate=0.05,
        skew=0.001,
        latency_s=(0.001, 0.03),
        crashes=(Crash(3, 0.477793664415169, -1.0, 5.06248829570941, True, True),),
        cuts=(Cut((5,), 0.053967667349506226, 0.6663593358371673, True),),
    ),
    "the same, after a lie": Scenario(
        seed=3073933,
        spare=2,
        min_sites=2,
        collect_s=2.0,
        latency_s=(0.001, 0.005),
        loss=0.005,
        duplicate=0.05,
        in_order=False,
        crashes=(Crash(0, 0.06774751595045188, 0.713730730242667, -1.0, False),),
        cuts=(Cut((3, 4, 5), 0.8425068985277239, 3.601080933020401, True),),
        byzantine=((2, "replay"),),
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
    "too few dealings were left where one dealer lied and one holder had missed its share": VaultScenario(
        seed=54,
        size=(4, 1),
        spare=2,
        epoch_s=15.0,
        max_uses=2,
        min_sites=1,
        asks=(
            Asks(index=1, at_s=11.218232257940313, sites=(), few=True),
            Asks(index=2, at_s=18.483374658435814, sites=(), few=True),
            Asks(index=2, at_s=33.09116966435084, sites=(), few=False),
            Asks(index=2, at_s=34.360754249703106, sites=(), few=False),
            Asks(index=1, at_s=92.0, sites=(), few=False),
        ),
        erased_s=-1.0,
        latency_s=(0.005, 0.02),
        loss=0.0,
        duplicate=0.05,
        in_order=True,
        outages=(Outage(index=6, at_s=0.15319799971280412, back_s=27.00054707008242, in_step=True),),
        cuts=(),
        byzantine=((3, "bad-shares"),),
        crooked_owner=False,
    ),
    "a holder of the deposit never learned that it was certified": VaultScenario(
        seed=63,
        size=(4, 1),
        spare=3,
        epoch_s=30.0,
        max_uses=0,
        min_sites=1,
        asks=(
            Asks(index=1, at_s=63.21696443660802, sites=(), few=False),
            Asks(index=1, at_s=76.51364494540948, sites=(), few=True),
            Asks(index=2, at_s=92.0, sites=(), few=False),
        ),
        erased_s=-1.0,
        latency_s=(0.001, 0.3),
        loss=0.0,
        duplicate=0.0,
        in_order=True,
        outages=(
            Outage(index=5, at_s=0.0747915129321588, back_s=2.4123469988826463, in_step=True),
            Outage(index=4, at_s=0.340002402435418, back_s=4.400875972146821, in_step=False),
            Outage(index=3, at_s=0.0987287093459876, back_s=-1.0, in_step=True),
            Outage(index=0, at_s=0.816101614447175, back_s=-1.0, in_step=True),
        ),
        cuts=(),
        byzantine=(),
        crooked_owner=False,
    ),
    "a substitute never learned of what it was to take a seat": VaultScenario(
        seed=152,
        size=(4, 1),
        spare=1,
        epoch_s=8.0,
        max_uses=4,
        min_sites=1,
        asks=(
            Asks(index=1, at_s=27.741835672238917, sites=(), few=False),
            Asks(index=1, at_s=51.732837859006686, sites=(), few=False),
            Asks(index=2, at_s=92.0, sites=(), few=True),
        ),
        erased_s=-1.0,
        latency_s=(0.001, 0.3),
        loss=0.0,
        duplicate=0.0,
        in_order=False,
        outages=(Outage(index=4, at_s=0.3496892661442462, back_s=-1.0, in_step=True),),
        cuts=(),
        byzantine=((3, "wrong-share"),),
        crooked_owner=False,
    ),
    "a dealer that reached some seats only kept a roster from being composed": VaultScenario(
        seed=248,
        size=(5, 1),
        spare=3,
        epoch_s=8.0,
        max_uses=3,
        min_sites=3,
        asks=(
            Asks(index=1, at_s=5.724773280234334, sites=(0, 1, 3, 4, 5), few=False),
            Asks(index=2, at_s=15.736886740343783, sites=(0, 1, 2, 3, 4, 5), few=False),
            Asks(index=1, at_s=32.83772722583075, sites=(1, 3, 4, 5), few=False),
            Asks(index=1, at_s=50.47336670372265, sites=(0, 1, 2, 3, 4, 5), few=False),
            Asks(index=1, at_s=92.0, sites=(0, 1, 2, 5), few=True),
        ),
        erased_s=-1.0,
        latency_s=(0.001, 0.3),
        loss=0.0,
        duplicate=0.0,
        in_order=False,
        outages=(
            Outage(index=3, at_s=20.4591865631, back_s=30.457833732156427, in_step=False),
            Outage(index=8, at_s=0.47585098410918397, back_s=18.93492818605846, in_step=True),
        ),
        cuts=(VaultCut(side=(3, 5, 6), start_s=3.978198411705792, end_s=22.286708196274155),),
        byzantine=((6, "silent"),),
        crooked_owner=False,
    ),
    "a renewal that was under way stored a share after its vault was erased": VaultScenario(
        seed=1386,
        epoch_s=15.0,
        erased_s=20.702154950664497,
        latency_s=(0.001, 0.3),
        duplicate=0.05,
        in_order=False,
        outages=(
            Outage(index=5, at_s=0.4770223021783177, back_s=14.886890331899993, in_step=False),
            Outage(index=4, at_s=0.20235359507839457, back_s=10.26505299873403, in_step=False),
            Outage(index=7, at_s=8.811950024325307, back_s=10.84755880437801, in_step=True),
        ),
    ),
    "a substitute took a share of a vault that its fellows had erased": VaultScenario(
        seed=2,
        epoch_s=30.0,
        erased_s=11.429654835022799,
        latency_s=(0.001, 0.3),
        in_order=False,
        outages=(Outage(index=4, at_s=2.0, back_s=-1.0, in_step=False),),
    ),
}


@pytest.mark.parametrize("name", VAULTS)
def test_vaults(name):
    assert not simulate(VAULTS[name]).violations
