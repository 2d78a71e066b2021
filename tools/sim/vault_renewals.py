"""A simulated holder's renewals: when one begins, who gets the seats, what a new standing does to shares.

The rules are those of `mesh.runtime.vaults.keeper`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from protocols.errors import ProtocolError, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions.plan import Seat
from protocols.vault.gathering import Liar, seat_in
from protocols.vault.recovery import Recovery, Remains, VaultMissed, VaultRemains
from protocols.vault.renewal import Renewal
from protocols.vault.renewal_messages import PendingShare, Renewed, VaultDeal, place_of
from protocols.vault.standing import MAX_SUCCESSIONS, Standing, check_standing, held_throughout, origin
from protocols.wire.digest import digest
from tools.sim.vault_disk import Ended, Fragment

if TYPE_CHECKING:
    from tools.sim.vault_node import VaultNode

LONGEST_S: Final = 120.0


class Renewals:
    """The keeper's part of one node; all of it is in memory."""

    def __init__(self, node: VaultNode) -> None:
        self.node = node
        self.world = node.world
        self.machine: Renewal | None = None
        self._began_s = 0.0
        self._epoch: int | None = None
        self._candidate: Standing | None = None
        self._timer: float | None = None
        self._callers: set[PartyId] = set()
        self._turn = 0
        self._recovery: Recovery | None = None
        self._asked_s = -1.0

    def look(self) -> None:
        """Begin what is due; tell a running renewal who is gone."""
        node, standing = self.node, self.node.disk.standing
        if standing is not None:
            self._recover(standing)
        if self.machine is not None:
            self._look_after(self.machine)
        elif standing is not None:
            epoch = int(self.world.now / self.world.scenario.epoch_s)
            self._epoch = epoch if self._epoch is None else self._epoch
            wanted = self.wanted(standing)
            old = self.world.now >= node.disk.renewed_s + self._least_s
            if self._may_begin(standing) and (wanted != standing.seats or (old and epoch > self._epoch)):
                self._begin(standing, wanted)

    @property
    def _least_s(self) -> float:
        return self.world.scenario.epoch_s / 2

    def _may_begin(self, standing: Standing) -> bool:
        here = (self.world.linked(self.node) | {self.node.party}) & set(standing.members)
        return len(here) >= standing.terms.terms.quorum

    def wanted(self, standing: Standing) -> tuple[Seat, ...]:
        """The seats with those that the mesh has given up replaced by the next parties in rank."""
        taken = set(standing.members)
        gone = [party for party in standing.members if self.world.is_given_up(party)]
        if not gone or len(standing.successions) >= MAX_SUCCESSIONS:
            return standing.seats
        fit = [party for party in self.world.fit() if party not in taken]
        rank = partial(digest, "vault rank", standing.vault, standing.generation.to_bytes(4, "big"))
        spare = sorted(fit, key=lambda party: rank(party))
        seats = []
        for seat in standing.seats:
            party = spare.pop(0) if seat.party in gone and spare else seat.party
            seats.append(seat if party == seat.party else Seat(party, self.world.sealing_key(party)))
        return tuple(seats)

    # -- mail -----------------------------------------------------------------------------------------

    def receive(self, sender: PartyId, message: Any) -> None:
        """A renewal message. Raises ProtocolError."""
        place, node, standing = place_of(message), self.node, self.node.disk.standing
        if self.machine is None or self.machine.standing.generation != place.generation:
            if standing is not None and standing.generation != place.generation:
                node.post((sender,), standing)  # one of us two has missed something
                return
            self._wonder(sender, message)
            self._join(sender, message)
        if self.machine is not None and self.machine.standing.generation == place.generation:
            self._step(self.machine.receive, self.world.now, sender, message)

    def _join(self, sender: PartyId, message: Any) -> None:
        """A dealing may begin a renewal here too."""
        node, standing, place = self.node, self.node.disk.standing, place_of(message)
        if standing is not None:
            if not isinstance(message, VaultDeal) or standing.seat_of(sender) is None:
                raise UnexpectedMessage("no renewal of this vault is on here")
            self._callers.add(sender)
            fresh = self.world.now < node.disk.renewed_s + self._least_s / 2
            fresh = fresh and len(self._callers) <= standing.terms.terms.threshold
            if (fresh and message.seats == standing.seats) or not self._may_begin(standing):
                raise UnexpectedMessage("this vault was renewed a moment ago")
            self._begin(standing, self.wanted(standing))
        elif isinstance(message, VaultDeal) and self._is_over(sender):
            raise UnexpectedMessage("a dealing of a vault that ended")
        elif self._candidate is not None and isinstance(message, VaultDeal):
            wanted = self.wanted(self._candidate)
            if self._candidate.generation != place.generation:
                raise UnexpectedMessage("a dealing for another generation than we know")
            if seat_in(wanted, node.party) is None:
                raise UnexpectedMessage("we do not see why we should take this seat")
            self._begin(self._candidate, wanted)

    def _is_over(self, sender: PartyId) -> bool:
        """Whether the vault ended here; who still holds it was away when the owner said so, or is new."""
        disk = self.node.disk
        if disk.order is not None:
            self.node.post((sender,), disk.order)
        return bool(disk.ended)

    def on_standing(self, sender: PartyId, message: Standing) -> None:
        """Somebody shows who holds the vault. Raises MalformedMessage if it proves nothing."""
        node, disk, mesh = self.node, self.node.disk, self.world.mesh
        if self._is_over(sender):
            return
        ours = disk.standing
        if ours is not None:
            if ours.generation > message.generation and sender in ours.everyone:
                node.post((sender,), ours)
            elif ours.generation < message.generation:
                check_standing(message, mesh, ours)
                self.adopt(message)
        elif message.seat_of(node.party) is not None:
            check_standing(message, mesh)
            self.adopt(message)
        elif disk.terms is not None:
            check_standing(message, mesh)
            if message.generation:
                self.adopt(message)
        elif message.seat_of(sender) is None:
            raise UnexpectedMessage("a vault that is no concern of ours")
        elif self._candidate is None or self._candidate.generation < message.generation:
            check_standing(message, mesh, self._candidate)
            self._candidate = message

    # -- what we missed -------------------------------------------------------------------------------

    def _wonder(self, sender: PartyId, message: Any) -> None:
        """A dealing to us of a vault whose standing we do not know: ask, not more often than we look."""
        node, known = self.node, self._candidate
        if node.disk.standing is not None or node.disk.ended or not isinstance(message, VaultDeal):
            return
        stale = known is None or known.generation < message.place.generation
        meant = seat_in(message.seats, node.party) is not None or node.disk.terms is not None
        if stale and meant and self.world.now >= self._asked_s + 1.0:
            self._asked_s = self.world.now
            node.post((sender,), VaultMissed(message.place.vault, None))

    def _recover(self, standing: Standing) -> None:
        """Without a share of the standing's generation, ask one fellow after the other for what it is of."""
        node = self.node
        if standing.seat_of(node.party) is None or node.share(standing) is not None:
            return
        there = sorted((set(standing.members) & self.world.linked(node)) - {node.party})
        if there:
            self._turn += 1
            node.post((there[self._turn % len(there)],), self._way(standing).ask())

    def _way(self, standing: Standing) -> Recovery:
        if self._recovery is None or self._recovery.origin != origin(standing):
            self._recovery = Recovery(self.node.keys, standing)
        return self._recovery

    def on_missed(self, sender: PartyId, message: VaultMissed) -> None:
        """Somebody lacks a standing or a share. Raises UnexpectedMessage if we cannot help."""
        disk = self.node.disk
        standing = disk.standing
        if standing is None:
            raise UnexpectedMessage("a question about a vault that we do not hold")
        if message.generation is None or message.generation < standing.generation:
            self.node.post((sender,), standing)
            return
        seat, remains = standing.seat_of(sender), disk.remains.get(message.generation)
        if seat is None or remains is None or message.generation != standing.generation:
            raise UnexpectedMessage("nothing is kept here for who asks")
        if (answer := remains.answer(self.node.keys, standing, seat, message.complaints)) is not None:
            self.node.post((sender,), answer)

    def on_remains(self, message: VaultRemains) -> None:
        """What our share is made of. Raises ProtocolError."""
        node, standing = self.node, self.node.disk.standing
        if standing is None or node.share(standing) is not None:
            raise UnexpectedMessage("we lack no share")
        if (share := self._way(standing).receive(message)) is None:
            return
        fragment = Fragment(share, self.world.dice.randbytes(32))
        node.write(node.disk.put((standing.generation, origin(standing)), fragment))
        self.world.note(f"p{node.index} recovers its share of generation {standing.generation}")

    # -- one renewal ----------------------------------------------------------------------------------

    def _begin(self, standing: Standing, wanted: tuple[Seat, ...]) -> None:
        node, world = self.node, self.world
        if self.machine is not None:
            return
        fragment = node.share(standing)
        share = fragment.share if fragment else None
        seed = fragment.seed if fragment else world.dice.randbytes(32)
        machine = self.machine = Renewal(node.keys, standing, share, seed, wanted)
        self._began_s = world.now
        for generation, record in node.disk.votes:
            if generation == standing.generation:
                machine.restore(record)
        count = self._welcome(standing, wanted)
        world.note(f"p{node.index} renews generation {standing.generation}, {count} newcomers")
        machine.lost = self._lost(machine)
        self._step(machine.start, world.now)

    def _welcome(self, standing: Standing, wanted: tuple[Seat, ...]) -> int:
        """Show newcomers what they are to take a seat of; how many there are."""
        newcomers = tuple(seat.party for seat in wanted if seat.party not in standing.members)
        if newcomers and standing.seat_of(self.node.party) is not None:
            self.node.post(newcomers, standing)
        return len(newcomers)

    def _look_after(self, machine: Renewal) -> None:
        now = self.world.now
        if machine.outcome is None:
            if self._superseded(machine):
                self._clear()
                self.machine = None
                return
            if now > self._began_s + LONGEST_S:
                self.machine = None
                return
            lost, wanted = self._lost(machine), self.wanted(machine.standing)
            if (lost, wanted) != (machine.lost, machine.wanted):
                self._welcome(machine.standing, wanted)
                self._step(machine.want, now, wanted, lost)
            if machine.lacks_share and (fragment := self.node.share(machine.standing)) is not None:
                self._step(machine.supply, now, fragment.share, fragment.seed)

    def _superseded(self, machine: Renewal) -> bool:
        disk = self.node.disk
        if disk.ended:
            return True
        if disk.standing is None:
            return machine.standing.seat_of(self.node.party) is not None
        return disk.standing.generation > machine.standing.generation

    def _clear(self) -> None:
        """A share that a renewal left behind of a vault that ended, or that we did not come to hold."""
        disk = self.node.disk
        if disk.ended or disk.terms is None:
            self.node.write(dataclasses.replace(disk, fragments={}))

    def _lost(self, machine: Renewal) -> frozenset[PartyId]:
        parties = {*machine.standing.members, *(seat.party for seat in machine.wanted)}
        return frozenset(parties - self.world.linked(self.node) - {self.node.party})

    def _step(self, call: Any, *arguments: Any) -> None:
        machine = self.machine
        assert machine is not None
        try:
            effects: list[Effect] = call(*arguments)
        except ProtocolError as error:
            self.world.refused(self.node, error)
            return
        try:
            for effect in effects:
                self._carry(machine, effect)
        except Ended:  # between one look and the next: what is stored no more is not said either
            self.machine = None
            return
        if machine.done and self.machine is machine:
            self.machine = None
        elif machine.deadline is not None and machine.deadline != self._timer:
            self._timer = machine.deadline
            self.world.at(max(machine.deadline, self.world.now), self._expire, machine, self.node.lives)

    def _expire(self, machine: Renewal, life: int) -> None:
        alive = self.node.up and self.node.lives == life and self.machine is machine
        if alive and machine.deadline is not None and machine.deadline <= self.world.now:
            self.world.step(self.node, self._step, machine.expire, self.world.now)

    def _carry(self, machine: Renewal, effect: Effect) -> None:
        node, generation = self.node, machine.standing.generation
        match effect:
            case Persist(PendingShare() as pending):
                fragment = Fragment(pending.share, self.world.dice.randbytes(32))
                node.write(node.disk.put((generation + 1, pending.outcome), fragment))
            case Persist(Remains() as remains):
                kept = {**node.disk.remains, generation + 1: remains}
                node.write(dataclasses.replace(node.disk, remains=kept))
            case Persist(record):
                node.write(dataclasses.replace(node.disk, votes=(*node.disk.votes, (generation, record))))
            case Publish(Renewed() as renewed):
                self.adopt(renewed.standing)
            case Publish(Liar() as liar):
                self.world.named(node, liar)
            case Send() | Broadcast():
                node.carry([effect])

    def adopt(self, standing: Standing) -> None:
        """This standing counts from now on: store it, then erase what came before it."""
        node, disk = self.node, self.node.disk
        if disk.ended:
            node.write(dataclasses.replace(disk, fragments={}))
            return
        self.world.adopted(node, standing)
        if standing.seat_of(node.party) is None:
            node.write(disk.emptied())
            return
        if not self._stayed(standing):
            node.learn(standing)
        node.write(
            dataclasses.replace(node.disk, terms=standing.terms, standing=standing, renewed_s=self.world.now)
        )
        self.erase_old(standing)
        votes = tuple(vote for vote in node.disk.votes if vote[0] >= standing.generation)
        node.write(dataclasses.replace(node.disk, votes=votes))
        self._epoch = int(self.world.now / self.world.scenario.epoch_s)
        self._candidate, self._callers = None, set()

    def erase_old(self, standing: Standing) -> None:
        """Shares of earlier generations, and of failed rounds of this one."""
        self.node.write(self.node.disk.without(standing.generation, origin(standing)))

    def _stayed(self, standing: Standing) -> bool:
        """Whether we have held a seat in every generation since the one that we know."""
        disk, me = self.node.disk, self.node.party
        if disk.terms is None:
            return False
        known = disk.standing
        seated = known.seat_of(me) if known else seat_in(standing.terms.terms.seats, me)
        return seated is not None and held_throughout(standing, me, known.generation if known else 0)
