"""A toy network for membership and epochs: links, faults from a seed, a hand-turned clock, real encodings."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mesh.overlay import epoch_record, planner
from mesh.overlay.agreement import Ballot, Lock, Proposal, Wish
from mesh.overlay.claims import Claims
from mesh.overlay.epoch_messages import EpochHead, IntentNotice, StartBeacon
from mesh.overlay.epoch_record import Certified
from mesh.overlay.epochs import EpochKeeper
from mesh.overlay.gossip import Inventory, News, Summary, Want
from mesh.overlay.membership import Membership
from mesh.overlay.profile import EpochProfile, MembershipProfile
from mesh.overlay.sortition import Claim
from mesh.overlay.suspicion import Suspicion
from protocols.arithmetic.xof import derive
from protocols.errors import ProtocolError, Refused, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Persist, Publish, Send
from protocols.wire import codec
from tests.scenarios.overlay_mesh import IDENTITY, NOW, OPERATOR_SEED, Peer

GOSSIP = (News, Summary, Inventory, Want, Suspicion)
EPOCH = (Certified, EpochHead, IntentNotice, Proposal, Ballot, Lock, Wish, Claim, Claims)
MEMBERSHIP = MembershipProfile(suspicion_s=5.0, refresh_s=60.0, sync_s=2.0)
EPOCHS = EpochProfile(epoch_s=600.0, settle_s=1.0, round_s=4.0, sync_s=2.0)


@dataclass
class Node:
    peer: Peer
    membership: Membership
    keeper: EpochKeeper
    up: bool = True
    journal: list[object] = field(default_factory=list)
    events: list[object] = field(default_factory=list)
    started: bool = False


@dataclass
class Faults:
    """Chances per message, and the largest delay in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_s: float = 0.01


class OverlayNetwork:
    """Nodes, links between them, and messages on the way in an event heap."""

    def __init__(
        self,
        seed: int = 0,
        faults: Faults | None = None,
        membership: MembershipProfile = MEMBERSHIP,
        epochs: EpochProfile = EPOCHS,
    ) -> None:
        self.now = NOW
        self.draw = np.random.default_rng(seed)
        self.faults = faults or Faults()
        self.nodes: dict[PartyId, Node] = {}
        self.links: set[frozenset[PartyId]] = set()
        self.errors: list[ProtocolError] = []
        self.sent = 0
        self.tamper: Callable[[PartyId, PartyId, object], object | None] | None = None
        self.run_beacons = True
        self._mail: list[tuple[float, int, PartyId, PartyId, type, bytes]] = []
        self._count = 0
        self._profile = membership
        self._epochs = epochs
        self.genesis: Certified | None = None
        self.beacon_s = 0.5
        self._beacons: list[tuple[float, int, object, tuple[int, ...], tuple[PartyId, ...]]] = []

    # Set-up.

    def add(
        self, peer: Peer, head: Certified | None = None, incarnation: int = 0, operator: bool = False
    ) -> Node:
        party = peer.party
        if self.genesis is None:
            operator = True
            self.genesis = epoch_record.genesis(
                IDENTITY, OPERATOR_SEED, party, derive(bytes(32), "genesis"), self.now
            )
        membership = Membership(
            IDENTITY,
            peer.signed,
            peer.seed,
            derive(peer.seed, "gossip"),
            addresses=(f"/ip4/127.0.0.1/tcp/{4000 + len(self.nodes)}",),
            incarnation=incarnation,
            profile=self._profile,
        )
        keeper = EpochKeeper(
            IDENTITY,
            party,
            peer.seed,
            head or self.genesis,
            derive(peer.seed, "epochs", str(self.now).encode()),
            vrf_seed=peer.vrf_seed if peer.certificate.gateway else None,
            operator_seed=OPERATOR_SEED if operator else None,
            profile=self._epochs,
        )
        node = self.nodes[party] = Node(peer, membership, keeper)
        self._carry(node, membership.start(self.now))
        self._carry(node, keeper.start(self.now, membership.view(self.now)))
        return node

    def restart(self, peer: Peer) -> Node:
        """A new process with the old journal."""
        old = self.nodes[peer.party]
        node = self.add(peer, operator=old.keeper._operator_seed is not None)
        for record in old.journal:
            node.keeper.restore(record)
        node.journal = list(old.journal)
        return node

    def link(self, a: Peer, b: Peer) -> None:
        self.links.add(frozenset((a.party, b.party)))
        for here, there in ((a, b), (b, a)):
            node = self.nodes[here.party]
            self._carry(node, node.membership.link_up(self.now, there.party))
            node.membership.measured(there.party, 0.001)
            self._carry(node, node.keeper.link_up(there.party))

    def cut(self, a: Peer, b: Peer) -> None:
        self.links.discard(frozenset((a.party, b.party)))
        for here, there in ((a, b), (b, a)):
            node = self.nodes[here.party]
            if node.up:
                self._carry(node, node.membership.link_down(self.now, there.party))
                self._tick(node)

    def kill(self, peer: Peer) -> None:
        self.nodes[peer.party].up = False
        for other in [n.peer for n in self.nodes.values() if n.up and self.linked(n.peer.party, peer.party)]:
            self.cut(peer, other)

    def linked(self, a: PartyId, b: PartyId) -> bool:
        return frozenset((a, b)) in self.links

    def mesh(self, peers: Sequence[Peer]) -> None:
        for index, a in enumerate(peers):
            for b in peers[:index]:
                self.link(a, b)

    # Running.

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        end = self.now + seconds
        while until is None or not until():
            at = min(
                [end]
                + [entry[0] for entry in (self._mail[:1] + self._beacons[:1])]
                + [d for n in self.nodes.values() if n.up for d in (n.membership.deadline, n.keeper.deadline)]
            )
            if at >= end:
                self.now = end
                return
            self.now = max(self.now, at)
            while self._mail and self._mail[0][0] <= self.now:
                self._deliver(*heapq.heappop(self._mail)[2:])
            while self._beacons and self._beacons[0][0] <= self.now:
                _, _, plan, total, parties = heapq.heappop(self._beacons)
                self._open(plan, total, parties)
            for node in list(self.nodes.values()):
                if node.up and min(node.membership.deadline, node.keeper.deadline) <= self.now:
                    self._tick(node)

    def _tick(self, node: Node) -> None:
        self._carry(node, node.membership.tick(self.now))
        self._carry(node, node.keeper.tick(self.now, node.membership.view(self.now)))
        assert min(node.membership.deadline, node.keeper.deadline) > self.now, (
            "a tick that wants another one at once"
        )

    def _carry(self, node: Node, effects: Sequence[object]) -> None:
        for effect in effects:
            match effect:
                case Persist(record):
                    node.journal.append(codec.decode(type(record), codec.encode(record)))
                case Send(to, message):
                    self._post(node.peer.party, to, message)
                case Broadcast(to, message):
                    assert node.peer.party not in to
                    for party in to:
                        self._post(node.peer.party, party, message)
                case Publish(event):
                    node.events.append(event)
                    if isinstance(event, StartBeacon) and self.run_beacons:
                        self._plan_beacon(node, event)

    def _post(self, sender: PartyId, to: PartyId, message: object) -> None:
        self.sent += 1
        if self.tamper is not None:
            message = self.tamper(sender, to, message)
        if message is None or not self.linked(sender, to) or self.draw.random() < self.faults.loss:
            return
        data = codec.encode(message)
        for _ in range(2 if self.draw.random() < self.faults.duplicate else 1):
            self._count += 1
            at = self.now + float(self.draw.random()) * self.faults.delay_s
            heapq.heappush(self._mail, (at, self._count, sender, to, type(message), data))

    def _deliver(self, sender: PartyId, to: PartyId, kind: type, data: bytes) -> None:
        node = self.nodes.get(to)
        if node is None or not node.up or not self.linked(sender, to):
            return
        message = codec.decode(kind, data)
        try:
            if kind in GOSSIP:
                self._carry(node, node.membership.receive(self.now, sender, message))
                self._carry(node, node.keeper.tick(self.now, node.membership.view(self.now)))
            else:
                view = node.membership.view(self.now)
                self._carry(node, node.keeper.receive(self.now, view, sender, message))
                self._carry(node, node.keeper.tick(self.now, node.membership.view(self.now)))
        except UnexpectedMessage:
            pass
        except ProtocolError as error:
            self.errors.append(error)

    # Beacon sessions, in place of the session machines: planned really, opened to all alive dealers.

    def _plan_beacon(self, node: Node, event: StartBeacon) -> None:
        view = node.membership.view(self.now)
        try:
            plan = planner.plan_beacon(
                view, node.keeper.record, node.keeper.standings, nonce=event.intent.nonce
            )
        except Refused as error:
            node.events.append(error)
            return
        total = tuple(int(value) for value in self.draw.integers(0, 2**61 - 1, 4))
        self._count += 1
        heapq.heappush(self._beacons, (self.now + self.beacon_s, self._count, plan, total, plan.dealers))

    def _open(self, plan: planner.Plan, total: tuple[int, ...], parties: tuple[PartyId, ...]) -> None:
        seats = [self.nodes[party].up for party in plan.stages[0].members]
        if sum(seats) < plan.stages[0].quorum:
            return
        for party in parties:
            node = self.nodes[party]
            if node.up:
                view = node.membership.view(self.now)
                self._carry(node, node.keeper.beacon_opened(self.now, view, plan, total))

    # Looking.

    @property
    def up(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.up]

    def heads(self) -> set[bytes]:
        return {bytes(node.keeper.record.digest) for node in self.up}

    def agreed(self, gateways: int) -> bool:
        """All live nodes share one head with so many gateways, whose beacon came from a session."""
        records = [node.keeper.record for node in self.up]
        return len(set(records)) == 1 and len(records[0].gateways) == gateways
