"""Schemas of the items a message is made of: numbers, strings, identifiers and vectors, with bounds.

A schema writes and reads values of one type. Both directions enforce the same bounds, and both raise
`Defect`, which the codec names by field. Reading checks a length before it takes or allocates anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.field import P
from protocols.errors import LocalMisuse
from protocols.identifiers import Identifier
from protocols.wire import cbor
from protocols.wire.bounds import AtMost, Between, Exactly, FieldElements
from protocols.wire.cbor import Defect, Reader

Write = Callable[[Any, list[bytes]], None]
Read = Callable[[Reader], Any]

_VECTORS: dict[type, int] = {np.uint32: 70, np.uint64: 71, np.float64: 86}
_WORD = (-(1 << 63), (1 << 63) - 1)
_QUIET_NAN = np.uint64(0x7FF8 << 48)


class Schema(NamedTuple):
    """How values of one type are written and read."""

    write: Write
    read: Read


def lengths(name: str, bounds: tuple[Any, ...]) -> tuple[int, int]:
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


def check_length(length: int, low: int, high: int, unit: str) -> None:
    if not low <= length <= high:
        wanted = f"exactly {low}" if low == high else f"at most {high}"
        raise Defect(f"{length} {unit} where {wanted} are allowed")


def integer(bounds: tuple[Any, ...]) -> Schema:
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


BOOLEAN = Schema(_write_boolean, Reader.boolean)
NUMBER = Schema(_write_number, Reader.number)


def string(cls: type[str] | type[bytes], low: int, high: int) -> Schema:
    major = cbor.TEXT if cls is str else cbor.BYTES

    def write(value: Any, out: list[bytes]) -> None:
        if not isinstance(value, cls):
            raise Defect(f"wants {cls.__name__}, not {type(value).__name__}")
        try:
            raw: bytes = value.encode() if isinstance(value, str) else bytes(value)
        except UnicodeEncodeError:
            raise Defect("the text has no UTF-8 form") from None
        check_length(len(raw), low, high, "bytes")
        out.append(cbor.head(major, len(raw)))
        out.append(raw)

    def read(reader: Reader) -> Any:
        length = reader.argument(major)
        check_length(length, low, high, "bytes")
        raw = reader.take(length)
        if major == cbor.BYTES:
            return raw
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise Defect("the text is not UTF-8") from None

    return Schema(write, read)


def identifier(cls: type[Identifier]) -> Schema:
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


def identifiers(cls: type[Identifier], low: int, high: int, one_by_one: Read) -> Read:
    """Reads a tuple of identifiers at a stroke: messages hold hundreds of digests and parties. What does not
    look like one is left to `one_by_one`, which says what is wrong."""
    prefix = cbor.head(cbor.BYTES, cls.SIZE)
    skip, step = len(prefix), len(prefix) + cls.SIZE
    new = bytes.__new__

    def read(reader: Reader) -> Any:
        start = reader.at
        length = reader.argument(cbor.ARRAY)
        end = reader.at + length * step
        good = low <= length <= high and end <= len(reader.data)
        if not good or any(
            reader.data[reader.at + i : end : step] != prefix[i : i + 1] * length for i in range(skip)
        ):
            reader.at = start
            return one_by_one(reader)
        first, reader.at = reader.at + skip, end
        return tuple(new(cls, reader.data[at : at + cls.SIZE]) for at in range(first, end, step))

    return read


def vector(scalar: Any, bounds: tuple[Any, ...]) -> Schema:
    if scalar not in _VECTORS:
        raise LocalMisuse(f"vectors of {scalar!r} have no tag here", fix="use uint64, uint32 or float64")
    canonical = any(isinstance(bound, FieldElements) for bound in bounds)
    low, high = lengths("vector", tuple(bound for bound in bounds if not isinstance(bound, FieldElements)))
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
        check_length(value.size, low, high, "elements")
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
        check_length(length, low, high, "elements")
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
