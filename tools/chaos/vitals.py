"""What a process holds: descriptors, memory, threads, tasks; samples over a run, and whether they grow.

Invariant judged: over a run whose load does not change, a node that lives through all of it holds no more at
the end than after it warmed up, up to a slack for caches that fill and heaps that fragment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mesh.runtime.demo.local_mesh import Peer
from tools.chaos.idle import memory_mb

SLACKS = {"fds": 4, "rss_mb": 12.0, "threads": 4, "tasks": 4}
FEWEST = 6


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at rest, at one moment."""

    fds: int
    rss_mb: float
    threads: int
    tasks: int


def sample(peer: Peer) -> Vitals:
    """What a running peer holds now."""
    metrics = dict(peer.client.metrics().values)
    threads = len(os.listdir(f"/proc/{peer.pid}/task"))
    rss_mb = memory_mb(peer.pid, "Rss")
    fds = len(list(Path(f"/proc/{peer.pid}/fd").iterdir()))
    return Vitals(fds, rss_mb, threads, int(metrics.get("tasks", 0)))


def live_sessions(peer: Peer) -> int:
    """Sessions that a running peer has a part in, those included that only relay."""
    return int(dict(peer.client.metrics().values).get("sessions_live", 0))


def growth(samples: Sequence[Vitals]) -> dict[str, float]:
    """Later third over earlier third, by medians; the first sample, of a cold process, does not count.

    Empty for fewer than FEWEST samples: one process at two moments shows nothing.
    """
    warm = samples[1:]
    if len(warm) < FEWEST:
        return {}
    third = len(warm) // 3

    def grown(what: str) -> float:
        values = [float(getattr(one, what)) for one in warm]
        return round(median(values[-third:]) - median(values[:third]), 2)

    return {what: grown(what) for what in SLACKS}


def leaks(name: str, samples: Sequence[Vitals]) -> list[str]:
    """What grew more than its slack, in words."""
    return [
        f"{name}: {what} grew by {grown:g} over the run"
        for what, grown in growth(samples).items()
        if grown > SLACKS[what]
    ]
