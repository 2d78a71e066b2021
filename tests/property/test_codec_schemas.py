"""A message class whose size has no bound, or whose meaning is open, is no schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

from protocols.errors import LocalMisuse
from protocols.identifiers import Digest
from protocols.wire import codec
from protocols.wire.bounds import AtMost, FieldVector


@dataclass(frozen=True)
class Unbounded:
    values: tuple[int, ...]


@dataclass(frozen=True)
class UnboundedText:
    value: str


@dataclass(frozen=True)
class UnboundedVector:
    values: FieldVector


@dataclass(frozen=True)
class Ambiguous:
    value: int | bool


@dataclass(frozen=True)
class Mapping:
    value: dict[str, int]


@dataclass(frozen=True)
class Misbounded:
    value: Annotated[int, AtMost(3)]


@dataclass(frozen=True)
class Endless:
    next: Endless | None


@pytest.mark.parametrize(
    "cls", [Unbounded, UnboundedText, UnboundedVector, Ambiguous, Mapping, Misbounded, Endless, int, Digest]
)
def test_a_schema_without_bounds_is_refused_before_any_message(cls: type) -> None:
    for _ in range(2):
        with pytest.raises(LocalMisuse):
            codec.decode(cls, b"\x80")
