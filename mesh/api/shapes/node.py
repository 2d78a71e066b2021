"""The node itself: status, peers, tree, joining, requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alert:
    """Something the operator should do."""

    code: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class JoinStatus:
    """How far joining got. `state`: none, waiting, asked, granted, refused. Both sides compare `phrase`."""

    state: str
    phrase: str = ""
    reason: str = ""
    inviter: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """A node at a glance. `state`: starting, joining, member, stopping. `health` is one sentence."""

    name: str
    site: str
    party: str
    mesh: str
    state: str
    health: str
    version: str
    pid: int
    uptime_s: float
    epoch: int
    members: int
    alive: int
    links: int
    clusters: int
    cluster: str
    gateway: bool
    roles: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    datasets: int = 0
    jobs_running: int = 0
    join: JoinStatus | None = None
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A member as this node sees it. `status`: self, alive, suspect, left."""

    name: str
    party: str
    site: str
    status: str
    cluster: str = ""
    gateway: bool = True
    direct: bool = False
    rtt_ms: float | None = None
    address: str = ""
    roles: tuple[str, ...] = ()
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A cluster of the tree: its adder (sub-aggregator), its committee in seat order, its members."""

    label: str
    adder: str
    committee: tuple[str, ...]
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Clusters and the root committee of the current epoch; names of members."""

    epoch: int
    clusters: tuple[ClusterInfo, ...]
    root: ClusterInfo | None = None
    next_rotation_s: float | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counters and gauges by name, for `metrics` and the dashboard."""

    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Done:
    """It was done; nothing else to say."""

    done: bool = True
