"""Bits and exact floors of shared numbers against Python's, in every committee shape."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.engine.committee import Committee, whole
from protocols.engine.decompose import floor_to, low_bits
from protocols.engine.numbers import Calculator, Number
from protocols.errors import LocalMisuse
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

SHAPES = [whole(3, 1), whole(5, 2)]
IDS = ["3,1", "5,2"]
RNG = np.random.default_rng(3)


def evaluate(c: Calculator, x: Number, result: Number, values: np.ndarray) -> np.ndarray:
    committee = c.committee
    program = c.program(result.register)
    done = run(program, seats(committee), {x.register: deal(rns.from_ints(values), committee)})
    assert done.sent_bytes == {p: program.sent_bytes(committee, p) for p in committee.quorum}
    return rns.to_ints(reconstruct({p: out[0] for p, out in done.outputs.items()}, committee.t))


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
@pytest.mark.parametrize("f", [2, 3, 8, 16, 21])
def test_low_bits(committee: Committee, f: int) -> None:
    c = Calculator(committee)
    values = np.concatenate([[0, -1, 1, 2**20 - 1, -(2**20) + 1], RNG.integers(-(2**20), 2**20, 70)])
    x = c.given((5, 15), -(2.0**20), 2.0**20, scale=0)
    bits = evaluate(c, x, low_bits(c, x, f), values.reshape(5, 15))
    assert bits.tolist() == [((values.reshape(5, 15) >> i) & 1).tolist() for i in range(f)]


@pytest.mark.parametrize("committee", SHAPES, ids=IDS)
@pytest.mark.parametrize("scale", [0, 15, 16, 20])
def test_floor_is_exact(committee: Committee, scale: int) -> None:
    c = Calculator(committee)
    values = np.concatenate([[0, -1, 1, 65536, -65536, 65535, -65537], RNG.integers(-(2**30), 2**30, 40)])
    x = c.given(values.shape, -(2.0**14), 2.0**14)
    floor = floor_to(c, x, scale)
    assert floor.scale == min(scale, 16)
    assert evaluate(c, x, floor, values).tolist() == (values >> max(0, 16 - scale)).tolist()


def test_bits_select_without_waiting() -> None:
    c = Calculator(whole(3, 1))
    values = np.array([5, 2, 7, 0])
    x = c.given((4,), 0.0, 7.0, scale=0)
    bits = low_bits(c, x, 3)
    alone = c.program(bits.register).rounds
    product = c.mul(bits, c.broadcast(c.reshape(x, (1, 4)), (3, 4)))
    assert c.program(product.register).rounds == alone
    assert evaluate(c, x, product, values).tolist() == [[v * (v >> i & 1) for v in values] for i in range(3)]


def test_too_many_bits_are_refused() -> None:
    c = Calculator(whole(3, 1))
    with pytest.raises(LocalMisuse, match="cannot take 61 bits"):
        low_bits(c, c.given((4,), 0.0, 7.0, scale=0), 61)
