"""Fingerprints are linear mod 2^k, find every single changed bit, and depend on all of the challenge."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.identifiers import Digest, SessionId
from protocols.masking import packing
from protocols.masking.fingerprint import ROW, WORDS, Fingerprint, agree, challenge

SEED = bytes(range(32))


def of(words, seed=SEED, step=3 * ROW):
    found = Fingerprint(seed)
    for index, start in enumerate(range(0, words.size, step)):
        found.add(index, words[start : start + step])
    return found.value()


def vectors(count, size, bits, number=1):
    rng = np.random.default_rng(number)
    return rng.integers(0, 1 << bits, size=(count, size), dtype=np.uint64)


@pytest.mark.parametrize("bits", [34, 40, 48, 49, 60])
def test_fingerprints_of_parts_add_up_to_that_of_the_sum_though_it_is_cut_off(bits):
    parts = vectors(40, 4 * ROW + 24, bits)
    whole = packing.Sum(parts.shape[1], bits)
    for part in parts:
        whole.add(packing.pack(part, bits))
    total = packing.unpack(packing.pack(whole.words(), bits), parts.shape[1], bits)
    said = np.stack([of(part) for part in parts])
    assert said.shape == (40, WORDS)
    assert agree(said, of(total), bits)
    assert not agree(said[1:], of(total), bits)


@pytest.mark.parametrize("bits", [34, 60])
def test_every_changed_bit_of_any_coordinate_shows(bits):
    part = vectors(1, ROW + 16, bits)[0]
    said = of(part)[None, :]
    for bit in range(bits):
        for at in (0, ROW - 1, ROW, ROW + 15):
            changed = part.copy()
            changed[at] ^= np.uint64(1 << bit)
            assert not agree(said, of(changed), bits)


def test_errors_of_a_high_power_of_two_show_though_they_vanish_from_most_words():
    """2^(k-1) in many coordinates: a parity, where a sum over a prime field would see it at once."""
    part = vectors(1, 2 * ROW, 60)[0]
    said = of(part)[None, :]
    for number in range(30):
        off = np.random.default_rng(number).integers(0, 2, size=part.size, dtype=np.uint64)
        assert not agree(said, of(part + (off << np.uint64(59))), 60)


def test_coordinates_do_not_trade_places():
    part = vectors(1, 2 * ROW, 60)[0]
    swapped = part.copy()
    swapped[[3, ROW + 3]] = part[[ROW + 3, 3]]
    assert not agree(of(part)[None, :], of(swapped), 60)


def test_the_challenge_covers_all_of_the_claim():
    base = (SessionId(bytes(32)), 0, Digest(bytes(32)), Digest(bytes(32)))
    other = Digest(b"x" * 32)
    changed = [
        (SessionId(b"x" * 32), *base[1:]),
        (base[0], 1, *base[2:]),
        (*base[:2], other, base[3]),
        (*base[:3], other),
    ]
    assert len({challenge(*base), *(challenge(*claim) for claim in changed)}) == 5
    part = vectors(1, 64, 60)[0]
    assert not np.array_equal(of(part), of(part, challenge(*base)))
