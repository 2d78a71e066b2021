"""Vectors of a wrong size, or of residues that are none: who sent them is named, and the rest go on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.programs.messages import Layer
from protocols.sessions.events import Named
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, value

LIAR = 2


def _shorter(words: np.ndarray) -> np.ndarray:
    return words[:-1]


def _longer(words: np.ndarray) -> np.ndarray:
    return np.append(words, words[:1])


def _no_residues(words: np.ndarray) -> np.ndarray:
    return np.full_like(words, np.iinfo(np.uint64).max)


@pytest.mark.parametrize("spoiled", [_shorter, _longer, _no_residues])
def test_a_vector_that_cannot_be_names_its_sender_and_the_others_end_with_the_result(spoiled) -> None:
    pump = Pump(WORK, [*TABLES, {"c": [2.0]}], n=5)
    liar = pump.party(LIAR)

    def hook(pump, sender, to, message):
        if sender == liar and isinstance(message, Layer) and message.words.size:
            return replace(message, words=spoiled(message.words))
        return message

    pump.hook = hook
    pump.run()
    point = next(at for at, seat in enumerate(pump.plan.seats, 1) if seat.party == liar)
    refused = [text for _, text in pump.refused]
    named = [e for _, e in pump.events if isinstance(e, Named) and e.fault.startswith("point")]
    assert refused or named
    assert all(f"point {point} " in text for text in refused), set(refused)
    assert {event.party for event in named} <= {liar}
    assert all(f"point {point} " in event.fault for event in named)
    assert value(pump) == np.median([*LINE, 2.0])
