"""The Machine contract: how a pure protocol speaks to the world around it.

A machine gets decoded, authenticated messages and an injected `now` in seconds (any monotonic
origin). It answers with effects, in the order in which the driver carries them out. Persist comes
before Send: what a party may not contradict after a restart is stored before anybody hears of it.

A machine never sees bytes, sockets, clocks or a random source; its secret randomness is
XOF(seed, label) of a 32-byte seed given at construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from protocols.identifiers import Digest, PartyId


@dataclass(frozen=True, slots=True)
class Persist:
    """Store `record` durably before the effects that follow. A codec-encodable dataclass."""

    record: object


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver `message` to one party (possibly ourselves). A codec-encodable dataclass."""

    to: PartyId
    message: object


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Deliver `message` to each of `to`, the same signed bytes for all."""

    to: tuple[PartyId, ...]
    message: object


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell the local application. Never leaves this device."""

    event: object


@dataclass(frozen=True, slots=True)
class Transfer:
    """Stream the stored vector `name` to each of `to`. Bulk data never passes through a machine."""

    to: tuple[PartyId, ...]
    name: Digest


@dataclass(frozen=True, slots=True)
class Combine:
    """Add the stored vectors `parts` and store the sum; its name comes back as a VectorsAdded message."""

    stage: int
    parts: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint a stored vector for an audit's challenge; it comes back as a Fingerprinted message."""

    challenge: Digest
    name: Digest


Effect: TypeAlias = Persist | Send | Broadcast | Publish | Transfer | Combine | Fingerprint


class Machine(Protocol):
    """One party's part in one protocol run."""

    def start(self, now: float) -> Sequence[Effect]:
        """Begin; called once."""

    def receive(self, now: float, sender: PartyId, message: object) -> Sequence[Effect]:
        """Take a message whose signature by `sender` was verified.

        Raises ProtocolError when the message is unacceptable; the machine's state is then unchanged.
        """

    def expire(self, now: float) -> Sequence[Effect]:
        """`deadline` has passed."""

    @property
    def deadline(self) -> float | None:
        """When `expire` wants to be called next, or None."""

    @property
    def outcome(self) -> object | None:
        """How it ended, or None while it runs."""
