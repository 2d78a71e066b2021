"""The control API from the node's first moment: answers for a joiner until there is a member to answer."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import trio

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
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.joining.joiner import Joiner
from mesh.runtime.service import MemberService
from mesh.settings import Config
from mesh.version import VERSION
from protocols.errors import Refused
from protocols.identifiers import PartyId


class SwitchingService:
    """NodeService that passes on to `member` once there is one."""

    def __init__(self, config: Config, identity: NodeIdentity, stop: trio.Event) -> None:
        self.member: MemberService | None = None
        self.joining: Joiner | None = None
        self._config = config
        self._identity = identity
        self._stop = stop
        self._since = time.time()

    def sighted(self, party: PartyId, addresses: tuple[str, ...]) -> None:
        """A node of this mesh was seen on the local network."""
        if self.member is not None:
            self.member.sighted(party, addresses)
        elif self.joining is not None:
            self.joining.sighted(party, addresses)

    def _ready(self) -> MemberService:
        if self.member is None:
            why = f"it is joining: {self.joining.reason}" if self.joining else "it is starting"
            raise Refused(f"this node is no member yet; {why}", reasons={}, fix="see: coppice status")
        return self.member

    async def status(self) -> Status:
        """The node at a glance, joining or joined."""
        if self.member is not None:
            return await self.member.status()
        join = await self.join_status()
        return Status(
            name=self._config.name,
            site=self._config.site,
            party=self._identity.party.hex(),
            mesh=self._identity.mesh.mesh.hex(),
            state="joining" if self.joining else "starting",
            health=f"joining: {join.reason}" if self.joining else "starting",
            version=VERSION,
            pid=os.getpid(),
            uptime_s=round(time.time() - self._since, 1),
            epoch=0,
            members=0,
            alive=0,
            links=0,
            clusters=0,
            cluster="",
            gateway=self._config.gateway,
            join=join,
        )

    async def join_status(self) -> JoinStatus:
        """How far joining got."""
        if self.joining is None:
            return JoinStatus("granted" if self.member else "none")
        joining = self.joining
        return JoinStatus(joining.state, joining.phrase, joining.reason, joining.inviter)

    async def shutdown(self) -> None:
        """Stop the node."""
        self._stop.set()

    async def peers(self) -> Sequence[PeerInfo]:
        """See MemberService."""
        return await self._ready().peers()

    async def tree(self) -> Tree:
        """See MemberService."""
        return await self._ready().tree()

    async def invite(self, spec: InviteSpec) -> Invitation:
        """See MemberService."""
        return await self._ready().invite(spec)

    async def join(self, spec: JoinSpec) -> JoinStatus:
        """See MemberService."""
        return await self._ready().join(spec)

    async def requests(self) -> Sequence[RequestInfo]:
        """See MemberService."""
        return await self._ready().requests()

    async def answer(self, request: str, spec: AnswerSpec) -> RequestInfo:
        """See MemberService."""
        return await self._ready().answer(request, spec)

    async def plan(self, spec: JobSpec) -> PlanReport:
        """See MemberService."""
        return await self._ready().plan(spec)

    async def submit(self, spec: JobSpec) -> str:
        """See MemberService."""
        return await self._ready().submit(spec)

    async def train(self, spec: TrainSpec) -> str:
        """See MemberService."""
        return await self._ready().train(spec)

    async def infer(self, spec: InferenceSpec) -> str:
        """See MemberService."""
        return await self._ready().infer(spec)

    async def plan_inference(self, spec: InferenceSpec) -> PlanReport:
        """See MemberService."""
        return await self._ready().plan_inference(spec)

    async def programs(self) -> Sequence[ProgramAsked]:
        """See MemberService."""
        return await self._ready().programs()

    async def program(self, digest: str) -> ProgramInfo:
        """See MemberService."""
        return await self._ready().program(digest)

    async def models(self) -> Sequence[ModelInfo]:
        """See MemberService."""
        return await self._ready().models()

    async def model(self, name: str) -> ModelInfo:
        """See MemberService."""
        return await self._ready().model(name)

    async def weights(self, name: str) -> bytes:
        """See MemberService."""
        return await self._ready().weights(name)

    async def share(self, spec: ShareSpec) -> VaultInfo:
        """See MemberService."""
        return await self._ready().share(spec)

    async def shared(self) -> Sequence[VaultInfo]:
        """See MemberService."""
        return await self._ready().shared()

    async def unshare(self, name: str) -> VaultInfo:
        """See MemberService."""
        return await self._ready().unshare(name)

    async def erased(self) -> Sequence[VaultInfo]:
        """See MemberService."""
        return await self._ready().erased()

    async def jobs(self) -> Sequence[JobInfo]:
        """See MemberService."""
        return await self._ready().jobs()

    async def job(self, job: str) -> JobInfo:
        """See MemberService."""
        return await self._ready().job(job)

    async def cancel(self, job: str) -> JobInfo:
        """See MemberService."""
        return await self._ready().cancel(job)

    async def events(self, job: str) -> Sequence[JobEvent]:
        """See MemberService."""
        return await self._ready().events(job)

    def watch(self, job: str) -> AsyncGenerator[JobEvent, None]:
        """See MemberService."""
        return self._ready().watch(job)

    async def result(self, job: str) -> JobResult:
        """See MemberService."""
        return await self._ready().result(job)

    async def vector(self, job: str, index: int) -> Path:
        """See MemberService."""
        return await self._ready().vector(job, index)

    async def metrics(self) -> Metrics:
        """See MemberService."""
        return await self._ready().metrics()
