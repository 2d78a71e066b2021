"""Openings, products and truncation against Python integers, in every committee shape."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.engine.committee import Committee, whole
from protocols.engine.evaluator import BadPayload, Evaluator
from protocols.engine.multiply import Opened, Reveal, largest_bits
from protocols.engine.program import Program
from protocols.errors import LocalMisuse, UnexpectedMessage
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

SHAPES = [whole(3, 1), whole(4, 1), whole(5, 2), whole(7, 2), whole(7, 3), Committee(7, 2, (1, 3, 4, 6, 7))]
IDS = [f"{c.n},{c.t},{len(c.quorum)}" for c in SHAPES]


def evaluate(committee: Committee, program: Program, *values: np.ndarray, exact: bool = False):
    inputs = {r: deal(rns.from_ints(v), committee) for r, v in zip(program.inputs, values, strict=True)}
    done = run(program, seats(committee), inputs)
    assert done.rounds == program.rounds
    assert done.sent_bytes == {p: program.sent_bytes(committee, p) for p in committee.quorum}
    results = []
    for position in range(len(program.outputs)):
        shares = {p: out[position] for p, out in done.outputs.items()}
        results.append(rns.to_ints(reconstruct(shares, committee.t)))
    return results


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_product_is_exact_and_of_degree_t(committee: Committee) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-(2**40), 2**40, 37)
    y = np.concatenate([[0, 1, -1, 2**40 - 1], rng.integers(-(2**40), 2**40, 33)])
    program = Program((0, 1), (Opened((0, 1), (2,), "each", (37,)),), (2,))
    (z,) = evaluate(committee, program, x, y)
    assert z.tolist() == [int(a) * int(b) for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
def test_truncated_product_is_within_the_stated_units(committee: Committee) -> None:
    rng = np.random.default_rng(2)
    edge = [0, 1, -1, 2**16, -(2**16), 2**40 - 1, -(2**40) + 1]
    x = np.concatenate([edge, rng.integers(-(2**40), 2**40, 400)])
    y = np.concatenate([edge[::-1], rng.integers(-(2**16), 2**16, 400)])
    program = Program((0, 1), (Opened((0, 1), (2,), "each", x.shape, bits=60, shift=16),), (2,))
    (z,) = evaluate(committee, program, x, y)
    sets = len(committee.sets.sets)
    error = np.array([float(c - int(a) * int(b) / 65536) for a, b, c in zip(x, y, z, strict=True)])
    assert np.abs(error).max() <= (sets + 1) / 2
    assert abs(error.mean()) < 5 * np.sqrt((sets + 1) / 12 / len(x))


def test_widest_range_does_not_wrap() -> None:
    for committee in SHAPES[:1] + SHAPES[4:5]:
        bits = largest_bits(committee)
        x = np.array([2**bits - 1, 1 - 2**bits, 0], dtype=object)
        (z,) = evaluate(
            committee, Program((0,), (Opened((0,), (1,), "identity", (3,), bits=bits, shift=20),), (1,)), x
        )
        assert [abs(c - (v >> 20)) <= 40 for c, v in zip(z, x, strict=True)] == [True] * 3


def test_matrix_product_and_broadcast() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(-(2**30), 2**30, (5, 40)), rng.integers(-(2**30), 2**30, (40, 3))
    steps = (Opened((0, 1), (2,), "matmul", (5, 3)), Opened((2, 3), (4,), "each", (5, 3)))
    row = np.array([1, -2, 3])
    (z,) = evaluate(whole(5, 2), Program((0, 1, 3), steps, (4,)), a, b, row)
    assert z.tolist() == (a.astype(object).dot(b.astype(object)) * row).tolist()


def test_reveal_gives_everybody_the_value() -> None:
    committee = whole(5, 2)
    program = Program((0,), (Reveal((0,), (1,), (2, 3)),), (1,))
    x = np.arange(-3, 3).reshape(2, 3)
    done = run(program, seats(committee), {0: deal(rns.from_ints(x), committee)})
    for (public,) in done.outputs.values():
        assert rns.to_ints(public).tolist() == x.tolist()


def test_messages_hide_equal_inputs() -> None:
    """Two runs on the same inputs in different sessions send unrelated vectors."""
    committee = whole(3, 1)
    program = Program((0, 1), (Opened((0, 1), (2,), "each", (50,), bits=40, shift=16),), (2,))
    x = np.zeros(50, dtype=np.int64)
    inputs = {r: deal(rns.from_ints(x), committee) for r in (0, 1)}
    one = run(program, seats(committee, session=b"a"), inputs, record=True).transcript[0]
    two = run(program, seats(committee, session=b"b"), inputs, record=True).transcript[0]
    again = run(program, seats(committee, session=b"a"), inputs, record=True).transcript[0]
    for point in committee.quorum:
        assert not (one[point] == two[point]).any()
        assert np.array_equal(one[point], again[point])


def test_bad_messages_are_refused_and_named() -> None:
    committee = whole(3, 1)
    program = Program((0, 1), (Opened((0, 1), (2,), "each", (4,)),), (2,))
    inputs = deal(rns.from_ints(np.arange(4)), committee)
    parties = [Evaluator(s, program, {0: inputs[s.point], 1: inputs[s.point]}) for s in seats(committee)]
    good = {p.seat.point: p.outgoing for p in parties}
    with pytest.raises(BadPayload, match="point 2") as caught:
        parties[0].receive({2: good[2][:-1], 3: good[3]})
    assert caught.value.point == 2
    beyond = good[3].copy()
    beyond[-1] = rns.Q
    with pytest.raises(BadPayload, match="point 3"):
        parties[0].receive({2: good[2], 3: beyond})
    with pytest.raises(UnexpectedMessage):
        parties[0].receive({2: good[2]})
    parties[0].receive({2: good[2], 3: good[3]})
    assert parties[0].finished
    with pytest.raises(UnexpectedMessage):
        parties[0].receive({2: good[2], 3: good[3]})


def test_restart_from_the_journal_sends_the_same() -> None:
    committee = whole(3, 1)
    steps = (
        Opened((0, 0), (1,), "each", (4,), bits=30, shift=4),
        Opened((1, 0), (2,), "each", (4,), bits=30, shift=4),
    )
    program = Program((0,), steps, (2,))
    inputs = deal(rns.from_ints(np.arange(4) * 100), committee)
    parties = {s.point: Evaluator(s, program, {0: inputs[s.point]}) for s in seats(committee)}
    sent = {p: e.outgoing for p, e in parties.items()}
    for point, party in parties.items():
        party.receive({p: m for p, m in sent.items() if p != point})
    layer, registers = parties[2].journal
    reborn = Evaluator(parties[2].seat, program, registers, layer)
    assert np.array_equal(reborn.outgoing, parties[2].outgoing)
    assert "…" in repr(reborn)


def test_programs_that_read_unwritten_registers_are_refused() -> None:
    with pytest.raises(LocalMisuse):
        Program((0,), (Opened((0, 5), (1,), "each", (1,)),), (1,)).depths  # noqa: B018
    with pytest.raises(LocalMisuse):
        Committee(5, 2, (1, 2, 3, 4))
