"""Values that every codec takes and no honest party says: fields of messages cut out and put in elsewhere.

`Fragments` keeps what was heard and said, by the type that a message's field has. `changed` gives another
value of the same type: pieces of other messages, nothing where something is due, the same twice or in another
order, the ends of a range. `made` gives one where there was none. So a digest of one thing stands where that
of another should, a party where a stranger should, and a tuple of any length within its bound.

Invariant: values come from the dice and what was kept, in the order it came; nothing is changed in place.
"""

from __future__ import annotations

import dataclasses
import random
import types
import typing
from collections.abc import Hashable
from functools import cache
from typing import Any, Final, cast

import numpy as np

from protocols.identifiers import Identifier
from protocols.wire.bounds import AtMost, Between, Exactly

MOST_OF_A_TYPE: Final = 48
DEEP: Final = 6
"""A value made from nothing is not nested deeper."""
LONG: Final = 32
"""Bytes, or elements of a vector, that are made where more would be allowed."""


@cache
def hints_of(cls: type) -> dict[str, Any]:
    """The types of a message's fields, with their bounds."""
    return typing.get_type_hints(cls, include_extras=True)


def unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its bounds, and these."""
    bounds: tuple[Any, ...] = ()
    while typing.get_origin(hint) is typing.Annotated:
        bounds, hint = (*hint.__metadata__, *bounds), hint.__origin__
    return hint, bounds


def _optional(hint: Any) -> Any:
    """T of `T | None`, else None."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return None
    return next(option for option in typing.get_args(hint) if option is not types.NoneType)


@cache
def _is_nested(hint: Any) -> bool:
    """Whether there is more within a value of this type."""
    plain, _ = unwrapped(hint)
    if (inner := _optional(plain)) is not None:
        return _is_nested(inner)
    return dataclasses.is_dataclass(plain) or typing.get_origin(plain) is tuple


def _limits(bounds: tuple[Any, ...]) -> tuple[int, int]:
    for bound in bounds:
        if isinstance(bound, Between):
            return bound.low, bound.high
        if isinstance(bound, Exactly):
            return bound.length, bound.length
        if isinstance(bound, AtMost):
            return 0, bound.limit
    return 0, 2**63 - 1


class Fragments:
    """Pieces of messages by type, and values that are spliced from them."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self._kept: dict[Hashable, list[Any]] = {}

    def keep(self, value: Any, hint: Any) -> None:
        """Remember a value and all within it, as long as there is room; then in place of another."""
        plain, _ = unwrapped(hint)
        if (inner := _optional(plain)) is not None:
            plain, _ = unwrapped(inner)
        if value is None:
            return
        kept = self._kept.setdefault(plain, [])
        if len(kept) < MOST_OF_A_TYPE:
            kept.append(value)
        elif self.dice.random() < 0.1:
            kept[self.dice.randrange(len(kept))] = value
        if dataclasses.is_dataclass(value):
            for name, below in hints_of(cast(type, type(value))).items():
                if typing.get_origin(below) is not typing.ClassVar:
                    self.keep(getattr(value, name), below)
        elif isinstance(value, tuple):
            for item in value[:8]:
                self.keep(item, typing.get_args(plain)[0])

    # -- another value -------------------------------------------------------------------------------

    def changed(self, value: Any, hint: Any) -> Any:
        """Another value of this type, mostly within the bounds."""
        plain, bounds = unwrapped(hint)
        if (inner := _optional(plain)) is not None:
            if value is None:
                return self.made(inner)
            return None if self.dice.random() < 0.2 else self.changed(value, inner)
        if dataclasses.is_dataclass(plain):
            return self._dataclass(value, cast(type, plain))
        if isinstance(value, tuple):
            return self._tuple(value, plain)
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            low, high = _limits(bounds)
            return self.dice.choice([0, 1, -1, low, high, value - 1, value + 1, self._other(value, plain)])
        if isinstance(value, np.ndarray):
            return self._vector(value, plain)
        if isinstance(value, bytes):
            return self._bytes(value, plain, bounds)
        if isinstance(value, str):
            return self.dice.choice(["", 2 * value, self._other(value, plain)])
        return value

    def _other(self, value: Any, plain: Any) -> Any:
        kept = self._kept.get(plain)
        return self.dice.choice(kept) if kept else value

    def _dataclass(self, value: Any, plain: type) -> Any:
        if self.dice.random() < 0.15:
            return self._other(value, plain)
        names, hints = [field.name for field in dataclasses.fields(plain)], hints_of(plain)
        if not names:
            return value
        empty = [n for n in names if isinstance(getattr(value, n), tuple | None) and not getattr(value, n)]
        if empty and self.dice.random() < 0.25:  # what stands for one another stands side by side
            name = self.dice.choice(empty)
            return dataclasses.replace(value, **{name: self.changed(getattr(value, name), hints[name])})
        count = min(len(names), self.dice.choice([1, 1, 1, 2]))
        weights = [3 if _is_nested(hints[name]) else 1 for name in names]
        chosen = dict.fromkeys(self.dice.choices(names, weights, k=count))
        changes = {name: self.changed(getattr(value, name), hints[name]) for name in chosen}
        return dataclasses.replace(value, **changes)

    def _tuple(self, value: tuple[Any, ...], plain: Any) -> tuple[Any, ...]:
        item = typing.get_args(plain)[0]
        way = self.dice.randrange(9)
        if way == 0:
            return cast(tuple[Any, ...], self._other(value, plain))
        if not value:
            return (self.made(item),)
        place = self.dice.randrange(len(value))
        if way == 1:
            return ()
        if way == 2:
            return value[:place] + value[place + 1 :]
        if way == 3:
            return (*value, value[place])
        if way == 4:
            return tuple(self.dice.sample(value, len(value)))
        if way == 5:
            return (*value, self.made(item))
        return (*value[:place], self.changed(value[place], item), *value[place + 1 :])

    def _vector(self, value: Any, plain: Any) -> Any:
        way = self.dice.randrange(6)
        if way == 0:
            return value[:0].copy()
        if way == 1:
            return np.concatenate([value, value])
        if way == 2:
            return value[:-1].copy()
        if way == 3:
            return self._other(value, plain).copy()
        if way == 4:
            return np.zeros_like(value)
        bent = value.copy()
        if bent.size:
            bent[self.dice.randrange(bent.size)] ^= bent.dtype.type(1)
        return bent

    def _bytes(self, value: bytes, plain: Any, bounds: tuple[Any, ...]) -> bytes:
        way = self.dice.randrange(4)
        if way == 0 and not issubclass(plain, Identifier):
            return self._plain_bytes(plain, bounds)
        if way == 1 and value:
            place = self.dice.randrange(len(value))
            return cast(bytes, plain(value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]))
        if way == 2 and issubclass(plain, Identifier):
            return cast(bytes, plain(bytes(len(value))))
        return cast(bytes, self._other(value, plain))

    # -- a value from nothing ------------------------------------------------------------------------

    def made(self, hint: Any, depth: int = 0) -> Any:
        """A value of this type: mostly one that was kept, else small."""
        plain, bounds = unwrapped(hint)
        if (inner := _optional(plain)) is not None:
            return None if depth > DEEP or self.dice.random() < 0.5 else self.made(inner, depth + 1)
        if plain in self._kept and self.dice.random() < 0.7:
            return self._other(None, plain)
        if dataclasses.is_dataclass(plain):
            hints, names = hints_of(cast(type, plain)), [field.name for field in dataclasses.fields(plain)]
            return cast(type, plain)(**{name: self.made(hints[name], depth + 1) for name in names})
        if typing.get_origin(plain) is tuple:
            item = typing.get_args(plain)[0]
            return tuple(
                self.made(item, depth + 1) for _ in range(0 if depth > DEEP else self.dice.randrange(3))
            )
        if typing.get_origin(plain) is np.ndarray:
            return np.zeros(self.dice.randrange(4), dtype=typing.get_args(typing.get_args(plain)[1])[0])
        if plain is bool:
            return self.dice.random() < 0.5
        if plain is int:
            low, high = _limits(bounds)
            return self.dice.choice([low, min(low + 1, high), high])
        if plain is str:
            return ""
        return self._plain_bytes(plain, bounds)

    def _plain_bytes(self, plain: Any, bounds: tuple[Any, ...]) -> bytes:
        if issubclass(plain, Identifier):
            return cast(bytes, plain(self.dice.randbytes(plain.SIZE)))
        low, high = _limits(bounds)
        return self.dice.randbytes(self.dice.choice([low, min(high, LONG)]))
