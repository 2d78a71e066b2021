"""A member is killed at any layer of a program; the others finish it with the right output."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.engine import ordering
from protocols.engine.committee import Committee, Seat, whole
from protocols.engine.evaluator import Evaluator
from protocols.engine.numbers import Calculator
from protocols.engine.program import Program
from protocols.sharing.prss import deal_keys
from tools.bench.engine_lockstep import deal, reconstruct

VALUES = np.array([[3.5, -2.0, 7.25, 0.0, -9.0], [1.0, 1.0, -1.0, 2.0, 0.5]])


def written() -> tuple[Program, int]:
    """relu, then the maximum of squares: comparisons and products behind each other."""
    c = Calculator(whole(4, 1))
    x = c.given(VALUES.shape, -10, 10)
    kept = ordering.relu(c, x)
    return c.program(ordering.maximum_and_position(c, c.mul(kept, kept))[0].register), x.register


PROGRAM, INPUT = written()
EXPECTED = (np.maximum(VALUES, 0) ** 2).max(axis=1)
SHARES = deal(rns.encode(VALUES, 16), whole(4, 1))


def seats(quorum: tuple[int, ...], attempt: int, present: set[int]) -> list[Seat]:
    keys = deal_keys(4, 1, bytes(32))
    committee = Committee(4, 1, quorum)
    return [Seat(committee, keys[p - 1], bytes([p]) * 32, b"s", attempt) for p in sorted(present)]


def advance(parties: dict[int, Evaluator], quorum: tuple[int, ...]) -> None:
    sent = {point: parties[point].outgoing for point in quorum}
    for point, party in parties.items():
        party.receive({p: m for p, m in sent.items() if p != point})


def opened(parties: dict[int, Evaluator]) -> np.ndarray:
    return rns.decode(reconstruct({p: e.outputs[0] for p, e in parties.items()}, 1), 16)


def test_followers_outside_the_quorum_hold_good_shares() -> None:
    quorum = (1, 2, 4)
    everybody = set(range(1, 5))
    parties = {s.point: Evaluator(s, PROGRAM, {INPUT: SHARES[s.point]}) for s in seats(quorum, 0, everybody)}
    while not parties[1].finished:
        assert all(party.outgoing.size == 0 for point, party in parties.items() if point not in quorum)
        advance(parties, quorum)
    assert np.abs(opened(parties) - EXPECTED).max() < 1e-3


@pytest.mark.parametrize("killed_at", range(PROGRAM.rounds))
def test_a_member_killed_at_any_layer_is_replaced(killed_at: int) -> None:
    quorum, everybody = (1, 2, 3), set(range(1, 5))
    parties = {s.point: Evaluator(s, PROGRAM, {INPUT: SHARES[s.point]}) for s in seats(quorum, 0, everybody)}
    for _ in range(killed_at):
        advance(parties, quorum)
    del parties[3]
    quorum = (1, 2, 4)
    states = {point: party.checkpoint for point, party in parties.items()}
    layers = {layer for layer, _ in states.values()}
    assert len(layers) == 1
    assert killed_at - 5 <= min(layers) <= killed_at
    parties = {
        s.point: Evaluator(s, PROGRAM, states[s.point][1], states[s.point][0])
        for s in seats(quorum, 1, set(parties))
    }
    while not parties[1].finished:
        advance(parties, quorum)
    assert np.abs(opened(parties) - EXPECTED).max() < 1e-3


def test_there_is_a_checkpoint_between_comparisons() -> None:
    marks = sorted(PROGRAM.checkpoints)
    assert marks[0] == 0
    assert marks[-1] == PROGRAM.rounds
    assert max(b - a for a, b in itertools.pairwise(marks)) <= 5
    assert len(marks) >= 5
