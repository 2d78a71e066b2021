"""Whatever is wrong with a masked sum is noticed, never decoded into noise."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, UnattributableFault
from protocols.masking import one_shot
from protocols.masking.checksum import Checksum
from protocols.masking.layout import Layout
from protocols.masking.parameters import B16_N10, TABLE
from protocols.sharing import shamir
from tests.property.masked_session import (
    SEED,
    Session,
    add,
    dealt,
    each_set,
    key_of,
    random_values,
)


@pytest.fixture(scope="module", params=TABLE, ids=lambda parameters: parameters.name)
def session(request):
    return Session(request.param)


def test_wrong_key_is_noticed(session):
    stranger = dealt(session.layout, dict(zip([0, 1, 2, 3, 99], session.vectors, strict=True)))
    with pytest.raises(UnattributableFault, match="noise"):
        session.unmask(opened=stranger)


def test_missing_key_is_noticed(session):
    with pytest.raises(UnattributableFault, match="noise"):
        session.unmask(opened=dealt(session.layout, dict(enumerate(session.vectors[:4]))))


def test_missing_vector_is_noticed(session):
    with pytest.raises(UnattributableFault, match="noise"):
        session.unmask(total=add(session.layout, session.messages[:4]))


def test_vector_counted_twice_is_noticed(session):
    with pytest.raises(UnattributableFault, match="noise"):
        session.unmask(total=add(session.layout, [*session.messages, session.messages[0]]))


def test_another_public_seed_is_noticed(session):
    with pytest.raises(UnattributableFault, match="noise"):
        session.unmask(seed=b"\x06" * 32)


@pytest.mark.parametrize("spoil", ["missing", "false", "swapped"])
def test_key_share_that_is_missing_or_false_is_noticed(spoil):
    """A committee of (4, 1): one share too few, a changed one, or one at a wrong point."""
    session = Session(B16_N10)
    shares = np.zeros((4, B16_N10.dealt_length), dtype=np.uint64)
    for number, vector in enumerate(session.vectors):
        secret = one_shot.dealing(session.layout, SEED, key_of(B16_N10, number), vector, number + 1)
        shares = field.add(shares, shamir.deal(secret, 4, 1, Xof(number.to_bytes(32, "big"), "deal")))
    good = shamir.reconstruct([1, 3], shares[[0, 2]], 1)
    np.testing.assert_array_equal(session.unmask(opened=good), session.expected)
    if spoil == "missing":
        opened = shares[0]
    elif spoil == "false":
        shares[2, 7] ^= np.uint64(1)
        opened = shamir.reconstruct([1, 3], shares[[0, 2]], 1)
    else:
        opened = shamir.reconstruct([1, 4], shares[[0, 2]], 1)
    with pytest.raises(UnattributableFault):
        session.unmask(opened=opened)


@each_set
def test_each_flipped_bit_of_what_is_opened_is_noticed(parameters):
    session = Session(parameters)
    for position in (11, parameters.key_elements, parameters.key_elements + 1):
        for bit in range(60):
            spoiled = session.opened.copy()
            spoiled[position] ^= np.uint64(1 << bit)
            with pytest.raises(UnattributableFault):
                session.unmask(opened=spoiled)


def test_each_flipped_bit_of_a_sent_coordinate_is_noticed_or_harmless(session):
    """Below the value's scale a flip is noise: the sum stays exact. Above it, the sum is refused."""
    parameters = session.layout.parameters
    refused = 0
    for bit in range(parameters.sent_bits):
        for coordinate in (0, 1234, session.layout.coordinates - 1):
            spoiled = session.messages[2].copy()
            words = add(session.layout, [spoiled])
            words[coordinate] ^= np.uint64(1 << bit)
            messages = [*session.messages[:2], *session.messages[3:]]
            total = add(session.layout, messages) + words
            try:
                np.testing.assert_array_equal(session.unmask(total=total), session.expected)
                assert bit < parameters.scale_bits
            except UnattributableFault:
                refused += 1
    assert refused >= 2 * (parameters.sent_bits - parameters.scale_bits)


def test_each_flipped_bit_of_the_packed_bytes_is_noticed_or_harmless():
    session = Session(B16_N10, 2500, devices=2)
    rng = np.random.default_rng(8)
    outcomes = {"refused": 0, "exact": 0}
    for position in rng.integers(0, 8 * session.layout.packed_bytes, size=150).tolist():
        spoiled = session.messages[0].copy()
        spoiled[position // 8] ^= np.uint8(1 << (position % 8))
        try:
            sums = session.unmask(total=add(session.layout, [spoiled, session.messages[1]]))
            np.testing.assert_array_equal(sums, session.expected)
            outcomes["exact"] += 1
        except UnattributableFault:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 80
    assert outcomes["exact"] > 10


def test_damage_that_looks_like_a_value_is_caught_by_the_checks(session):
    """A multiple of the scale leaves no noise; only the check values can tell."""
    unit = 1 << session.layout.parameters.scale_bits
    for change in (unit, 2**64 - unit, 12345 * unit):
        total = session.total.copy()
        total[77:78] += np.uint64(change)
        with pytest.raises(UnattributableFault, match="the check of the sum"):
            session.unmask(total=total)


@pytest.mark.parametrize("other", [11, 10 + 2048, 3000])
def test_swapped_values_are_caught_by_the_checks(other):
    """Neighbours, the same column of two rows, and neither: every position has a weight of its own."""
    values = np.arange(5000)
    swapped = values.copy()
    swapped[[10, other]] = values[[other, 10]]
    checks = set()
    for vector, span in ((values, 0), (swapped, 0), (values, 1)):
        checksum = Checksum(SEED)
        checksum.add(span, vector, 15)
        checks.add(int(checksum.value(0)[0]))
    assert len(checks) == 3


@pytest.mark.parametrize("bits", [15, 21, 22, 25, 37])
def test_checks_are_exact_and_linear(bits):
    """At the extremes of each width, against Python integers; weights are read off unit vectors."""
    limit = 1 << bits
    values = np.array([limit, -limit] * 1024 + [limit] * 2048 + [-limit] * 2048 + [7])
    ones = np.zeros_like(values)
    weights = []
    for position in (0, 1, 2047, 2048, 4095, 4096, 6144):
        ones[:] = 0
        ones[position] = 1
        checksum = Checksum(SEED)
        checksum.add(5, ones, 1)
        weights.append((position, int(checksum.value(0)[0])))
    sparse = np.zeros_like(values)
    for position, _ in weights:
        sparse[position] = values[position]
    checksum, rest = Checksum(SEED), Checksum(SEED)
    checksum.add(5, sparse, bits)
    expected = sum(int(values[position]) * weight for position, weight in weights) % field.P
    assert int(checksum.value(0)[0]) == expected
    both = Checksum(SEED)
    checksum.add(6, values, bits)
    rest.add(5, values - sparse, bits)
    both.add(5, values, bits)
    both.add(6, values, bits)
    assert int(both.value(9)[0]) == int(field.add(checksum.value(2), rest.value(7))[0])


def test_check_is_the_stated_formula():
    values = np.random.default_rng(6).integers(-(2**30), 2**30, size=2500)
    checksum = Checksum(SEED)
    checksum.add(3, values, 30)
    u = Xof(SEED, "mask-check-rows", (3).to_bytes(8, "big")).elements(2).tolist()
    v = Xof(SEED, "mask-check-columns").elements(2048).tolist()
    r = Xof(SEED, "mask-check-weight").elements(1).tolist()[0]
    expected = r * 77 + sum(u[i // 2048] * v[i % 2048] * x for i, x in enumerate(values.tolist()))
    assert int(checksum.value(77)[0]) == expected % field.P


def test_checks_refuse_what_they_cannot_add_exactly():
    with pytest.raises(LocalMisuse):
        Checksum(SEED).add(0, np.zeros(1, dtype=np.int64), 38)


def test_opened_sums_tell_nothing_but_the_sums():
    """Splitting the same total differently among devices leaves the opened check and weight as they were."""
    layout = Layout(B16_N10, 2500)
    total = random_values(B16_N10, 2500, 1) // 4
    seen = set()
    for number in range(4):
        part = random_values(B16_N10, 2500, 10 + number) // 4
        keys = [one_shot.MaskKey(B16_N10, Xof(bytes([i]) * 32, "key")) for i in (1, 2)]
        dealings = [
            one_shot.dealing(layout, SEED, keys[0], part, 100 * number),
            one_shot.dealing(layout, SEED, keys[1], total - part, 900 - 100 * number),
        ]
        seen.add(tuple(field.add(*dealings).tolist()))
    assert len(seen) == 1


def test_wrong_number_of_contributors_is_refused_or_harmless():
    session = Session(B16_N10)
    np.testing.assert_array_equal(session.unmask(devices=6), session.expected)
    with pytest.raises(LocalMisuse):
        session.unmask(devices=1025)
