"""Renews the vaults held here, every epoch and when a holder is gone, and keeps to the newest generation.

Due is a vault whose epoch has passed (and whose shares are older than vault.renew_s), or one of whose holders
the mesh has given up (see `substitution`). What a new standing changes is in `standings`, how we come by a
share that we missed in `recovering`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from mesh.data.errors import DataError
from mesh.data.vault import HeldRow, VaultEnded
from mesh.overlay.view import View
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.holder import SEED_BYTES, Holder, standing_of
from mesh.runtime.vaults.ledger import Ledger
from mesh.runtime.vaults.recovering import Recovering
from mesh.runtime.vaults.standings import Standings
from mesh.runtime.vaults.substitution import next_seats
from mesh.runtime.vaults.talk import Post
from mesh.settings import Config
from protocols.errors import MalformedMessage, MeshError, ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Seat
from protocols.vault.gathering import Liar
from protocols.vault.recovery import Remains
from protocols.vault.renewal import Renewal
from protocols.vault.renewal_messages import (
    AckCast,
    PendingShare,
    Renewed,
    VaultDeal,
    ViewEntered,
    VoteCast,
    place_of,
)
from protocols.vault.standing import Standing
from protocols.wire import codec

log = structlog.get_logger("coppice.vault")

LOOK_S = 1.0
MAX_RUNNING = 16
MAX_OF_ONE = 4
"""Renewals at a time of vaults of one owner."""
LONGEST_S = 120.0
MAILBOX = 1024
_RECORDS: dict[str, type] = {cls.__name__: cls for cls in (VoteCast, ViewEntered, AckCast)}


@dataclass(slots=True)
class _Running:
    machine: Renewal
    send: trio.MemorySendChannel[tuple[PartyId, object]]
    mail: trio.MemoryReceiveChannel[tuple[PartyId, object]]


class Keeper:
    """Renewals of this node. `run` must be running."""

    def __init__(
        self,
        keys: PartyKeys,
        mesh: Digest,
        config: Config,
        holder: Holder,
        post: Post,
        view: Callable[[], View],
        epoch: Callable[[], int],
        links: Callable[[], set[PartyId]],
        clock: Callable[[], float],
        ledger: Ledger,
        allowance: Allowance,
    ) -> None:
        self.standings = Standings(
            keys.party, mesh, holder, post, view, clock, ledger, allowance, self._adopted
        )
        self.recovering = Recovering(keys, holder, post, links, allowance)
        self._ledger = ledger
        self._keys = keys
        self._least_s = config.vault_renew_s
        self._holder = holder
        self._store = holder.store
        self._post = post
        self._view = view
        self._epoch = epoch
        self._links = links
        self._clock = clock
        self._running: dict[Digest, _Running] = {}
        self._epoch_of: dict[Digest, int] = {}
        self._callers: dict[Digest, set[PartyId]] = {}
        """Who dealt for the vault's next generation before we saw it due."""
        self._beginning = trio.Lock()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Look for what is due, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for row in await self._holder.stored(self._store.held):
                if row.standing is not None:  # a crash may have come between a certificate and the erasure
                    await self.standings.erase_old(standing_of(row.standing))
            while True:
                try:
                    for row in await self._holder.stored(self._store.held):
                        if row.standing is not None:
                            await self._look(row, standing_of(row.standing))
                    await self._ledger.fetch()
                except MeshError as error:  # a full disk ends no node
                    log.error("vaults not looked at", why=error.sentence())
                await trio.sleep(LOOK_S)

    async def _look(self, row: HeldRow, standing: Standing) -> None:
        vault = standing.vault
        epoch = self._epoch_of.setdefault(vault, self._epoch())
        await self.recovering.look(standing)
        if vault in self._running:
            return
        wanted = next_seats(self._view(), standing)
        old = self._clock() >= row.renewed + self._least_s
        if self._holder.is_over(row) or not self._may_begin(standing):
            return
        if wanted != standing.seats or (old and self._epoch() > epoch):
            await self._begin(standing, wanted)

    def _may_begin(self, standing: Standing) -> bool:
        """With fewer than a quorum of the holders here nothing could be decided."""
        here = (self._links() | {self._keys.party}) & set(standing.members)
        return len(here) >= standing.terms.terms.quorum and self._has_room(standing)

    def _has_room(self, standing: Standing) -> bool:
        """Whether one renewal more may run: of one owner not so many that those of others must wait."""
        owners = [one.machine.standing.terms.terms.owner for one in self._running.values()]
        return len(owners) < MAX_RUNNING and owners.count(standing.terms.terms.owner) < MAX_OF_ONE

    # -- mail -----------------------------------------------------------------------------------------

    async def receive(self, sender: PartyId, message: object) -> None:
        """A renewal message. Raises ProtocolError."""
        place = place_of(message)
        running = self._running.get(place.vault)
        if running is not None and running.machine.standing.generation == place.generation:
            try:
                running.send.send_nowait((sender, message))
            except trio.WouldBlock:
                raise UnexpectedMessage("too much mail about one renewal") from None
            return
        rows = await self._holder.stored(self._store.held, bytes(place.vault))
        known = rows[0].standing if rows else None
        if known is not None:
            standing = standing_of(known)
            if standing.generation != place.generation:
                self._post((sender,), standing)  # one of us two has missed something
                return
            if not isinstance(message, VaultDeal) or standing.seat_of(sender) is None:
                raise UnexpectedMessage("no renewal of this vault is on here")
            callers = self._callers.setdefault(place.vault, set())
            callers.add(sender)
            fresh = self._clock() < rows[0].renewed + self._least_s / 2
            fresh = fresh and len(callers) <= standing.terms.terms.threshold  # else one of them is honest
            if (fresh and message.seats == standing.seats) or not self._may_begin(standing):
                raise UnexpectedMessage("this vault was renewed a moment ago")
            await self._begin(standing, next_seats(self._view(), standing))
        elif isinstance(message, VaultDeal):
            if await self.standings.is_over(sender, place.vault):
                raise UnexpectedMessage("a dealing of a vault that ended")
            candidate = self.standings.candidates.get(place.vault)
            self.recovering.wonder(sender, message, candidate)
            if candidate is None:
                raise UnexpectedMessage("a dealing of a vault that we do not know")
            standing = candidate
            wanted = next_seats(self._view(), standing)
            if standing.generation != place.generation or not self._has_room(standing):
                raise UnexpectedMessage("a dealing for another generation than we know")
            if self._keys.party not in {seat.party for seat in wanted}:
                raise UnexpectedMessage("we do not see why we should take this seat")
            await self._begin(standing, wanted)
        running = self._running.get(place.vault)
        if running is not None and running.machine.standing.generation == place.generation:
            await self.receive(sender, message)

    # -- one renewal ----------------------------------------------------------------------------------

    async def _begin(self, standing: Standing, wanted: tuple[Seat, ...]) -> None:
        """One at a time: two machines of one renewal could vote for two rosters."""
        async with self._beginning:
            if standing.vault not in self._running and self._nursery is not None:
                await self._begun(standing, wanted, self._nursery)

    async def _begun(self, standing: Standing, wanted: tuple[Seat, ...], nursery: trio.Nursery) -> None:
        vault, generation = standing.vault, standing.generation
        share, seed = await self._holder.fragment(standing)
        machine = Renewal(self._keys, standing, share, seed or os.urandom(SEED_BYTES), wanted)
        for kind, body in await self._holder.stored(self._store.votes, bytes(vault), generation):
            if kind in _RECORDS:
                machine.restore(codec.decode(_RECORDS[kind], body))
        send, mail = trio.open_memory_channel[tuple[PartyId, object]](MAILBOX)
        self._running[vault] = _Running(machine, send, mail)
        newcomers = self._welcome(standing, wanted)
        log.info("vault renewal", vault=vault.short(), generation=generation, newcomers=newcomers)
        nursery.start_soon(self._drive, self._running[vault])

    def _welcome(self, standing: Standing, wanted: tuple[Seat, ...]) -> int:
        """Show newcomers what they are to take a seat of; how many there are."""
        newcomers = [seat.party for seat in wanted if seat.party not in standing.members]
        if newcomers and standing.seat_of(self._keys.party) is not None:
            self._post(newcomers, standing)
        return len(newcomers)

    def _adopted(self, vault: Digest) -> None:
        self._epoch_of[vault] = self._epoch()
        self._callers.pop(vault, None)

    async def _drive(self, running: _Running) -> None:
        machine = running.machine
        vault = machine.standing.vault
        machine.lost = self._lost(machine)
        try:
            await self._step(machine, machine.start)
            began = looked = trio.current_time()
            while not machine.done:
                deadline = min(machine.deadline or math.inf, looked + LOOK_S)
                with trio.move_on_at(deadline):
                    sender, message = await running.mail.receive()
                    await self._step(machine, machine.receive, sender, message)
                    continue
                looked = trio.current_time()
                if await self._superseded(machine):
                    await self._clear(machine)
                    return
                if machine.outcome is None and looked > began + LONGEST_S:
                    return  # others get their turn; what was voted is stored, so it goes on later
                lost, wanted = self._lost(machine), next_seats(self._view(), machine.standing)
                if machine.outcome is None and (lost, wanted) != (machine.lost, machine.wanted):
                    self._welcome(machine.standing, wanted)
                    await self._step(machine, machine.want, wanted, lost)
                if machine.lacks_share:  # it may have come late (see `recovering`)
                    share, seed = await self._holder.fragment(machine.standing)
                    if share is not None:
                        await self._step(machine, machine.supply, share, seed)
                if machine.deadline is not None and machine.deadline <= looked:
                    await self._step(machine, machine.expire)
        except VaultEnded:  # between one look and the next: what is stored no more is not said either
            log.debug("vault renewal of what ended", vault=vault.short())
        except Exception:  # the boundary of one renewal: a bug in it ends no other
            log.exception("a vault's renewal met a bug of ours", vault=vault.short())
        finally:
            self._running.pop(vault, None)

    async def _clear(self, machine: Renewal) -> None:
        """A share that a renewal left behind of a vault that ended, or that we did not come to hold."""
        vault = bytes(machine.standing.vault)
        ended = await self._holder.stored(self._store.ended, vault)
        if ended or (machine.outcome is None and not await self._holder.stored(self._store.held, vault)):
            await self._holder.stored(self._store.erase_fragments, vault)

    async def _step(
        self, machine: Renewal, call: Callable[..., Sequence[Effect]], *arguments: object
    ) -> None:
        """One step of the machine: computed in a thread, its effects in order, stored before sent."""
        with trio.CancelScope(shield=True):
            try:
                effects = await trio.to_thread.run_sync(call, trio.current_time(), *arguments)
            except MalformedMessage as error:
                log.warning("malformed vault message", why=str(error))
                return
            except ProtocolError as error:
                log.debug("vault message dropped", why=str(error))
                return
            for effect in effects:
                await self._carry(machine, effect)

    async def _carry(self, machine: Renewal, effect: Effect) -> None:
        vault, generation = bytes(machine.standing.vault), machine.standing.generation
        match effect:
            case Persist(PendingShare() as pending):
                await self._store_pending(vault, generation + 1, pending)
            case Persist(Remains() as remains):
                body = codec.encode(remains) if remains.seats else b""
                await self._holder.stored(self._store.keep, vault, generation + 1, body)
            case Persist(record):
                kind, body = type(record).__name__, codec.encode(record)
                await self._holder.stored(self._store.vote, vault, generation, kind, body)
            case Publish(Renewed() as renewed):
                await self.standings.adopt(renewed.standing)
            case Publish(Liar() as liar):
                name = self._view().name(liar.party)
                log.warning("fault", party=name, fault=liar.fault, proven=liar.proven)
            case Send():
                self._post((effect.to,), effect.message)
            case Broadcast():
                self._post(effect.to, effect.message)

    async def _store_pending(self, vault: bytes, generation: int, pending: PendingShare) -> None:
        """Once: after a restart it is computed again, and to write it again could tear what was acknowledged,
        which nobody keeps for us any more."""
        place = (vault, generation, bytes(pending.outcome))
        with contextlib.suppress(DataError):  # torn before it was acknowledged
            if await self._holder.stored(self._store.fragment, *place) is not None:
                return
        body = os.urandom(SEED_BYTES) + pending.share.astype("<u8").tobytes()
        await self._holder.stored(self._store.put_fragment, *place, body)

    async def _superseded(self, machine: Renewal) -> bool:
        """The vault ended, or is in a later generation by somebody else's proof."""
        if machine.outcome is not None:
            return False
        vault = bytes(machine.standing.vault)
        if await self._holder.stored(self._store.ended, vault):
            return True
        rows = await self._holder.stored(self._store.held, vault)
        if not rows or rows[0].standing is None:
            return machine.standing.seat_of(self._keys.party) is not None
        return standing_of(rows[0].standing).generation > machine.standing.generation

    def _lost(self, machine: Renewal) -> frozenset[PartyId]:
        parties = {*machine.standing.members, *(seat.party for seat in machine.wanted)}
        return frozenset(parties - self._links() - {self._keys.party})
