"""The random stream: reproducible, independent of how it is read, uniform, and silent in its repr."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic.field import P
from protocols.arithmetic.xof import Xof, derive
from protocols.errors import LocalMisuse

SEED = bytes(range(32))


@given(st.lists(st.integers(0, 3000), max_size=12))
@settings(max_examples=40)
def test_the_stream_does_not_depend_on_how_it_is_cut(cuts: list[int]) -> None:
    xof = Xof(SEED, "cut")
    assert b"".join(xof.read(cut) for cut in cuts) == Xof(SEED, "cut").read(sum(cuts))


def test_a_long_stream_equals_many_short_reads() -> None:
    xof = Xof(SEED, "long")
    assert b"".join(xof.read(4099) for _ in range(80)) == Xof(SEED, "long").read(80 * 4099)


def test_seed_label_context_and_framing_all_matter() -> None:
    streams = {
        Xof(SEED, "a").read(16),
        Xof(SEED, "b").read(16),
        Xof(bytes(32), "a").read(16),
        Xof(SEED, "a", b"").read(16),
        Xof(SEED, "a", b"xy").read(16),
        Xof(SEED, "a", b"x", b"y").read(16),
        Xof(SEED, "a", b"", b"xy").read(16),
        Xof(SEED, "ax", b"y").read(16),
    }
    assert len(streams) == 8


def test_derive_is_shake256_of_the_framed_inputs() -> None:
    framed = b"coppice/xof/1"
    for part in (b"label", SEED, b"context"):
        framed += len(part).to_bytes(8, "big") + part
    assert derive(SEED, "label", b"context") == hashlib.shake_256(framed).digest(32)


def test_the_stream_never_changes() -> None:
    """A change here breaks every journal and every vector: it would be a new version of the XOF."""
    assert Xof(SEED, "frozen").read(16).hex() == "df4970769d5b9b13af735368479c72c5"
    assert (
        hashlib.sha256(Xof(SEED, "frozen").read(200_000)).hexdigest()
        == "8ab554d2234678f04e05411739cf55e14e7e191907bda77f129589f238900f35"
    )


def test_segments_are_chacha20_keystreams() -> None:
    """RFC 8439 keystream under nonce `LibsodiumDRG`, checked with another implementation."""
    from Crypto.Cipher import ChaCha20

    key = hashlib.blake2b(bytes(8), key=derive(SEED, "frozen"), digest_size=32).digest()
    keystream = ChaCha20.new(key=key, nonce=b"LibsodiumDRG").encrypt(bytes(512))
    assert Xof(SEED, "frozen").read(512) == keystream


def test_elements_are_canonical_and_uniform_in_the_first_moments() -> None:
    values = Xof(SEED, "moments").elements((400, 250))
    assert values.shape == (400, 250)
    assert int(values.max()) < P
    unit = values.astype(np.float64) / P
    assert abs(unit.mean() - 0.5) < 5 / np.sqrt(12 * unit.size)
    assert abs((unit**2).mean() - 1 / 3) < 5 / np.sqrt(11 * unit.size)
    bits = np.array([int(((values >> np.uint64(k)) & np.uint64(1)).sum()) for k in range(61)])
    assert (abs(bits - values.size / 2) < 6 * np.sqrt(values.size) / 2).all()


def test_the_value_p_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """2^61-1 comes up once in 2^61 words; here it is put into the stream."""
    words = iter([np.array([5, P, 7 | 7 << 61, P], dtype=np.uint64), np.array([P, 9], dtype=np.uint64)])
    tail = iter([np.array([11], dtype=np.uint64)])
    asked: list[int] = []

    def scripted(self: Xof, count: int) -> np.ndarray:
        asked.append(count)
        return next(words, None) if len(asked) < 3 else next(tail)

    monkeypatch.setattr(Xof, "uint64", scripted)
    assert Xof(SEED, "scripted").elements(4).tolist() == [5, 7, 9, 11]
    assert asked == [4, 2, 1]


def test_repr_hides_the_seed_and_the_key() -> None:
    xof = Xof(SEED, "label")
    xof.read(10)
    assert repr(xof) == "Xof('label', …)"
    assert not hasattr(xof, "__dict__")


def test_misuse_is_refused() -> None:
    with pytest.raises(LocalMisuse):
        Xof(b"short", "label")
    with pytest.raises(LocalMisuse):
        Xof(SEED, "label").read(-1)
