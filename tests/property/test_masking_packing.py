"""Packing round trips, and the cutting of vectors into spans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.masking import packing
from protocols.masking.layout import SPAN_COORDINATES, Layout
from protocols.masking.parameters import B16_N10, B16_N10_TWO_SLOTS, TABLE


@settings(max_examples=60, deadline=None)
@given(bits=st.integers(1, 63), eighths=st.integers(0, 40), seed=st.integers(0, 2**32))
def test_round_trip_is_reduction_mod_2_to_the_k(bits, eighths, seed):
    words = np.random.default_rng(seed).integers(0, 2**64, size=8 * eighths, dtype=np.uint64)
    before = words.copy()
    packed = packing.pack(words, bits)
    assert packed.size == eighths * bits
    np.testing.assert_array_equal(packing.unpack(packed, words.size, bits), words & np.uint64(2**bits - 1))
    np.testing.assert_array_equal(words, before)


@settings(max_examples=30, deadline=None)
@given(bits=st.integers(1, 63), seed=st.integers(0, 2**32))
def test_every_byte_string_is_a_legal_packing(bits, seed):
    data = np.random.default_rng(seed).integers(0, 256, size=16 * bits, dtype=np.uint8)
    np.testing.assert_array_equal(packing.pack(packing.unpack(data, 128, bits), bits), data)


def test_known_bytes():
    """34 bits: a plane of 32-bit words, then 2-bit plane with coordinates j, j+2, j+4, j+6 in a byte."""
    words = np.array([1 << 32, 2, 2 << 32, 3, 3 << 32, 0, 0, 1 << 33], dtype=np.uint64)
    packed = packing.pack(words, 34)
    assert packed[:32].view("<u4").tolist() == [0, 2, 0, 3, 0, 0, 0, 0]
    assert packed[32:].tolist() == [1 | 2 << 2 | 3 << 4, 2 << 6]


def test_sums_of_packings_are_sums_of_words():
    rng = np.random.default_rng(3)
    children = rng.integers(0, 2**34, size=(20, 256), dtype=np.uint64)
    total = np.zeros(256, dtype=np.uint64)
    for child in children:
        packing.unpack_add(total, packing.pack(child, 34), 34)
    np.testing.assert_array_equal(total, children.sum(axis=0))


def test_wrong_sizes_are_named_and_change_nothing():
    total = np.ones(16, dtype=np.uint64)
    for bad in (np.zeros(67, np.uint8), np.zeros(69, np.uint8), np.zeros(68, np.uint16)):
        with pytest.raises(MalformedMessage, match="68 are due"):
            packing.unpack_add(total, bad, 34)
    assert total.tolist() == [1] * 16
    with pytest.raises(LocalMisuse):
        packing.packed_size(12, 34)
    with pytest.raises(LocalMisuse):
        packing.packed_size(8, 64)


@pytest.mark.parametrize("parameters", [B16_N10, B16_N10_TWO_SLOTS])
@pytest.mark.parametrize("around", range(-12, 6))
def test_spans_cover_values_once(parameters, around):
    layout = Layout(parameters, SPAN_COORDINATES * parameters.slots + around)
    spans = [layout.span(index) for index in range(layout.spans)]
    assert sum(span.coordinates for span in spans) == layout.coordinates
    assert [i for s in spans for i in range(s.first, s.first + s.values)] == list(range(layout.length))
    assert all(0 < span.values <= span.coordinates * parameters.slots for span in spans)
    assert sum(layout.span_bytes(index) for index in range(layout.spans)) == layout.packed_bytes


@pytest.mark.parametrize("parameters", TABLE, ids=lambda parameters: parameters.name)
def test_upload_of_a_million_values_is_that_of_the_table(parameters):
    over_float32 = Layout(parameters, 1_000_000).packed_bytes / 4_000_000
    assert over_float32 == pytest.approx(parameters.over_float32, abs=1e-4)


def test_upload_targets():
    assert Layout(B16_N10, 1_000_000).packed_bytes <= 1.07 * 4_000_000
    assert Layout(B16_N10_TWO_SLOTS, 1_000_000).packed_bytes < 4_000_000


def test_no_layout_of_nothing():
    with pytest.raises(LocalMisuse):
        Layout(B16_N10, 0)
    with pytest.raises(LocalMisuse):
        Layout(B16_N10, 10).span(1)


@pytest.mark.parametrize("bits", [34, 40, 49, 60, 63])
@pytest.mark.parametrize("count", [8, 16, 24, 480, 488, 4096])
def test_a_sum_of_many_is_that_of_integers_mod_2_k(bits, count):
    rng = np.random.default_rng(count + bits)
    parts = rng.integers(0, 1 << bits, size=(40, count), dtype=np.uint64)
    parts[0] = (1 << bits) - 1
    running = packing.Sum(count, bits)
    for part in parts:
        packed = packing.pack(part, bits)
        assert packed.size == packing.packed_size(count, bits)
        np.testing.assert_array_equal(packing.unpack(packed, count, bits), part)
        running.add(packed)
    mask = (1 << bits) - 1
    expected = [sum(int(part[j]) for part in parts) & mask for j in range(count)]
    assert [int(word) & mask for word in running.words()] == expected
    for size in (0, packed.size - 1, packed.size + 1):
        with pytest.raises(MalformedMessage):
            running.add(np.zeros(size, dtype=np.uint8))
    assert [int(word) & mask for word in running.words()] == expected
