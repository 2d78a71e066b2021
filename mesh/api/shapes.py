"""What the control API says and hears: frozen dataclasses, one per JSON object.

The contract between the node (mesh/runtime) and its clients: numbers, text and nested shapes only, no
object of the protocol rooms, so that neither side drags in the other's imports.

Invariant: `from_json(type(x), to_json(x)) == x`. A new optional field keeps SCHEMA_VERSION; a field that
changes its meaning, or goes, raises it.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA_VERSION = 1

Value = float | int | str | None | tuple[float, ...]


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
class InviteSpec:
    """What `invite` asks for; None takes the node's settings. `confirm`: wait for `requests accept`."""

    expires_s: float | None = None
    confirm: bool | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """A ticket to hand over privately: whoever holds it may ask to join, once, until it expires."""

    ticket: str
    id: str
    expires_s: float
    confirm: bool
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinSpec:
    """A ticket to join with."""

    ticket: str


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Something that waits for, or had, this person's word. `kind`: join, job."""

    id: str
    kind: str
    state: str
    who: str
    what: str
    phrase: str = ""
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerSpec:
    """A person's answer to a request. `verdict`: accept, approve, deny."""

    verdict: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DataSpec:
    """A file of this machine to register; absolute paths."""

    path: str
    name: str
    schema_path: str | None = None


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column of a data set."""

    name: str
    type: str
    minimum: float | None = None
    maximum: float | None = None
    missing: str = "error"
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A registered data set. Its values never pass this API."""

    name: str
    path: str
    rows: int
    columns: tuple[ColumnInfo, ...]
    digest: str = ""
    added: str = ""
    policy: bool = False


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Rules an owner sets. Empty `columns` or `requesters` means all of the data set, any member."""

    allow: tuple[str, ...]
    min_sites: int = 3
    min_rows: int = 1
    columns: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    expires: str | None = None
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A data set's policy as it stands: TOML text and where it lies."""

    dataset: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class QuerySpec:
    """One statistic of one column; `parameters` are bin edges for a histogram."""

    statistic: str
    column: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What to compute. None takes the node's settings."""

    dataset: str
    queries: tuple[QuerySpec, ...]
    min_sites: int | None = None
    timeout_s: float | None = None
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of `policy test`: the sentence names the deciding rule."""

    allowed: bool
    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class CommitteeInfo:
    """(n, t) of one stage and what that buys."""

    label: str
    members: tuple[str, ...]
    threshold: int
    corrects_liars: int


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A dry run: who, what it costs, what it survives, what is revealed to whom."""

    participants: tuple[str, ...]
    committees: tuple[CommitteeInfo, ...]
    dropouts_tolerated: int
    liars_corrected: int
    colluders_to_break: int
    rounds: int
    bytes_per_role: tuple[tuple[str, int], ...]
    seconds: float | None
    revealed: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """`C-123: what happened · the exact fix`."""

    code: str
    what: str
    fix: str = ""

    def sentence(self) -> str:
        """For people."""
        return f"{self.code}: {self.what}" + (f" · {self.fix}" if self.fix else "")


@dataclass(frozen=True, slots=True)
class AnswerInfo:
    """One statistic's result. A histogram's value lists the counts; `edges` its bins."""

    statistic: str
    column: str
    value: Value
    n: int | None = None
    edges: tuple[float, ...] = ()
    underflow: int | None = None
    overflow: int | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What was opened, over whom, and the receipt that binds it (signatures of t+1 members)."""

    value: Value
    n: int | None
    sites: int
    receipt: str
    answers: tuple[AnswerInfo, ...]
    session: str
    seconds: float
    bytes_sent: int = 0
    revealed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job of this node. `state`: queued, running, done, failed, cancelled. `phase` says why it waits."""

    id: str
    state: str
    spec: JobSpec
    created_at: float
    phase: str = ""
    session: str = ""
    refusals: tuple[tuple[str, str], ...] = ()
    error: ErrorInfo | None = None
    result: JobResult | None = None

    @property
    def ended(self) -> bool:
        """No further event will come."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One step of a job, numbered from 1. `kind`: planned, accepted, refused, phase, dropout, …, ended."""

    job: str
    seq: int
    at: float
    kind: str
    text: str
    data: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class JobAccepted:
    """A job was queued under this id."""

    job: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counters and gauges by name, for `metrics` and the dashboard."""

    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Done:
    """It was done; nothing else to say."""

    done: bool = True
