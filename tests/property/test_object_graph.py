"""Objects as flat tables of data: what comes back, what is not stored, what is refused."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.identifiers import Digest, PartyId
from protocols.sessions.graph_reader import read
from protocols.sessions.graph_writer import write
from protocols.sessions.object_graph import Register, Unstorable


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    of: object


@dataclass(frozen=True)
class Sum:
    parts: tuple[object, ...]

    @cached_property
    def count(self):
        return len(self.parts)


class Machine:
    NOT_STORED: ClassVar = {"_answers": dict}

    def __init__(self, peer=None):
        self.peer = peer
        self.seen = set()
        self._answers = {"secret": 1}

    def meet(self, peer):
        self.peer = peer

    @cached_property
    def long(self):
        return [0] * 1000


class Slotted:
    NOT_STORED: ClassVar = {"cache": list}
    __slots__ = ("cache", "value")

    def __init__(self, value):
        self.value = value
        self.cache = [value]


@dataclass(slots=True)
class Account:
    holders: set[int] = field(default_factory=set)


class Machines(list):
    pass


class Mixed(Slotted):
    def __init__(self):
        super().__init__(1)
        self.more = 2


class Stranger:
    def __init__(self):
        self.value = 1


KNOWN = Register([Word, Sum, Machine, Slotted, Account, Machines, Mixed])
PARTY = PartyId(bytes(range(32)))


def nothing(number):
    raise KeyError(number)


def again(root):
    body, _ = write(root, {}, KNOWN)
    return read(body, nothing, KNOWN)[0]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keys = st.recursive(plain, lambda inner: st.tuples(inner, inner) | st.frozensets(inner), max_leaves=4)
values = st.recursive(
    keys | st.just(PARTY),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.builds(Word, st.text(), inner)
        | st.builds(Sum, st.tuples(inner, inner))
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=60, deadline=None)
def test_what_is_written_comes_back(value):
    assert repr(again(value)) == repr(value) or again(value) == value


def test_what_is_one_object_is_one_again_and_circles_close():
    machine = Machine()
    word, other = Word("a", machine), Word("a", 1)
    machine.peer = machine
    machine.seen = {Word("a", 1)}
    back = again([machine, word, word, other, {other: word}, Machines([machine])])
    assert back[0].peer is back[0]
    assert back[1] is back[2]
    assert back[1].of is back[0]
    assert back[4][Word("a", 1)] is back[1]
    assert back[0].seen == {Word("a", 1)}
    assert type(back[5]) is Machines
    assert back[5][0] is back[0]


def test_containers_and_arrays_are_of_their_kind():
    frozen = np.arange(6, dtype=np.uint64).reshape(2, 3)
    frozen.setflags(write=False)
    root = [deque([1, 2], maxlen=2), Counter("aab"), {PARTY, Digest(PARTY)}, frozen, np.zeros(0, bool), Word]
    last, counter, names, still, empty, cls = again(root)
    assert last == deque([1, 2])
    assert last.maxlen == 2
    assert type(counter) is Counter
    assert counter == Counter("aab")
    assert {type(name) for name in again([PARTY, Digest(PARTY)])} == {PartyId, Digest}
    assert names == {PARTY}
    assert (still == frozen).all()
    assert not still.flags.writeable
    assert empty.dtype == bool
    assert empty.flags.writeable
    assert cls is Word


def test_what_is_made_anew_is_not_stored():
    machine, slotted, total = Machine(), Slotted(b"kept"), Sum((1, 2))
    assert machine.long
    assert total.count == 2
    body, classes = write([machine, slotted, total], {}, KNOWN)
    assert b"secret" not in body
    assert classes == {Machine, Slotted, Sum}
    back, other, third = read(body, nothing, KNOWN)[0]
    assert back._answers == {}
    assert "long" not in vars(back)
    assert other.value == b"kept"
    assert other.cache == []
    assert third.count == 2


def test_what_is_given_is_not_written():
    secret = Word("secret", None)
    body, classes = write([secret, 1], {id(secret): 7}, KNOWN)
    assert not classes
    assert b"secret" not in body
    assert read(body, {7: "given"}.__getitem__, KNOWN)[0] == ["given", 1]
    with pytest.raises(Unstorable, match="no graph"):
        read(body, nothing, KNOWN)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Stranger(), "Stranger is nothing that is stored"),
        (lambda: 1, "function is nothing that is stored"),
        (np.uint64(1), "uint64 is nothing that is stored"),
        (np.array([object()]), "array of object"),
        (frozenset({Word("a", 1)}), "frozenset of objects"),
        (Stranger, "Stranger is nothing that is stored"),
        (Mixed(), "slots for some"),
    ],
)
def test_what_no_graph_holds_is_not_written(value, why):
    with pytest.raises(Unstorable, match=why):
        write([value], {}, KNOWN)


def test_tuples_without_end_are_refused():
    value = ()
    for _ in range(100_000):
        value = (value,)
    with pytest.raises(Unstorable, match="beyond measure"):
        write(value, {}, KNOWN)


def test_no_depth_of_objects_is_too_deep():
    value = None
    for _ in range(50_000):
        value = Word("a", [value])
    back, depth = again(value), 0
    while back is not None:
        back, depth = back.of[0], depth + 1
    assert depth == 50_000


def changed(value, part, make):
    document = cbor2.loads(write(value, {}, KNOWN)[0])
    document[part] = make(document[part])
    return cbor2.dumps(document)


def links(*numbers):
    return np.array(numbers, "<u4").tobytes()


WORD = "test_object_graph.Word"


@pytest.mark.parametrize(
    ("part", "make", "why"),
    [
        (5, lambda _: [["os.system", ["text", "of"], 1]], "no class 'os.system'"),
        (5, lambda _: [["test_object_graph.Stranger", ["value"], 1]], "no class"),
        (5, lambda _: [[WORD, ["text"], 1]], "has 2 attributes"),
        (5, lambda _: [[WORD, ["of", "text"], 1]], "has 2 attributes"),
        (5, lambda _: [[WORD, ["text", "of"], 10**9]], "1000000000 objects in"),
        (5, lambda _: [[WORD, ["text", "of"], 2]], "links"),
        (5, lambda _: [[WORD, ["text", "of"], -1]], "-1 objects"),
        (5, lambda _: [["test_object_graph.Machine", ["__reduce__", "of"], 1]], "no such attributes"),
        (5, lambda _: [["test_object_graph.Machines", [], 1]], "has|no graph"),
        (4, lambda _: [[WORD, links(1), []]], "no container"),
        (4, lambda _: [["list", links(2**31), []]], "no container|links"),
        (4, lambda _: [["deque", links(0, 0), [3]]], "list of other than 2"),
        (0, lambda plain: [*plain[:-1], cbor2.CBORTag(1, 0)], "plain value of another type|no graph"),
        (0, lambda plain: [*plain[:-1], [1]], "plain value of another type"),
        (1, lambda _: [b"short", b"", b""], "half an identifier"),
        (2, lambda _: [["|O", [1], bytes(8), False]], "array of another type"),
        (2, lambda _: [["<u8", [3], bytes(8), False]], "no graph"),
        (3, lambda _: ["os.system"], "no class"),
        (6, lambda _: links(9), "leads nowhere|fewer|no graph"),
        (7, lambda all_: all_[:-4], "links"),
        (7, lambda all_: all_[:-1], "no graph"),
        (7, lambda all_: all_ + all_[-4:], "links"),
        (7, lambda all_: all_[:-4] + links(2**32 - 1), "leads nowhere"),
        (7, lambda all_: all_[:-4] + links(2 << 22 | 9), "leads nowhere"),
        (7, lambda all_: b"", "leads nowhere|no graph"),
        (7, list, "not the parts"),
    ],
)
def test_what_is_forged_is_refused(part, make, why):
    body = changed(Word("a", 1), part, make)
    with pytest.raises(Unstorable, match=why):
        read(body, nothing, KNOWN)


def test_a_tuple_holds_nothing_that_comes_after_it():
    body = changed((1, 2), 7, lambda all_: all_[:4] + links(8 << 22, 8 << 22))
    with pytest.raises(Unstorable, match="no graph"):
        read(body, nothing, KNOWN)


def test_two_classes_of_one_name_are_refused():
    other = type("Word", (), {"__module__": Word.__module__})
    with pytest.raises(Unstorable, match="one name"):
        Register([Word, other])
