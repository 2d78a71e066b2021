"""Dataclass to JSON object and back, strictly: wrong types and unknown fields are named, not guessed.

Invariant: `decode(type(x), encode(x)) == x` for every shape of mesh/api/shapes. Pairs of text and
value (`tuple[tuple[str, V], ...]`) travel as JSON objects, other tuples as arrays.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from protocols.errors import LocalMisuse

T = TypeVar("T")
Json = dict[str, Any]


def encode(shape: object) -> Json:
    """A dataclass as a JSON object."""
    cls: Any = type(shape)
    hints = _hints(cls)
    return {name: _plain(hint, getattr(shape, name)) for name, hint in hints.items()}


def decode(cls: type[T], document: object, where: str = "") -> T:
    """Build a `cls`. Raises LocalMisuse naming the field that is wrong, missing or unknown."""
    if not isinstance(document, Mapping):
        raise _wrong(where or "the body", "wants a JSON object")
    shape: Any = cls
    hints = _hints(shape)
    unknown = sorted(set(document) - set(hints) - {"schema_version"})
    if unknown:
        raise _wrong(f"{where}{unknown[0]}", f"is unknown; there are {', '.join(hints)}")
    values = {
        name: _typed(hint, document[name], f"{where}{name}")
        for name, hint in hints.items()
        if name in document
    }
    required = {field.name for field in dataclasses.fields(shape) if field.default is dataclasses.MISSING}
    missing = sorted(required - set(values))
    if missing:
        raise _wrong(f"{where}{missing[0]}", "is missing")
    return cls(**values)


@functools.cache
def _hints(cls: Any) -> Mapping[str, Any]:
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls.__name__} is not a shape")
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _wrong(where: str, what: str) -> LocalMisuse:
    return LocalMisuse(f"{where} {what}", code="C-402", fix="correct the request")


def _is_pairs(hint: Any) -> bool:
    arguments = get_args(hint)
    return (
        get_origin(hint) is tuple
        and len(arguments) == 2
        and arguments[1] is Ellipsis
        and get_origin(arguments[0]) is tuple
        and get_args(arguments[0])[0] is str
    )


def _plain(hint: Any, value: Any) -> Any:
    if _is_pairs(hint):
        return dict(value)
    if isinstance(value, tuple):
        inner = next((a for a in get_args(hint) if a is not Ellipsis), Any)
        return [_plain(inner, item) for item in value]
    if dataclasses.is_dataclass(value):
        return encode(value)
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _any_of(get_args(hint), value, where)
    if _is_pairs(hint):
        if not isinstance(value, Mapping):
            raise _wrong(where, "wants a JSON object")
        inner = get_args(get_args(hint)[0])[1]
        return tuple((str(key), _typed(inner, item, f"{where}.{key}")) for key, item in value.items())
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, "wants a list")
        inner = get_args(hint)[0]
        return tuple(_typed(inner, item, f"{where}[{index}]") for index, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return decode(hint, value, f"{where}.") if isinstance(hint, type) else value
    return _scalar(hint, value, where)


def _any_of(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    errors = []
    for choice in sorted((c for c in choices if c is not type(None)), key=lambda c: c is float):
        try:
            return _typed(choice, value, where)
        except LocalMisuse as error:
            errors.append(error)
    raise errors[0]


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (str, bool) and type(value) is hint:
        return value
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    raise _wrong(where, f"wants {names.get(hint, 'something else')}, not {value!r:.40}")
