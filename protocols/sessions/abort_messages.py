"""Ballots of those who give a session up (see `aborting`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import PartyId
from protocols.wire.bounds import AtMost, Between, Signature

MAX_BALLOTS = 64
"""Of all who may come to sit at the root."""


@dataclass(frozen=True, slots=True)
class Pledge:
    """Whose ballot it is, and the signature under it."""

    party: PartyId
    signature: Signature


@dataclass(frozen=True, slots=True)
class AbortVote:
    """To the initiator and all who may sit at the root: I shall not vote or open any more.

    `voted`: 0, or one more than the latest generation of the root in which I voted for a roster.
    `agreed`: likewise the latest whose end I agreed to, by an interim roster or a handover.
    `released`: that binds nobody, for I had shown a share of the total before.
    """

    KIND: ClassVar[str] = "abort"
    code: Annotated[str, AtMost(8)]
    reason: Annotated[str, AtMost(512)]
    voted: Annotated[int, Between(0, 9)]
    agreed: Annotated[int, Between(0, 9)]
    released: bool
    pledge: Pledge | None = None
