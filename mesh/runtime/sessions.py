"""This node's part in sessions: judge a plan, ask the data's owner, run the machine, keep the ledger.

Every plan, our own included, goes the same way: well formed, what sortition yields in our view, allowed by
the owner of our data; only then does a machine start. Whoever refuses says so to the initiator.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog
import trio

from mesh.data import asking
from mesh.data.policy import Decision, deny
from mesh.data.room import DataRoom
from mesh.overlay import plan_check
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.planner import PlanLimits, is_beacon
from mesh.overlay.sortition import Standing
from mesh.overlay.view import View
from mesh.runtime import background, judging
from mesh.runtime.aftermath import Aftermath
from mesh.runtime.driver import Driver
from mesh.runtime.jobs.inputs import Inputs
from mesh.runtime.jobs.inquiry import Inquiry
from mesh.runtime.journal import Journal, LeftOpen
from mesh.runtime.postman import Postman
from mesh.runtime.programs.resumption import is_program
from mesh.runtime.refusals import Refusals
from mesh.runtime.registry import Registry
from mesh.runtime.resumption import abandon, gone_on_with
from mesh.runtime.training.runs import Runs
from mesh.runtime.vectors import masked
from mesh.runtime.vectors.store import VectorStore
from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, MeshError, UnattributableFault, UnexpectedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.learning.rounds import Round
from protocols.machine import Effect
from protocols.sessions import events
from protocols.sessions.bulk_messages import VectorStored
from protocols.sessions.durable import DurableParty
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    NO_VECTOR,
    AbortProof,
    PeerLinked,
    PeersLost,
    PlanOffer,
    Result,
)
from protocols.sessions.plan import Job, Plan
from protocols.statistics import registry as statistics

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("coppice.session")

RECONNECT_S = 3.0
"""After a start links come up one by one; nobody is taken for lost that long who was not linked before."""

Report = Callable[[Plan, object], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a plan is judged by: our view, the epoch, verified standings, the mesh's limits."""

    view: View
    record: EpochRecord
    standings: dict[PartyId, Standing]
    limits: PlanLimits


class Sessions:
    """All sessions of this node. `run` must be running."""

    def __init__(
        self,
        keys: PartyKeys,
        journal: Journal,
        postman: Postman,
        room: DataRoom,
        picture: Callable[[], Picture],
        links: Callable[[], set[PartyId]],
        report: Report,
        check_beacon: Callable[[Plan], None],
        max_live: int,
        spool: Path,
        inputs: Inputs,
        runs: Runs,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.aftermath = Aftermath(keys.party, journal, postman, links, self._learned)
        self.registry = Registry(self.counters, self.aftermath.heard)
        self._keys = keys
        self._journal = journal
        self._postman = postman
        self._room = room
        self._picture = picture
        self._links = links
        self._report = report
        self._check_beacon = check_beacon
        self._max_live = max_live
        self._spool = spool
        self._inputs = inputs
        self._runs = runs
        self._wholes = judging.WholePlans(postman)
        self._refusals = Refusals(keys, journal, postman)
        self._considering: dict[SessionId, PartyId] = {}
        self._data_lock = trio.CapacityLimiter(1)
        self._nursery: trio.Nursery | None = None
        self._since = 0.0
        self._met: set[PartyId] = set()
        self.joint: Callable[[Plan, DataRoom], Awaitable[tuple[Elements | None, str]]] | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run sessions until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._since = nursery, trio.current_time()
            left = await trio.to_thread.run_sync(self._journal.left_open)
            left = [one for one in left if not is_program(one)]
            self._considering |= {one.session: self._keys.party for one in left}
            nursery.start_soon(self._resume, left, nursery)
            task_status.started()
            nursery.start_soon(self.aftermath.run)
            await trio.sleep(RECONNECT_S)
            self.linked()
            await trio.sleep_forever()

    # -- inputs -------------------------------------------------------------------------------------

    def offered(self, sender: PartyId, plan: Plan) -> None:
        """Somebody wants us in a session. Raises ProtocolError for a plan that nobody may offer."""
        if plan.initiator != sender:
            raise MalformedMessage("a plan is offered by its initiator", blame=sender)
        if self._wholes.take(plan) or self.registry.is_known(id_ := plan.session) or id_ in self._considering:
            return
        busy = self.registry.busy()
        if len(busy) + len(self._considering) >= self._max_live:
            self._refusals.decline(plan, f"{self._max_live} sessions are live here already")
            return
        if self._keys.party not in plan.parties:
            raise UnexpectedMessage("we have no role in this plan")
        theirs = [driver.machine.plan.initiator for driver in busy]
        if [*theirs, *self._considering.values()].count(sender) >= max(1, self._max_live // 2):
            self._refusals.decline(
                plan, "half of the sessions that can be live here are the initiator's already"
            )
            return
        self._start(plan)

    def begin(self, plan: Plan) -> None:
        """Start a session of our own; its events go to `report`, its end as Opened or Aborted."""
        self._start(plan)

    def linked(self, *, up: PartyId | None = None, down: PartyId | None = None) -> None:
        """Links came or went: tell every live session whom we cannot reach.

        A link that is back already was lost all the same, with what was on it.
        """
        linked = self._links()
        self._met |= linked
        self.aftermath.linked()
        for driver in self.registry.live.values():
            if down in linked:
                driver.deliver(self._keys.party, self._lost(driver.machine.plan, linked - {down}))
            driver.deliver(self._keys.party, self._lost(driver.machine.plan, linked))
            if up is not None and up not in driver.machine.lost:
                driver.deliver(self._keys.party, PeerLinked(up))
            if up is not None and driver.bulk is not None:
                driver.bulk.offer_again(up)

    def cancel(self, session: SessionId) -> None:
        """End our part of a session silently."""
        driver = self.registry.live.get(session)
        if driver is not None:
            driver.cancel()

    async def would_contribute(self, inquiry: Inquiry, requester: PartyId, name: str) -> Decision:
        """What the owner's policy says of a job before there is a plan; binds nobody."""
        job = inquiry.job
        blobs: tuple[bytes, ...] = ()
        if asking.is_about_model(job) and self._room.has(job.dataset):
            try:
                blobs, _ = await self._public(job, requester)
            except MeshError as error:
                return deny("model", error.sentence())
        return await self._in_room(
            self._room.consider, job, requester, name, inquiry.sites, inquiry.threshold, blobs
        )

    async def _public(self, job: Job, source: PartyId) -> tuple[tuple[bytes, ...], Round | None]:
        """The job's public inputs, and the model among them, checked against what is certified here."""
        blobs = await self._inputs.obtain(job.inputs, source)
        return blobs, await self._runs.check(blobs[0]) if blobs else None

    # -- one session --------------------------------------------------------------------------------

    def _start(self, plan: Plan) -> None:
        if self._nursery is None:
            raise UnexpectedMessage("this node is not running sessions")
        self._considering[plan.session] = plan.initiator
        self._nursery.start_soon(self._take_part, plan)

    async def _take_part(self, plan: Plan) -> None:
        """Judge, then run. The initiator's own failure to join its session is reported as its end."""
        store, offered = None, False
        try:
            if await self._refusals.is_known(plan):
                return
            plan = await self._wholes.judged(plan, self._judge)
            store = masked.open_store(self._spool, plan)
            contribution, refusal = await self._consent(plan)
            name = NO_VECTOR
            if store is not None and contribution is not None:
                offered = await self._offer_early(plan)
                made = await background.run(masked.mask, plan, store, contribution, os.urandom(32))
                contribution, name = made.dealt, made.name
            machine = DurableParty(plan, self._keys, os.urandom(32), contribution, refusal, name)
        except Exception as error:  # the session boundary: a bug in judging a plan ends no other session
            await _discard(store)
            await self._stay_out(plan, error, offered)
            return
        finally:
            self._considering.pop(plan.session, None)
        await self._run(machine, store, begun=offered)

    async def _stay_out(self, plan: Plan, error: Exception, offered: bool) -> None:
        if isinstance(error, MeshError):
            log.info("plan refused", session=plan.session.short(), why=error.sentence())
        else:
            log.error("plan not judged by our own fault", session=plan.session.short(), exc_info=error)
            error = MeshError("this node failed; its log has the details", code="C-900")
        if plan.initiator != self._keys.party:
            await self._refusals.refuse(plan, error)
            return
        if offered:
            await abandon(self._journal, plan.session, plan)
        self._report(plan, events.Aborted(error.code, str(error.args[0]), not offered))

    async def _offer_early(self, plan: Plan) -> bool:
        """As the initiator: let the others begin while we mask our vector; the machine offers again. They may
        end the session though we never begin it: the journal has the plan before it leaves."""
        others = [party for party in plan.parties if plan.initiator == self._keys.party != party]
        if others:
            await self._journal.begin(plan.session, KnownPlan.of(plan))
        self._postman.post(others, PlanOffer(plan), session=plan.session, epoch=plan.epoch)
        return bool(others)

    async def _run(
        self,
        machine: DurableParty,
        store: VectorStore | None = None,
        resumed: Sequence[Effect] | None = None,
        begun: bool = False,
    ) -> None:
        """Drive a machine to its end; `resumed`: rebuilt from the journal, with this to say first."""
        plan = machine.plan
        driver = Driver(
            machine,
            self._postman,
            self._journal,
            lambda e: self._heard(plan, e),
            self.counters,
            store,
            lambda: self._write_ledger(plan, machine.outcome, machine.proof),
            resumed,
            begun,
        )
        self.registry.open(driver)
        for name in store.names if store is not None else ():
            driver.deliver(self._keys.party, VectorStored(name))
        driver.deliver(self._keys.party, self._lost(plan, self._links()))
        try:
            await driver.run()
        finally:
            self.registry.close(plan.session)
            await _discard(store)

    async def _resume(self, left: list[LeftOpen], nursery: trio.Nursery) -> None:
        """Go on with what a crash or a stop left open, one after another, while the node serves already.

        Until its turn has come a session says nothing and its plan is refused as known, so nothing is
        contradicted; the others tell again what it missed. Those that somebody talks to come first.
        """
        while left:
            one = next((one for one in left if self.registry.is_expected(one.session)), left[0])
            left.remove(one)
            again = await gone_on_with(self._journal, self._keys, one, self._spool)
            self._considering.pop(one.session, None)
            if again is not None:
                self.counters["sessions_resumed"] += 1
                nursery.start_soon(self._run, *again)

    def _heard(self, plan: Plan, event: object) -> None:
        """Pass an event on; of a masked session the total once it is read, instead of the opened keys."""
        if isinstance(event, events.TotalLost):
            event = events.Aborted(UnattributableFault.code, event.reason, definite=False)
        if plan.bulk is None or not isinstance(event, events.Opened | events.MaskedTotal):
            self._report(plan, event)
            return
        driver = self.registry.live.get(plan.session)
        if isinstance(event, events.MaskedTotal) and driver is not None and self._nursery is not None:
            self._nursery.start_soon(self._unmask, plan, driver, event.name)

    async def _unmask(self, plan: Plan, driver: Driver, name: Digest) -> None:
        opened = driver.machine.outcome
        if not isinstance(opened, events.Opened) or driver.bulk is None:
            return
        store, count = driver.bulk.store, len(opened.contributors)
        try:
            total = await background.run(masked.read, plan, store, opened.total, count, name)
        except MeshError as error:
            log.warning("masked total refused", session=plan.session.short(), why=error.sentence())
            self._report(plan, events.Aborted(error.code, str(error.args[0]), definite=False))
            return
        self._report(plan, replace(opened, total=total))

    def _judge(self, plan: Plan) -> None:
        """Raise MalformedMessage, Refused or EpochEnded unless we may take part."""
        picture = self._picture()
        if is_beacon(plan):
            self._check_beacon(plan)
        plan_check.verify(plan, picture.view, picture.record, picture.standings, picture.limits)
        if plan.bulk is not None:
            masked.check_fits(plan, plan.bulk)
        elif (plan.codes.width if plan.codes else plan.length) != statistics.job_length(plan.job):
            raise MalformedMessage("the plan's length is not that of its job")

    async def _consent(self, plan: Plan) -> tuple[Elements | None, str]:
        """Our vector, or None and the reason why not."""
        if self._keys.party not in plan.dealers:
            return None, "no dealer"
        if plan.job.dataset.startswith("vault:") and self.joint is not None:
            return await self.joint(plan, self._room)
        try:
            blobs, model = await self._public(plan.job, plan.initiator)
        except MeshError as error:
            return None, error.sentence()
        if not is_beacon(plan):
            name = self._picture().view.name(plan.initiator)
            decision = await self._in_room(self._room.authorize, plan, self._keys.party, name, blobs)
            if not decision.allowed:
                return None, asking.public(decision)
        try:
            vector, _ = await self._in_room(self._room.contribution, plan, None, blobs, gently=True)
            if model is not None:
                self._runs.contributing(model)
        except MeshError as error:
            await self._in_room(lambda: self._room.record_use(plan, opened=False))
            return None, error.sentence()
        return vector, ""

    async def _in_room(self, function: Callable[..., T], *arguments: object, gently: bool = False) -> T:
        """One at a time; `gently`: it may take long."""
        async with self._data_lock:
            if gently:
                return await background.run(function, *arguments)
            return await trio.to_thread.run_sync(function, *arguments)

    async def _learned(self, plan: Plan, proof: Result | AbortProof) -> None:
        await self._write_ledger(plan, None, proof)

    async def _write_ledger(
        self, plan: Plan, outcome: object | None, proof: Result | AbortProof | None
    ) -> None:
        """Tell the owner's ledger how the use ended; an unclear end counts as opened until it is proved."""
        if is_beacon(plan) or self._keys.party not in plan.dealers or plan.job.dataset.startswith("vault:"):
            return
        opened = outcome.result if isinstance(outcome, events.Opened) else proof
        try:
            if isinstance(opened, Result):
                roster = opened.certificate.roster.contributors
                await self._in_room(lambda: self._room.record_use(plan, opened=True, roster=roster))
            elif opened is not None or (isinstance(outcome, events.Aborted) and outcome.definite):
                await self._in_room(lambda: self._room.record_use(plan, opened=False))
        except MeshError as error:
            log.warning("ledger", why=error.sentence())

    def _lost(self, plan: Plan, linked: set[PartyId]) -> PeersLost:
        """Whom we do not reach; who has not been met since our start may not have come back to us yet."""
        waiting = trio.current_time() < self._since + RECONNECT_S
        away = set(plan.parties) - linked - {self._keys.party}
        return PeersLost(tuple(sorted(away & self._met if waiting else away)))


async def _discard(store: VectorStore | None) -> None:
    """Remove a session's masked vectors."""
    if store is not None:
        await trio.to_thread.run_sync(store.close)
