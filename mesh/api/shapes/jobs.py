"""Jobs: what to compute, the dry run, events, results."""

from __future__ import annotations

from dataclasses import dataclass

Value = float | int | str | None | tuple[int | float, ...]


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
    mode: str = "P"
    """Of a committee program: P, members follow it; A, one that deviates stops it before any output."""


@dataclass(frozen=True, slots=True)
class CommitteeFacts:
    """One stage. `dropouts` may vanish at once without a substitute; `liars` are corrected and named."""

    label: str
    n: int
    t: int
    members: tuple[str, ...]
    adders: tuple[str, ...] = ()
    substitutes: int = 0
    dropouts: int = 0
    liars: int = 0


@dataclass(frozen=True, slots=True)
class RoleCost:
    """Estimated bytes one party in this role sends."""

    role: str
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A dry run: who takes part, what it costs and survives, what is revealed to whom."""

    session: str
    participants: tuple[str, ...]
    dealers: int
    min_sites: int
    committees: tuple[CommitteeFacts, ...]
    depth: int
    dropouts: int
    liars: int
    colluders: int
    rounds: int
    costs: tuple[RoleCost, ...]
    seconds: float
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
    """One statistic's result. A histogram's value lists the counts; `edges` its bins.

    A long vector has no value here but a `length`; it is fetched apart (`Client.vector`).
    """

    statistic: str
    column: str
    value: Value
    n: int | None = None
    edges: tuple[float, ...] = ()
    underflow: int | None = None
    overflow: int | None = None
    length: int = 0


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
    counted: tuple[str, ...] = ()
    model: str = ""
    job: str = ""


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
