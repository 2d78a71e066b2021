"""What a node costs at rest: resident memory and CPU of every peer of a mesh that does nothing.

With the heartbeats of the default profile; those of `localhost` are twice as many, and so is their CPU.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.config import DEFAULT_PROFILE, resolve
from tools.chaos.ground import Ground

MAX_RSS_MB = 120.0
MAX_CPU_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """One process; `rss_mb` counts shared pages in full, `pss_mb` their part."""

    name: str
    links: int
    rss_mb: float
    pss_mb: float
    cpu_percent: float


def settings() -> Mapping[str, object]:
    """What makes a local mesh beat like one of the default profile."""
    config = resolve(None, flags={}, environment={}, profile=DEFAULT_PROFILE).config
    return {"network.heartbeat_s": config.heartbeat_s, "network.detect_s": config.detect_s}


def measure(ground: Ground, seconds: float) -> list[Cost]:
    """Costs of all running peers over `seconds`, after the mesh formed."""
    peers = ground.mesh.running
    before = {peer.name: cpu_s(peer.pid) for peer in peers}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return [
        Cost(
            peer.name,
            peer.client.status().links,
            memory_mb(peer.pid, "Rss"),
            memory_mb(peer.pid, "Pss"),
            round(100 * (cpu_s(peer.pid) - before[peer.name]) / passed, 2),
        )
        for peer in peers
    ]


def memory_mb(pid: int, kind: str) -> float:
    """`kind`: Rss or Pss of a process, from the kernel."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def cpu_s(pid: int) -> float:
    """CPU time a process has taken so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
