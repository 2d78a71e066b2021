"""PRSS and replicated sharings: every committee shape agrees with plain sums of the sets' draws."""

from __future__ import annotations

import numpy as np
import pytest
from mpyc import finfields, thresha

from protocols.arithmetic import polynomial, rns
from protocols.errors import LocalMisuse
from protocols.sharing import prss, replicated
from protocols.sharing.prss import SetKeys, deal_keys, key_sets

SEED = bytes(range(32))
SHAPES = [(3, 1), (4, 1), (5, 2), (7, 2), (7, 3)]
WIDE = [(10, 3), (13, 4)]


def opened(shares: list[np.ndarray], points: list[int]) -> list[int]:
    """Lagrange mod M by Python integers."""
    total = 0
    for point, share in zip(points, shares, strict=True):
        weight = [1, 1]
        for row, m in enumerate(rns.MODULI):
            for other in points:
                if other != point:
                    weight[row] = weight[row] * other * pow(other - point, -1, m) % m
        total = rns.add(share * np.uint64(0), rns.mul(share, np.array(weight, dtype=np.uint64)[:, None])) + (
            0 if isinstance(total, int) else total
        )
        total = rns.fold(total)
    return [int(x) for x in rns.to_ints(total)]


def drawn_by_all(keys: tuple[SetKeys, ...], bits: int, count: int) -> list[list[int]]:
    """Each set's integers, checking that its members agree."""
    seen: dict[int, list[int]] = {}
    for party in keys:
        masks = replicated.MaskStream(party, bits, b"ctx").draw(count)
        for row, index in enumerate(party.held):
            words = masks.words[row].astype(object)
            exact = list(words[0] + (words[1] << replicated.LOW_BITS if len(words) > 1 else 0))
            assert seen.setdefault(index, exact) == exact
    return [seen[index] for index in sorted(seen)]


@pytest.mark.parametrize(("n", "t"), SHAPES + WIDE)
@pytest.mark.parametrize(("bits", "shift"), [(49, 0), (98, 16), (108, 31), (100, 32), (108, 60)])
def test_masks_convert_to_shamir_of_the_integer_sum(n: int, t: int, bits: int, shift: int) -> None:
    keys = deal_keys(n, t, SEED)
    sets = drawn_by_all(keys, bits, 5)
    assert len(sets) == len(key_sets(n, t).sets)
    assert all(0 <= x < 1 << bits for row in sets for x in row)
    shares = [replicated.to_shamir(k, replicated.MaskStream(k, bits, b"ctx").draw(5), shift) for k in keys]
    expected = [sum(x >> shift for x in column) for column in zip(*sets, strict=True)]
    assert opened(shares[: t + 1], list(range(1, t + 2))) == expected
    assert opened(shares[-t - 1 :], list(range(n - t, n + 1))) == expected


@pytest.mark.parametrize(("n", "t"), SHAPES + WIDE)
@pytest.mark.parametrize(("bits", "shift"), [(49, 0), (98, 16), (80, 40), (113, 31)])
def test_masks_summed_set_by_set_are_those_drawn_at_once(n: int, t: int, bits: int, shift: int) -> None:
    """In pieces too: no cut changes what is drawn. The widest weights of (13, 4) take the long way."""
    bits = min(bits, 120 - len(key_sets(n, t).sets).bit_length())
    for mine in deal_keys(n, t, SEED)[:: n - 1]:
        quorum = tuple(range(1, n + 1))
        masks = replicated.MaskStream(mine, bits, b"ctx").draw(9)
        stream = replicated.MaskStream(mine, bits, b"ctx")
        pieces = [stream.shared(count, shift, quorum) for count in (4, 5)]
        shamir, additive = (np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
        assert np.array_equal(shamir, replicated.to_shamir(mine, masks, shift))
        assert np.array_equal(additive, replicated.additive(mine, masks, quorum))


@pytest.mark.parametrize(("n", "t"), SHAPES)
def test_field_masks_open_to_what_their_summands_add_up_to(n: int, t: int) -> None:
    quorum = tuple(range(1, n + 1))
    drawn = [replicated.FieldStream(k, b"ctx").draw(6, quorum) for k in deal_keys(n, t, SEED)]
    total = np.zeros((2, 6), dtype=np.uint64)
    for _, mine in drawn:
        total = rns.add(total, mine)
    expected = [int(x) for x in rns.to_ints(total)]
    assert opened([share for share, _ in drawn[: t + 1]], list(range(1, t + 2))) == expected
    assert opened([share for share, _ in drawn[-t - 1 :]], list(range(n - t, n + 1))) == expected


@pytest.mark.parametrize(("n", "t"), SHAPES)
def test_additive_masks_and_zeros_add_up_over_any_quorum(n: int, t: int) -> None:
    keys = deal_keys(n, t, SEED)
    sets = drawn_by_all(keys, 98, 4)
    for quorum in (tuple(range(1, t + 2)), tuple(range(n - t, n + 1)), tuple(range(1, n + 1))):
        total = np.zeros((2, 4), dtype=np.uint64)
        words = np.zeros(4, dtype=np.uint64)
        for point in quorum:
            mine = keys[point - 1]
            masks = replicated.MaskStream(mine, 98, b"ctx").draw(4)
            zero = replicated.ZeroStream(mine, quorum, b"z")
            summand = zero.residues(4)
            assert summand.any()
            total = rns.add(total, rns.add(replicated.additive(mine, masks, quorum), summand))
            words ^= replicated.ZeroStream(mine, quorum, b"w").words(4)
        assert [int(x) for x in rns.to_ints(total)] == [sum(c) for c in zip(*sets, strict=True)]
        assert not words.any()


@pytest.mark.parametrize(("n", "t"), SHAPES)
def test_random_and_zero_shares_have_the_stated_degrees(n: int, t: int) -> None:
    keys = deal_keys(n, t, SEED)
    random = [prss.random_shares(k, 6, b"r") for k in keys]
    zeros = [prss.zero_shares(k, 6, b"z") for k in keys]
    points = list(range(1, n + 1))
    assert opened(random[: t + 1], points[: t + 1]) == opened(random[n - t - 1 :], points[n - t - 1 :])
    assert opened(zeros[: 2 * t + 1], points[: 2 * t + 1]) == [0] * 6
    assert opened(zeros[n - 2 * t - 1 :], points[n - 2 * t - 1 :]) == [0] * 6
    assert opened(zeros[: 2 * t], points[: 2 * t]) != [0] * 6


def test_conversion_weights_equal_mpycs() -> None:
    """mpyc's f_S_i is the same polynomial: its PRSS of constant draws gives our weights."""
    field = finfields.GF(rns.P)
    for n, t in SHAPES:
        sets = key_sets(n, t)
        for point in (1, n):
            for index in sets.held(point):
                ours = sets.weight(index, point)
                theirs = thresha._f_S_i(field, n, point - 1, frozenset(a - 1 for a in sets.sets[index]))
                assert int(theirs) % rns.P == ours.numerator * pow(ours.denominator, -1, rns.P) % rns.P


def test_t_parties_miss_exactly_one_set() -> None:
    for n, t in SHAPES:
        sets = key_sets(n, t)
        known = {index for point in range(1, t + 1) for index in sets.held(point)}
        assert len(sets.sets) - len(known) == 1


def test_keys_are_not_shown_and_wrong_ones_refused() -> None:
    mine = deal_keys(3, 1, SEED)[0]
    assert "…" in repr(mine)
    with pytest.raises(LocalMisuse):
        SetKeys(key_sets(3, 1), 1, {0: bytes(32)})
    with pytest.raises(LocalMisuse):
        key_sets(4, 2)
    with pytest.raises(LocalMisuse):
        replicated.MaskStream(mine, 119, b"x")
    joint = [
        prss.joint_keys([a, b])
        for a, b in zip(deal_keys(3, 1, SEED), deal_keys(3, 1, b"q" * 32), strict=True)
    ]
    assert joint[0].fingerprint(0) == joint[1].fingerprint(0) != mine.fingerprint(0)
    assert polynomial.lagrange([1, 2, 3]).size == 3
