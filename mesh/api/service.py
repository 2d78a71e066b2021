"""What the control API needs from a node: a Protocol that mesh/runtime implements.

Together with shapes this is the contract between the rooms, so mesh/runtime may import these two
(and nothing else of mesh/api).

Every method raises MeshError subclasses for what the caller should hear; their code decides the HTTP
status and the exit code (mesh/api/outcome.py). Any other exception is our bug and is answered as C-900.
Data sets and policies are not here: the server answers for them from the home (local_data.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Protocol

from mesh.api.shapes import (
    AnswerSpec,
    InferenceSpec,
    Invitation,
    InviteSpec,
    JobEvent,
    JobInfo,
    JobResult,
    JobSpec,
    JoinSpec,
    JoinStatus,
    Metrics,
    ModelInfo,
    PeerInfo,
    PlanReport,
    ProgramAsked,
    ProgramInfo,
    RequestInfo,
    ShareSpec,
    Status,
    TrainSpec,
    Tree,
    VaultInfo,
)


class NodeService(Protocol):
    """A running node, asked by its own person. Methods answer quickly; long work goes on behind a job id."""

    async def status(self) -> Status:
        """The node at a glance."""

    async def peers(self) -> Sequence[PeerInfo]:
        """All members known, this node first."""

    async def tree(self) -> Tree:
        """Clusters, adders and committees of the current epoch."""

    async def invite(self, spec: InviteSpec) -> Invitation:
        """A new ticket. Raises Refused when this node may not invite."""

    async def join(self, spec: JoinSpec) -> JoinStatus:
        """Start joining with a ticket. Raises MalformedMessage (forged, torn), Refused (expired, foreign)."""

    async def join_status(self) -> JoinStatus:
        """How far joining got."""

    async def requests(self) -> Sequence[RequestInfo]:
        """Joins and jobs that wait for this person, and the latest answered ones."""

    async def answer(self, request: str, spec: AnswerSpec) -> RequestInfo:
        """Accept, approve or deny. Raises LocalMisuse C-404 for an unknown request."""

    async def plan(self, spec: JobSpec) -> PlanReport:
        """Dry run of a job. Raises Refused when it cannot run (two peers, too few sites)."""

    async def submit(self, spec: JobSpec) -> str:
        """Queue a job; its id. Raises as `plan` does when it cannot even be planned."""

    async def train(self, spec: TrainSpec) -> str:
        """Start a training run, a job like others; its id. Raises ConfigError C-649 for one without sense."""

    async def infer(self, spec: InferenceSpec) -> str:
        """Evaluate a model file on secret rows, a job like others; its id. Raises ConfigError C-101."""

    async def plan_inference(self, spec: InferenceSpec) -> PlanReport:
        """Dry run of that. Raises Refused when the rows' owner does not allow it."""

    async def programs(self) -> Sequence[ProgramAsked]:
        """Programs that others asked to run over data of this node, newest first."""

    async def program(self, digest: str) -> ProgramInfo:
        """What the program of this digest computes. Raises LocalMisuse C-404, ConfigError C-646."""

    async def models(self) -> Sequence[ModelInfo]:
        """Certified models here, newest first, without their weights."""

    async def model(self, name: str) -> ModelInfo:
        """One model, by its job's id or the start of its run's. Raises ConfigError C-404."""

    async def weights(self, name: str) -> bytes:
        """Weights of a model, little-endian float64. Raises ConfigError C-404."""

    async def share(self, spec: ShareSpec) -> VaultInfo:
        """Put a file into the mesh as shares. Raises DataError, ConfigError C-65x, Refused."""

    async def shared(self) -> Sequence[VaultInfo]:
        """Vaults that this node deposited, and those it holds shares of."""

    async def erased(self) -> Sequence[VaultInfo]:
        """Vaults of ours that every holder erased, with what each signed."""

    async def unshare(self, name: str) -> VaultInfo:
        """Have a vault of ours erased; who confirmed so far. Raises LocalMisuse C-404."""

    async def jobs(self) -> Sequence[JobInfo]:
        """Jobs of this node, newest first, bounded by session.max_jobs."""

    async def job(self, job: str) -> JobInfo:
        """One job. Raises LocalMisuse C-404."""

    async def cancel(self, job: str) -> JobInfo:
        """Stop a job; nothing more of it is opened."""

    async def events(self, job: str) -> Sequence[JobEvent]:
        """What happened so far. Raises LocalMisuse C-404."""

    def watch(self, job: str) -> AsyncGenerator[JobEvent, None]:
        """All events of a job from its first, then live ones; ends when the job has ended.

        Raises LocalMisuse C-404 at the first step.
        """

    async def result(self, job: str) -> JobResult:
        """The result. Raises the error the job failed with, or LocalMisuse C-405 while it runs."""

    async def vector(self, job: str, index: int) -> Path:
        """The NPY file of a long vector, answer `index` of a job. Raises as `result`, LocalMisuse C-404."""

    async def metrics(self) -> Metrics:
        """Counters and gauges."""

    async def shutdown(self) -> None:
        """Stop the node once this call was answered."""
