"""What the control API asks of a node, answered from the node's own state."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio

from mesh.api.shapes import (
    Alert,
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
from mesh.overlay import sortition
from mesh.runtime import places
from mesh.runtime.jobs.calculation import Calculation, job_of, prepare
from mesh.runtime.jobs.gathering import gathered
from mesh.runtime.jobs.records import Job, Jobs, cancelled_by_person
from mesh.runtime.jobs.store import Stored
from mesh.runtime.node import Node
from mesh.runtime.programs import inference, reading
from mesh.runtime.programs.jobs import ProgramCalculation, is_program, report_of
from mesh.runtime.programs.jobs import prepare as prepare_program
from mesh.runtime.training import recipe as training_recipe
from mesh.runtime.training.models import Ledger
from mesh.runtime.training.service import Training, work_spec
from mesh.runtime.vaults.job import VaultJob, is_vault_job, report
from mesh.runtime.vaults.joint import JointJob, is_joint
from mesh.version import VERSION
from protocols.errors import LocalMisuse, MeshError, Refused
from protocols.identifiers import PartyId

log = structlog.get_logger("coppice.jobs")


class MemberService:
    """NodeService of a certified member."""

    def __init__(self, node: Node, nursery: trio.Nursery, stop: trio.Event) -> None:
        self._node = node
        self._nursery = nursery
        self._stop = stop
        self._jobs = Jobs(node.config.max_jobs)
        self._models = Ledger(node.models, node.runs)
        for stored in node.jobs.load():
            work = self._jobs.again(stored.info)
            if not stored.info.ended:
                self._nursery.start_soon(self._resumed, work, stored)

    # -- the node -------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """The node at a glance."""
        node, view = self._node, self._node.overlay.view()
        leaves = places.leaves(node, view)
        mine = next((leaf.label for leaf in leaves if node.me in leaf.parties), "")
        troubles = [(party, why) for party, why in node.transport.troubles().items() if view.is_alive(party)]
        alerts = tuple(
            Alert("C-510", f"no link to {view.name(party)}: {why}", "check its address and the network")
            for party, why in troubles
        )
        alive, members = len(view.alive), len(view.members)
        return Status(
            name=node.config.name,
            site=node.config.site,
            party=node.me.hex(),
            mesh=node.identity.mesh.mesh.hex(),
            state="member",
            health=places.health(alive, members, len(leaves)),
            version=VERSION,
            pid=os.getpid(),
            uptime_s=round(time.time() - node.started_at, 1),
            epoch=node.overlay.keeper.record.epoch,
            members=members,
            alive=alive,
            links=len(node.transport.links()),
            clusters=len(leaves),
            cluster=mine,
            gateway=node.config.gateway,
            roles=places.roles(node, view).get(node.me, ()),
            addresses=tuple(node.transport.addresses()),
            datasets=len(await trio.to_thread.run_sync(node.room.list)),
            jobs_running=self._jobs.running,
            alerts=(*alerts, *node.programs.asked.alerts()),
        )

    async def peers(self) -> Sequence[PeerInfo]:
        """All members known, this node first."""
        view = self._node.overlay.view()
        links = self._node.transport.links()
        roles = places.roles(self._node, view)
        cluster_of = {p: leaf.label for leaf in places.leaves(self._node, view) for p in leaf.parties}
        found = []
        for member in view.members:
            link = links.get(member.party)
            own = member.party == self._node.me
            found.append(
                PeerInfo(
                    name=member.certificate.name,
                    party=member.party.hex(),
                    site=member.certificate.site,
                    status="self" if own else member.status.name.lower(),
                    cluster=cluster_of.get(member.party, ""),
                    gateway=member.certificate.gateway,
                    direct=link is not None,
                    rtt_ms=round(link.rtt_s * 1000, 2) if link and link.rtt_s is not None else None,
                    address=link.address if link else next(iter(member.addresses), ""),
                    roles=roles.get(member.party, ()),
                    bytes_sent=link.bytes_sent if link else 0,
                    bytes_received=link.bytes_received if link else 0,
                )
            )
        return sorted(found, key=lambda info: (info.status != "self", info.name))

    async def tree(self) -> Tree:
        """Clusters, adders and committees of the current epoch."""
        view = self._node.overlay.view()
        keeper = self._node.overlay.keeper
        leaves = tuple(leaf.shape for leaf in places.leaves(self._node, view))
        root = places.root(self._node, view).shape if len(leaves) > 1 else None
        ends = keeper.record.intent.started_s + self._node.config.epoch_s
        return Tree(keeper.record.epoch, leaves, root, max(0.0, round(ends - time.time(), 1)))

    async def metrics(self) -> Metrics:
        """Counters and gauges."""
        node = self._node
        counters = node.counters + node.postman.counters + node.sessions.counters + node.overlay.counters
        values = {name: float(value) for name, value in counters.items()}
        values |= {
            "links": float(len(node.transport.links())),
            "sessions_live": float(len(node.sessions.registry.live)),
            "jobs_running": float(self._jobs.running),
            "epoch": float(node.overlay.keeper.record.epoch),
            "tasks": float(trio.lowlevel.current_statistics().tasks_living),
        }
        return Metrics(tuple(sorted(values.items())))

    async def shutdown(self) -> None:
        """Stop the node."""
        self._stop.set()

    def sighted(self, party: PartyId, addresses: tuple[str, ...]) -> None:
        """A node of this mesh was seen on the local network."""
        self._node.sighted(party, addresses)

    async def goodbye(self) -> None:
        """Tell the mesh that this node leaves."""
        await self._node.goodbye()

    # -- joining --------------------------------------------------------------------------------------

    async def invite(self, spec: InviteSpec) -> Invitation:
        """A new ticket."""
        node = self._node
        addresses = node.config.announce or tuple(node.transport.addresses())
        return await node.admissions.invite(spec, addresses)

    async def join(self, spec: JoinSpec) -> JoinStatus:
        """Members do not join. Raises Refused."""
        del spec
        raise Refused("this node belongs to a mesh already", reasons={}, fix="join with another --home")

    async def join_status(self) -> JoinStatus:
        """Joined."""
        return JoinStatus("granted")

    async def requests(self) -> Sequence[RequestInfo]:
        """Joins that wait for this person, and answered ones."""
        return self._node.admissions.requests

    async def answer(self, request: str, spec: AnswerSpec) -> RequestInfo:
        """Accept or deny."""
        return await self._node.admissions.answer(request, spec.verdict)

    # -- jobs -----------------------------------------------------------------------------------------

    async def plan(self, spec: JobSpec) -> PlanReport:
        """Dry run."""
        if is_vault_job(spec):
            return await report(self._node.vaults, spec)
        job = job_of(spec, self._node.config.min_sites)
        ready = prepare_program if is_program(spec) else prepare
        _, explanation = await ready(self._node, spec, job)
        return report_of(explanation)

    async def submit(self, spec: JobSpec) -> str:
        """Queue a job. Raises as `plan` does for words that make no job, or a mesh of two."""
        job_of(spec, self._node.config.min_sites)
        if is_vault_job(spec):
            several, work = is_joint(spec.dataset), self._jobs.new(spec)
            run = JointJob(self._node, work).run if several else VaultJob(self._node.vaults, work).run
            self._nursery.start_soon(self._until_ended, work, run)
            return work.info.id
        await gathered(self._node)
        sortition.committee_size(len(self._node.picture().view.alive_gateways))
        work = await self._new(spec)
        calculation = (ProgramCalculation if is_program(spec) else Calculation)(self._node, work)
        await trio.to_thread.run_sync(self._node.jobs.save, work.info)
        self._nursery.start_soon(self._until_ended, work, calculation.run)
        return work.info.id

    async def _new(self, spec: JobSpec) -> Job:
        """A queued job; the vectors of jobs that are no longer listed go."""
        work = self._jobs.new(spec)
        listed = {job.info.id for job in self._jobs.all()}
        await trio.to_thread.run_sync(self._node.results.retain, listed)
        await trio.to_thread.run_sync(self._node.jobs.retain, listed)
        return work

    async def _resumed(self, work: Job, stored: Stored) -> None:
        calculation = ProgramCalculation if is_program(stored.info.spec) else Calculation
        await self._until_ended(work, partial(calculation(self._node, work).resume, stored))

    async def _until_ended(self, work: Job, run: Callable[[], Awaitable[None]]) -> None:
        with work.scope:
            try:
                await run()
            except Exception:  # a bug in one job ends that job, not the node
                log.exception("job failed by our own fault", job=work.info.id)
                work.fail(MeshError("this node failed; its log has the details", code="C-900"))
        if not work.info.ended:
            work.fail(cancelled_by_person(), cancelled=True)
        await trio.to_thread.run_sync(self._node.jobs.save, work.info)

    async def train(self, spec: TrainSpec) -> str:
        """Start a training run."""
        training_recipe.check(spec)
        sortition.committee_size(len(self._node.picture().view.alive_gateways))
        work = await self._new(work_spec(spec))
        run = Training(self._node, work, spec, self._models)
        self._nursery.start_soon(self._until_ended, work, run.run)
        return work.info.id

    async def infer(self, spec: InferenceSpec) -> str:
        """Evaluate a model file on secret rows."""
        inference.check(spec)
        work = await self._new(inference.work_spec(spec))
        self._nursery.start_soon(self._until_ended, work, inference.Inference(self._node, work, spec).run)
        return work.info.id

    async def plan_inference(self, spec: InferenceSpec) -> PlanReport:
        """Dry run of that."""
        return report_of((await inference.prepare(self._node, spec)).explanation)

    async def programs(self) -> Sequence[ProgramAsked]:
        """Programs that others asked to run over data of this node."""
        return self._node.programs.asked.all()

    async def program(self, digest: str) -> ProgramInfo:
        """What the program of this digest computes."""
        node = self._node
        limits = node.programs.limits
        view = node.picture().view
        return await reading.read(
            digest, node.programs.asked, node.inputs, view, limits.cost, limits.committee
        )

    async def models(self) -> Sequence[ModelInfo]:
        """Certified models here."""
        return await trio.to_thread.run_sync(self._models.all)

    async def model(self, name: str) -> ModelInfo:
        """One of them."""
        return await trio.to_thread.run_sync(self._models.get, name)

    async def weights(self, name: str) -> bytes:
        """Weights of one of them."""
        return await trio.to_thread.run_sync(self._models.weights, name)

    async def share(self, spec: ShareSpec) -> VaultInfo:
        """Put a file into the mesh as shares."""
        return await self._node.vaults.share(spec)

    async def shared(self) -> Sequence[VaultInfo]:
        """Vaults of ours, and those held here."""
        return await self._node.vaults.shared()

    async def unshare(self, name: str) -> VaultInfo:
        """Have a vault of ours erased."""
        return await self._node.vaults.erasing.unshare(name)

    async def erased(self) -> Sequence[VaultInfo]:
        """Vaults of ours that every holder erased."""
        return await self._node.vaults.erasing.over()

    async def jobs(self) -> Sequence[JobInfo]:
        """Newest first."""
        return [job.info for job in self._jobs.all()]

    async def job(self, job: str) -> JobInfo:
        """One job."""
        return self._jobs.get(job).info

    async def cancel(self, job: str) -> JobInfo:
        """Stop a job."""
        work = self._jobs.get(job)
        if not work.info.ended:
            work.scope.cancel()
            while not work.info.ended:
                await work.changed()
        return work.info

    async def events(self, job: str) -> Sequence[JobEvent]:
        """What happened so far."""
        return tuple(self._jobs.get(job).events)

    def watch(self, job: str) -> AsyncGenerator[JobEvent, None]:
        """All events, then live ones."""
        return self._jobs.watch(job)

    async def result(self, job: str) -> JobResult:
        """The result, or the error the job ended with."""
        work = self._jobs.get(job)
        if work.info.result is not None:
            return work.info.result
        if work.error is not None:
            raise work.error
        raise LocalMisuse(f"job {job} is still running", code="C-405", fix=f"coppice jobs watch {job}")

    async def vector(self, job: str, index: int) -> Path:
        """The file of a long vector."""
        await self.result(job)
        return await trio.to_thread.run_sync(self._node.results.path, job, index)
