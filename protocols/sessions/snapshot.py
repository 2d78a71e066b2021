"""The state of a session machine as bytes, so that nobody need replay what led to it.

The bytes are Python's own serialisation of the machine's objects, with three things kept out of it: an
excerpt of a plan and the party's long-term keys, which whoever restores has, and identifiers, which are
written once each.
Values (frozen dataclasses) are made anew by their constructors; what they had derived and kept is not stored.

Read only what the node itself stored under a key of its own (the journal seals every record): even so no name
is resolved but those of classes in `protocols` and a few containers. A state means something only to the very
classes that it was taken from: `layout` names them with their attributes and code, and `restored` refuses a
state of others. Functions outside these classes may change: they act on the state, they are not part of it.

Invariant: `restored(taken(state))` behaves as `state` would. Tested by crashing sessions at every effect with
a snapshot at every step (tests/scenarios/test_session_restarts).
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from protocols.errors import LocalMisuse
from protocols.identifiers import Digest, Identifier, PartyId, SessionId
from protocols.sessions.excerpt import PartialPlan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Plan
from protocols.wire.digest import digest

_KINDS: tuple[type[Identifier], ...] = (PartyId, Digest, SessionId)
_HEAD, _ENTRY = 5, 1 + Identifier.SIZE
_PLAN, _KEYS = -1, -2  # the last two of what `restored` looks up
_CONTAINERS = {
    (kind.__module__, kind.__qualname__)
    for kind in (Counter, OrderedDict, defaultdict, deque, set, frozenset, bytearray, np.ndarray, np.dtype)
} | {("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")}


def taken(state: object, plan: Plan, keys: PartyKeys) -> tuple[bytes, Digest]:
    """The bytes of `state` and `plan`, in which `keys` are left out, and the layout of their classes."""
    stream = io.BytesIO()
    excerpt = plan if isinstance(plan, PartialPlan) else None
    writer = _Writer(stream, excerpt, keys)
    writer.dump((plan, state))
    names = b"".join(bytes([_KINDS.index(kind)]) + name for kind, name in writer.names)
    head = len(writer.names).to_bytes(4, "big") + bytes([excerpt is not None])
    return head + names + stream.getvalue(), layout(writer.classes)


def restored(body: bytes, form: Digest, known: Callable[[], Plan], keys: PartyKeys) -> tuple[Plan, Any]:
    """The plan, asked for if it is an excerpt, and the state.

    Raises LocalMisuse if they were taken from other classes than we have.
    """
    start = _HEAD + _ENTRY * int.from_bytes(body[:4], "big")
    plan = known() if body[4] else None
    places = range(_HEAD, start, _ENTRY)
    names = [bytes.__new__(_KINDS[body[place]], body[place + 1 : place + _ENTRY]) for place in places]
    reader = _Reader(io.BytesIO(memoryview(body)[start:]))
    reader.persistent_load = [*names, keys, plan].__getitem__  # type: ignore[method-assign]  # no call of ours
    try:
        plan, state = reader.load()
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, ValueError, IndexError) as error:
        raise LocalMisuse("the journal has a state of another version") from error
    if layout(reader.classes) != form:
        raise LocalMisuse("the journal has a state of another version")
    return plan, state


def layout(classes: set[type]) -> Digest:
    """Names classes by their attributes and code."""
    return digest("state layout", *sorted(map(_layout_of, classes)))


@cache
def _layout_of(cls: type) -> bytes:
    known = [cls.__module__, cls.__qualname__, *(base.__qualname__ for base in cls.__mro__)]
    known += [f"{name}: {kind}" for name, kind in vars(cls).get("__annotations__", {}).items()]
    code = b""
    for name, value in sorted(vars(cls).items()):
        inner = getattr(value, "fget", None) or getattr(value, "func", None) or value
        if isinstance(inner := getattr(inner, "__func__", inner), types.FunctionType):
            known.append(" ".join((name, *inner.__code__.co_names, *inner.__code__.co_varnames)))
            code += inner.__code__.co_code
    return digest("class layout", "\n".join(known).encode(), code)


@cache
def _parts(cls: type) -> tuple[str, ...] | None:
    """What the constructor of a value takes; None for objects that are written attribute by attribute."""
    if not dataclasses.is_dataclass(cls) or hasattr(cls, "__post_init__"):
        return None
    fields = dataclasses.fields(cls)
    return tuple(field.name for field in fields) if all(field.init for field in fields) else None


class _Writer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, excerpt: Plan | None, keys: PartyKeys) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.names: dict[tuple[type[Identifier], bytes], int] = {}
        self.classes: set[type] = set()
        self._excerpt, self._keys = excerpt, keys

    def persistent_id(self, item: object) -> int | None:
        if isinstance(item, Identifier):
            return self.names.setdefault((type(item), item), len(self.names))
        if item is self._keys:
            return _KEYS
        return _PLAN if item is self._excerpt is not None else None

    def reducer_override(self, item: object) -> Any:
        cls = type(item)
        if cls is PartyKeys:
            raise LocalMisuse("other keys in the state of a machine")
        if cls.__module__.startswith("protocols."):
            self.classes.add(cls)
            if (parts := _parts(cls)) is not None:  # type: ignore[arg-type]  # a class is hashable
                return cls, tuple([getattr(item, name) for name in parts])
        return NotImplemented


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.classes: set[type] = set()

    def find_class(self, module: str, name: str) -> Any:
        found: Any = super().find_class(module, name) if self._is_ours(module, name) else None
        if not (isinstance(found, type) or (module, name) in _CONTAINERS):
            raise pickle.UnpicklingError(f"a state holds no {module}.{name}")
        if module.startswith("protocols."):
            self.classes.add(found)
        return found

    def _is_ours(self, module: str, name: str) -> bool:
        return module.startswith("protocols.") or (module, name) in _CONTAINERS
