"""The times the overlay goes by, with what each trades off. LAN values; configs override them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MembershipProfile:
    """Times in seconds. LAN values; a slower network wants all but `push_s` multiplied."""

    suspicion_s: float = 10.0
    """SUSPECT to LEFT in a mesh of up to ten members (grows with the log). Short enough to tidy up, long
    enough for a node that restarts."""

    refresh_s: float = 60.0
    """Own announcement renewed this often, rarer in large meshes: sends bytes, finds silent deaths."""

    sync_s: float = 5.0
    """Anti-entropy with one neighbour this often: sends one digest, repairs lost pushes."""

    push_s: float = 0.05
    """Least pause between two pushes: batches a burst of news into one message."""

    refute_s: float = 1.0
    """Least time between two new incarnations of ours, so that nobody makes us flood the mesh."""

    fanout: int = 12
    """Links that get a push; in meshes with more links the rest hear it from those."""

    forget_s: float = 86_400.0
    """Members gone for so long are dropped."""


@dataclass(frozen=True, slots=True)
class EpochProfile:
    """Times in seconds; LAN values."""

    epoch_s: float = 600.0
    """Rotation. Shorter: an adversary has less time to corrupt a known committee; longer: fewer beacons."""

    settle_s: float = 1.0
    """How long the set of alive gateways must differ from G_e before a new epoch: rides out short losses."""

    round_s: float = 10.0
    """Time for a proposer's beacon session and the votes; grows by half of itself each round."""

    sync_s: float = 5.0
    """Heads are compared with one neighbour this often."""
