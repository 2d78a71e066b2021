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
import types
import typing
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.field import P
from protocols.errors import LocalMisuse, MalformedMessage
from protocols.identifiers import Identifier
from protocols.wire import cbor
from protocols.wire.bounds import AtMost, Between, Exactly, FieldElements
from protocols.wire.cbor import Defect, Reader

T = TypeVar("T")
Write = Callable[[Any, list[bytes]], None]
Read = Callable[[Reader], Any]

_VECTORS: dict[type, int] = {np.uint32: 70, np.uint64: 71, np.float64: 86}
_WORD = (-(1 << 63), (1 << 63) - 1)
_QUIET_NAN = np.uint64(0x7FF8 << 48)


class Schema(NamedTuple):
    """How values of one type are written and read."""

    write: Write
    read: Read


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
            return self.items(typing.get_args(hint), bounds)
        if origin is np.ndarray:
            return _vector(typing.get_args(typing.get_args(hint)[1])[0], bounds)
        return self.plain(hint, bounds)

    def plain(self, hint: Any, bounds: tuple[Any, ...]) -> Schema:
        """Scalars, strings, identifiers and nested messages."""
        if hint is int:
            return _integer(bounds)
        if hint is bytes or hint is str:
            return _string(hint, *_lengths(hint.__name__, bounds))
        if bounds:
            raise LocalMisuse(f"bounds {bounds} mean nothing for {hint!r}")
        if hint is bool:
            return _BOOLEAN
        if hint is float:
            return _NUMBER
        if isinstance(hint, type) and issubclass(hint, Identifier):
            return _identifier(hint)
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

    def items(self, options: tuple[Any, ...], bounds: tuple[Any, ...]) -> Schema:
        """tuple[T, ...] within bounds, or tuple[A, B] of fixed arity."""
        if len(options) == 2 and options[1] is Ellipsis:
            low, high = _lengths("tuple", bounds)
            return _sequence(self.of(options[0], ()), low, high)
        if bounds:
            raise LocalMisuse(f"bounds {bounds} mean nothing for a tuple of fixed arity")
        return _fixed([self.of(option, ()) for option in options])


def _lengths(name: str, bounds: tuple[Any, ...]) -> tuple[int, int]:
    """Smallest and largest length; the tightest of all bounds given."""
    low, high = 0, -1
    for bound in bounds:
        if isinstance(bound, AtMost):
            high = bound.limit if high < 0 else min(high, bound.limit)
        elif isinstance(bound, Exactly):
            low, high = bound.length, bound.length
        else:
            raise LocalMisuse(f"bound {bound!r} means nothing for a {name}")
    if high < 0:
        raise LocalMisuse(f"a {name} without a bound", fix="write Annotated[..., AtMost(limit)]")
    return low, high


def _check_length(length: int, low: int, high: int, unit: str) -> None:
    if not low <= length <= high:
        wanted = f"exactly {low}" if low == high else f"at most {high}"
        raise Defect(f"{length} {unit} where {wanted} are allowed")


def _integer(bounds: tuple[Any, ...]) -> Schema:
    low, high = _WORD
    for bound in bounds:
        if not isinstance(bound, Between) or not -(1 << 64) <= bound.low <= bound.high < 1 << 64:
            raise LocalMisuse(f"bound {bound!r} means nothing for an int")
        low, high = bound.low, bound.high

    def check(value: int) -> int:
        if not low <= value <= high:
            raise Defect(f"{value} is not between {low} and {high}")
        return value

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Defect(f"wants int, not {type(value).__name__}")
        out.append(cbor.integer(check(value)))

    return Schema(write, lambda reader: check(reader.integer()))


def _write_boolean(value: Any, out: list[bytes]) -> None:
    if not isinstance(value, bool):
        raise Defect(f"wants bool, not {type(value).__name__}")
    out.append(cbor.TRUE if value else cbor.FALSE)


def _write_number(value: Any, out: list[bytes]) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 1 << 53:
        value = float(value)
    if not isinstance(value, float):
        raise Defect(f"wants float, not {type(value).__name__}")
    out.append(cbor.number(value))


_BOOLEAN = Schema(_write_boolean, Reader.boolean)
_NUMBER = Schema(_write_number, Reader.number)


def _string(cls: type, low: int, high: int) -> Schema:
    major = cbor.TEXT if cls is str else cbor.BYTES

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, cls):
            raise Defect(f"wants {cls.__name__}, not {type(value).__name__}")
        try:
            raw: bytes = value.encode() if cls is str else bytes(value)
        except UnicodeEncodeError:
            raise Defect("the text has no UTF-8 form") from None
        _check_length(len(raw), low, high, "bytes")
        out.append(cbor.head(major, len(raw)))
        out.append(raw)

    def read(reader: Reader) -> Any:
        length = reader.argument(major)
        _check_length(length, low, high, "bytes")
        raw = reader.take(length)
        if major == cbor.BYTES:
            return raw
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise Defect("the text is not UTF-8") from None

    return Schema(write, read)


def _identifier(cls: type[Identifier]) -> Schema:
    prefix = cbor.head(cbor.BYTES, cls.SIZE)
    size = len(prefix) + cls.SIZE

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, cls):
            raise Defect(f"wants {cls.__name__}, not {type(value).__name__}")
        out.append(prefix)
        out.append(value)

    def read(reader: Reader) -> Identifier:
        raw = reader.take(size)
        if not raw.startswith(prefix):
            raise Defect(f"wants {cls.__name__}: a byte string of {cls.SIZE} bytes")
        return cls(raw[len(prefix) :])

    return Schema(write, read)


def _sequence(item: Schema, low: int, high: int) -> Schema:
    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, tuple):
            raise Defect(f"wants tuple, not {type(value).__name__}")
        _check_length(len(value), low, high, "items")
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
        _check_length(length, low, high, "items")
        values: list[Any] = []
        try:
            for _ in range(length):
                values.append(item.read(reader))
        except Defect as defect:
            defect.path.append(f"[{len(values)}]")
            raise
        return tuple(values)

    return Schema(write, read)


def _fixed(items: list[Schema]) -> Schema:
    columns = [(f"[{index}]", item) for index, item in enumerate(items)]
    prefix = cbor.head(cbor.ARRAY, len(items))

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, tuple) or len(value) != len(items):
            raise Defect(f"wants a tuple of {len(items)}, not {type(value).__name__}")
        out.append(prefix)
        _write_columns(columns, value, out)

    return Schema(write, lambda reader: tuple(_read_columns(columns, reader)))


def _dataclass(cls: type, fields: list[tuple[str, Schema]]) -> Schema:
    columns = [(f".{name}", schema) for name, schema in fields]
    names = [name for name, _ in fields]
    prefix = cbor.head(cbor.ARRAY, len(fields))

    def write(value: Any, out: list[bytes]) -> None:
        if type(value) is not cls:
            raise Defect(f"wants {cls.__name__}, not {type(value).__name__}")
        out.append(prefix)
        _write_columns(columns, tuple(getattr(value, name) for name in names), out)

    def read(reader: Reader) -> Any:
        values = _read_columns(columns, reader)
        try:
            return cls(**dict(zip(names, values, strict=True)))
        except ValueError as error:
            raise Defect(str(error)) from None

    return Schema(write, read)


def _write_columns(columns: list[tuple[str, Schema]], values: tuple[Any, ...], out: list[bytes]) -> None:
    for (name, schema), value in zip(columns, values, strict=True):
        try:
            schema.write(value, out)
        except Defect as defect:
            defect.path.append(name)
            raise


def _read_columns(columns: list[tuple[str, Schema]], reader: Reader) -> list[Any]:
    arity = reader.argument(cbor.ARRAY)
    if arity != len(columns):
        raise Defect(f"{arity} fields where {len(columns)} are wanted")
    values = []
    for name, schema in columns:
        try:
            values.append(schema.read(reader))
        except Defect as defect:
            defect.path.append(name)
            raise
    return values


def _vector(scalar: Any, bounds: tuple[Any, ...]) -> Schema:
    if scalar not in _VECTORS:
        raise LocalMisuse(f"vectors of {scalar!r} have no tag here", fix="use uint64, uint32 or float64")
    canonical = any(isinstance(bound, FieldElements) for bound in bounds)
    low, high = _lengths("vector", tuple(bound for bound in bounds if not isinstance(bound, FieldElements)))
    tag = cbor.head(cbor.TAG, _VECTORS[scalar])
    kind = np.dtype(scalar).newbyteorder("<")

    def check(vector: npt.NDArray[Any]) -> None:
        if canonical and vector.size and vector.max() >= P:
            raise Defect("an element is not below 2^61-1")
        if scalar is np.float64 and np.isnan(vector).any():
            nans = vector[np.isnan(vector)].view(np.uint64)
            if (nans != _QUIET_NAN).any():
                raise Defect("a NaN carries a payload")

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != np.dtype(scalar) or value.ndim != 1:
            raise Defect(f"wants a 1-D array of {scalar.__name__}, not {_describe(value)}")
        _check_length(value.size, low, high, "elements")
        check(value)
        raw = np.ascontiguousarray(value, dtype=kind).tobytes()
        out += [tag, cbor.head(cbor.BYTES, len(raw)), raw]

    def read(reader: Reader) -> npt.NDArray[Any]:
        if reader.take(len(tag)) != tag:
            raise Defect(f"wants typed array tag {_VECTORS[scalar]}")
        size = reader.argument(cbor.BYTES)
        length, odd = divmod(size, kind.itemsize)
        if odd:
            raise Defect(f"{size} bytes are not a whole number of elements")
        _check_length(length, low, high, "elements")
        if size > len(reader.data) - reader.at:
            raise Defect("the message ends within a vector")
        vector = np.frombuffer(reader.data, dtype=kind, count=length, offset=reader.at).astype(scalar)
        reader.at += size
        check(vector)
        vector.flags.writeable = False
        return vector

    return Schema(write, read)


def _describe(value: Any) -> str:
    return f"{value.ndim}-D {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
