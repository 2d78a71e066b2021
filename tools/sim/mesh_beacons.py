"""The beacon sessions of a simulated mesh: planned, judged and run by the real code, over the mesh's links.

A member that comes back after a crash takes no part in the sessions that it was in. What reaches a member
before the plan does is kept, a little of each sender, as the runtime does. What must hold:

    one beacon   no two honest members open different totals of one session; a total is the sum of what the
                 contributors of its roster gave, and there are as many of them as a beacon needs
    blameless    nobody honest is named, or blamed for a message
    ends         whoever was up all the time knows in time how its session ended
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from mesh.overlay import plan_check, planner
from mesh.overlay.epoch_messages import StartBeacon
from mesh.overlay.planner import PlanLimits
from protocols.arithmetic import field as modular
from protocols.arithmetic.field import Elements, P
from protocols.errors import LocalMisuse, MalformedMessage, ProtocolError, Refused
from protocols.identifiers import PartyId, SessionId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions import events
from protocols.sessions.messages import Decline, PeersLost, PlanOffer
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Plan
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S
from tools.sim.mesh_node import Node, party_keys

if TYPE_CHECKING:
    from tools.sim.mesh_world import MeshWorld

LIMITS: Final = PlanLimits(collect_ms=2_000, total_ms=12_000)
MAX_EARLY: Final = 32
LOOKS: Final = 4
LOOK_AGAIN_S: Final = 0.25
"""As `mesh.runtime.judging`."""
SLACK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SessionMail:
    """A message of one session on a link of the mesh."""

    KIND: ClassVar[str] = "session"
    session: SessionId
    message: Any


@dataclass(slots=True)
class _Running:
    plan: Plan
    machine: SessionParty
    life: int
    ends_s: float
    timer: float | None = None


@dataclass(slots=True)
class _Seen:
    """What the sessions of all members came to."""

    given: dict[PartyId, Elements] = field(default_factory=dict)
    total: Elements | None = None


class Beacons:
    """All beacon sessions of one world."""

    def __init__(self, world: MeshWorld) -> None:
        self.world = world
        self.opened = 0
        self._running: dict[tuple[int, SessionId], _Running] = {}
        self._early: dict[int, list[tuple[PartyId, SessionMail]]] = {}
        self._seen: dict[SessionId, _Seen] = {}

    def plan(self, node: Node, event: StartBeacon) -> None:
        """The proposer plans its session and begins."""
        view = node.membership.view(node.local(self.world.now))
        head, standings = node.keeper.record, node.keeper.standings
        try:
            plan = planner.plan_beacon(view, head, standings, nonce=event.intent.nonce, limits=LIMITS)
        except Refused as refusal:
            self.world.note(f"p{node.index} cannot plan a beacon: {refusal}")
            return
        self.world.note(f"p{node.index} starts a beacon session for epoch {event.intent.epoch}")
        self._begin(node, plan)

    def deliver(self, node: Node, sender: PartyId, mail: SessionMail) -> None:
        """Mail of a session has come."""
        running = self._running.get((node.index, mail.session))
        if running is not None:
            self._call(node, running, sender, running.machine.receive, self.world.now, sender, mail.message)
        elif isinstance(mail.message, PlanOffer):
            self._offered(node, mail.message.plan)
        else:
            early = self._early.setdefault(node.index, [])
            if sum(one == sender for one, _ in early) < MAX_EARLY:
                early.append((sender, mail))

    def _offered(self, node: Node, plan: Plan, life: int = 0, looks: int = LOOKS) -> None:
        """Judge a plan as the runtime does: what our view refuses is looked at again, a few times."""
        if (life and life != node.lives) or not node.up:
            return
        world, view = self.world, node.membership.view(node.local(self.world.now))
        try:
            node.keeper.check_beacon(plan)
            plan_check.verify(plan, view, node.keeper.record, node.keeper.standings, LIMITS)
        except (ProtocolError, Refused) as refusal:
            if isinstance(refusal, Refused) and looks > 1:
                world.at(world.now + LOOK_AGAIN_S, self._offered, node, plan, node.lives, looks - 1)
                return
            world.note(f"p{node.index} takes no part in a beacon session: {refusal}")
            if plan.stages:  # else a liar bent it, and nobody adds
                self._decline(node, plan)
            return
        self._begin(node, plan)

    def _decline(self, node: Node, plan: Plan) -> None:
        told = tuple(sorted({plan.initiator, *plan.stages[plan.root].adders} - {node.party}))
        with contextlib.suppress(LocalMisuse, MalformedMessage):  # a liar bent it: it has no name
            decline = Decline(plan.root, "it takes no part", whole=True)
            self.world.carry(node, Broadcast(told, SessionMail(plan.session, decline)))

    def _begin(self, node: Node, plan: Plan) -> None:
        world, session = self.world, plan.session
        if (node.index, session) in self._running:
            return
        given = np.array([world.dice.randrange(P) for _ in range(plan.length)], dtype=np.uint64)
        self._seen.setdefault(session, _Seen()).given[node.party] = given
        machine = SessionParty(plan, party_keys(node.index), world.dice.randbytes(32), given)
        ends_s = world.now + plan.total_ms / 1000 + INITIATOR_PATIENCE_S
        running = self._running[node.index, session] = _Running(plan, machine, node.lives, ends_s)
        self._call(node, running, None, machine.start, world.now)
        self._tell_lost(node, running)
        early = self._early.get(node.index, [])
        self._early[node.index] = [(sender, mail) for sender, mail in early if mail.session != session]
        for sender, mail in early:
            if mail.session == session:
                self.deliver(node, sender, mail)

    def rewired(self, node: Node) -> None:
        """A link of `node` came or went."""
        for (index, _), running in list(self._running.items()):
            if index == node.index:
                self._tell_lost(node, running)

    def crashed(self, node: Node) -> None:
        """What it knew of its sessions is gone."""
        self._running = {key: one for key, one in self._running.items() if key[0] != node.index}
        self._early.pop(node.index, None)

    def _tell_lost(self, node: Node, running: _Running) -> None:
        linked = self.world.linked(node.index)
        away = tuple(sorted(set(running.plan.parties) - linked - {node.party}))
        machine = running.machine
        self._call(node, running, None, machine.receive, self.world.now, node.party, PeersLost(away))

    def _call(
        self, node: Node, running: _Running, sender: PartyId | None, step: Any, *arguments: Any
    ) -> None:
        effects: Sequence[Effect] = ()
        try:
            effects = step(*arguments)
        except ProtocolError as error:
            blamed = getattr(error, "blame", None) if isinstance(error, MalformedMessage) else None
            if sender is not None and blamed is not None and self._is_honest(blamed, node.party):
                self._complain(f"blameless: {self.world.label(blamed)} was blamed in a session: {error}")
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                to = effect.to if isinstance(effect, Broadcast) else (effect.to,)
                mail = SessionMail(running.plan.session, effect.message)
                self.world.carry(node, Broadcast(to, mail))
            elif isinstance(effect, Publish):
                self._published(node, running, effect.event)
        self._set_timer(node, running)

    def _set_timer(self, node: Node, running: _Running) -> None:
        due = running.machine.deadline
        if due is not None and due != running.timer:
            running.timer = due
            self.world.at(max(due, self.world.now), self._expire, node, running, due)

    def _expire(self, node: Node, running: _Running, due: float) -> None:
        if node.up and running.life == node.lives and running.timer == due:
            running.timer = None
            self._call(node, running, None, running.machine.expire, max(self.world.now, due))

    # -- what comes of it ------------------------------------------------------------------------------

    def _published(self, node: Node, running: _Running, event: object) -> None:
        world = self.world
        if isinstance(event, events.Named) and self._is_honest(event.party, node.party):
            self._complain(f"blameless: {world.label(event.party)} was named in a session: {event.fault}")
        if not isinstance(event, events.Opened):
            return
        self.opened += 1
        world.note(f"p{node.index} knows the beacon of {running.plan.session.short()}")
        if self._is_honest(node.party):
            self._judge(running.plan, event)
        words = [int(value) for value in event.total]
        local = node.local(world.now)
        view = node.membership.view(local)
        world.call(node, node.keeper.beacon_opened, local, view, running.plan, words)

    def _judge(self, plan: Plan, event: events.Opened) -> None:
        seen = self._seen[plan.session]
        if len(event.contributors) < plan.job.min_sites:
            self._complain(f"one beacon: of {len(event.contributors)} members only")
        strangers = [self.world.label(one) for one in event.contributors if one not in seen.given]
        if strangers:
            self._complain(f"one beacon: {strangers[0]} counts and gave nothing")
            return
        sum_ = modular.total(np.stack([seen.given[one] for one in event.contributors]))
        if not np.array_equal(sum_, event.total):
            self._complain("one beacon: it is not the sum of what was given")
        if seen.total is not None and not np.array_equal(seen.total, event.total):
            self._complain("one beacon: two of one session")
        seen.total = event.total

    def judge_ends(self) -> list[str]:
        """Who should know by now how its session ended, and does not."""
        wrong = []
        for (index, _), running in self._running.items():
            node = self.world.nodes[index]
            over = self.world.now > running.ends_s + SLACK_S
            if node.up and over and running.machine.outcome is None and self._is_honest(node.party):
                wrong.append(f"a beacon session of p{index} never ended")
        return wrong

    def _is_honest(self, *parties: PartyId) -> bool:
        return not any(party in self.world.behaviours for party in parties)

    def _complain(self, sentence: str) -> None:
        if self.world.in_model:
            self.world.complain(sentence)
