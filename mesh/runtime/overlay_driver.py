"""Drives the overlay machines (membership, epochs, tickets) with wall-clock time, links and mail.

Wall clock, because incarnations, certificates and epochs are about Unix time; a jump of the clock only
makes a tick come early or late. Persist comes before Send, as for sessions.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
import trio

from mesh.overlay.agreement import BallotCast
from mesh.overlay.epoch_messages import EPOCH_MESSAGES, HeadMoved
from mesh.overlay.epoch_record import HISTORY, Certified, EpochRecord, genesis
from mesh.overlay.epochs import EpochKeeper
from mesh.overlay.gossip import Inventory, News, Summary, Want
from mesh.overlay.membership import Membership
from mesh.overlay.profile import EpochProfile, MembershipProfile
from mesh.overlay.suspicion import Suspicion
from mesh.overlay.view import Status, View
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.joining.known import Known, KnownMembers
from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.postman import Postman
from mesh.settings import Config
from protocols.errors import ConfigError, LocalMisuse
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions.plan import Plan
from protocols.wire import codec

if TYPE_CHECKING:
    from trio_typing import TaskStatus


log = structlog.get_logger("coppice.overlay")

GOSSIP_MESSAGES: tuple[type, ...] = (News, Summary, Inventory, Want, Suspicion)
MAX_KNOWN = 64
LONGEST_NAP_S = 5.0


class OverlayDriver:
    """Membership and epochs of one member. `run` must be running; `publish` hears their events."""

    def __init__(
        self,
        identity: NodeIdentity,
        config: Config,
        journal: Journal,
        postman: Postman,
        publish: Callable[[object], None],
        addresses: Sequence[str],
        head: EpochRecord | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`head`: the record a join granted; None for a node that goes on from its journal or founds."""
        if identity.certificate is None:
            raise LocalMisuse("only a certified member takes part in the overlay")
        self.me = identity.party
        self.counters: Counter[str] = Counter()
        self._clock = clock
        self._owed: list[object] = []
        self._paying = trio.Lock()
        self._journal = journal
        self._postman = postman
        self._publish = publish
        self._wake = trio.Event()
        seed = identity.keys.identity.reveal()
        self.membership = Membership(
            identity.mesh,
            identity.certificate,
            seed,
            os.urandom(32),
            addresses=addresses,
            profile=MembershipProfile(suspicion_s=config.suspicion_s),
        )
        moved = [codec.decode(HeadMoved, encoded) for encoded in journal.recall(HeadMoved.__name__)]
        self._is_new = not moved
        head_now = self._first_record(identity, head, moved)
        self.keeper = EpochKeeper(
            identity.mesh,
            self.me,
            seed,
            head_now,
            os.urandom(32),
            vrf_seed=identity.keys.vrf.reveal() if config.gateway else None,
            operator_seed=identity.keys.operator.reveal() if identity.keys.operator else None,
            profile=EpochProfile(epoch_s=config.epoch_s, settle_s=config.settle_s),
        )
        for record in moved:
            self.keeper.restore(record)
        for encoded in journal.recall(BallotCast.__name__):
            self.keeper.restore(codec.decode(BallotCast, encoded))

    def _first_record(
        self, identity: NodeIdentity, head: EpochRecord | None, moved: Sequence[HeadMoved]
    ) -> EpochRecord | Certified:
        if head is not None:
            return head
        stored = self._journal.recall(EpochRecord.__name__)
        if stored:
            return codec.decode(EpochRecord, stored[-1])
        if moved:
            return moved[0].certified
        if identity.keys.operator is None:
            raise ConfigError(
                "the journal has no epoch record to go on from",
                code="C-118",
                fix="join again with a new ticket: coppice join TICKET",
            )
        return genesis(
            identity.mesh, identity.keys.operator.reveal(), identity.party, os.urandom(32), self._clock()
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tick until cancelled."""
        now = self._clock()
        first = self.keeper.certified(self.keeper.record.epoch)
        if first is None:
            await self._journal.remember(self.keeper.record, keep=1)
        elif self._is_new:
            await self._journal.remember(HeadMoved(first))
        await self.carry_out(self.membership.start(now))
        await self.carry_out(self.keeper.start(now, self.view()))
        task_status.started()
        while True:
            self._wake = trio.Event()
            nap = min(self.membership.deadline, self.keeper.deadline) - self._clock()
            with trio.move_on_after(max(0.0, min(nap, LONGEST_NAP_S))):
                await self._wake.wait()
            await self._tick()

    async def _tick(self) -> None:
        now = self._clock()
        if now >= self.membership.deadline:
            await self.carry_out(self.membership.tick(now))
        await self.carry_out(self.keeper.tick(now, self.view()))

    def view(self) -> View:
        """The mesh as seen from here."""
        return self.membership.view(self._clock())

    # -- inputs -------------------------------------------------------------------------------------

    async def link_up(self, peer: PartyId) -> None:
        """A member is directly linked."""
        now = self._clock()
        await self.carry_out(self.membership.link_up(now, peer))
        await self.carry_out(self.keeper.link_up(peer))
        self._wake.set()

    async def link_down(self, peer: PartyId, reason: str) -> None:
        """The last link to a member is gone."""
        await self.carry_out(self.membership.link_down(self._clock(), peer, reason))
        self._wake.set()

    async def receive(self, sender: PartyId, message: object) -> None:
        """A message of a member. Raises ProtocolError if it is unacceptable."""
        now = self._clock()
        if isinstance(message, GOSSIP_MESSAGES):
            await self.carry_out(self.membership.receive(now, sender, message))
        elif isinstance(message, EPOCH_MESSAGES):
            await self.carry_out(self.keeper.receive(now, self.view(), sender, message))
        self._wake.set()

    async def beacon_opened(self, plan: Plan, total: Sequence[int]) -> None:
        """A beacon session ended here."""
        await self.carry_out(self.keeper.beacon_opened(self._clock(), self.view(), plan, total))
        self._wake.set()

    async def leave(self) -> None:
        """Say goodbye to the mesh."""
        await self.carry_out(self.membership.leave(self._clock()))

    async def carry_out(self, effects: Sequence[Effect]) -> None:
        """Store, send, tell; in this order. What follows a record that cannot be stored is not done.

        A full disk so silences this node in matters of epochs and membership, and it recovers by gossip.
        """
        try:
            await self._carry_out(effects)
        except JournalFull as error:
            self.counters["journal_full"] += 1
            log.error("not stored, hence not sent", why=error.sentence())

    async def _carry_out(self, effects: Sequence[Effect]) -> None:
        # All that this step decided is owed before anything is awaited: the machine knows it already. What
        # another task has it say meanwhile, or after a write that failed, waits for these records, too.
        self._owed += [effect.record for effect in effects if isinstance(effect, Persist)]
        for effect in effects:
            if self._owed and (isinstance(effect, Persist) or _speaks_of_epochs(effect)):
                await self._pay()
            match effect:
                case Send():
                    self._postman.post((effect.to,), effect.message, epoch=self.keeper.record.epoch)
                case Broadcast():
                    self._postman.post(effect.to, effect.message, epoch=self.keeper.record.epoch)
                case Publish():
                    self._publish(effect.event)

    async def _pay(self) -> None:
        """Store what is owed, oldest first, one task at a time. Raises JournalFull."""
        async with self._paying:
            while self._owed:
                record = self._owed[0]
                if isinstance(record, HeadMoved):
                    await self._journal.remember(record, keep=HISTORY, instead_of=(BallotCast,))
                else:
                    await self._journal.remember(record)
                self._owed.pop(0)

    # -- addresses of the others, for the next start ----------------------------------------------------

    def known(self, hints: Mapping[PartyId, tuple[str, ...]]) -> KnownMembers:
        """Addresses of all other members; those that left may be back when we start again.

        `hints`: what was known before this start. Who has not been heard of since stays in it: a node that
        goes down twice in a row would else come back with the few that it happened to hear of in between.
        """
        members = [m for m in self.view().members if m.party != self.me and m.addresses]
        members.sort(key=lambda member: member.status is Status.LEFT)
        found = {m.party: m.addresses for m in members}
        found |= {party: addresses for party, addresses in hints.items() if party not in found}
        return KnownMembers(tuple(Known(*one) for one in list(found.items())[:MAX_KNOWN]))


def _speaks_of_epochs(effect: Effect) -> bool:
    return isinstance(effect, Send | Broadcast) and isinstance(effect.message, EPOCH_MESSAGES)
