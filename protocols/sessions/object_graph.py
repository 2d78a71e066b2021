"""Objects that refer to each other, as flat tables of data: the form, and what may be in it.

A graph is written (`graph_writer`) as CBOR that nests no deeper than 5, however deep the objects do. Each
value has a place in a section: plain values (None, bool, int, float, str, bytes), identifiers by kind,
arrays, classes named as values, containers by class, objects by class and attributes, and last what is
immutable and holds others (tuples, frozensets), each after what it holds. A link names a section and an index
in it. All links of what holds others, in their order, are one array: what is held twice is one object again.

    [plain values, [identifiers of a kind joined, ...], [[dtype, shape, bytes, writable], ...],
     [class, ...], [[container, lengths, bounds], ...], [[class, attributes, count], ...],
     lengths of tuples (a frozenset's are ~length), links]

Reading (`graph_reader`) makes all objects first, then sets their attributes, then fills what hashes its
items. No constructor and no other code of theirs runs, and only classes of the `Register` are made, with the
attributes that the class declares (a dataclass or one with slots: all; another: those that its code names).

What is not stored: a `cached_property`; attributes in a class's `NOT_STORED`, a mapping from the name to what
makes it anew when the object is read, as `NOT_STORED: ClassVar = {"_answers": dict}`; and what is `given` to
both sides, such as keys.

Invariant: `read(write(root))` is a graph equal to `root`'s, alike in what is one object and what are two. But
equal identifiers become one object, and views of arrays become arrays of their own.
"""

from __future__ import annotations

import dataclasses
import types
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property

import numpy as np

from protocols.identifiers import Digest, Identifier, PartyId, SessionId

PLAIN: tuple[type, ...] = (type(None), bool, int, float, str, bytes)
KINDS: tuple[type[Identifier], ...] = (PartyId, Digest, SessionId)
CONTAINERS: dict[str, type] = {"list": list, "dict": dict, "set": set, "deque": deque, "Counter": Counter}
CONTAINER_NAMES = {cls: name for name, cls in CONTAINERS.items()}
DTYPES = frozenset(np.dtype(kind).str for kind in ("bool", "u1", "u2", "u4", "u8", "i4", "i8", "f4", "f8"))
SHIFT = 22
INDEX = (1 << SHIFT) - 1
"""A link is a section and an index of this size."""
LINKS, LENGTHS = np.dtype("<u4"), np.dtype("<i4")
GIVEN, PLAIN_VALUES, NAMES = 1, 2, 3
"""Sections, and those that follow; there is none of number 0, so that no link is 0."""
ARRAYS = NAMES + len(KINDS)
CLASSES = ARRAYS + 1
FROZEN = CLASSES + 1
OTHERS = FROZEN + 1


class Unstorable(Exception):
    """Why a graph cannot be written, or bytes are no graph."""


class Register:
    """The classes that a graph may hold, by name."""

    def __init__(self, classes: Sequence[type]) -> None:
        """Names are of the module's last part and the class. Raises Unstorable if two are the same."""
        self._named = {f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}": cls for cls in classes}
        self._names = {cls: name for name, cls in self._named.items()}
        if len(self._names) < len(set(classes)):
            raise Unstorable("two classes have one name")

    def name(self, cls: type) -> str:
        """Raises Unstorable for a class that is not registered."""
        if (name := self._names.get(cls)) is None:
            raise Unstorable(f"a {cls.__module__}.{cls.__qualname__} is nothing that is stored")
        return name

    def named(self, name: object) -> type:
        """The class of this name. Raises Unstorable if there is none."""
        found = self._named.get(name) if isinstance(name, str) else None
        if found is None:
            raise Unstorable(f"no class {name!r} is stored")
        return found


@cache
def renewed(cls: type) -> Mapping[str, Callable[[], object]]:
    """Attributes that are not stored and made anew, of the class and those that it derives from."""
    made: dict[str, Callable[[], object]] = {}
    for base in reversed(cls.__mro__):
        made |= vars(base).get("NOT_STORED", {})
    return made


@cache
def declared(cls: type) -> tuple[str, ...] | None:
    """What each object of a dataclass, or a class with slots only, has and stores; None for another class.

    Raises Unstorable for a class of which some attributes have slots and others have not.
    """
    names = [name for base in reversed(cls.__mro__) for name in vars(base).get("__slots__", ())]
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
    elif cls.__dictoffset__:
        if names:
            raise Unstorable(f"a {cls.__qualname__} has slots for some of its attributes only")
        return None
    return tuple(name for name in names if name not in renewed(cls))


@cache
def is_derived(cls: type, name: str) -> bool:
    """Whether an attribute is a cached property, or made anew: not stored."""
    return name in renewed(cls) or isinstance(getattr(cls, name, None), cached_property)


@cache
def known_names(cls: type) -> frozenset[str]:
    """All names in the code of a class: its objects have no other attributes."""
    functions = [value for base in cls.__mro__ for value in vars(base).values()]
    return frozenset(
        name for one in functions if isinstance(one, types.FunctionType) for name in one.__code__.co_names
    )
