"""A readings file and a data room that holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.data.room import DataRoom
from tests.data.plans import OPEN


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "readings.csv"
    path.write_text("temp,note\n" + "".join(f"{row}.5,n\n" for row in range(20)))
    return path


@pytest.fixture
def room(tmp_path: Path, csv: Path) -> DataRoom:
    room = DataRoom(tmp_path / "home", clock=lambda: 1_700_000_000.0)
    room.add(csv, "readings")
    room.init_policy("readings", OPEN)
    return room
