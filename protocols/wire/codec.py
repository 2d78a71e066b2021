"""Messages as bytes: the canonical CBOR array of a frozen dataclass's field values, in order.

Decides what may appear on the wire. The type hints of the dataclass are the schema; a schema in which
a string, tuple or vector has no bound is refused when it is compiled, before any message exists.

    int                 signed 64 bits, or Annotated[int, Between(low, high)]
    bool float          float as the shortest of RFC 8949's, one NaN
    str bytes           Annotated[..., AtMost(bytes)] or Exactly
    PartyId Digest ...  byte string of the identifier's size
    tuple[T, ...]       Annotated[..., AtMost(items)] or Exactly; tuple[A, B] as it stands
    T | None            null for None
    NDArray[uint64]     RFC 8746 tag 71, Annotated[FieldVector, AtMost(elements)]: elements < p
    NDArray[uint32] / NDArray[float64]   tags 70 and 86
    a frozen dataclass  nested array

Invariant: one value has one encoding and one encoding one value, so the digest of the bytes is the
digest of the message. `decode` never raises anything but MalformedMessage for received bytes, and
allocates at most in proportion to them.
"""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar

import numpy as np

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Identifier
from protocols.wire import cbor, items
from protocols.wire.cbor import Defect, Reader
from protocols.wire.items import Schema

T = TypeVar("T")


def encode(message: object) -> bytes:
    """Canonical bytes of a frozen dataclass instance.

    Raises LocalMisuse naming the field when a value breaks its type or bound.
    """
    cls = type(message)
    out: list[bytes] = []
    try:
        _schema(typing.cast(Hashable, cls)).write(message, out)
    except Defect as defect:
        raise LocalMisuse(f"cannot encode {defect.sentence(cls.__name__)}") from None
    return b"".join(out)


def decode(cls: type[T], data: bytes) -> T:
    """The `cls` that `data` encodes; vectors in it are read-only and own their memory.

    The caller has checked the size of `data`. Raises MalformedMessage naming the field.
    """
    schema = _schema(typing.cast(Hashable, cls))
    reader = Reader(bytes(data))
    try:
        message = schema.read(reader)
        if reader.at != len(reader.data):
            raise Defect(f"{len(reader.data) - reader.at} bytes follow the message")
    except Defect as defect:
        raise MalformedMessage(f"cannot decode {defect.sentence(cls.__name__)}") from None
    return typing.cast(T, message)


@cache
def _schema(cls: Hashable) -> Schema:
    """Compile the schema of a dataclass, once for each class."""
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise LocalMisuse(f"{cls!r} is not a dataclass", fix="give codec a frozen dataclass")
    return _Compiler().message(cls)


class _Compiler:
    """Turns type hints into closures. `open` holds the classes being compiled: a cycle has no bound."""

    def __init__(self) -> None:
        self.open: list[type] = []

    def message(self, cls: type) -> Schema:
        """A dataclass as an array of its fields."""
        if cls in self.open:
            raise LocalMisuse(f"{cls.__name__} contains itself and would nest without bound")
        self.open.append(cls)
        hints = typing.get_type_hints(cls, include_extras=True)
        columns = []
        for field in dataclasses.fields(cls):
            try:
                columns.append((field.name, self.of(hints[field.name], ())))
            except LocalMisuse as misuse:
                raise LocalMisuse(f"{cls.__name__}.{field.name}: {misuse.args[0]}", fix=misuse.fix) from None
        self.open.pop()
        return _dataclass(cls, columns)

    def of(self, hint: Any, bounds: tuple[Any, ...]) -> Schema:
        """Any legal type; `bounds` come from the Annotated around it."""
        while True:
            if typing.get_origin(hint) is typing.Annotated:
                bounds = (*hint.__metadata__, *bounds)
                hint = hint.__origin__
            elif isinstance(hint, typing.NewType):
                hint = hint.__supertype__
            else:
                break
        origin = typing.get_origin(hint)
        if origin in (typing.Union, types.UnionType):
            return self.optional(typing.get_args(hint), bounds)
        if origin is tuple:
            return self.sequence(typing.get_args(hint), bounds)
        if origin is np.ndarray:
            return items.vector(typing.get_args(typing.get_args(hint)[1])[0], bounds)
        return self.plain(hint, bounds)

    def plain(self, hint: Any, bounds: tuple[Any, ...]) -> Schema:
        """Scalars, strings, identifiers and nested messages."""
        if hint is int:
            return items.integer(bounds)
        if hint is bytes or hint is str:
            return items.string(hint, *items.lengths(hint.__name__, bounds))
        if bounds:
            raise LocalMisuse(f"bounds {bounds} mean nothing for {hint!r}")
        if hint is bool:
            return items.BOOLEAN
        if hint is float:
            return items.NUMBER
        if isinstance(hint, type) and issubclass(hint, Identifier):
            return items.identifier(hint)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self.message(hint)
        raise LocalMisuse(f"{hint!r} cannot be on the wire", fix="see the table in protocols/wire/codec.py")

    def optional(self, options: tuple[Any, ...], bounds: tuple[Any, ...]) -> Schema:
        """T | None."""
        others = [option for option in options if option is not types.NoneType]
        if len(others) != 1 or len(options) != 2:
            raise LocalMisuse(f"a union of {options} has no single encoding", fix="use T | None only")
        inner = self.of(others[0], bounds)

        def write(value: Any, out: list[bytes]) -> None:
            if value is None:
                out.append(cbor.NULL)
            else:
                inner.write(value, out)

        return Schema(write, lambda reader: None if reader.null() else inner.read(reader))

    def sequence(self, options: tuple[Any, ...], bounds: tuple[Any, ...]) -> Schema:
        """tuple[T, ...] within bounds, or tuple[A, B] of fixed arity."""
        if len(options) == 2 and options[1] is Ellipsis:
            low, high = items.lengths("tuple", bounds)
            one_by_one = _sequence(self.of(options[0], ()), low, high)
            if isinstance(options[0], type) and issubclass(options[0], Identifier):
                return Schema(one_by_one.write, items.identifiers(options[0], low, high, one_by_one.read))
            return one_by_one
        if bounds:
            raise LocalMisuse(f"bounds {bounds} mean nothing for a tuple of fixed arity")
        return _fixed([self.of(option, ()) for option in options])


def _sequence(item: Schema, low: int, high: int) -> Schema:
    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, tuple):
            raise Defect(f"wants tuple, not {type(value).__name__}")
        items.check_length(len(value), low, high, "items")
        out.append(cbor.head(cbor.ARRAY, len(value)))
        index = 0
        try:
            for index, element in enumerate(value):  # noqa: B007 (index names the culprit)
                item.write(element, out)
        except Defect as defect:
            defect.path.append(f"[{index}]")
            raise

    def read(reader: Reader) -> tuple[Any, ...]:
        length = reader.argument(cbor.ARRAY)
        items.check_length(length, low, high, "items")
        values: list[Any] = []
        try:
            for _ in range(length):
                values.append(item.read(reader))
        except Defect as defect:
            defect.path.append(f"[{len(values)}]")
            raise
        return tuple(values)

    return Schema(write, read)


def _fixed(schemas: list[Schema]) -> Schema:
    columns = [(f"[{index}]", schema) for index, schema in enumerate(schemas)]
    prefix = cbor.head(cbor.ARRAY, len(schemas))

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, tuple) or len(value) != len(schemas):
            raise Defect(f"wants a tuple of {len(schemas)}, not {type(value).__name__}")
        out.append(prefix)
        _write_columns(columns, value, out)

    return Schema(write, lambda reader: tuple(_read_columns(columns, reader)))


def _dataclass(cls: type, fields: list[tuple[str, Schema]]) -> Schema:
    columns = [(f".{name}", schema) for name, schema in fields]
    names = [name for name, _ in fields]
    prefix = cbor.head(cbor.ARRAY, len(fields))
    values_of = _attributes(names)

    def write(value: Any, out: list[bytes]) -> None:
        if type(value) is not cls:
            raise Defect(f"wants {cls.__name__}, not {type(value).__name__}")
        out.append(prefix)
        _write_columns(columns, values_of(value), out)

    def read(reader: Reader) -> Any:
        values = _read_columns(columns, reader)
        try:
            return cls(*values)
        except ValueError as error:
            raise Defect(str(error)) from None

    return Schema(write, read)


def _attributes(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """All these attributes of a value, in order."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


def _write_columns(columns: list[tuple[str, Schema]], values: tuple[Any, ...], out: list[bytes]) -> None:
    name = ""
    try:
        for (name, (write, _)), value in zip(columns, values, strict=True):  # noqa: B007 (names the culprit)
            write(value, out)
    except Defect as defect:
        defect.path.append(name)
        raise


def _read_columns(columns: list[tuple[str, Schema]], reader: Reader) -> list[Any]:
    arity = reader.argument(cbor.ARRAY)
    if arity != len(columns):
        raise Defect(f"{arity} fields where {len(columns)} are wanted")
    name, values = "", []
    try:
        for name, (_, read) in columns:  # noqa: B007 (names the culprit)
            values.append(read(reader))
    except Defect as defect:
        defect.path.append(name)
        raise
    return values
