"""Parties that cheat, as dealers and members. Each behaviour bends what an honest machine says.

They know their own keys and what they hear, as an attacker would; they forge nothing that a signature
scheme would not let them forge. The table of all behaviours is in `liars`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.identifiers import PartyId
from protocols.sessions import dealing
from protocols.sessions.assembly import Assembly, first_generation
from protocols.sessions.messages import CheckShares, Complaint, Deal, OpeningShare, Part
from protocols.sessions.party import SessionParty
from protocols.sharing import shamir
from protocols.wire import sealing
from tools.sim import memory
from tools.sim.mesh_plan import seed_of

if TYPE_CHECKING:
    from tools.sim.world import World


class Behaviour:
    """Honest as it stands; subclasses override what they bend."""

    def __init__(self, world: World, index: int, dice: random.Random) -> None:
        self.world = world
        self.index = index
        self.dice = dice
        self.me: PartyId = world.keys[index].party
        self.others = [key.party for key in world.keys if key.party != self.me]

    def begin(self, machine: SessionParty) -> None:
        """Before the machine starts."""

    def begun(self) -> None:
        """After the machine started."""

    def send(self, _to: PartyId, message: Any) -> Any:
        """What leaves instead of `message`; None for nothing."""
        return message

    def hear(self, _sender: PartyId, _message: Any) -> None:
        """Something arrived."""

    def say(self, message: object) -> None:
        """Tell everybody."""
        for other in self.others:
            self.world.say(self.me, other, message)


class Silent(Behaviour):
    """Stops speaking after some messages."""

    def __init__(self, world: World, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.left = dice.randint(0, 40)

    def send(self, _to: PartyId, message: Any) -> Any:
        self.left -= 1
        return message if self.left >= 0 else None


class WrongValues(Behaviour):
    """Lies in opening or check shares, to all alike or to each differently."""

    kind: type[OpeningShare] | type[CheckShares] = OpeningShare

    def send(self, _to: PartyId, message: Any) -> Any:
        if isinstance(message, self.kind):
            values = message.values.copy()
            values[self.dice.randrange(values.size)] ^= np.uint64(self.dice.randint(1, 5))
            return dataclasses.replace(message, values=values)
        return message


class WrongChecks(WrongValues):
    """Lies in check shares."""

    kind = CheckShares


class WrongReshare(Behaviour):
    """Reshares another sum than it holds."""

    def begin(self, machine: SessionParty) -> None:
        honest = machine._reshare

        def reshare(member: Any, target: Any) -> Any:
            if member.sum is not None:
                member.sum = member.sum.copy()
                member.sum[0] ^= np.uint64(1)
            return honest(member, target)

        machine._reshare = reshare  # type: ignore[method-assign]  # bending one object is the point


@contextmanager
def crooked_shares(dice: random.Random, seats: Collection[int] | None = None) -> Iterator[None]:
    """Whoever deals meanwhile gives some seats (these, if they are named) shares that do not fit the rest."""
    true = shamir.shares

    def shares(coefficients: Any, n: int) -> Any:
        values = true(coefficients, n)
        for seat in dice.sample(range(n), dice.randint(1, n)) if seats is None else seats:
            values[seat, dice.randrange(values.shape[1])] ^= np.uint64(1)
        return values

    shamir.shares = shares
    try:
        yield
    finally:
        shamir.shares = true


class BadShares(Behaviour):
    """Deals some seats shares that do not fit the rest."""

    def begin(self, machine: SessionParty) -> None:
        for name in ("start", "_reshare"):
            setattr(machine, name, self._bent(getattr(machine, name)))

    def _bent(self, honest: Callable[..., Any]) -> Callable[..., Any]:
        def bent(*arguments: Any) -> Any:
            with self._crooked(), memory.afresh():
                return honest(*arguments)

        return bent

    def _crooked(self) -> AbstractContextManager[None]:
        return crooked_shares(self.dice)


class Unopenable(BadShares):
    """Seals rubbish to some seats."""

    @contextmanager
    def _crooked(self) -> Iterator[None]:
        true = sealing.seal

        def seal(recipient_public: bytes, plaintext: bytes, context: bytes, seed: bytes) -> bytes:
            blob = true(recipient_public, plaintext, context, seed)
            return blob[:-1] + bytes([blob[-1] ^ 1]) if self.dice.random() < 0.4 else blob

        sealing.seal = seal
        try:
            yield
        finally:
            sealing.seal = true


class DealTwice(Behaviour):
    """Signs a second dealing and sends it to an adder, the same or another."""

    def begun(self) -> None:
        contribution = self.world.inputs.get(self.me)
        if contribution is None:
            return
        other = SessionParty(
            self.world.plan, self.world.keys[self.index], seed_of(999, "twice"), contribution
        )
        for effect in other.start(0.0):
            message = getattr(effect, "message", None)
            if isinstance(message, Deal):
                adders = self.world.plan.stages[message.dealing.stage].adders
                for adder in self.dice.sample(adders, self.dice.randint(1, len(adders))):
                    if adder != self.me:
                        self.world.say(self.me, adder, message)


class FalseComplaint(Behaviour):
    """Complains about good shares, with a true or a false disclosure."""

    def hear(self, sender: PartyId, message: Any) -> None:
        if not isinstance(message, Part) or self.dice.random() < 0.5:
            return
        stage = self.world.plan.stages[message.dealing.stage]
        if message.dealing.generation or self.me not in stage.members:
            return
        keys = self.world.keys[self.index]
        assembly = dealing_assembly(self.world, message)
        context = dealing._seal_context(assembly, message.dealing.dealer, message.dealing.source)
        proof = sealing.disclose(keys.sealing_secret, message.sealed, context)
        shown = proof.shared_point if self.dice.random() < 0.5 else bytes(32)
        seat = stage.members.index(self.me)
        complaint = Complaint(message.dealing, seat, message.sealed, shown, proof.challenge, proof.response)
        self.world.say(self.me, sender, complaint)


def dealing_assembly(world: World, part: Part) -> Assembly:
    """The first generation that `part` belongs to."""
    return first_generation(world.plan, part.dealing.stage)
