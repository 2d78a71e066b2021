"""The codec: every message has one encoding, every encoding one message, and nothing else gets in."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, NewType

import cbor2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.arithmetic.field import P
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Digest, Epoch, PartyId, SessionId
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Exactly, FieldVector, Key

Nickname = NewType("Nickname", str)
Short = Annotated[FieldVector, AtMost(4)]


@dataclass(frozen=True, slots=True)
class Leaf:
    party: PartyId
    weight: float
    alive: bool


@dataclass(frozen=True)
class Everything:
    KIND: ClassVar[str] = "everything"
    count: Annotated[int, Between(-5, 1 << 40)]
    epoch: Epoch
    name: Annotated[Nickname, AtMost(8)]
    blob: Annotated[bytes, AtMost(5)]
    key: Key
    digest: Digest
    leaf: Leaf
    maybe: Leaf | None
    words: Annotated[tuple[Annotated[str, AtMost(3)], ...], AtMost(3)] | None
    pair: tuple[int, SessionId]
    triple: Annotated[tuple[bool, ...], Exactly(3)]
    elements: Annotated[Short, AtMost(1000)]
    small: Annotated[npt.NDArray[np.uint32], AtMost(4)]
    reals: Annotated[npt.NDArray[np.float64], AtMost(4)]

    @cached_property
    def derived(self) -> int:
        return self.count + 1


@dataclass(frozen=True, slots=True)
class Bulk:
    values: Annotated[FieldVector, AtMost(1 << 20)]


@dataclass(frozen=True, slots=True)
class Number:
    value: int


@dataclass(frozen=True, slots=True)
class Names:
    values: Annotated[tuple[Annotated[str, AtMost(8)], ...], AtMost(4)]


@dataclass(frozen=True, slots=True)
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError("value must be positive")


def sample(**changes: Any) -> Everything:
    leaf = Leaf(PartyId(bytes(32)), 0.5, True)
    fields: dict[str, Any] = {
        "count": 7,
        "epoch": Epoch(3),
        "name": Nickname("café"),
        "blob": b"\x00\xff",
        "key": bytes(range(32)),
        "digest": Digest(b"d" * 32),
        "leaf": leaf,
        "maybe": leaf,
        "words": ("a", "b"),
        "pair": (-1, SessionId(b"s" * 32)),
        "triple": (True, False, True),
        "elements": np.array([0, P - 1], dtype=np.uint64),
        "small": np.array([0, (1 << 32) - 1], dtype=np.uint32),
        "reals": np.array([-0.0, math.pi, math.inf]),
    }
    return Everything(**{**fields, **changes})


def same(a: Any, b: Any) -> bool:
    """Equality that looks into vectors."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a):
        pairs = ((getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
        return type(a) is type(b) and all(same(x, y) for x, y in pairs)
    return type(a) is type(b) and a == b


def test_round_trip_and_the_types_that_come_back() -> None:
    message = sample()
    assert message.derived == 8
    back = codec.decode(Everything, codec.encode(message))
    assert same(back, message)
    assert isinstance(back.leaf.party, PartyId)
    assert same(
        codec.decode(Everything, codec.encode(sample(maybe=None, words=None))), sample(maybe=None, words=None)
    )


def test_encoding_is_what_cbor2_writes_canonically() -> None:
    m = sample(maybe=None)
    leaf = [bytes(m.leaf.party), m.leaf.weight, m.leaf.alive]
    vectors = [
        cbor2.CBORTag(71, m.elements.tobytes()),
        cbor2.CBORTag(70, m.small.tobytes()),
        cbor2.CBORTag(86, m.reals.tobytes()),
    ]
    plain = [
        7,
        3,
        "café",
        m.blob,
        m.key,
        bytes(m.digest),
        leaf,
        None,
        ["a", "b"],
        [-1, b"s" * 32],
        [True, False, True],
    ]
    assert codec.encode(m) == cbor2.dumps([*plain, *vectors], canonical=True)


def test_decoded_vectors_are_read_only_and_outlive_the_message() -> None:
    data = bytearray(codec.encode(sample()))
    message = codec.decode(Everything, data)
    data[:] = bytes(len(data))
    assert message.elements.tolist() == [0, P - 1]
    assert message.elements.flags.owndata
    assert message.elements.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        message.elements[0] = 1


leaves = st.builds(
    Leaf,
    st.binary(min_size=32, max_size=32).map(PartyId),
    st.floats(allow_nan=False),
    st.booleans(),
)
utf8 = st.characters(exclude_categories=["Cs"])
messages = st.builds(
    sample,
    count=st.integers(-5, 1 << 40),
    epoch=st.integers(-(1 << 63), (1 << 63) - 1),
    name=st.text(utf8, max_size=2),
    blob=st.binary(max_size=5),
    leaf=leaves,
    maybe=st.none() | leaves,
    words=st.none()
    | st.lists(st.text(utf8, max_size=1).filter(lambda s: len(s.encode()) < 4), max_size=3).map(tuple),
    elements=st.lists(st.integers(0, P - 1), max_size=4).map(lambda v: np.array(v, dtype=np.uint64)),
    reals=st.lists(st.floats(allow_nan=False), max_size=4).map(lambda v: np.array(v, dtype=np.float64)),
)


@given(messages)
@settings(max_examples=100)
def test_round_trip_of_any_message(message: Everything) -> None:
    data = codec.encode(message)
    assert same(codec.decode(Everything, data), message)
    assert codec.encode(codec.decode(Everything, data)) == data


@given(messages, st.data())
@settings(max_examples=200)
def test_a_damaged_message_is_refused_or_is_another_canonical_message(
    message: Everything, data: st.DataObject
) -> None:
    """Flip, cut or insert: whatever still decodes encodes to exactly the damaged bytes."""
    good = codec.encode(message)
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                good[:at] + bytes((good[at] ^ 1 << data.draw(st.integers(0, 7)),)) + good[at + 1 :],
                good[:at],
                good + b"\x00",
                good[:at] + data.draw(st.binary(min_size=1, max_size=3)) + good[at:],
                good[:at] + good[at + 1 :],
            ]
        )
    )
    try:
        decoded = codec.decode(Everything, damaged)
    except MalformedMessage:
        return
    assert codec.encode(decoded) == damaged


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_raise_nothing_but_malformed_message(data: bytes) -> None:
    for cls in (Everything, Bulk, Number, Names):
        try:
            decoded = codec.decode(cls, data)
        except MalformedMessage:
            continue
        assert codec.encode(decoded) == data


@given(
    st.recursive(
        st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=9) | st.floats(),
        st.lists,
        max_leaves=8,
    )
)
@settings(max_examples=40)
def test_other_peoples_cbor_raises_nothing_but_malformed_message(value: Any) -> None:
    data = cbor2.dumps(value, canonical=True)
    for cls in (Everything, Bulk, Number, Names):
        try:
            decoded = codec.decode(cls, data)
        except MalformedMessage:
            continue
        assert codec.encode(decoded) == data


VECTOR = "81d84748" + "00" * 8
NEGATIVE: dict[str, tuple[type, str]] = {
    "empty": (Number, ""),
    "not an array": (Number, "00"),
    "a map": (Number, "a10000"),
    "arity 0": (Number, "80"),
    "arity 2": (Number, "820000"),
    "trailing byte": (Number, "810000"),
    "array head not shortest": (Number, "980100"),
    "indefinite array": (Number, "9f00ff"),
    "integer not shortest": (Number, "811800"),
    "integer as bignum": (Number, "81c24101"),
    "integer as float": (Number, "81f93c00"),
    "integer as boolean": (Number, "81f5"),
    "beyond 64 bits signed": (Number, "811b8000000000000000"),
    "below 64 bits signed": (Number, "813b8000000000000000"),
    "null for an integer": (Number, "81f6"),
    "undefined": (Number, "81f7"),
    "text not UTF-8": (Names, "818161ff"),
    "text overlong UTF-8": (Names, "818162c080"),
    "text with a surrogate": (Names, "818163eda080"),
    "text too long": (Names, "818169" + "61" * 9),
    "bytes for text": (Names, "81814161"),
    "too many items": (Names, "818560606060" + "60"),
    "array bomb": (Names, "819bffffffffffffffff"),
    "text bomb": (Names, "81817bffffffffffffffff"),
    "nesting bomb": (Names, "81" * 100_000),
    "tag bomb": (Bulk, "81" + "d847" * 50_000),
    "indefinite text": (Names, "81817f6161ff"),
    "vector without a tag": (Bulk, "8148" + "00" * 8),
    "vector with a wrong tag": (Bulk, "81d84648" + "00" * 8),
    "vector tag not shortest": (Bulk, "81d9004748" + "00" * 8),
    "vector big-endian tag": (Bulk, "81d84348" + "00" * 8),
    "vector of 7 bytes": (Bulk, "81d84747" + "00" * 7),
    "vector cut short": (Bulk, "81d84748" + "00" * 7),
    "vector bomb": (Bulk, "81d8475bfffffffffffffff8"),
    "vector beyond its bound": (Bulk, "81d8475a00800008" + "00" * 8),
    "vector as an array": (Bulk, "81d847810000"),
    "element p": (Bulk, "81d84748" + P.to_bytes(8, "little").hex()),
    "element 2^64-1": (Bulk, "81d84748" + "ff" * 8),
    "a class that says no": (Positive, "8100"),
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_negative_corpus(name: str) -> None:
    cls, text = NEGATIVE[name]
    with pytest.raises(MalformedMessage, match=f"cannot decode {cls.__name__}"):
        codec.decode(cls, bytes.fromhex(text))


def test_every_truncation_is_refused() -> None:
    data = codec.encode(sample())
    for end in range(len(data)):
        with pytest.raises(MalformedMessage):
            codec.decode(Everything, data[:end])


def test_the_nearest_good_forms_of_the_corpus_are_accepted() -> None:
    assert codec.decode(Number, bytes.fromhex("811b7fffffffffffffff")).value == (1 << 63) - 1
    assert codec.decode(Number, bytes.fromhex("813b7fffffffffffffff")).value == -(1 << 63)
    assert codec.decode(Names, bytes.fromhex("8184606060" + "60")).values == ("",) * 4
    assert codec.decode(Bulk, bytes.fromhex(VECTOR)).values.tolist() == [0]
    assert codec.decode(Bulk, bytes.fromhex("81d84740")).values.tolist() == []
    assert codec.decode(Positive, bytes.fromhex("8101")).value == 1


def test_nan_payloads_in_vectors_are_refused() -> None:
    quiet = sample(reals=np.array([math.nan]))
    data = codec.encode(quiet)
    assert math.isnan(codec.decode(Everything, data).reals[0])
    with pytest.raises(MalformedMessage, match="NaN carries a payload"):
        codec.decode(Everything, data[:-8] + (0x7FF8 << 48 | 1).to_bytes(8, "little"))


def test_an_error_names_the_path_of_the_field() -> None:
    data = codec.encode(sample(words=("a", "b")))
    broken = data.replace(b"\x82\x61a\x61b", b"\x82\x61a\x61\xff")
    with pytest.raises(
        MalformedMessage, match=r"cannot decode Everything\.words\[1\]: the text is not UTF-8"
    ):
        codec.decode(Everything, broken)
    with pytest.raises(LocalMisuse, match=r"cannot encode Everything\.leaf\.weight: wants float, not str"):
        codec.encode(sample(leaf=Leaf(PartyId(bytes(32)), "heavy", True)))


@pytest.mark.parametrize(
    "changes",
    [
        {"count": -6},
        {"count": True},
        {"count": 1.0},
        {"epoch": 1 << 63},
        {"name": "123456789"},
        {"name": "\ud800"},
        {"name": b"abc"},
        {"blob": b"123456"},
        {"blob": "abc"},
        {"key": bytes(31)},
        {"digest": PartyId(bytes(32))},
        {"digest": bytes(32)},
        {"leaf": None},
        {"maybe": sample},
        {"words": ["a"]},
        {"words": ("a",) * 4},
        {"pair": (1,)},
        {"triple": (True, True)},
        {"elements": np.array([P], dtype=np.uint64)},
        {"elements": np.zeros(5, dtype=np.uint64)},
        {"elements": np.zeros(2, dtype=np.int64)},
        {"elements": np.zeros((2, 2), dtype=np.uint64)},
        {"elements": [1, 2]},
        {"small": np.zeros(2, dtype=np.uint64)},
    ],
)
def test_our_own_bad_values_are_our_misuse(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalMisuse):
        codec.encode(sample(**changes))


def test_whole_numbers_are_accepted_for_floats_and_come_back_as_floats() -> None:
    message = codec.decode(Leaf, codec.encode(Leaf(PartyId(bytes(32)), 3, False)))
    assert isinstance(message.weight, float)
    assert message.weight == 3.0


def test_an_8_megabyte_vector_takes_milliseconds() -> None:
    bulk = Bulk(Xof(bytes(32), "bulk").elements(1 << 20))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        back = codec.decode(Bulk, codec.encode(bulk))
        best = min(best, time.perf_counter() - start)
    assert np.array_equal(back.values, bulk.values)
    assert best < 0.1
