"""A node: transport, overlay and sessions wired together. Takes frames apart and hands them on.

Everything from the network passes `_receive`: signature first, sender equal to the link's peer, kind known,
strict decoding with bounds, then the machine in charge. What fails is counted and dropped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import trio

from mesh.data import asking
from mesh.data.room import DataRoom
from mesh.net.transport import Frame, LinkDown, LinkUp, Transport
from mesh.overlay.announcement import MAX_ADDRESSES
from mesh.overlay.clustering import ClusterSizes
from mesh.overlay.epoch_messages import EPOCH_MESSAGES, EpochChanged, StartBeacon
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.joining import JoinRequest
from mesh.overlay.planner import PlanLimits, is_beacon, plan_beacon
from mesh.overlay.view import MemberChanged, Status
from mesh.runtime import judging
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.jobs.inputs import INPUT_MESSAGES, InputPiece, InputRequest, Inputs
from mesh.runtime.jobs.inquiry import Inquiry, InquiryAnswer, Poll, answer_to
from mesh.runtime.jobs.results import Results
from mesh.runtime.jobs.store import JobStore
from mesh.runtime.joining.admissions import Admissions
from mesh.runtime.joining.gatekeeper import Gatekeeper
from mesh.runtime.joining.known import KnownMembers
from mesh.runtime.journal import Journal
from mesh.runtime.overlay_driver import GOSSIP_MESSAGES, OverlayDriver
from mesh.runtime.postman import Postman
from mesh.runtime.programs.service import PROGRAM_MESSAGES, Programs, limits_of
from mesh.runtime.sessions import Picture, Sessions
from mesh.runtime.training.runs import Runs
from mesh.runtime.vaults.service import VAULT_MAIL, Vaults
from mesh.runtime.vectors.bulk import BULK_MESSAGES
from mesh.runtime.vectors.store import is_piece, open_piece
from mesh.settings import Config
from protocols.errors import MalformedMessage, MeshError, ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.sessions import events
from protocols.sessions.messages import NETWORK_MESSAGES
from protocols.sessions.plan import Plan
from protocols.wire import codec, envelope
from protocols.wire.envelope import Envelope

if TYPE_CHECKING:
    from trio_typing import TaskStatus


log = structlog.get_logger("coppice.node")

_OVERLAY_MESSAGES: tuple[type, ...] = (*GOSSIP_MESSAGES, *EPOCH_MESSAGES)
_MESSAGES: dict[str, type] = {
    message.KIND: message  # type: ignore[attr-defined]  # every message class names its kind
    for message in (
        *NETWORK_MESSAGES,
        *_OVERLAY_MESSAGES,
        JoinRequest,
        Inquiry,
        InquiryAnswer,
        *BULK_MESSAGES,
        *INPUT_MESSAGES,
        *VAULT_MAIL,
        *PROGRAM_MESSAGES,
    )
}
MAX_POLLS = 64
MAX_INQUIRIES = 16
MAX_SIGHTINGS = 256
GOODBYE_S = 0.5
LINKS_EVERYWHERE = 64
"""Meshes up to this size keep every member linked to every other."""

Listener = Callable[[Plan, object], None]


class Node:
    """A certified member at work. `run` serves until cancelled."""

    def __init__(
        self,
        identity: NodeIdentity,
        config: Config,
        journal: Journal,
        room: DataRoom,
        transport: Transport,
        gate: Gatekeeper,
        postman: Postman,
        admissions: Admissions,
        head: EpochRecord | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self.config = config
        self.room = room
        self.transport = transport
        self.admissions = admissions
        self.counters: Counter[str] = Counter()
        self.started_at = clock()
        self.listeners: list[Listener] = []
        self._journal = journal
        self._gate = gate
        self.postman = postman
        self._polls: dict[bytes, Poll] = {}
        self._asking: Counter[PartyId] = Counter()
        self._nursery: trio.Nursery | None = None
        self._wanted: dict[PartyId, tuple[str, ...]] = {}
        self._hints = _hints(journal)
        self._sightings: dict[PartyId, tuple[str, ...]] = {}
        addresses = config.announce or tuple(transport.addresses())
        self.overlay = OverlayDriver(
            identity, config, journal, postman, self._on_overlay, addresses, head, clock
        )
        self.limits = PlanLimits(
            sizes=ClusterSizes(config.cluster_min, config.cluster_target, config.cluster_max),
            committee=config.committee_size,
            collect_ms=int(config.collect_s * 1000),
            total_ms=int(config.total_s * 1000),
        )
        self.inputs = Inputs(postman)
        self.results = Results(journal.folder / "results")
        self.models = journal.folder / "models"
        self.jobs = JobStore(journal.folder / "jobs")
        self.runs = Runs(self.models, self.inputs)
        self.sessions = Sessions(
            identity.party_keys, journal, postman, room, self.picture, lambda: set(transport.links()),
            self._on_session,
            self.overlay.keeper.check_beacon,
            config.max_sessions,
            journal.folder / "spool",
            self.inputs,
            self.runs,
        )  # fmt: skip
        self.programs = Programs(
            identity.party_keys, journal, postman, room, self.picture, lambda: set(transport.links()),
            self.inputs, limits_of(config),
        )  # fmt: skip
        self.vaults = Vaults(identity, config, postman, journal.folder, self.overlay, transport, clock)

    @property
    def me(self) -> PartyId:
        """Our public name."""
        return self.identity.party

    def picture(self) -> Picture:
        """What plans are built from and judged by."""
        keeper = self.overlay.keeper
        return Picture(self.overlay.view(), keeper.record, dict(keeper.standings), self.limits)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.sessions.run)
            await nursery.start(self.programs.run)
            await nursery.start(self.overlay.run)
            self.sessions.joint = self.vaults.joints.contribution
            await nursery.start(self.vaults.run)
            self._want()
            nursery.start_soon(self._frames)
            nursery.start_soon(self._links)
            task_status.started()

    async def goodbye(self) -> None:
        """Tell the mesh that we leave, and remember where the others are. Call before cancelling `run`."""
        await self._journal.remember(self.overlay.known(self._hints), keep=1)
        await self.overlay.leave()
        await self.postman.flush(GOODBYE_S)

    # -- the network ----------------------------------------------------------------------------------

    async def _frames(self) -> None:
        async for frame in self.transport.frames:
            self.counters["frames_received"] += 1
            try:
                await self._receive(frame)
            except MalformedMessage as error:
                self.counters["malformed"] += 1
                log.warning("malformed message", sender=frame.sender.short(), why=str(error))
            except ProtocolError as error:
                self.counters["unexpected"] += 1
                log.debug("message dropped", sender=frame.sender.short(), why=str(error))
            except MeshError as error:
                self.counters["failed"] += 1
                log.error("message not handled", sender=frame.sender.short(), why=error.sentence())
            except Exception:  # the boundary to the network: no message may end the node
                self.counters["bugs"] += 1
                log.exception("a message met a bug of ours", sender=frame.sender.short())

    async def _receive(self, frame: Frame) -> None:
        if is_piece(frame.payload):
            self._on_piece(frame)
            return
        letter = envelope.verify(frame.payload, mesh=self.identity.mesh.mesh)
        if letter.sender != frame.sender:
            raise MalformedMessage(
                "a message signed by somebody else than the link's peer", blame=letter.sender
            )
        cls = _MESSAGES.get(letter.kind)
        if cls is None:
            raise UnexpectedMessage(f"no message is called {letter.kind!r}")
        if frame.guest and cls is not JoinRequest:
            raise UnexpectedMessage("a guest may only ask to join")
        message: object = codec.decode(cls, letter.body)
        if isinstance(message, JoinRequest):
            await self._on_join_request(frame.sender, message)
        elif isinstance(message, _OVERLAY_MESSAGES):
            await self.overlay.receive(letter.sender, message)
        elif isinstance(message, Inquiry):
            self._ask_room(letter.sender, message)
        elif isinstance(message, InquiryAnswer):
            if message.id in self._polls:
                self._polls[message.id].answer(letter.sender, message)
        elif isinstance(message, PROGRAM_MESSAGES):
            self.programs.receive(letter, message)
        elif isinstance(message, InputRequest | InputPiece):
            self.inputs.receive(letter.sender, message)
        elif isinstance(message, VAULT_MAIL):
            self.vaults.receive(letter.sender, message)
        elif isinstance(message, judging.OFFERS):
            plan = judging.offered(message, self.identity.party_keys.party)
            self._check_binding(letter, plan)
            self.sessions.offered(letter.sender, plan)
        else:
            self._check_stage(letter, message)
            self.sessions.registry.deliver(letter.session, letter.sender, message, len(letter.body))

    def _on_piece(self, frame: Frame) -> None:
        """Part of a masked vector that a live session asked the link's peer for."""
        if frame.guest:
            raise UnexpectedMessage("a guest may only ask to join")
        session, piece = open_piece(frame.payload)
        driver = self.sessions.registry.live.get(session)
        if driver is None:
            raise UnexpectedMessage("a piece of a vector for no live session")
        driver.deliver(frame.sender, piece)

    def _check_binding(self, letter: Envelope, plan: Plan) -> None:
        if letter.session != plan.session or letter.epoch != plan.epoch:
            raise MalformedMessage("an envelope bound to another session or epoch", blame=letter.sender)

    def _check_stage(self, letter: Envelope, message: object) -> None:
        if letter.stage != getattr(message, "stage", -1):
            raise MalformedMessage("an envelope bound to another stage", blame=letter.sender)
        driver = self.sessions.registry.live.get(letter.session)
        if driver is not None and driver.machine.plan.epoch != letter.epoch:
            raise MalformedMessage("an envelope bound to another epoch", blame=letter.sender)

    async def _links(self) -> None:
        async for event in self.transport.events:
            up = down = None
            match event:
                case LinkUp(peer=peer, guest=False):
                    up = peer
                    await self.overlay.link_up(peer)
                case LinkDown(peer=peer):
                    down = peer
                    self.postman.forget(peer)
                    for poll in self._polls.values():
                        poll.lose(peer)
                    await self.overlay.link_down(peer, event.reason)
            self._measure()
            self.sessions.linked(up=up, down=down)
            self.programs.linked()
            self.vaults.links_changed()

    def _measure(self) -> None:
        for peer, info in self.transport.links().items():
            if info.rtt_s is not None and not info.guest:
                self.overlay.membership.measured(peer, info.rtt_s)

    def sighted(self, party: PartyId, addresses: tuple[str, ...]) -> None:
        """A node of this mesh was seen on the local network: try these addresses too."""
        if party != self.me and (party in self._sightings or len(self._sightings) < MAX_SIGHTINGS):
            self._sightings[party] = addresses[:MAX_ADDRESSES]
            self._want()

    def _want(self) -> None:
        """Which peers to keep linked: all that are here, and after a start those we remember."""
        wanted = {**self._hints, **self._sightings}
        for member in self.overlay.view().members:
            wanted.pop(member.party, None)
            if member.party != self.me and member.status is not Status.LEFT and member.addresses:
                seen = self._sightings.get(member.party, ())
                wanted[member.party] = tuple(dict.fromkeys((*seen, *member.addresses)))
        most = min(LINKS_EVERYWHERE, self.config.max_links)
        wanted = dict(sorted(wanted.items())[:most])
        if wanted != self._wanted:
            self._wanted = wanted
            self.transport.want(wanted)

    # -- overlay --------------------------------------------------------------------------------------

    def _on_overlay(self, event: object) -> None:
        match event:
            case MemberChanged():
                log.info("member", name=event.name, status=event.after.name.lower(), why=event.why)
                self._want()
                self._soon(self._remember_members)
            case EpochChanged():
                gateways = len(event.record.gateways)
                log.info("epoch", epoch=event.record.epoch, gateways=gateways)
            case StartBeacon():
                self._start_beacon(event)

    def _start_beacon(self, event: StartBeacon) -> None:
        picture = self.picture()
        try:
            plan = plan_beacon(
                picture.view, picture.record, picture.standings, nonce=event.intent.nonce, limits=self.limits
            )
            self.sessions.begin(plan)
        except MeshError as error:
            log.info("no beacon session", why=error.sentence())

    async def _remember_members(self) -> None:
        await self._journal.remember(self.overlay.known(self._hints), keep=1)

    def _on_session(self, plan: Plan, event: object) -> None:
        if isinstance(event, events.Named):
            name = self.overlay.view().name(event.party)
            log.warning("fault", party=name, fault=event.fault, proven=event.proven)
            self.counters["faults_named"] += 1
        if is_beacon(plan):
            if isinstance(event, events.Opened):
                total = [int(value) for value in event.total]
                self._soon(self.overlay.beacon_opened, plan, total)
            return
        if plan.job.inputs:
            self._soon(self.runs.ended, plan, event)
        for listener in self.listeners:
            listener(plan, event)

    # -- joining and asking -----------------------------------------------------------------------------

    async def _on_join_request(self, sender: PartyId, message: JoinRequest) -> None:
        if sender != message.applicant.party:
            raise MalformedMessage("a join request of somebody else", blame=sender)
        answer = await self.admissions.asked(message, self.overlay.keeper.record)
        self.postman.post((sender,), answer)

    def _ask_room(self, sender: PartyId, message: Inquiry) -> None:
        """Few questions of one peer at a time: each costs a look into the ledger."""
        if self._asking[sender] >= MAX_INQUIRIES:
            raise UnexpectedMessage(f"{MAX_INQUIRIES} questions of this peer are open already")
        self._asking[sender] += 1
        self._soon(self._on_inquiry, sender, message)

    async def _on_inquiry(self, sender: PartyId, message: Inquiry) -> None:
        name = self.overlay.view().name(sender)
        try:
            decision = await self.sessions.would_contribute(message, sender, name)
        finally:
            self._asking[sender] -= 1
        await self.programs.asked.note(message, sender, name, decision)
        self.postman.post((sender,), answer_to(message, decision, asking.public(decision)))

    async def poll(self, inquiry: Inquiry) -> Poll:
        """Ask all reachable members, ourselves included, whether they would contribute."""
        if len(self._polls) >= MAX_POLLS:
            raise UnexpectedMessage("too many questions are open")
        others = frozenset(peer for peer, info in self.transport.links().items() if not info.guest)
        poll = Poll(others | {self.me})
        self._polls[inquiry.id] = poll
        try:
            self.postman.post(others, inquiry)
            own = await self.sessions.would_contribute(inquiry, self.me, self.config.name)
            poll.answer(self.me, answer_to(inquiry, own, own.sentence()))
            await poll.wait()
        finally:
            del self._polls[inquiry.id]
        return poll

    def _soon(self, function: Callable[..., object], *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._guarded, function, *arguments)

    async def _guarded(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            await function(*arguments)  # type: ignore[misc]  # always an async function
        except MeshError as error:
            log.warning("not done", why=error.sentence())
        except Exception:  # a task that a message started ends alone
            self.counters["bugs"] += 1
            log.exception("a task met a bug of ours")


def _hints(journal: Journal) -> dict[PartyId, tuple[str, ...]]:
    stored = journal.recall(KnownMembers.__name__)
    if not stored:
        return {}
    return {known.party: known.addresses for known in codec.decode(KnownMembers, stored[-1]).members}
