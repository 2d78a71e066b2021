"""Size and range limits, written into the types of message fields; `codec` enforces them both ways.

For instance
    name: Annotated[str, AtMost(64)]              # characters of UTF-8, counted in bytes
    votes: Annotated[tuple[Vote, ...], AtMost(16)]
    share: Annotated[FieldVector, AtMost(4096)]   # elements
    count: Annotated[int, Between(0, 2**32)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class AtMost:
    """Largest length: bytes of a string or byte string, items of a tuple, elements of a vector."""

    limit: int


@dataclass(frozen=True, slots=True)
class Exactly:
    """The only length."""

    length: int


@dataclass(frozen=True, slots=True)
class Between:
    """Inclusive range of an integer."""

    low: int
    high: int


class FieldElements:
    """Marker: a uint64 vector is decoded only if every element is below 2^61-1."""


FieldVector: TypeAlias = Annotated[npt.NDArray[np.uint64], FieldElements()]
"""1-D, little-endian uint64 on the wire (RFC 8746 tag 71), each element in [0, 2^61-1)."""

Milliseconds: TypeAlias = Annotated[int, Between(0, 86_400_000)]
Signature: TypeAlias = Annotated[bytes, Exactly(64)]
Key: TypeAlias = Annotated[bytes, Exactly(32)]
