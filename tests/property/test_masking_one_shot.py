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
from tests.property.masked_session import (
    SEED,
    Session,
    add,
    dealt,
    each_set,
    key_of,
    message_of,
    random_values,
)


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
