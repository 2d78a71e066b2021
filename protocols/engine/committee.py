"""Who sends in a round, with which weights; and one party's seat with its streams of randomness.

A committee of n with threshold t computes with a quorum of its members, at least 2t+1. Openings are
sums of summands, so they need each of their senders: 2t+1 for a product (degree 2t), t+1 for a
linear value (degree t), all of the quorum for a bit opening. Senders rotate with the step number to
spread the load. A member that falls silent costs one repeated layer with another quorum; `attempt`
enters every stream label, so a repeated layer never uses a mask twice.

Security modes. P: passive, a quorum of 2t+1. A: every lie is noticed when it is told (`checked`,
`pieces`); all of a quorum of 3t+1 or more send in every opening. B (liars named) and C (robust) have their
places here and are refused until they are built.

Invariant: labels of streams are (session, attempt, quorum, mode, step, purpose): no two draws coincide, and
a party that restarts draws, hence sends, exactly what it sent before.

Symbols: n, t, i, j points; lambda_i = prod j / (j - i) the Lagrange weight at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse
from protocols.sharing.prss import KeySets, SetKeys, key_sets
from protocols.sharing.replicated import FieldStream, MaskStream, ZeroShares, ZeroStream

KAPPA = 40
"""Statistical security of integer masks in bits an element. One bit more is one bit of range less."""

MODES = ("P", "A")
"""Security modes that are built."""


@dataclass(frozen=True, slots=True)
class Committee:
    """n members with threshold t, of whom `quorum` (ascending points) take part."""

    n: int
    t: int
    quorum: tuple[int, ...]
    mode: str = "P"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise LocalMisuse(f"security mode {self.mode!r} is not built", fix=f"take {' or '.join(MODES)}")
        inside = all(1 <= point <= self.n for point in self.quorum)
        if not inside or tuple(sorted(set(self.quorum))) != self.quorum:
            raise LocalMisuse(f"a quorum is ascending points of 1..{self.n}")
        if len(self.quorum) < 2 * self.t + 1:
            raise LocalMisuse(f"{len(self.quorum)} of {self.n} members cannot multiply at t={self.t}")
        if self.checked and len(self.quorum) < 3 * self.t + 1:
            raise LocalMisuse(
                f"{len(self.quorum)} members cannot notice {self.t} liars",
                fix=f"mode A takes 3t+1 = {3 * self.t + 1} members; with fewer only mode P is possible",
            )

    @property
    def checked(self) -> bool:
        """Whether members that deviate are noticed before they can do harm."""
        return self.mode == "A"

    @property
    def sets(self) -> KeySets:
        """The key sets of the whole committee."""
        return key_sets(self.n, self.t)

    def rotated(self, step: int) -> tuple[int, ...]:
        """The quorum, starting elsewhere in each step."""
        start = step % len(self.quorum)
        return self.quorum[start:] + self.quorum[:start]

    def product_senders(self, step: int) -> tuple[int, ...]:
        """The 2t+1 whose summands open a product; in mode A all, for the redundancy."""
        if self.checked:
            return self.quorum
        return tuple(sorted(self.rotated(step)[: 2 * self.t + 1]))

    def linear_senders(self, step: int) -> tuple[int, ...]:
        """The t+1 whose summands open a degree-t value; in mode A all."""
        if self.checked:
            return self.quorum
        return tuple(sorted(self.rotated(step)[: self.t + 1]))


def whole(n: int, t: int, mode: str = "P") -> Committee:
    """Everybody takes part."""
    return Committee(n, t, tuple(range(1, n + 1)), mode)


@cache
def lagrange(senders: tuple[int, ...], point: int) -> Fraction:
    """lambda of `point` for opening from `senders`, exact."""
    return math.prod((Fraction(j, j - point) for j in senders if j != point), start=Fraction(1))


@dataclass(frozen=True, slots=True)
class Duty:
    """The part of a bilinear form of replicated values that somebody answers for, by rows of held sets.

    pairs  (row of x, rows of y whose sum it is multiplied with)
    rows   of a linear value
    """

    pairs: tuple[tuple[int, tuple[int, ...]], ...]
    rows: tuple[int, ...]


class Seat:
    """One party of a committee: its keys and where its randomness comes from. `repr` shows no secret."""

    __slots__ = ("_context", "_private", "committee", "duty", "keys")

    def __init__(
        self, committee: Committee, keys: SetKeys, private: bytes, session: bytes, attempt: int = 0
    ) -> None:
        if keys.sets != committee.sets:
            raise LocalMisuse("keys of another committee")
        self.committee = committee
        self.keys = keys
        self._private = private
        self._context = (
            session,
            attempt.to_bytes(4, "big"),
            bytes(committee.quorum),
            committee.mode.encode(),
        )
        self.duty: Duty | None = None

    def __repr__(self) -> str:
        return f"Seat(point={self.point}, n={self.committee.n}, t={self.committee.t}, …)"

    @property
    def point(self) -> int:
        """This party's point."""
        return self.keys.point

    def answering(self, duty: Duty) -> Seat:
        """The same seat, answering for one part of bilinear forms only."""
        other = copy(self)
        other.duty = duty
        return other

    def _labels(self, step: int, purpose: str) -> tuple[bytes, ...]:
        return (*self._context, step.to_bytes(4, "big"), purpose.encode())

    def zeros(self, step: int, senders: Sequence[int], purpose: str = "") -> ZeroStream:
        """Additive zeros among the senders of a step; this party is one of them."""
        return ZeroStream(self.keys, senders, *self._labels(step, purpose))

    def zero_shares(self, step: int) -> ZeroShares:
        """Degree-2t sharings of zero for a step."""
        return ZeroShares(self.keys, *self._labels(step, "zero shares"))

    def masks(self, step: int, bits: int, purpose: str = "") -> MaskStream:
        """Integer masks of the held sets for a step."""
        return MaskStream(self.keys, bits, *self._labels(step, purpose))

    def field_masks(self, step: int) -> FieldStream:
        """Uniform masks of the held sets for a step."""
        return FieldStream(self.keys, *self._labels(step, "field"))

    def set_stream(self, index: int, step: int, purpose: str) -> Xof:
        """What the members of a set draw together in a step."""
        return self.keys.stream(index, "coppice/engine/set/1", *self._labels(step, purpose))

    def private_stream(self, step: int, purpose: str) -> Xof:
        """What only this party draws in a step."""
        return Xof(self._private, "coppice/engine/private/1", *self._labels(step, purpose))
