"""A model file goes through a whole program session: dealt by its owner, computed by a committee, opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocols.circuits.network import compiled
from protocols.learning.rounds import blob_name
from protocols.programs import split
from protocols.programs.recipient import ProgramOpened
from protocols.sessions.plan import Job, Query
from tests.scenarios.program_pump import Pump

pytest.importorskip("onnx")
from mesh.models.onnx_reader import read

HERE = Path(__file__).resolve().parent
DIGITS = np.load(HERE / "digits.npz")
IMAGES = 4


def session(mode: str, **more) -> Pump:
    """The submitter deals weights and images; four members compute; it alone learns the classes."""
    network = read(HERE / "digits_mlp.onnx", batch=IMAGES).network
    assert network is not None
    made = compiled(network, low=0, high=1, reveal="class", prefix="0:")
    values = {**made.weights, made.sample: DIGITS["images"][:IMAGES] / 16.0}
    dealt = {0: (split.encoded_program(made.graph, 0, values), 0)}
    work = Job("images", (Query("program", "", ()),), 2, "test", (blob_name(made.graph.encoded()),))
    return Pump(work, [{"x": []}], graph=made.graph, values=dealt, mode=mode, **more)


@pytest.mark.parametrize("mode", ["P", "A"])
def test_digits_through_a_session(mode: str) -> None:
    outcome = session(mode).run()
    assert isinstance(outcome, ProgramOpened), outcome
    assert np.array_equal(np.rint(outcome.outputs["class"]), DIGITS["mlp"][:IMAGES])
