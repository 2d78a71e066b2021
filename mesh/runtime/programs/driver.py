"""One program session between its pure machine and the world: mail or deadline -> machine -> journal -> mail.

As `driver`, with what layers need: steps that compute much run in a thread, so that heartbeats go on, and
small ones run in place, since a thread costs as much as a small layer. Persist comes before Send. Long parts
go out at the pace of each link (`outbox`), short messages overtake them.

Invariant: the machine is stepped by one task, in the order in which mail came; a bug ends this session alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
import trio

from mesh.runtime.effects import carry_out
from mesh.runtime.journal import Journal, JournalFull
from mesh.runtime.mailbox import Mailbox
from mesh.runtime.postman import Postman
from mesh.runtime.programs.marks import MarkKeeper
from mesh.runtime.programs.outbox import Outbox, is_long
from protocols.errors import MalformedMessage, ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.programs.messages import InputPart, Layer, StartCertificate, StartProposal
from protocols.programs.party import Finished, ProgramParty
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events

log = structlog.get_logger("coppice.program")

MAILBOX = 8192
LINGER_S = 5.0
HEAVY_WORDS = 16_384
"""A layer vector from this length on is worked on in a thread."""
HEAVY_BYTES = 64 * 1024

Report = Callable[[object], None]
Outcome = ProgramOpened | Finished | events.Aborted


class ProgramDriver:
    """Runs one ProgramParty until it has ended and lingered."""

    def __init__(
        self,
        machine: ProgramParty,
        postman: Postman,
        journal: Journal,
        report: Report,
        counters: Counter[str],
        resumed: Sequence[Effect] | None = None,
    ) -> None:
        """`resumed`: what a machine that was rebuilt from the journal has to say instead of starting."""
        self.machine = machine
        self.session = machine.plan.session
        self._bytes_posted = 0
        self._postman = postman
        self._journal = journal
        self._report = report
        self._counters = counters
        parties = frozenset(machine.plan.parties)
        self._most_bytes = max(64 << 20, machine.plan.limits.memory_bytes // len(parties))
        self._mail = Mailbox(parties, MAILBOX, self._most_bytes, counters)
        self._scope = trio.CancelScope()
        self._told = False
        self._resumed = resumed
        self._marks = MarkKeeper(journal, self.session)
        if resumed is not None:
            self._marks.resume(machine)
        self._nursery: trio.Nursery | None = None
        self._outbox: Outbox | None = None

    @property
    def bytes_sent(self) -> int:
        """Of messages that were queued or, long ones, handed to a link."""
        return self._bytes_posted + (self._outbox.bytes_sent if self._outbox else 0)

    def deliver(self, sender: PartyId, message: object, size_bytes: int = 0) -> None:
        """Put a verified message into the mailbox; strangers and floods are counted and dropped."""
        if self._mail.knows(sender):
            self._mail.put(sender, message, size_bytes)

    def cancel(self) -> None:
        """End this party's part now, silently."""
        self._scope.cancel()

    async def run(self) -> None:
        """Drive the machine and report its events until it is over. Never raises for a session's failure."""
        ended: events.Aborted | None = None
        with self._scope:
            try:
                if self._resumed is None:
                    await self._journal.begin(self.session)
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self._outbox = Outbox(
                        self._postman,
                        self.session,
                        self.machine.plan.epoch,
                        self._most_bytes,
                        self._counters,
                        nursery,
                    )
                    await self._converse()
                    nursery.cancel_scope.cancel()
            except JournalFull as error:
                ended = events.Aborted(error.code, error.sentence(), definite=False)
            except BaseExceptionGroup as group:
                ended = _ended(group)
            except Exception:  # the session boundary: a bug ends this session, not the node
                log.exception("program failed by our own fault", session=self.session.short())
                ended = events.Aborted("C-900", "this node failed; its log has the details", definite=False)
        if ended is not None and not self._told:
            self._report(self.machine.outcome or ended)
        with trio.CancelScope(deadline=trio.current_time() + 5.0, shield=True):
            try:
                await self._journal.end(self.session, type(self.machine.outcome or ended).__name__)
            except JournalFull as error:
                log.warning("journal", why=str(error))

    async def _converse(self) -> None:
        machine = self.machine
        if self._resumed is None:
            await self._carry_out(await trio.to_thread.run_sync(machine.start, trio.current_time()))
        else:
            await self._carry_out(self._resumed)
        until = math.inf
        while True:
            if machine.outcome is not None and until == math.inf:
                until = trio.current_time() + LINGER_S
            deadline = min(until, math.inf if machine.deadline is None else machine.deadline)
            item = self._mail.take() or await self._mail.next(deadline)
            now = trio.current_time()
            if item is not None:
                sender, message, size_bytes = item
                await self._receive(now, sender, message, size_bytes)
            elif now >= until:
                return
            else:
                await self._carry_out(machine.expire(now))

    async def _receive(self, now: float, sender: PartyId, message: object, size_bytes: int) -> None:
        machine = self.machine
        try:
            if _is_heavy(message, size_bytes):
                effects = await trio.to_thread.run_sync(machine.receive, now, sender, message)
            else:
                effects = machine.receive(now, sender, message)
        except MalformedMessage as error:
            self._counters["malformed"] += 1
            log.warning("refused", sender=sender.short(), kind=type(message).__name__, why=str(error))
            if error.blame is not None:
                self._report(events.Named(error.blame, str(error), proven=False))
            return
        except ProtocolError as error:
            self._counters["unexpected"] += 1
            log.debug("dropped", sender=sender.short(), kind=type(message).__name__, why=str(error))
            return
        await self._carry_out(effects)
        if self._nursery is not None:
            self._marks.keep(now, self.machine, self._nursery)

    async def _carry_out(self, effects: Sequence[Effect]) -> None:
        await carry_out(self._journal, self.session, effects, self._do)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._post((effect.to,), effect.message)
            case Broadcast():
                self._post(effect.to, effect.message)
            case Publish():
                self._told = self._told or isinstance(effect.event, Outcome)
                self._report(effect.event)

    def _post(self, to: tuple[PartyId, ...], message: object) -> None:
        plan = self.machine.plan
        if self._outbox is not None and is_long(message):
            self._outbox.put(to, message)
            return
        self._bytes_posted += self._postman.post(to, message, session=self.session, epoch=plan.epoch)


def _ended(group: BaseExceptionGroup[BaseException]) -> events.Aborted:
    """What ended the session, unwrapped from the task group; cancellation goes on."""
    cancelled, rest = group.split(trio.Cancelled)
    if rest is None and cancelled is not None:
        raise cancelled
    full = group.subgroup(JournalFull)
    if full is not None:
        return events.Aborted(JournalFull.code, "the journal cannot be written", definite=False)
    log.error("program failed by our own fault", exc_info=group)
    return events.Aborted("C-900", "this node failed; its log has the details", definite=False)


def _is_heavy(message: object, size_bytes: int) -> bool:
    """Compiling, opening long shares and long layers take more than a heartbeat can wait for."""
    if isinstance(message, Layer):
        return message.words.size >= HEAVY_WORDS
    if isinstance(message, InputPart):
        return size_bytes >= HEAVY_BYTES
    return isinstance(message, StartProposal | StartCertificate)
