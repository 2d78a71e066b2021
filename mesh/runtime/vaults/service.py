"""Share vaults of this node: its own deposits, what it holds for others, and readings that it asks for.

Mail about vaults is bounded for each sender and in all, and worked off in one task; conversations of our own
(a deposit, a reading) run in the task of whoever asked. Nothing here touches the session machinery.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from mesh.api.shapes import ShareSpec, VaultInfo
from mesh.data.vault import OwnRow, VaultStore
from mesh.net.transport import Transport
from mesh.runtime.identity import NodeIdentity
from mesh.runtime.overlay_driver import OverlayDriver
from mesh.runtime.postman import Postman
from mesh.runtime.vaults import infos
from mesh.runtime.vaults import owner as vault_owner
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.answering import Answering
from mesh.runtime.vaults.erasing import Erasing
from mesh.runtime.vaults.finder import Finder
from mesh.runtime.vaults.holder import Holder
from mesh.runtime.vaults.joints import Joints
from mesh.runtime.vaults.keeper import Keeper
from mesh.runtime.vaults.ledger import Ledger
from mesh.runtime.vaults.talk import Talk, conversation_of
from mesh.settings import Config
from protocols.arithmetic.xof import derive
from protocols.errors import ConfigError, MalformedMessage, MeshError, ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.vault import renewal_messages
from protocols.vault.deposit import Deposited, DepositFailed, Depositor
from protocols.vault.joint import VaultJoint
from protocols.vault.messages import (
    VAULT_MESSAGES,
    VaultAsk,
    VaultBadShare,
    VaultCertified,
    VaultConsent,
    VaultDecline,
    VaultErased,
    VaultFind,
    VaultFound,
    VaultOffer,
    VaultOrder,
    VaultReceipt,
    VaultRelease,
    VaultShare,
    VaultUses,
    VaultUsesAsk,
    order,
)
from protocols.vault.reading import Reader, ReadingFailed, ReadingOpened
from protocols.vault.recovery import VaultMissed, VaultRemains
from protocols.vault.renewal_messages import RENEWAL_MESSAGES
from protocols.vault.standing import Standing
from protocols.vault.terms import sign_terms
from protocols.wire import codec

if TYPE_CHECKING:
    from trio_typing import TaskStatus


log = structlog.get_logger("coppice.vault")

MAX_WAITING = 1024
MAX_WAITING_OF_ONE = 96
TICK_S = 30.0
FLUSH_S = 1.0

VAULT_MAIL: tuple[type, ...] = (*VAULT_MESSAGES, *RENEWAL_MESSAGES, VaultMissed, VaultRemains, VaultJoint)
"""All messages about vaults."""

_ANSWERS = (VaultReceipt, VaultDecline, VaultConsent, VaultShare, VaultBadShare)


class Vaults:
    """All about vaults. `run` must be running."""

    def __init__(
        self,
        identity: NodeIdentity,
        config: Config,
        postman: Postman,
        folder: Path,
        overlay: OverlayDriver,
        transport: Transport,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.me = identity.party
        self.keys = identity.party_keys
        self._mesh = identity.mesh.mesh
        self._postman = postman
        self.view = overlay.view
        self._overlay = overlay
        self._transport = transport
        self._linked: set[PartyId] = set()
        self._clock = clock
        wrapping = derive(identity.keys.sealing.reveal(), "vaults at rest")
        self.store = VaultStore(folder / "vaults", wrapping)
        allowance = self._allowance = Allowance(trio.current_time)
        self.holder = Holder(
            self.keys, self._mesh, config, self.store, self.post, self.view, clock, allowance
        )
        ledger = Ledger(self.store, self.holder.stored, self.post, self.view, clock, allowance)
        self._answering = Answering(self.keys, self.holder, ledger, self.post, self.view, clock, allowance)
        self._keeper = Keeper(
            self.keys, self._mesh, config, self.holder, self.post, self.view,
            lambda: overlay.keeper.record.epoch, self._links, clock, ledger, allowance,
        )  # fmt: skip
        self.joints = Joints(self.me, self._mesh, self._answering, self.view, allowance)
        self._talks: dict[Digest, Talk[object]] = {}
        self.finder = Finder(self.me, self._mesh, self.post, self._links, self.view)
        self.erasing = Erasing(self.keys, self.holder, self.finder, self.post, self._links, self.view)
        self._depositing: set[Digest] = set()
        self._queue: Counter[PartyId] = Counter()
        self._send, self._mail = trio.open_memory_channel[tuple[PartyId, object]](MAX_WAITING)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        try:
            await self.holder.stored(self.store.tidy)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._work)
                nursery.start_soon(self._keeper.run)
                nursery.start_soon(self._watch_dates)
                task_status.started()
        finally:
            self.store.close()

    async def _watch_dates(self) -> None:
        while True:
            try:
                await self.holder.expire()
            except MeshError as error:  # a full disk ends no node
                log.error("vaults not looked at", why=error.sentence())
            await trio.sleep(TICK_S)

    # -- mail -----------------------------------------------------------------------------------------

    def receive(self, sender: PartyId, message: object) -> None:
        """Take one authenticated message. Raises UnexpectedMessage beyond a sender's share of the queue."""
        if isinstance(message, VaultFound):
            self.finder.receive(sender, message)
            return
        if isinstance(message, _ANSWERS):
            talk = self._talks.get(conversation_of(message))
            if talk is not None:
                talk.deliver(sender, message)
                return
        if self._queue[sender] >= MAX_WAITING_OF_ONE:
            raise UnexpectedMessage(f"{MAX_WAITING_OF_ONE} messages of this peer about vaults wait already")
        try:
            self._send.send_nowait((sender, message))
        except trio.WouldBlock:
            raise UnexpectedMessage("too many messages about vaults wait") from None
        self._queue[sender] += 1

    def post(self, to: Iterable[PartyId], message: object) -> None:
        """Send to others through the network, to ourselves without it."""
        recipients = tuple(to)
        self._postman.post((party for party in recipients if party != self.me), message)
        if self.me in recipients:
            with contextlib.suppress(ProtocolError):
                self.receive(self.me, message)

    def _links(self) -> set[PartyId]:
        return {peer for peer, info in self._transport.links().items() if not info.guest}

    def links_changed(self) -> None:
        """Links came or went: conversations stop waiting, and who is back hears what it missed."""
        now = self._links()
        for peer in self._linked - now:
            for talk in self._talks.values():
                talk.lose(peer)
        for peer in now - self._linked:
            try:
                self._send.send_nowait((peer, None))
            except trio.WouldBlock:
                log.debug("a link was not looked at")
        self._linked = now

    async def _work(self) -> None:
        async for sender, message in self._mail:
            if message is not None:
                self._queue[sender] -= 1
                if not self._queue[sender]:
                    del self._queue[sender]
            try:
                await self._handle(sender, message)
            except MalformedMessage as error:
                self.counters["vault_malformed"] += 1
                log.warning("malformed vault message", sender=sender.short(), why=str(error))
            except ProtocolError as error:
                self.counters["vault_unexpected"] += 1
                log.debug("vault message dropped", sender=sender.short(), why=str(error))
            except MeshError as error:
                log.error("vault message not handled", sender=sender.short(), why=error.sentence())
            except Exception:  # the boundary to the network: no message may end the node
                self.counters["bugs"] += 1
                log.exception("a vault message met a bug of ours", sender=sender.short())

    async def _handle(self, sender: PartyId, message: object) -> None:
        holder = self.holder
        match message:
            case None:
                await holder.linked(sender)
                await self._keeper.standings.linked(sender)
                await self.erasing.tell(sender, but=self._depositing)
            case VaultOffer():
                await holder.on_offer(sender, message)
            case VaultReceipt():
                await holder.on_receipt(sender, message)
            case VaultCertified():
                await holder.on_certified(sender, message)
            case VaultBadShare():
                await holder.on_bad_share(sender, message)
            case VaultFind():
                await holder.on_find(sender, message)
            case VaultAsk():
                await self._answering.on_ask(sender, message)
            case VaultRelease():
                await self._answering.on_release(sender, message)
            case VaultOrder():
                await holder.on_order(sender, message)
            case VaultErased():
                await self.erasing.on_erased(sender, message)
            case Standing():
                await self._keeper.standings.on_standing(sender, message)
            case VaultJoint():
                await self.joints.tell(sender, message)
            case VaultUsesAsk():
                await self._answering.on_uses_ask(sender, message)
            case VaultUses():
                await self._answering.on_uses(sender, message)
            case VaultMissed():
                await self._keeper.recovering.on_missed(sender, message)
            case VaultRemains():
                await self._keeper.recovering.on_remains(sender, message)
            case _ if isinstance(message, RENEWAL_MESSAGES):
                self._allowance.charge(sender, renewal_messages.proofs(message))
                await self._keeper.receive(sender, message)
            case _:
                raise UnexpectedMessage(f"no vault waits for a {type(message).__name__}")

    # -- the owner ------------------------------------------------------------------------------------

    async def share(self, spec: ShareSpec) -> VaultInfo:
        """Deposit a file. Raises DataError, ConfigError, Refused; then nothing of it stands."""
        if await self.holder.stored(self.store.own, spec.name):
            raise ConfigError(
                f"this node shared something called {spec.name!r} already",
                code="C-652",
                fix=f"choose another --name, or first: coppice data unshare {spec.name}",
            )
        linked = self._links()
        seats = vault_owner.choose(spec, self.view(), self._overlay.keeper.record, linked, os.urandom(16))
        content = await trio.to_thread.run_sync(vault_owner.read, spec, os.urandom(32))
        now = self._clock()
        terms = vault_owner.terms_of(spec, content.slots, self._mesh, self.me, seats, now)
        signed = sign_terms(self.keys.signing_seed, terms)
        machine = await trio.to_thread.run_sync(Depositor, self.keys, signed, content.vector, os.urandom(32))

        # Stored before the first holder hears of it, as one to be erased: holders certify a vault among each
        # other, and after a crash here, or a failure, nobody must keep what this person never saw succeed.
        recall = order(self.keys.signing_seed, signed)
        intent = OwnRow(
            bytes(terms.vault), "", spec.path, now, codec.encode(machine.uncertified), codec.encode(recall)
        )
        await self.holder.stored(self.store.put_own, intent)

        async def hear(event: object) -> None:  # stored before the holders hear that the vault exists
            if isinstance(event, Deposited):
                body = codec.encode(event.standing)
                row = OwnRow(bytes(terms.vault), terms.name, spec.path, now, body, None)
                await self.holder.stored(self.store.put_own, row)

        self._depositing.add(terms.vault)
        try:
            outcome = await self._talk(terms.vault, Talk(machine, self.post, hear), machine.members)
        finally:
            self._depositing.discard(terms.vault)
        if isinstance(outcome, DepositFailed):
            self.post(
                machine.members, recall
            )  # whoever took one drops it; who is away hears it when it is back
            raise vault_owner.failed(outcome.reasons, self.view().name, terms.quorum)
        assert isinstance(outcome, Deposited)
        await self._postman.flush(FLUSH_S)
        log.info("vault deposited", vault=terms.vault.short(), name=terms.name, holders=len(terms.seats))
        row = (await self.holder.stored(self.store.own, None, bytes(terms.vault)))[0]
        told = infos.of_own(self.view(), row, outcome.standing, {}, dict(outcome.silent))
        return replace(told, warnings=vault_owner.strangers(spec, self.view()))

    async def shared(self) -> list[VaultInfo]:
        """Vaults that we deposited, as their holders know them now, and those that we hold shares of."""
        found = []
        for row in await self.holder.stored(self.store.own):
            if not row.name:  # a deposit that failed
                continue
            standing, facts = codec.decode(Standing, row.standing), None
            if row.proof is None:
                standing, facts = await self.finder.newest(standing)
            confirmed = await self.holder.stored(self.store.confirmed, row.vault)
            found.append(infos.of_own(self.view(), row, standing, confirmed, {}, facts))
        for held in await self.holder.stored(self.store.held):
            if held.standing is not None:
                uses = await self.holder.stored(self.store.count_uses, held.vault)
                standing = codec.decode(Standing, held.standing)
                found.append(infos.of_held(self.view(), held, standing, uses))
        return found

    # -- readings -------------------------------------------------------------------------------------

    async def read(self, machine: Reader) -> ReadingOpened | ReadingFailed:
        """Run a reading of ours."""
        talk = Talk(machine, self.post)
        return await self._talk(machine.reading.name, talk, machine.standing.members)  # type: ignore[return-value]  # a Reader's

    async def _talk(self, key: Digest, talk: Talk[object], members: tuple[PartyId, ...]) -> object:
        self._talks[key] = talk
        try:
            linked = self._links()
            return await talk.run([p for p in members if p not in linked and p != self.me])
        finally:
            del self._talks[key]
