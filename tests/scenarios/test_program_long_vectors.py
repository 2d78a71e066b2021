"""Vectors in many parts: a member that sends endless parts is bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import UnexpectedMessage
from protocols.programs import computing
from protocols.programs.messages import Layer
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import LINE, TABLES, WORK, value

PART = 2


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(computing, "PART_WORDS", PART)


def test_endless_parts_of_one_member_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(computing, "AHEAD_BYTES", 0)
    pump, refused = Pump(WORK, TABLES), []

    def hook(pump, sender, to, message):
        machine = pump.machines[to].member.computing
        if isinstance(message, Layer) and message.layer == 3 and machine.evaluator and not refused:
            plan, held = machine.plan, {key: dict(parts) for key, parts in machine._parts.items()}
            machine.plan = replace(plan, limits=replace(plan.limits, memory_bytes=8 * PART * 5 * plan.size))
            flood(machine, sender, message, refused)
            machine.plan, machine._parts = plan, held
        return message

    pump.hook = hook
    pump.run()
    assert refused[0] <= 5
    assert value(pump) == np.median(LINE)


def flood(machine, sender, message, refused) -> None:
    """Every full part of the next layers, as long as it is taken."""
    point = next(i + 1 for i, seat in enumerate(machine.seats) if seat.party == sender)
    taken = 0
    for layer in range(machine.evaluator.layer + 1, machine.program.rounds):
        for part in range(machine._expected(point, layer) // PART):
            words = np.zeros(PART, dtype=np.uint64)
            try:
                machine.on_layer(0.0, sender, Layer(message.attempt, layer, part, words))
                taken += 1
            except UnexpectedMessage:
                refused.append(taken)
                return


def test_patience_grows_with_what_a_layer_has_to_carry(monkeypatch) -> None:
    """A layer that takes longer than the patience on a slow link is no reason to begin again."""
    monkeypatch.setattr(computing, "SLOW_LINK", 100.0)
    pump, waits = Pump(WORK, TABLES), []

    def hook(pump, sender, to, message):
        machine = pump.machines[to].member.computing
        if isinstance(message, Layer) and machine.evaluator and machine.deadline is not None:
            evaluator = machine.evaluator
            sent = max(
                sum(8 * machine._expected(point, layer) for point in evaluator.seat.committee.quorum)
                for layer in range(max(0, evaluator.layer - 1), evaluator.layer + 1)
            )
            patience = machine.deadline - machine._since - machine.plan.patience_ms / 1000
            waits.append((patience, sent / 100.0))
        return message

    pump.hook = hook
    pump.run()
    assert value(pump) == np.median(LINE)
    assert waits
    assert all(found == pytest.approx(expected) for found, expected in waits)
    assert max(found for found, _ in waits) > 1.0
