"""Reads objects from a graph of plain data; see `object_graph` for the form.

Nothing is made but what the form and the register allow, and no more than there are bytes; what is wrong is
named, and then nothing of the graph is left. Nothing recurs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import cbor2
import numpy as np

from protocols.identifiers import Identifier
from protocols.sessions.object_graph import (
    CONTAINER_NAMES,
    CONTAINERS,
    DTYPES,
    FROZEN,
    GIVEN,
    INDEX,
    KINDS,
    LENGTHS,
    LINKS,
    OTHERS,
    PLAIN,
    SHIFT,
    Register,
    Unstorable,
    declared,
    known_names,
    renewed,
)

_DEFECTS = (cbor2.CBORDecodeError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
_Made = tuple[type, tuple[str, ...], list[Any]]  # a class, the attributes of its objects, these
_Held = tuple[type, list[Any], list[int]]  # a container class, its empty objects, their sizes


def read(body: bytes, given: Callable[[int], object], register: Register) -> tuple[Any, set[type]]:
    """What was written, and the classes of its objects; `given` tells what has a number (LookupError: none).

    Raises Unstorable for anything else.
    """
    try:
        reader = _Reader(body, given, register)
        return reader.root, {made[0] for made in reader.objects}
    except _DEFECTS as error:
        raise Unstorable(f"no graph ({type(error).__name__})") from error


class _Reader:
    """Reads in order: what is known from its bytes, empty objects, tuples, attributes, items."""

    def __init__(self, body: bytes, given: Callable[[int], object], register: Register) -> None:
        self._register = register
        plain, names, arrays, classes, containers, objects, lengths, links = _document(body)
        if not set(map(type, plain)) <= set(PLAIN):
            raise Unstorable("a plain value of another type")
        room = len(body)  # an object takes a byte at least
        self.containers = [self._container(*entry) for entry in containers]
        self.objects = [self._object(name, names, count, room) for name, names, count in objects]
        frozen = np.frombuffer(lengths, LENGTHS)
        targets = np.frombuffer(links, LINKS).astype(np.int64)
        numbers = sorted({*(targets[targets >> SHIFT == GIVEN] & INDEX).tolist()})
        fixed: list[list[Any]] = [[given(number) for number in numbers], plain]
        fixed += [*map(_identifiers, KINDS, _exact(names, len(KINDS)))]
        fixed += [[_vector(*entry) for entry in arrays], [register.named(name) for name in classes]]
        empty = [held[1] for held in self.containers] + [made[2] for made in self.objects]
        values = list(chain(*fixed, *empty))
        counts = [0, *map(len, fixed), len(frozen), *map(len, empty)]
        places = _places(targets, numbers, counts, len(values))
        taken = _freeze(values, frozen.tolist(), places)
        if taken > len(places):
            raise Unstorable("fewer links than tuples have items")
        self.root = values[places[0]]
        self._fill(list(map(values.__getitem__, places[taken:])))

    def _container(self, name: str, lengths: bytes, bounds: list[int | None]) -> _Held:
        cls = CONTAINERS.get(name) or self._register.named(name)
        sizes: list[int] = np.frombuffer(lengths, LENGTHS).tolist()
        if not issubclass(cls, tuple(CONTAINER_NAMES)) or min(sizes, default=0) < 0:
            raise Unstorable(f"{name} is no container")
        if cls is deque:
            return cls, [deque(maxlen=bound) for bound in _exact(bounds, len(sizes))], sizes
        return cls, [cls() if cls in CONTAINER_NAMES else cls.__new__(cls) for _ in sizes], sizes

    def _object(self, name: str, names: list[str], count: int, room: int) -> _Made:
        cls, attributes = self._register.named(name), tuple(names)
        known = declared(cls)
        if known is None:
            if not known_names(cls).issuperset(attributes) or len(set(attributes)) < len(attributes):
                raise Unstorable(f"a {name} has no such attributes")
        elif attributes != known:
            raise Unstorable(f"a {name} has {len(known)} attributes, and others than these")
        if not 0 <= count <= room:
            raise Unstorable(f"{count} objects in {room} bytes")
        return cls, attributes, list(map(object.__new__, repeat(cls, count)))

    def _fill(self, values: list[Any]) -> None:
        """Attributes first, then the items of containers: these may be hashed."""
        at = sum(sum(sizes) * (2 if issubclass(cls, dict) else 1) for cls, _, sizes in self.containers)
        if at + sum(len(names) * len(made) for _, names, made in self.objects) != len(values):
            raise Unstorable("more links, or fewer, than attributes and items")
        for cls, names, made in self.objects:
            row, end = len(names), at + len(names) * len(made)
            if declared(cls) is None:
                for start, one in zip(range(at, end, row or 1), made, strict=False):
                    vars(one).update(zip(names, values[start : start + row], strict=True))
            else:
                for place, name in enumerate(names):
                    _run(map(object.__setattr__, made, repeat(name), values[at + place : end : row]))
            for name, make in renewed(cls).items():
                for one in made:
                    object.__setattr__(one, name, make())
            at = end
        at = 0
        for cls, empty, sizes in self.containers:
            for held, size in zip(empty, sizes, strict=True):
                if issubclass(cls, dict):
                    keys = values[at : at + size]
                    at += size
                    dict.update(held, zip(keys, values[at : at + size], strict=True))
                elif issubclass(cls, set):
                    held.update(values[at : at + size])
                else:
                    held.extend(values[at : at + size])
                at += size


def _places(links: np.ndarray[Any, Any], given: list[int], counts: list[int], frozen_at: int) -> list[int]:
    """Where in the list of all values each link leads: what is frozen stands last; of the `given` only those
    with these numbers are in it.
    """
    sizes = np.array(counts)
    starts = np.cumsum(sizes) - sizes
    starts[OTHERS:] -= sizes[FROZEN]
    starts[FROZEN] = frozen_at
    sections, indices = links >> SHIFT, links & INDEX
    indices = np.where(sections == GIVEN, np.searchsorted(given, indices), indices)
    if not links.size or sections.max() >= len(counts) or (indices >= sizes[sections]).any():
        raise Unstorable("a link leads nowhere")
    found: list[int] = (starts[sections] + indices).tolist()
    return found


def _freeze(values: list[Any], lengths: list[int], places: list[int]) -> int:
    """Make tuples and frozensets of what stands before them; where the links after theirs begin."""
    at, get = 1, values.__getitem__
    for length in lengths:
        if length >= 0:
            values.append(tuple(map(get, places[at : at + length])))
        else:
            length = ~length
            values.append(frozenset(map(get, places[at : at + length])))
        at += length
    return at


_run = deque[Any]((), maxlen=0).extend


def _document(body: bytes) -> list[Any]:
    """The eight parts of one, which are of the types that they should be."""
    wanted = (list, list, list, list, list, list, bytes, bytes)
    document = cbor2.loads(body)
    if type(document) is not list or tuple(map(type, document)) != wanted:
        raise Unstorable("not the parts of a graph")
    return document


def _exact(values: list[Any], count: int) -> list[Any]:
    if type(values) is not list or len(values) != count:
        raise Unstorable(f"a list of other than {count}")
    return values


def _identifiers(kind: type[Identifier], joined: bytes) -> list[Identifier]:
    if len(joined) % kind.SIZE:
        raise Unstorable("half an identifier")
    make = bytes.__new__
    return [make(kind, joined[at : at + kind.SIZE]) for at in range(0, len(joined), kind.SIZE)]


def _vector(dtype: str, shape: list[int], body: bytes, writable: bool) -> np.ndarray[Any, Any]:
    if dtype not in DTYPES or type(body) is not bytes:
        raise Unstorable("an array of another type")
    found = np.frombuffer(body, dtype).reshape(shape)
    return found.copy() if writable else found
