"""Courses of events that once broke something, kept as scenarios: a changed draw does not lose them."""

from __future__ import annotations

import pytest

from tools.sim.mesh_scenario import Absence, MeshScenario
from tools.sim.runner import simulate_mesh

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
    assert not simulate_mesh(MESHES[name]).violations
