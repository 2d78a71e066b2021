"""What does not fit is named: a model that is resumed as another one; and what owners hear of their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, PolicySpec, TrainSpec
from mesh.data.room import DataRoom
from mesh.runtime.home import Home
from mesh.runtime.training import recipe as training_recipe
from mesh.runtime.training.recipe import Scaling
from protocols.errors import ConfigError

SPEC = TrainSpec("rows", "mlp", ("a", "b"), "y", hidden=(3,))
KEPT = training_recipe.recipe(SPEC, Scaling({}, {}, None), 3)


def test_a_run_is_resumed_with_its_own_model_only() -> None:
    training_recipe.check_resumed(SPEC, KEPT)
    training_recipe.check_resumed(replace(SPEC, rounds=7, rate=0.1), KEPT)
    for change, words in (
        ({"features": ("a",)}, "its columns: a, b; asked for: a"),
        ({"label": "z"}, "its label: y; asked for: z"),
        ({"hidden": (4,)}, "its hidden layers: 3; asked for: 4"),
        ({"kind": "logistic"}, "its kind: mlp; asked for: logistic"),
        ({"classes": 3}, "its outputs: 1; asked for: 3"),
        ({"task": "regression"}, "its task: classification; asked for: regression"),
    ):
        with pytest.raises(ConfigError) as caught:
            training_recipe.check_resumed(replace(SPEC, **change), KEPT)
        assert caught.value.code == "C-640"
        assert words in caught.value.args[0]


def test_owners_see_what_was_found_in_their_rows(tmp_path: Path) -> None:
    home = Home(tmp_path / "state")
    home.create()
    file = tmp_path / "rows.csv"
    file.write_text("a,y\n1,0\n2,1\n")
    data = LocalData(home)
    data.data_add(DataSpec(str(file), "rows"))
    data.policy_init("rows", PolicySpec(allow=("update",)))
    assert data.data_show("rows").notes == ()
    room = DataRoom(home.root)
    for notes in (
        ["3 of 4 values were cut to the clip 8"],
        ["one class only"],
        ["3 of 4 values were cut to the clip 8"],
    ):
        with room._ledger.writing() as page:
            page.append(1.0, "note", "rows", "ab" * 32, {"notes": notes})
    assert data.data_show("rows").notes == ("one class only", "3 of 4 values were cut to the clip 8")
