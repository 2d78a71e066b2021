"""Names of things on the wire, each a type of its own so that mypy tells them apart.

A byte-string identifier knows its size and refuses any other; its `repr` is short.
"""

from __future__ import annotations

from typing import ClassVar, NewType, Self


class Identifier(bytes):
    """A byte string of fixed size. Raises ValueError for any other size."""

    SIZE: ClassVar[int] = 32

    def __new__(cls, value: bytes) -> Self:
        if len(value) != cls.SIZE:
            raise ValueError(f"{cls.__name__} takes {cls.SIZE} bytes, not {len(value)}")
        return super().__new__(cls, value)

    def short(self) -> str:
        """First 8 hex digits: for people, never for comparing."""
        return self.hex()[:8]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.short()}…)"

    __str__ = __repr__


class PartyId(Identifier):
    """Ed25519 verification key of a party: who it is and how its signatures are checked."""


class Digest(Identifier):
    """BLAKE2b-256 output."""


class SessionId(Identifier):
    """Names one session; derived from its plan, hence never reused."""


Epoch = NewType("Epoch", int)
"""Counts beacon values of a mesh; sortition and plans belong to one epoch."""

Point = NewType("Point", int)
"""Nonzero x-coordinate of a share: seat number in a committee plus one."""

Seed = NewType("Seed", bytes)
"""32 secret bytes from the operating system; everything secret is XOF(Seed, domain label)."""
