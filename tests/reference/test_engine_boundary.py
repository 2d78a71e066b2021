"""Values survive the way in and out; lies at the way out are noticed or corrected."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field, rns
from protocols.arithmetic.xof import Xof
from protocols.engine.boundary import agg_share, deal, deal_seeded, reconstruct, seeded_share
from protocols.engine.committee import whole
from protocols.engine.multiply import Opened
from protocols.engine.numbers import Number
from protocols.engine.program import Program
from protocols.errors import LocalMisuse, UnattributableFault
from protocols.sharing import robust
from tools.bench.engine_lockstep import run, seats

VALUES = np.array([[5, -7, 0], [2**40, -(2**40), 1]])


@pytest.mark.parametrize(("n", "t"), [(3, 1), (7, 2), (13, 4)])
def test_any_t_plus_one_shares_open(n: int, t: int) -> None:
    shares = deal(rns.from_ints(VALUES), n, t, Xof(bytes(32), "deal"))
    for points in (range(1, t + 2), range(n - t, n + 1), range(1, n + 1)):
        opened = reconstruct({p: shares[p - 1] for p in points}, t)
        assert rns.to_ints(opened).tolist() == VALUES.tolist()
    with pytest.raises(LocalMisuse):
        reconstruct({p: shares[p - 1] for p in range(1, t + 1)}, t)
    assert not any((shares[i] == rns.from_ints(VALUES)).any() for i in range(n))


def test_a_wrong_share_is_noticed() -> None:
    shares = deal(rns.from_ints(VALUES), 4, 1, Xof(bytes(32), "deal"))
    shares[2, 1, 0, 0] ^= np.uint64(1)
    with pytest.raises(UnattributableFault):
        reconstruct({p: shares[p - 1] for p in range(1, 5)}, 1)


def test_a_narrow_result_opens_robustly_over_agg() -> None:
    committee = whole(7, 2)
    x = rns.from_ints(VALUES[0])
    shares = deal(x, 7, 2, Xof(bytes(32), "deal"))
    program = Program((0,), (Opened((0, 0), (1,), "each", (3,)),), (1,))
    done = run(program, seats(committee), {0: {p: shares[p - 1] for p in range(1, 8)}})
    number = Number(1, (3,), 0, 0.0, 49.0)
    rows = np.stack([agg_share(number, done.outputs[p][0]) for p in range(1, 8)])
    rows[3] = field.add(rows[3], field.as_elements([1, 2, 3]))
    opened, liars = robust.open_vectors(list(range(1, 8)), rows, 2, Xof(bytes(32), "challenge"))
    assert field.to_signed(opened).tolist() == [25, 49, 0]
    assert list(liars) == [3]
    with pytest.raises(LocalMisuse, match="does not fit"):
        agg_share(Number(1, (3,), 16, 0.0, 2.0**50), done.outputs[1][0])


@pytest.mark.parametrize(("n", "t"), [(3, 1), (5, 2), (7, 2), (13, 4)])
def test_seeded_dealing_sends_n_minus_t_vectors(n: int, t: int) -> None:
    values = rns.from_ints(np.array([[0, 1, -1], [2**50, -(2**50), 7]]))
    seeds = {point: bytes([point]) * 32 for point in range(n, n - t, -1)}
    shares = deal_seeded(values, n, t, seeds)
    assert sorted(shares) == list(range(1, n - t + 1))
    shares |= {point: seeded_share(seed, (2, 3)) for point, seed in seeds.items()}
    assert np.array_equal(reconstruct(shares, t), values)
    with pytest.raises(LocalMisuse, match="seeds for a sharing of degree"):
        deal_seeded(values, n, t, {1: bytes(32)} | seeds)
