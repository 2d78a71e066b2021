"""The owner and the readers of a simulated vault: they deposit, ask, and order it erased."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Send
from protocols.sessions.plan import Query
from protocols.sharing import shamir
from protocols.vault.deposit import Depositor
from protocols.vault.messages import Reading, VaultAsk, VaultErased, is_erased, order
from protocols.vault.reading import Asking, Reader, ReadingFailed, ReadingOpened
from protocols.vault.standing import Standing
from protocols.vault.terms import SignedTerms
from tools.sim.mesh_plan import keys_of
from tools.sim.vault_scenario import Asks

if TYPE_CHECKING:
    from tools.sim.vault_world import VaultWorld

QUERIES: Final = ((Query("mean", "bmi", ()),), (Query("count", "*", ()),), (Query("sum", "bmi", ()),))
AGAIN_S: Final = 2.0
TRIES: Final = 4


class Owner:
    """Deposits at the start; orders the vault erased when the scenario says so, until all have confirmed."""

    def __init__(self, world: VaultWorld, signed: SignedTerms, vector: Elements) -> None:
        self.world = world
        self.keys = keys_of(0)
        self.party = self.keys.party
        self.ordered_s = -1.0
        self.confirmed: set[PartyId] = set()
        self._signed = signed
        with _one_bad_share() if world.scenario.crooked_owner else contextlib.nullcontext():
            self._machine: Depositor | None = Depositor(self.keys, signed, vector, world.dice.randbytes(32))
        world.at(0.0, self._start)
        if world.scenario.erased_s >= 0:
            world.at(world.scenario.erased_s, self._order)

    def _start(self) -> None:
        if self._machine is not None:
            self._carry(self._machine.start(self.world.now))
            self.world.at(self._machine.deadline or 0.0, self._expire)

    def _expire(self) -> None:
        if self._machine is not None and self.world.is_up(self.party):
            self._carry(self._machine.expire(self.world.now))

    def crash(self) -> None:
        """What it had in memory is gone; the terms are not."""
        self._machine = None

    def receive(self, sender: PartyId, message: Any) -> None:
        """An answer to the deposit, or a confirmation. Raises ProtocolError."""
        if isinstance(message, VaultErased):
            if is_erased(message) and message.party == sender:
                self.confirmed.add(sender)
        elif self._machine is not None:
            self._carry(self._machine.receive(self.world.now, sender, message))

    def _carry(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send | Broadcast):
                for to in effect.to if isinstance(effect, Broadcast) else (effect.to,):
                    self.world.send(self.party, to, effect.message)

    def _order(self) -> None:
        """To everybody who may hold a share, as far as those who answer know."""
        world = self.world
        if world.is_up(self.party):
            self.ordered_s = world.now if self.ordered_s < 0 else self.ordered_s
            standing = world.newest(self.party)
            known = standing.everyone if standing else ()
            seats = tuple(seat.party for seat in self._signed.terms.seats)
            message = order(self.keys.signing_seed, self._signed)
            for party in dict.fromkeys((*seats, *known)):
                if party not in self.confirmed:
                    world.send(self.party, party, message)
        world.at(world.now + AGAIN_S, self._order)


@contextlib.contextmanager
def _one_bad_share() -> Iterator[None]:
    """One seat's share does not fit the others."""
    true = shamir.shares

    def shares(coefficients: Any, n: int) -> Any:
        values = true(coefficients, n)
        values[n - 1] = field.add(values[n - 1], values[n - 1])
        return values

    shamir.shares = shares
    try:
        yield
    finally:
        shamir.shares = true


class Inquiry:
    """One reading by one reader, tried again a few times while too few answer.

    With live sites in the sum it is the consents that it is after (a session would open the sum).
    """

    def __init__(self, world: VaultWorld, asks: Asks) -> None:
        self.world = world
        self.asks = asks
        self.keys = keys_of(asks.index)
        self.machine: Reader | None = None
        self.over = False
        self._left = TRIES
        sites = tuple(sorted(keys_of(500 + site).party for site in asks.sites))
        self.reading = Reading(
            world.dice.randbytes(16), self.keys.party, (world.vault,), sites,
            world.dice.choice(QUERIES), "simulation", (keys_of(0).party,),
        )  # fmt: skip
        world.at(asks.at_s, self._try)

    def _try(self) -> None:
        world, standing = self.world, self.world.newest(self.keys.party)
        self._left -= 1
        if standing is None:
            self._again()
            return
        kind = Asking if self.asks.sites else Reader
        machine = self.machine = kind(self.keys, standing, self.reading, world.dice.randbytes(32))
        for party in standing.members:
            if party not in world.linked_to(self.keys.party):
                machine.lose(world.now, party)
        self._carry(standing, machine.start(world.now))

    def _again(self) -> None:
        if self._left > 0:
            self.world.at(self.world.now + AGAIN_S, self._try)
        else:
            self.over = True

    def receive(self, sender: PartyId, message: Any) -> bool:
        """An answer of a holder; whether it was for us."""
        machine = self.machine
        if machine is None or machine.outcome is not None:
            return False
        name = getattr(message, "reading", getattr(message, "about", None))
        if name != self.reading.name:
            return False
        try:
            self._carry(machine.standing, machine.receive(self.world.now, sender, message))
        except ProtocolError as error:
            self.world.blames(error)
        return True

    def _expire(self, machine: Reader) -> None:
        due = machine.deadline
        if machine is self.machine and due is not None and due <= self.world.now:
            self._carry(machine.standing, machine.expire(self.world.now))
        elif machine is self.machine and due is not None:
            self.world.at(due, self._expire, machine)

    def _carry(self, standing: Standing, effects: list[Effect]) -> None:
        machine = self.machine
        assert machine is not None
        for effect in effects:
            if isinstance(effect, Broadcast):
                to = effect.to
                if self.asks.few and isinstance(effect.message, VaultAsk):
                    to = tuple(self.world.dice.sample(to, standing.terms.terms.quorum))
                for party in to:
                    self.world.send(self.keys.party, party, effect.message)
        if machine.deadline is not None:
            self.world.at(max(machine.deadline, self.world.now), self._expire, machine)
        elif isinstance(machine.outcome, ReadingFailed):
            self.world.note(f"p{self.asks.index} gets no answer: {machine.outcome}")
            if machine.outcome.denied or self._left == 0:
                self.over = True
                self.world.failed(self, machine.outcome)
            else:
                self._again()
        elif isinstance(machine.outcome, ReadingOpened) and not self.over:
            self.over = True
            self.world.answered(self, machine, machine.outcome)
