"""The one seam between a pure session machine and the world: mail or deadline -> machine -> journal -> mail.

Persist comes before Send: effects are carried out in order, and sending waits until every record before
it is durable. If the journal cannot be written the session ends here and nothing more is sent.

A session's end is booked at once, before the party lingers to relay: first the owner's ledger (`on_end`),
then the journal, which forgets the session's secrets. A crash between the two ends the session once more,
alike. A node stopped in mid-session leaves it open in the journal and goes on with it when it is back.
An end in doubt is booked only after DOUBT_LINGER_S: until then the machine does its part in clearing it up.

The mailbox is bounded; what does not fit is dropped and counted. A bug of ours ends this session alone,
with the traceback in our own log; it is never counted as a peer's fault.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from mesh.runtime.effects import carry_out
from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.mailbox import Mailbox
from mesh.runtime.postman import Postman
from mesh.runtime.vectors.bulk import BULK_MESSAGES, BulkLane, sum_arrivals
from mesh.runtime.vectors.store import VectorPiece, VectorStore
from protocols.errors import MalformedMessage, MeshError, ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Combine, Effect, Fingerprint, Publish, Send, Transfer
from protocols.sessions import events
from protocols.sessions.durable import DurableParty
from protocols.sessions.excerpt import KnownPlan

log = structlog.get_logger("coppice.session")

MAILBOX = 4096
MAX_PARTY_BYTES = 16 * 1024 * 1024
"""Of one sender's messages waiting in one mailbox: the largest few dealings, not a flood."""
LINGER_S = 10.0
"""How long a party goes on relaying after its session ended, so that the others end too."""
DOUBT_LINGER_S = 40.0
"""How long one whose session ended in doubt goes on: those that can clear it up may be down for a while."""
BULK_LINGER_S = 60.0
"""The masked total may still be on its way when the keys are open already."""
HEAVY_LENGTH = 2048
"""Vectors from this length on are computed in a thread, so that heartbeats go on."""

Report = Callable[[object], None]


class Driver:
    """Runs one session machine until it has ended and lingered."""

    def __init__(
        self,
        machine: DurableParty,
        postman: Postman,
        journal: Journal,
        report: Report,
        counters: Counter[str],
        store: VectorStore | None = None,
        on_end: Callable[[], Awaitable[None]] | None = None,
        resumed: Sequence[Effect] | None = None,
        begun: bool = False,
    ) -> None:
        """`store` holds the masked vectors of a bulk session; `on_end` is called whenever more is known of
        how it ended; `resumed` is what a machine that was rebuilt from the journal has to say; `begun`: the
        journal knows the session already.
        """
        self.machine = machine
        self.session = machine.plan.session
        self.bytes_sent = 0
        self._postman = postman
        self._journal = journal
        self._report = report
        self._counters = counters
        self._mail = Mailbox(frozenset(machine.plan.parties), MAILBOX, MAX_PARTY_BYTES, counters)
        self._scope = trio.CancelScope()
        self.bulk: BulkLane | None = None
        if store is not None:
            sum_arrivals(store, machine.plan, machine.me)
            audits = machine.plan.initiator == machine.me
            self.bulk = BulkLane(machine.plan, store, postman, lambda m: self.deliver(machine.me, m), audits)
        self._begun = begun or resumed is not None
        self._told = False
        self._owner_told = False
        self._on_end = on_end
        self._resumed = resumed
        self._booked: tuple[str, bool] | None = None

    def deliver(self, sender: PartyId, message: object, size_bytes: int = 0) -> None:
        """Put a verified message into the mailbox; drop it if that is full. Pieces go to the disk at once.

        Strangers to the session have no place in it, and no party may fill more than its part of it.
        """
        if not self._mail.knows(sender):
            return
        if isinstance(message, VectorPiece):
            self._take(sender, message)
        else:
            self._mail.put(sender, message, size_bytes)

    def _take(self, sender: PartyId, piece: VectorPiece) -> None:
        try:
            if self.bulk is not None:
                self.bulk.receive(sender, piece)
        except MeshError as error:
            self._counters["pieces_refused"] += 1
            log.warning("piece refused", sender=sender.short(), why=error.sentence())

    def cancel(self) -> None:
        """End this party's part now, silently."""
        self._scope.cancel()

    async def run(self) -> None:
        """Drive the machine and report its events until it is over. Never raises for a session's failure."""
        ended: events.Aborted | None = None
        with self._scope:
            try:
                if not self._begun:
                    await self._journal.begin(self.session)
                self._begun = True
                await self._drive()
            except JournalFull as error:
                ended = events.Aborted(error.code, error.sentence(), definite=not self._begun)
            except Exception:  # the session boundary: a bug ends this session, not the node
                log.exception("session failed by our own fault", session=self.session.short())
                ended = events.Aborted("C-900", "this node failed; its log has the details", definite=False)
        if ended is not None and not self._told:
            self._report(self.machine.outcome or ended)
        if self.machine.outcome is None and ended is None and not self._scope.cancelled_caught:
            return  # the node stops: the journal keeps the session for its return
        with trio.CancelScope(deadline=trio.current_time() + 5.0, shield=True):
            await self._book(ended)

    async def _book(self, ended: events.Aborted | None = None) -> None:
        """The end, as far as it is known, to the owner's ledger and to the journal."""
        outcome, proof = self.machine.outcome or ended, self.machine.proof
        booked = (type(outcome).__name__ if outcome else "cancelled", proof is not None)
        if booked == self._booked:
            return
        self._booked = booked
        if self._on_end is not None:
            await self._on_end()
        if self.machine.in_doubt:
            log.info("ended in doubt", session=self.session.short(), ballots=self.machine.party.aborts.words)
        known = proof is not None or (isinstance(outcome, events.Aborted) and outcome.definite)
        plan = self.machine.plan
        try:
            await self._journal.end(
                self.session,
                booked[0],
                epoch=plan.epoch,
                plan=None if known else KnownPlan.of(plan),
                proof=proof,
            )
        except JournalFull as error:
            log.warning("journal", why=str(error))

    async def _drive(self) -> None:
        if self.bulk is None:
            await self._converse()
            return
        async with trio.open_nursery() as nursery:
            await nursery.start(self.bulk.run)
            await self._converse()
            nursery.cancel_scope.cancel()

    async def _converse(self) -> None:
        machine = self.machine
        if self._resumed is not None:
            await self._carry_out(self._resumed)
        else:
            await self._carry_out(await self._step(machine.start, trio.current_time()))
        until, doubted = math.inf, False
        while True:
            if machine.outcome is not None and self.bulk is None and not machine.in_doubt:
                await self._book()
            elif machine.outcome is not None and self._on_end is not None and not self._owner_told:
                self._owner_told = (
                    True  # the journal has it when the vectors are gone; the owner need not wait
                )
                await self._on_end()
            if machine.outcome is not None and (until == math.inf or doubted != machine.in_doubt):
                doubted, brief = machine.in_doubt, DOUBT_LINGER_S if machine.in_doubt else LINGER_S
                until = trio.current_time() + (brief if self.bulk is None else BULK_LINGER_S)
            deadline = min(until, math.inf if machine.deadline is None else machine.deadline)
            item = await self._mail.next(deadline)
            now = trio.current_time()
            if item is not None:
                sender, message, _ = item
                await self._receive(now, sender, message)
            elif now >= until:
                return
            else:
                await self._carry_out(await self._step(machine.expire, now))

    async def _receive(self, now: float, sender: PartyId, message: object) -> None:
        try:
            if self.bulk is not None and isinstance(message, BULK_MESSAGES):
                self.bulk.receive(sender, message)
                return
            effects = await self._step(self.machine.receive, now, sender, message)
        except MalformedMessage as error:
            self._counters["malformed"] += 1
            log.warning("refused", sender=sender.short(), kind=type(message).__name__, why=str(error))
            return
        except ProtocolError as error:
            self._counters["unexpected"] += 1
            log.debug("dropped", sender=sender.short(), kind=type(message).__name__, why=str(error))
            return
        await self._carry_out(effects)

    async def _step(self, function: Callable[..., Sequence[Effect]], *arguments: object) -> Sequence[Effect]:
        if self.machine.plan.length < HEAVY_LENGTH:
            return function(*arguments)
        return await trio.to_thread.run_sync(function, *arguments)

    async def _carry_out(self, effects: Sequence[Effect]) -> None:
        await carry_out(self._journal, self.session, effects, self._do)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._post((effect.to,), effect.message)
            case Broadcast():
                self._post(effect.to, effect.message)
            case Publish():
                self._told = self._told or isinstance(effect.event, events.Opened | events.Aborted)
                self._report(effect.event)
            case Transfer() if self.bulk is not None:
                self.bulk.transfer(effect)
            case Combine() if self.bulk is not None:
                self.bulk.combine(effect)
            case Fingerprint() if self.bulk is not None:
                self.bulk.fingerprint(effect)

    def _post(self, to: tuple[PartyId, ...], message: object) -> None:
        plan = self.machine.plan
        stage = getattr(message, "stage", -1)
        self.bytes_sent += self._postman.post(
            to, message, session=self.session, epoch=plan.epoch, stage=stage
        )
