"""What a process holds: descriptors, memory, threads, tasks; samples over a run, and whether they grow.

Invariant judged: over a run whose load does not change, a node that lives through all of it holds no more at
the end than after it warmed up, up to a slack for caches that fill and heaps that fragment; and its memory
does not rise by more than MAX_SLOPE_MB in 480 jobs, by the median of the slopes between all warm samples
(Theil and Sen: a few odd samples do not move it).
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
SLOPE_JOBS = 480
"""Eight hours of a job a minute."""
MAX_SLOPE_MB = 6.0
"""A record of each of the last 256 jobs of one's own stays, with its events: 7 KB each, so 2 MB at most."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at rest, at one moment."""

    fds: int
    rss_mb: float
    threads: int
    tasks: int
    jobs: int = 0


def sample(peer: Peer, jobs: int = 0) -> Vitals:
    """What a running peer holds now, after so many jobs of the mesh."""
    metrics = dict(peer.client.metrics().values)
    threads = len(os.listdir(f"/proc/{peer.pid}/task"))
    rss_mb = memory_mb(peer.pid, "Rss")
    fds = len(list(Path(f"/proc/{peer.pid}/fd").iterdir()))
    return Vitals(fds, rss_mb, threads, int(metrics.get("tasks", 0)), jobs)


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


def slope_mb(samples: Sequence[Vitals]) -> float | None:
    """Growth of memory in SLOPE_JOBS jobs; None for too few samples, or jobs to go by."""
    warm = samples[len(samples) // 4 + 1 :]
    slopes = [
        (b.rss_mb - a.rss_mb) / (b.jobs - a.jobs)
        for index, a in enumerate(warm)
        for b in warm[index + 1 :]
        if b.jobs > a.jobs
    ]
    if len(warm) < FEWEST or warm[-1].jobs - warm[0].jobs < SLOPE_JOBS // 2:
        return None
    return round(median(slopes) * SLOPE_JOBS, 2)


def leaks(name: str, samples: Sequence[Vitals]) -> list[str]:
    """What grew more than its slack, in words."""
    slope = slope_mb(samples)
    steep = slope is not None and slope > MAX_SLOPE_MB
    return [
        f"{name}: {what} grew by {grown:g} over the run"
        for what, grown in growth(samples).items()
        if grown > SLACKS[what]
    ] + ([f"{name}: memory rises by {slope:g} MB in {SLOPE_JOBS} jobs"] if steep else [])
