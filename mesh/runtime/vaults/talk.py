"""Drives one conversation of an owner or requester about a vault: a pure machine, its mail and its deadline.

What a machine publishes is heard (and stored) before the effects after it are sent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog
import trio

from protocols.errors import ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.vault.messages import VaultBadShare, VaultConsent, VaultDecline, VaultReceipt, VaultShare

log = structlog.get_logger("coppice.vault")

MAILBOX = 256
MAIL_OF_ONE = 8
"""Messages of one party that one conversation takes: honest ones need two or three."""

Outcome = TypeVar("Outcome", covariant=True)


class Conversation(Protocol[Outcome]):
    """A machine whose counterparts can be lost."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended."""

    @property
    def deadline(self) -> float | None:
        """When `expire` wants to be called."""

    def start(self, now: float) -> Sequence[Effect]:
        """Begin."""

    def receive(self, now: float, sender: PartyId, message: object) -> Sequence[Effect]:
        """Take a message. Raises ProtocolError."""

    def expire(self, now: float) -> Sequence[Effect]:
        """The deadline has passed."""

    def lose(self, now: float, party: PartyId) -> Sequence[Effect]:
        """A party cannot be reached."""


Hear = Callable[[object], Awaitable[None]]
Post = Callable[[Iterable[PartyId], object], None]
"""Sends to others through the network, and to ourselves without it."""


async def _ignore(event: object) -> None:
    del event


class Talk(Generic[Outcome]):
    """One conversation. `deliver` and `lose` never block."""

    def __init__(self, machine: Conversation[Outcome], post: Post, hear: Hear = _ignore) -> None:
        self._machine = machine
        self._post = post
        self._hear = hear
        self._heard: Counter[PartyId] = Counter()
        self._send, self._mail = trio.open_memory_channel[tuple[PartyId, object | None]](MAILBOX)

    def deliver(self, sender: PartyId, message: object) -> None:
        """Mail; beyond the bounds, of each sender and of all, it is dropped."""
        self._heard[sender] += 1
        if self._heard[sender] > MAIL_OF_ONE:
            return
        try:
            self._send.send_nowait((sender, message))
        except trio.WouldBlock:
            log.debug("mail for a vault dropped", sender=sender.short())

    def lose(self, party: PartyId) -> None:
        """The link to `party` is down."""
        try:
            self._send.send_nowait((party, None))
        except trio.WouldBlock:
            log.debug("a lost link was not told")

    async def run(self, unreachable: Sequence[PartyId] = ()) -> Outcome:
        """Until the machine has its outcome."""
        machine = self._machine
        await self._carry(machine.start(trio.current_time()))
        for party in unreachable:
            await self._carry(machine.lose(trio.current_time(), party))
        while machine.outcome is None:
            deadline = machine.deadline
            with trio.move_on_at(math.inf if deadline is None else deadline):
                sender, message = await self._mail.receive()
                await self._take(sender, message)
                continue
            await self._carry(machine.expire(trio.current_time()))
        return machine.outcome

    async def _take(self, sender: PartyId, message: object | None) -> None:
        now = trio.current_time()
        try:
            lost = message is None
            effects = self._machine.lose(now, sender) if lost else self._machine.receive(now, sender, message)
        except ProtocolError as error:
            log.info("vault message refused", sender=sender.short(), why=str(error))
            return
        with trio.CancelScope(shield=True):
            await self._carry(effects)

    async def _carry(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    await self._hear(effect.event)
                case Send():
                    self._post((effect.to,), effect.message)
                case Broadcast():
                    self._post(effect.to, effect.message)


def conversation_of(message: object) -> Digest:
    """Which conversation an answer belongs to."""
    match message:
        case VaultReceipt():
            return message.vault
        case VaultBadShare():
            return message.terms.terms.vault
        case VaultConsent() | VaultShare():
            return message.reading
        case VaultDecline():
            return message.about
    raise UnexpectedMessage("no conversation takes that")
