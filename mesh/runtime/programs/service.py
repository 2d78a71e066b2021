"""This node's part in program sessions: judge a plan, ask the data's owner, run the machine, keep the ledger.

Every plan, our own included, goes the same way as a sum's: well formed, what sortition yields in our view,
allowed by the owner of our data; only then does a machine start. Whoever refuses says so to the initiator.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import structlog
import trio

from mesh.data import asking
from mesh.data.room import DataRoom
from mesh.overlay import program_check
from mesh.overlay.program_planner import ProgramLimits
from mesh.runtime import judging
from mesh.runtime.driver import Driver
from mesh.runtime.jobs.inputs import Inputs
from mesh.runtime.journal import Journal, LeftOpen
from mesh.runtime.postman import Postman
from mesh.runtime.programs.driver import ProgramDriver
from mesh.runtime.programs.reading import Asked
from mesh.runtime.programs.resumption import is_program, rebuilt
from mesh.runtime.registry import Registry
from mesh.settings import Config
from protocols.arithmetic.rns import Residues
from protocols.circuits import graph as graphs
from protocols.circuits.graph import Graph
from protocols.errors import MalformedMessage, MeshError, UnexpectedMessage
from protocols.identifiers import PartyId, SessionId
from protocols.machine import Effect
from protocols.programs import questions, split
from protocols.programs.events import Certified, Unopened
from protocols.programs.messages import NETWORK_MESSAGES, ProgramDecline, ProgramOffer
from protocols.programs.party import Finished, ProgramParty
from protocols.programs.plan import ProgramPlan
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import PeersLost
from protocols.wire.envelope import Envelope

if TYPE_CHECKING:
    from trio_typing import TaskStatus

    from mesh.runtime.sessions import Picture

log = structlog.get_logger("coppice.program")

PROGRAM_MESSAGES = NETWORK_MESSAGES
MAX_LIVE = 8
MAX_ENDED = 16
"""Outcomes kept; an opened one holds its outputs."""

Listener = Callable[[ProgramPlan, object], None]
T = TypeVar("T")


def limits_of(config: Config) -> ProgramLimits:
    """A node's limits for programs, from its settings."""
    return ProgramLimits(
        committee=config.committee_size,
        collect_ms=int(config.collect_s * 1000),
        total_ms=max(120_000, int(config.total_s * 1000)),
    )


class Programs:
    """All program sessions of this node. `run` must be running."""

    def __init__(
        self,
        keys: PartyKeys,
        journal: Journal,
        postman: Postman,
        room: DataRoom,
        picture: Callable[[], Picture],
        links: Callable[[], set[PartyId]],
        inputs: Inputs,
        limits: ProgramLimits,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.registry = Registry(self.counters)
        self.listeners: list[Listener] = []
        self.limits = limits
        self.asked = Asked(room)
        self.ended: OrderedDict[SessionId, ProgramOpened | Finished | events.Aborted] = OrderedDict()
        """How our own last sessions ended: for a job that listens only after a restart went on with it."""
        self._keys = keys
        self._journal = journal
        self._postman = postman
        self._room = room
        self._picture = picture
        self._links = links
        self._inputs = inputs
        self._considering: dict[SessionId, PartyId] = {}
        self._data_lock = trio.CapacityLimiter(1)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run sessions until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for left in await trio.to_thread.run_sync(self._journal.left_open):
                if is_program(left):
                    self._considering[left.session] = self._keys.party
                    nursery.start_soon(self._resume, left)
            task_status.started()
            await trio.sleep_forever()

    # -- inputs -------------------------------------------------------------------------------------

    def receive(self, letter: Envelope, message: object) -> None:
        """A message whose signature was checked. Raises ProtocolError."""
        if isinstance(message, ProgramOffer):
            plan = message.plan
            if (letter.session, letter.epoch) != (plan.session, plan.epoch):
                raise MalformedMessage("an envelope bound to another session or epoch", blame=letter.sender)
            self._offered(letter.sender, plan)
            return
        self.registry.deliver(letter.session, letter.sender, message, len(letter.body))

    def _offered(self, sender: PartyId, plan: ProgramPlan) -> None:
        if plan.initiator != sender:
            raise MalformedMessage("a plan is offered by its initiator", blame=sender)
        if self.registry.is_known(plan.session) or plan.session in self._considering:
            return
        if self._keys.party not in plan.parties:
            raise UnexpectedMessage("we have no role in this plan")
        if len(self.registry.busy()) + len(self._considering) >= MAX_LIVE:
            self._decline(plan, f"{MAX_LIVE} programs are live here already")
            return
        self._start(plan, None, None)

    def begin(
        self, plan: ProgramPlan, graph: Graph | None = None, values: tuple[Residues, int] | None = None
    ) -> None:
        """Start a session of our own; its events go to the listeners.

        `graph`: of a job that names its own; `values`: what we deal, instead of what our data room holds.
        """
        self._start(plan, graph, values)

    def linked(self) -> None:
        """Links came or went: tell every live session whom we cannot reach."""
        linked = self._links()
        for driver in self._drivers():
            driver.deliver(self._keys.party, self._lost(driver.machine.plan, linked))

    def cancel(self, session: SessionId) -> None:
        """End our part of a session silently."""
        driver = self.driver(session)
        if driver is not None:
            driver.cancel()

    def driver(self, session: SessionId) -> ProgramDriver | None:
        """Of a live session."""
        return cast("ProgramDriver | None", self.registry.live.get(session))

    def is_open(self, session: SessionId) -> bool:
        """Whether it is live, or was left open by a crash and will be again. Raises JournalFull."""
        if session in self.registry.live or session in self._considering:
            return True
        return any(left.session == session for left in self._journal.left_open())

    def knows(self, session: SessionId) -> bool:
        """Whether this node ever said anything in the session. Raises JournalFull."""
        return self._journal.knows(session)

    def _drivers(self) -> list[ProgramDriver]:
        return cast("list[ProgramDriver]", list(self.registry.live.values()))

    # -- one session --------------------------------------------------------------------------------

    def _start(self, plan: ProgramPlan, graph: Graph | None, values: tuple[Residues, int] | None) -> None:
        if self._nursery is None:
            raise UnexpectedMessage("this node is not running sessions")
        self._considering[plan.session] = plan.initiator
        self._nursery.start_soon(self._take_part, plan, graph, values)

    async def _take_part(
        self, plan: ProgramPlan, graph: Graph | None, values: tuple[Residues, int] | None
    ) -> None:
        """Judge, then run. The initiator's own failure to join its session is reported as its end."""
        try:
            if await trio.to_thread.run_sync(self._journal.knows, plan.session):
                return
            await judging.patiently(lambda: self._judge(plan))
            graph = graph or await self._graph(plan)
            refusal = ""
            if values is None:
                values, refusal = await self._consent(plan, graph)
            machine = await trio.to_thread.run_sync(
                lambda: ProgramParty(
                    plan, self._keys, os.urandom(32), values, refusal, limits=self.limits.cost, graph=graph
                )
            )
        except MeshError as error:
            log.info("program refused", session=plan.session.short(), why=error.sentence())
            self._refuse(plan, error.code, str(error.args[0]))
            return
        except Exception:  # the session boundary: a bug in judging a plan ends no other session
            log.exception("program not judged by our own fault", session=plan.session.short())
            self._refuse(plan, "C-900", "this node failed; its log has the details")
            return
        finally:
            self._considering.pop(plan.session, None)
        await self._run(machine)

    async def _resume(self, left: LeftOpen) -> None:
        """Go on with a session that a crash or a stop left open; or end it, if it cannot be gone on with."""
        try:
            found = await trio.to_thread.run_sync(self._journal.unfinished, left)
            now, limits = trio.current_time(), self.limits.cost
            machine, effects = await trio.to_thread.run_sync(rebuilt, self._keys, found, now, limits)
        except Exception as error:  # a record that breaks the machine ends this session, not the node
            log.warning("program abandoned", session=left.session.short(), why=repr(error))
            await self._journal.end(left.session, "abandoned by a restart")
            return
        finally:
            self._considering.pop(left.session, None)
        log.info("program resumed", session=found.session.short(), records=len(found.records))
        self.counters["programs_resumed"] += 1
        await self._run(machine, effects)

    async def _run(self, machine: ProgramParty, resumed: list[Effect] | None = None) -> None:
        plan = machine.plan
        driver = ProgramDriver(
            machine, self._postman, self._journal, lambda e: self._heard(plan, e), self.counters, resumed
        )
        self.registry.open(cast(Driver, driver))
        driver.deliver(self._keys.party, self._lost(plan, self._links()))
        try:
            await driver.run()
        finally:
            self.registry.close(plan.session)
        await self._write_ledger(plan, machine)

    def _refuse(self, plan: ProgramPlan, code: str, reason: str) -> None:
        if plan.initiator == self._keys.party:
            self._heard(plan, events.Aborted(code, reason, definite=True))
        else:
            self._decline(plan, f"{code}: {reason}")

    def _heard(self, plan: ProgramPlan, event: object) -> None:
        if isinstance(event, events.Named):
            name = self._picture().view.name(event.party)
            log.warning("fault", party=name, fault=event.fault, proven=event.proven)
            self.counters["faults_named"] += 1
        if (
            isinstance(event, ProgramOpened | Finished | events.Aborted)
            and plan.initiator == self._keys.party
        ):
            self.ended[plan.session] = event
            while len(self.ended) > MAX_ENDED:
                self.ended.popitem(last=False)
        if isinstance(event, Certified | Unopened) and self._nursery is not None:
            self._nursery.start_soon(self._note, plan, event)
        for listener in list(self.listeners):
            listener(plan, event)

    def _judge(self, plan: ProgramPlan) -> None:
        """Raise MalformedMessage, Refused or EpochEnded unless we may take part."""
        picture = self._picture()
        questions.asked(plan.job)
        program_check.verify(plan, picture.view, picture.record, self.limits)

    async def _graph(self, plan: ProgramPlan) -> Graph | None:
        """The job's own program, if it names one; fetched from the initiator, checked against its digest."""
        if not plan.job.inputs:
            return None
        blobs = await self._inputs.obtain(plan.job.inputs, plan.initiator)
        return await trio.to_thread.run_sync(graphs.decode, blobs[0])

    async def _consent(
        self, plan: ProgramPlan, graph: Graph | None
    ) -> tuple[tuple[Residues, int] | None, str]:
        """Our encoded values, or None and the reason why not."""
        if self._keys.party not in plan.owners:
            return None, "no owner"
        name = self._picture().view.name(plan.initiator)
        decision = await self._in_room(self._room.authorize, plan, self._keys.party, name)
        if not decision.allowed:
            return None, asking.public(decision)
        try:
            columns: Mapping[str, Any] = await self._in_room(self._room.columns, plan)
            arrays = {key: np.array(values, dtype=np.float64) for key, values in columns.items()}
            return await trio.to_thread.run_sync(_encoded, plan, self._keys.party, graph, arrays), ""
        except MeshError as error:
            log.warning("nothing dealt", session=plan.session.short(), why=error.sentence())
            await self._in_room(lambda: self._room.record_use(plan, opened=False))
            return None, f"{error.code}: {error.args[0]}"  # names the range, never a row or a value

    async def _in_room(self, function: Callable[..., T], *arguments: object) -> T:
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._data_lock)

    async def _note(self, plan: ProgramPlan, event: Certified | Unopened) -> None:
        """What is certain of a use of our data, as soon as it is: the next job may be judged by it."""
        try:
            if isinstance(event, Certified):
                await self._in_room(self._room.record_certified, plan, event.roster)
            else:
                await self._in_room(lambda: self._room.record_use(plan, opened=False))
        except MeshError as error:
            log.warning("ledger", why=error.sentence())

    async def _write_ledger(self, plan: ProgramPlan, machine: ProgramParty) -> None:
        """Tell the owner's ledger how the use ended; an unclear one counts as opened (see `_note`)."""
        me = self._keys.party
        use = known_use(machine.outcome, asked_by_us=plan.initiator == me)
        if me not in plan.owners or use is None:
            return
        opened, roster = use
        try:
            await self._in_room(lambda: self._room.record_use(plan, opened=opened, roster=roster))
        except MeshError as error:
            log.warning("ledger", why=error.sentence())

    def _decline(self, plan: ProgramPlan, reason: str) -> None:
        if plan.initiator != self._keys.party:
            message = ProgramDecline(reason[:500], whole=True)
            self._postman.post((plan.initiator,), message, session=plan.session, epoch=plan.epoch)

    def _lost(self, plan: ProgramPlan, linked: set[PartyId]) -> PeersLost:
        me = self._keys.party
        return PeersLost(tuple(party for party in plan.parties if party != me and party not in linked))


def known_use(outcome: object, *, asked_by_us: bool) -> tuple[bool, tuple[PartyId, ...]] | None:
    """Whether the outputs were opened, and over whose values; None where the owner cannot know.

    Only our own definite abort gives a use back. An asker that says "opened" and kept the certificate from us
    has opened something over a roster that we do not know.
    """
    if isinstance(outcome, ProgramOpened):
        return True, tuple(entry.dealer for entry in outcome.inputs)
    if isinstance(outcome, Finished) and outcome.opened and outcome.roster:
        return True, outcome.roster
    if isinstance(outcome, events.Aborted) and outcome.definite and asked_by_us:
        return False, ()
    return None


def _encoded(
    plan: ProgramPlan, me: PartyId, graph: Graph | None, columns: Mapping[str, Any]
) -> tuple[Residues, int]:
    """Our columns as the job, or its own program, takes them. Raises LocalMisuse."""
    if graph is None:
        return questions.encoded(plan.job, columns)
    place = plan.owners.index(me)
    ordered = {query.column: columns[query.column] for query in plan.job.queries if query.column in columns}
    values = split.columns_for(graph, place, ordered)
    return split.encoded_program(graph, place, values), 0
