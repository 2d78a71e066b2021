"""What the epoch keeper sends, stores and publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mesh.overlay.agreement import Ballot, Lock, Proposal, Wish
from mesh.overlay.claims import Claims
from mesh.overlay.epoch_record import Certified, EpochIntent, EpochNumber, EpochRecord
from mesh.overlay.sortition import Claim
from protocols.identifiers import Digest


@dataclass(frozen=True, slots=True)
class EpochHead:
    """How far I am, and which claims I hold (as a digest)."""

    KIND: ClassVar[str] = "epoch-head"
    epoch: EpochNumber
    record: Digest
    claims: Digest


@dataclass(frozen=True, slots=True)
class IntentNotice:
    """Proposer to electorate: the beacon session with this intent's nonce is for this."""

    KIND: ClassVar[str] = "epoch-intent"
    intent: EpochIntent


@dataclass(frozen=True, slots=True)
class StartBeacon:
    """Published to the proposer's own runtime: plan (planner.plan_beacon, nonce=intent.nonce) and run it."""

    intent: EpochIntent


@dataclass(frozen=True, slots=True)
class EpochChanged:
    """Published when the head moves: sessions of the epoch before end, sortition is new."""

    record: EpochRecord


@dataclass(frozen=True, slots=True)
class HeadMoved:
    """Stored: the chain as far as we follow it."""

    certified: Certified


EPOCH_MESSAGES: tuple[type, ...] = (
    Certified, EpochHead, IntentNotice, Proposal, Ballot, Lock, Wish, Claim, Claims,
)  # fmt: skip
"""What `EpochKeeper.receive` takes."""
