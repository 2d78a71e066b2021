"""Writes objects as a graph of plain data; see `object_graph` for the form.

Every value is numbered when it is met first, known again by its identity, and put into the section of its
class. What a section holds is looked through once it has grown, not by recursion: only tuples recur, since
what they hold stands before them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

import cbor2
import numpy as np

from protocols.identifiers import Identifier
from protocols.sessions.object_graph import (
    ARRAYS,
    CLASSES,
    CONTAINER_NAMES,
    DTYPES,
    FROZEN,
    GIVEN,
    INDEX,
    KINDS,
    LENGTHS,
    LINKS,
    NAMES,
    OTHERS,
    PLAIN,
    PLAIN_VALUES,
    SHIFT,
    Register,
    Unstorable,
    declared,
    is_derived,
)

_Parts = Callable[[list[Any]], Iterable[Any]]
_Shape = tuple[type, tuple[str, ...]]


def write(root: object, given: Mapping[int, int], register: Register) -> tuple[bytes, set[type]]:
    """The graph of all that `root` holds, and the classes of its objects. `given`: what both sides have, its
    number by its id: that alone is written of it.

    Raises Unstorable for what the register does not have.
    """
    writer = _Writer(given, register)
    try:
        writer.write(root)
    except RecursionError:
        raise Unstorable("tuples in tuples beyond measure") from None
    return writer.encoded(), {cls for cls, _ in writer.objects}


class _Section:
    """Values of one class, or of one class with these attributes; `links`: of the first `done` of them."""

    def __init__(self, number: int, held: _Parts, grown: list[_Section]) -> None:
        """`held`: all that some of its values hold, in order; it enters `grown` when there is more to do."""
        self.number = number
        self.items: list[Any] = []
        self.links: list[int] = []
        self.done = 0
        self.held = held
        self._base = number << SHIFT
        self._grown = grown

    def put(self, value: object) -> int:
        """A new value's link."""
        place = len(self.items)
        if place == self.done:
            self._grown.append(self)
        self.items.append(value)
        return self._base + place


class _Writer:
    def __init__(self, given: Mapping[int, int], register: Register) -> None:
        self._register = register
        self._links = {name: (GIVEN << SHIFT) + number for name, number in given.items()}
        self._grown: list[_Section] = []
        self.fixed = {number: _Section(number, list, []) for number in range(PLAIN_VALUES, OTHERS)}
        self._put_in: dict[type, Callable[[Any], int]] = dict.fromkeys(PLAIN, self.fixed[PLAIN_VALUES].put)
        for number, kind in enumerate(KINDS, NAMES):
            self._put_in[kind] = partial(self._put_name, {}, self.fixed[number])
        self._put_in |= {np.ndarray: self.fixed[ARRAYS].put, type: self.fixed[CLASSES].put}
        self._put_in |= {tuple: self._put_tuple, frozenset: self._put_frozenset}
        self.lengths: list[int] = []
        self.containers: dict[type, _Section] = {}
        self.objects: dict[_Shape, _Section] = {}
        self.root = 0

    def write(self, root: object) -> None:
        """Number everything: what a section holds may make others grow, or itself."""
        self.root = self._put(root)
        while self._grown:
            section = self._grown.pop()
            fresh, section.done = section.items[section.done :], len(section.items)
            section.links += self._all(section.held(fresh))

    def _all(self, values: Iterable[Any]) -> list[int]:
        known, put = self._links.get, self._put
        return [known(id(value)) or put(value) for value in values]

    def _put(self, value: Any) -> int:
        """A new value's link."""
        put = self._put_in.get(type(value)) or self._place(value)
        link = self._links[id(value)] = put(value)
        return link

    @staticmethod
    def _put_name(known: dict[bytes, int], section: _Section, value: Identifier) -> int:
        if (link := known.get(value)) is None:
            link = known[value] = section.put(value)
        return link

    def _put_tuple(self, value: tuple[Any, ...]) -> int:
        self.fixed[FROZEN].links += (links := self._all(value))
        self.lengths.append(len(links))
        return self.fixed[FROZEN].put(value)

    def _put_frozenset(self, value: frozenset[Any]) -> int:
        if not all(map(_is_hashed_early, value)):
            raise Unstorable("a frozenset of objects is nothing that is stored")
        self.fixed[FROZEN].links += (links := self._all(value))
        self.lengths.append(~len(links))
        return self.fixed[FROZEN].put(value)

    def _place(self, value: Any) -> Callable[[Any], int]:
        """What puts a container, an object, or a class into its section."""
        cls = type(value)
        if isinstance(value, type):
            return self.fixed[CLASSES].put
        if issubclass(cls, tuple(CONTAINER_NAMES)):
            if cls not in CONTAINER_NAMES and (not self._register.name(cls) or vars(value)):
                raise Unstorable(f"a {cls.__qualname__} has attributes beside its items")
            held = _items if issubclass(cls, dict) else chain.from_iterable
            section = self._put_in[cls] = self._section(self.containers, cls, held).put
            return section
        names = declared(cls)  # type: ignore[arg-type]  # a class is hashable
        if names is not None:
            put = self._put_in[cls] = self._section(self.objects, (cls, names), partial(_columns, names)).put
            return put
        names = tuple([name for name in vars(value) if not is_derived(cls, name)])  # type: ignore[arg-type]
        known = self.objects.get((cls, names))
        return (known or self._section(self.objects, (cls, names), partial(_columns, names))).put

    def _section(self, table: dict[Any, _Section], key: Any, held: _Parts) -> _Section:
        if table is self.objects:
            self._register.name(key[0])
        number = OTHERS + len(self.containers) + len(self.objects)
        section = table[key] = _Section(number, held, self._grown)
        return section

    def encoded(self) -> bytes:
        """All of it."""
        fixed, ordered = self.fixed, [*self.containers.values(), *self.objects.values()]
        if max(len(one.items) for one in (*fixed.values(), *ordered)) > INDEX:
            raise Unstorable("more values than a graph has room for")
        links = np.array([self.root, *chain(fixed[FROZEN].links, *(one.links for one in ordered))])
        numbers = np.arange(OTHERS + len(ordered))
        numbers[[one.number for one in ordered]] = numbers[OTHERS:].copy()
        links = numbers[links >> SHIFT] << SHIFT | links & INDEX
        title = self._register.name
        return cbor2.dumps([
            fixed[PLAIN_VALUES].items,
            [b"".join(fixed[NAMES + at].items) for at in range(len(KINDS))],
            [_array(value) for value in fixed[ARRAYS].items],
            [title(cls) for cls in fixed[CLASSES].items],
            [
                [CONTAINER_NAMES.get(cls) or title(cls), _lengths(map(len, one.items)),
                 [value.maxlen for value in one.items] if cls is deque else []]
                for cls, one in self.containers.items()
            ],
            [[title(cls), list(names), len(one.items)] for (cls, names), one in self.objects.items()],
            _lengths(self.lengths),
            links.astype(LINKS).tobytes(),
        ])  # fmt: skip


def _items(dicts: list[dict[Any, Any]]) -> Iterable[Any]:
    """All keys of the first, all its values, and so on."""
    return chain.from_iterable(chain.from_iterable((held, held.values()) for held in dicts))


def _columns(names: tuple[str, ...], objects: list[Any]) -> Iterable[Any]:
    """All attributes of the first, then of the second, and so on."""
    if len(names) < 2:
        return [getattr(one, name) for one in objects for name in names]
    return chain.from_iterable(map(attrgetter(*names), objects))


def _is_hashed_early(value: object) -> bool:
    """Whether it has a hash before any object has its attributes."""
    if isinstance(value, tuple | frozenset):
        return all(map(_is_hashed_early, value))
    return isinstance(value, PLAIN)


def _lengths(values: Iterable[int]) -> bytes:
    return np.fromiter(values, LENGTHS).tobytes()


def _array(value: np.ndarray[Any, Any]) -> list[object]:
    if value.dtype.str not in DTYPES:
        raise Unstorable(f"an array of {value.dtype} is nothing that is stored")
    return [value.dtype.str, list(value.shape), value.tobytes(), bool(value.flags.writeable)]
