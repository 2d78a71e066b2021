"""Masked aggregation: exact sums, noise against its bound, and everything wrong noticed."""

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc

import numpy as np
import pytest

from protocols.arithmetic import field, ring
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, MalformedMessage, UnattributableFault
from protocols.masking import digits, one_shot
from protocols.masking.checksum import Checksum
from protocols.masking.layout import SPAN_COORDINATES, Layout
from protocols.masking.parameters import B16_N10, B16_N10_TWO_SLOTS, B16_N14, B16_N20, B24_N14, TABLE
from protocols.sharing import shamir

SEED = b"\x05" * 32
each_set = pytest.mark.parametrize("parameters", TABLE, ids=lambda parameters: parameters.name)


def random_values(parameters, length, number):
    limit = 1 << (parameters.value_bits - 1)
    return np.random.default_rng(number).integers(-limit, limit, size=length, dtype=np.int32)


def key_of(parameters, number):
    return one_shot.MaskKey(parameters, Xof(number.to_bytes(32, "big"), "key"))


def message_of(layout, number, values, key=None, seed=SEED):
    key = key or key_of(layout.parameters, number)
    return one_shot.mask(layout, seed, key, values, Xof(number.to_bytes(32, "big"), "noise"))


def add(layout, messages):
    """What the adders do, span by span: (coordinates,) running sum."""
    parts, start = [], 0
    for index in range(layout.spans):
        total = one_shot.empty_total(layout, index)
        stop = start + layout.span_bytes(index)
        for message in messages:
            one_shot.add_packed(layout, total, message[start:stop])
        parts.append(total)
        start = stop
    return np.concatenate(parts)


def dealt(layout, vectors):
    """What the committee opens for the devices of `vectors` (by number): sums of keys, checks and weights."""
    return field.total(
        np.stack(
            [
                one_shot.dealing(layout, SEED, key_of(layout.parameters, number), vector, number + 1)
                for number, vector in vectors.items()
            ]
        )
    )


class Session:
    """Five devices, summed, with the pieces that the tests below spoil one at a time."""

    def __init__(self, parameters, length=2500, devices=5):
        self.layout = Layout(parameters, length)
        self.devices = devices
        self.vectors = [random_values(parameters, length, number) for number in range(devices)]
        self.expected = np.sum(self.vectors, axis=0, dtype=np.int64)
        self.messages = [message_of(self.layout, i, vector) for i, vector in enumerate(self.vectors)]
        self.total = add(self.layout, self.messages)
        self.opened = dealt(self.layout, dict(enumerate(self.vectors)))

    def unmask(self, total=None, opened=None, seed=SEED, devices=None):
        sums, weight = one_shot.unmask(
            self.layout,
            seed,
            self.total if total is None else total,
            self.opened if opened is None else opened,
            devices or self.devices,
        )
        assert weight == sum(range(1, self.devices + 1))
        return sums


@pytest.fixture(scope="module", params=TABLE, ids=lambda parameters: parameters.name)
def session(request):
    return Session(request.param)


# ── exact sums ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parameters", [B16_N10, B16_N10_TWO_SLOTS], ids=["one slot", "two slots"])
def test_1024_devices_sum_exactly(parameters):
    layout = Layout(parameters, 700)
    total = one_shot.empty_total(layout, 0)
    opened = np.zeros(parameters.dealt_length, dtype=np.uint64)
    expected = np.zeros(700, dtype=np.int64)
    for number in range(1024):
        values, key = random_values(parameters, 700, number), key_of(parameters, number)
        opened = field.add(opened, one_shot.dealing(layout, SEED, key, values, 1 << 40))
        one_shot.add_packed(layout, total, message_of(layout, number, values, key))
        expected += values
    sums, weight = one_shot.unmask(layout, SEED, total, opened, 1024)
    np.testing.assert_array_equal(sums, expected)
    assert weight == 1 << 50


def test_every_set_sums_exactly(session):
    np.testing.assert_array_equal(session.unmask(), session.expected)


@each_set
def test_extreme_values_do_not_wrap(parameters):
    limit = 1 << (parameters.value_bits - 1)
    for extreme in (-limit, limit - 1):
        layout = Layout(parameters, 300)
        vector = np.full(300, extreme, dtype=np.int32)
        total = add(layout, [message_of(layout, number, vector) for number in range(3)])
        opened = dealt(layout, dict.fromkeys(range(3), vector))
        sums, _ = one_shot.unmask(layout, SEED, total, opened, 3)
        assert set(sums.tolist()) == {3 * extreme}


@pytest.mark.parametrize("parameters", [B16_N10, B16_N10_TWO_SLOTS], ids=["one slot", "two slots"])
def test_the_largest_sum_of_the_set_decodes(parameters):
    """Encoded values of 1,024 devices at the extreme, noise left to one device: slots do not spill over."""
    layout = Layout(parameters, 64)
    for extreme in (-(1 << 15), (1 << 15) - 1):
        span = layout.span(0)
        part = np.full(64, extreme, dtype=np.int32)
        encoded = one_shot._encode(part, span, parameters)
        total = add(layout, [message_of(layout, 1, part)]) + encoded * np.uint64(1023)
        opened = dealt(layout, {1: part})
        opened[-2:] = field.mul(opened[-2:], field.as_elements(1024))
        sums, _ = one_shot.unmask(layout, SEED, total, opened, 1)
        assert set(sums.tolist()) == {1024 * extreme}


@pytest.mark.parametrize("parameters", [B16_N10, B16_N10_TWO_SLOTS], ids=["one slot", "two slots"])
@pytest.mark.parametrize("excess", [-2, -1, 0, 1, 9])
def test_lengths_about_the_edge_of_a_span(parameters, excess):
    session = Session(parameters, SPAN_COORDINATES * parameters.slots + excess, devices=2)
    np.testing.assert_array_equal(session.unmask(), session.expected)


def test_single_value():
    session = Session(B16_N10, 1, devices=3)
    np.testing.assert_array_equal(session.unmask(), session.expected)


def test_adders_up_the_tree_give_the_same_sum(session):
    """Two clusters add, pack mod 2^k, and their parent adds those."""
    layout = session.layout
    clusters = [add(layout, session.messages[:2]), add(layout, session.messages[2:])]
    root = add(layout, [one_shot.pack_total(layout, cluster) for cluster in clusters])
    np.testing.assert_array_equal(session.unmask(total=root), session.expected)


def test_sums_are_those_of_integers_where_the_words_are_wide_enough():
    session = Session(B16_N10, 2500)
    exact = np.zeros(session.layout.coordinates, dtype=object)
    for message in session.messages:
        exact += add(session.layout, [message]).astype(object)
    assert session.total.astype(object).tolist() == exact.tolist()


# ── chunks and memory ───────────────────────────────────────────────────────────────────────────


def test_streaming_equals_the_whole():
    layout = Layout(B16_N10, 3 * SPAN_COORDINATES - 100)
    vectors = [random_values(B16_N10, layout.length, number) for number in (1, 2)]
    whole = [message_of(layout, number, vector) for number, vector in enumerate(vectors, 1)]
    streams = [
        one_shot.mask_spans(
            layout, SEED, key_of(B16_N10, i), vectors[i - 1], Xof(i.to_bytes(32, "big"), "noise")
        )
        for i in (1, 2)
    ]
    opened = dealt(layout, {1: vectors[0], 2: vectors[1]})
    unmasker = one_shot.Unmasker(layout, SEED, opened, 2)
    pieces, sums = ([], []), []
    for index, pair in enumerate(zip(*streams, strict=True)):
        total = one_shot.empty_total(layout, index)
        for i, piece in enumerate(pair):
            assert piece.size == layout.span_bytes(index)
            one_shot.add_packed(layout, total, piece)
            pieces[i].append(piece)
        sums.append(unmasker.span(total))
    assert unmasker.finish() == 2 + 3
    for i in (0, 1):
        np.testing.assert_array_equal(np.concatenate(pieces[i]), whole[i])
    np.testing.assert_array_equal(np.concatenate(sums), vectors[0].astype(np.int64) + vectors[1])
    at_once, _ = one_shot.unmask(layout, SEED, add(layout, whole), opened, 2)
    np.testing.assert_array_equal(at_once, np.concatenate(sums))


def test_ten_million_values_pass_in_a_few_spans_of_memory():
    """Device, adder and unmasker in step hold no copy of the vector beyond the caller's own."""
    length = 10_000_000
    layout = Layout(B16_N10, length)
    values = np.random.default_rng(1).integers(-(2**15), 2**15, size=length, dtype=np.int16)
    key = key_of(B16_N10, 1)
    tracemalloc.start()
    unmasker = one_shot.Unmasker(layout, SEED, one_shot.dealing(layout, SEED, key, values), 1)
    for index, piece in enumerate(one_shot.mask_spans(layout, SEED, key, values, Xof(SEED, "noise"))):
        total = one_shot.empty_total(layout, index)
        one_shot.add_packed(layout, total, piece)
        span = layout.span(index)
        sums = unmasker.span(total)
        assert np.array_equal(sums, values[span.first : span.first + span.values])
    unmasker.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20 < values.nbytes


def test_whole_message_takes_no_more_than_itself_and_a_few_spans():
    layout = Layout(B16_N10, 2_000_000)
    values = random_values(B16_N10, 2_000_000, 1)
    key = key_of(B16_N10, 1)
    tracemalloc.start()
    message = one_shot.mask(layout, SEED, key, values, Xof(SEED, "noise"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < message.nbytes + (12 << 20)


# ── noise ───────────────────────────────────────────────────────────────────────────────────────


def noise_of(session):
    """What is left of the sum when mask and values are taken off, in units of a sent coordinate."""
    parameters, layout = session.layout.parameters, session.layout
    small = ring.factor(digits.unfold(session.opened[:-2], parameters), parameters.limb_bits)
    found = []
    for index in range(layout.spans):
        span = layout.span(index)
        blocks = -(-span.coordinates // parameters.degree)
        public = one_shot.public_blocks(parameters, SEED, index, blocks)
        cut_off = session.devices * ((1 << parameters.dropped_bits) - 1) // 2
        mask = ring.product_high(public, small, parameters.dropped_bits, -cut_off).reshape(-1)
        start = index * SPAN_COORDINATES
        left = (session.total[start : start + span.coordinates] - mask[: span.coordinates]).view(np.int64)
        unit = 1 << parameters.scale_bits
        found.append((left + unit // 2) % unit - unit // 2)
    return np.concatenate(found)


@pytest.mark.parametrize("devices", [3, 64])
@each_set
def test_noise_has_the_stated_spread_and_never_reaches_its_bound(parameters, devices):
    session = Session(parameters, 20_000, devices)
    noise = noise_of(session)
    expected = parameters.noise_deviation(devices)
    assert abs(noise.mean()) < 5 * expected / math.sqrt(noise.size) + 0.5
    assert noise.std() == pytest.approx(math.hypot(expected, math.sqrt(1 / 12)), rel=0.05)
    largest = np.abs(noise).max()
    assert largest < 7 * expected + 1 < parameters.noise_bound(devices) < parameters.decoding_bound


# ── whatever is wrong is noticed ────────────────────────────────────────────────────────────────


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


# ── misuse and secrets ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parameters", [B16_N10, B24_N14], ids=["16 bits", "24 bits"])
def test_value_out_of_range_is_named_by_position_only(parameters):
    layout = Layout(parameters, SPAN_COORDINATES + 10)
    for wrong in (1 << (parameters.value_bits - 1), -(1 << (parameters.value_bits - 1)) - 1):
        values = np.zeros(layout.length, dtype=np.int64)
        values[SPAN_COORDINATES + 3] = wrong
        with pytest.raises(LocalMisuse) as caught:
            message_of(layout, 1, values)
        assert str(SPAN_COORDINATES + 3) in str(caught.value)
        assert str(abs(wrong)) not in str(caught.value)


def test_wrong_shapes_and_types_are_refused():
    layout = Layout(B16_N10, 100)
    for values in (
        np.zeros(99, np.int32),
        np.zeros((100, 1), np.int32),
        np.zeros(100),
        np.zeros(100, np.uint32),
    ):
        with pytest.raises(LocalMisuse):
            message_of(layout, 1, values)
    with pytest.raises(LocalMisuse, match="the key is for"):
        message_of(layout, 1, np.zeros(100, np.int32), key_of(B16_N14, 1))
    with pytest.raises(MalformedMessage):
        one_shot.add_packed(layout, one_shot.empty_total(layout, 0), np.zeros(5, np.uint8))
    with pytest.raises(LocalMisuse):
        one_shot.unmask(layout, SEED, np.zeros(8, np.uint64), np.zeros(B16_N10.dealt_length, np.uint64), 1)
    for weight in (-1, (1 << 40) + 1):
        with pytest.raises(LocalMisuse):
            one_shot.dealing(layout, SEED, key_of(B16_N10, 1), np.zeros(100, np.int32), weight)
    with pytest.raises(LocalMisuse):
        one_shot.parse_opened(B16_N10, np.zeros(5, np.uint64), 1)


def test_unmasker_does_not_vouch_for_half_a_vector():
    session = Session(B16_N10, SPAN_COORDINATES + 100, devices=2)
    unmasker = one_shot.Unmasker(session.layout, SEED, session.opened, 2)
    unmasker.span(session.total[:SPAN_COORDINATES])
    with pytest.raises(LocalMisuse, match="1 of 2 parts"):
        unmasker.finish()


def test_a_key_masks_one_vector_only():
    layout = Layout(B16_N10, 100)
    key = key_of(B16_N10, 1)
    message_of(layout, 1, np.zeros(100, np.int32), key)
    with pytest.raises(LocalMisuse, match="already masked"):
        message_of(layout, 1, np.zeros(100, np.int32), key)


def test_a_key_is_neither_shown_nor_copied():
    key = key_of(B16_N10, 1)
    digits = set("0123456789") - set(B16_N10.name)
    assert "redacted" in repr(key)
    assert not digits & set(repr(key).replace(B16_N10.name, ""))
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(LocalMisuse):
            copier(key)
    assert "redacted" in repr(Checksum(SEED))


def test_masked_zero_vector_looks_uniform():
    """Chi-square over the bytes of a masked vector of zeros, 255 degrees of freedom."""
    layout = Layout(B16_N10, 200_000)
    counts = np.bincount(message_of(layout, 1, np.zeros(200_000, np.int32)), minlength=256)
    expected = layout.packed_bytes / 256
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - 255) < 5 * math.sqrt(2 * 255)


def test_public_elements_are_uniform_and_depend_on_seed_and_span():
    one = one_shot.public_blocks(B16_N20, SEED, 0, 32)
    assert one.shape == (2, 32, 2048)
    half = 1 << (B16_N20.limb_bits - 1)
    assert -half <= one.min() < -0.99 * half
    assert 0.99 * half < one.max() < half
    assert abs(one.mean()) < 5 * half / math.sqrt(3 * one.size)
    for other in (
        one_shot.public_blocks(B16_N20, SEED, 1, 32),
        one_shot.public_blocks(B16_N20, b"6" * 32, 0, 32),
    ):
        assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one[:, :3], one_shot.public_blocks(B16_N20, SEED, 0, 3))


@each_set
def test_what_a_missing_share_opens_is_no_sum_of_keys(parameters):
    """Uniform elements: refused before anything is unmasked with them."""
    random = np.random.default_rng(9).integers(0, field.P, parameters.dealt_length, dtype=np.uint64)
    with pytest.raises(UnattributableFault, match="not a sum of 5 mask keys"):
        one_shot.parse_opened(parameters, random, 5)
