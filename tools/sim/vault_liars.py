"""Holders of a simulated vault that lie. They sign with their own keys only, and erase nothing."""

from __future__ import annotations

import dataclasses
import random
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.identifiers import PartyId
from protocols.vault import reading
from protocols.vault.dealing import BadShare
from protocols.vault.gathering import seat_in
from protocols.vault.messages import Asked, VaultAsk, VaultConsent, VaultUses, VaultUsesAsk
from protocols.vault.renewal_messages import VaultBadDeal, VaultCheck, VaultDeal, VaultPropose, VaultVote
from protocols.vault.standing import COMMIT, Standing, cast, commit_subject
from protocols.wire import sealing
from protocols.wire.digest import digest
from tools.sim.byzantine import crooked_shares
from tools.sim.liars import mutated
from tools.sim.vault_disk import Fragment

if TYPE_CHECKING:
    from tools.sim.vault_node import VaultNode


class VaultLiar:
    """Honest as it stands; subclasses override what they bend."""

    def __init__(self, node: VaultNode, dice: random.Random) -> None:
        self.node = node
        self.dice = dice

    def send(self, _to: PartyId, message: Any) -> Any:
        """What leaves instead of `message`; None for nothing."""
        return message

    def hear(self, _sender: PartyId, _message: Any) -> bool:
        """Something arrived; whether that is all that is to happen."""
        return False

    def crooked(self) -> AbstractContextManager[None]:
        """Around each of its steps."""
        return nullcontext()

    def say(self, message: object) -> None:
        """Tell all who may hold the vault."""
        for node in self.node.world.nodes.values():
            if node is not self.node:
                self.node.world.send(self.node.party, node.party, message)


class Silent(VaultLiar):
    """Listens only, from some message on."""

    def __init__(self, node: VaultNode, dice: random.Random) -> None:
        super().__init__(node, dice)
        self.left = dice.randint(0, 150)

    def send(self, _to: PartyId, message: Any) -> Any:
        self.left -= 1
        return message if self.left >= 0 else None


class WrongShare(VaultLiar):
    """Answers readings and deals in renewals with another share than it holds."""

    def __init__(self, node: VaultNode, dice: random.Random) -> None:
        super().__init__(node, dice)
        honest = node.share

        def share(standing: Standing) -> Fragment | None:
            fragment = honest(standing)
            if fragment is None or dice.random() < 0.3:
                return fragment
            values = fragment.share.copy()
            values[dice.randrange(values.size)] ^= np.uint64(1)
            return dataclasses.replace(fragment, share=values)

        node.share = share  # type: ignore[method-assign]  # bending one object is the point


class BadShares(VaultLiar):
    """Deals some seats shares that do not fit the rest; or, if it is sly, to those only that are away."""

    def __init__(self, node: VaultNode, dice: random.Random) -> None:
        super().__init__(node, dice)
        self.sly = dice.random() < 0.5

    def crooked(self) -> AbstractContextManager[None]:
        machine = self.node.renewals.machine
        if not self.sly or machine is None:
            return crooked_shares(self.dice)
        away = {i for i, seat in enumerate(machine.wanted) if seat.party in machine.lost}
        return crooked_shares(self.dice, away)


class WrongCheck(VaultLiar):
    """Publishes other combinations than its sub-shares give, to all alike or to each differently."""

    def send(self, _to: PartyId, message: Any) -> Any:
        if not isinstance(message, VaultCheck):
            return message
        values = message.values.copy()
        values[self.dice.randrange(values.size)] ^= np.uint64(self.dice.randint(1, 5))
        return dataclasses.replace(message, values=values)


class EagerVotes(VaultLiar):
    """Prepares and commits at once whatever is proposed, in whatever view."""

    def hear(self, _sender: PartyId, message: Any) -> bool:
        if isinstance(message, VaultPropose):
            self.vote(message)
        return False

    def vote(self, message: VaultPropose) -> None:
        """Both votes for a proposal, to all."""
        machine = self.node.renewals.machine
        seat = machine.standing.seat_of(self.node.party) if machine else None
        if seat is None:
            return
        outcome, view = message.roster.outcome, message.view
        prepare = digest("vault prepare", outcome, view.to_bytes(4, "big"))
        for final, label, subject in (
            (False, "vault prepare", prepare),
            (True, COMMIT, commit_subject(outcome, view)),
        ):
            ballot = cast(self.node.keys, seat, label, subject)
            self.say(VaultVote(message.roster.place, view, final, outcome, ballot))


class TwoRosters(EagerVotes):
    """As leader it proposes one roster here and another there, and votes for both."""

    def __init__(self, node: VaultNode, dice: random.Random) -> None:
        super().__init__(node, dice)
        self.told: list[tuple[bytes, int]] = []

    def send(self, to: PartyId, message: Any) -> Any:
        if not isinstance(message, VaultPropose) or len(message.roster.held) < 2:
            return message
        fewer = dataclasses.replace(message.roster, held=message.roster.held[:-1])
        other = dataclasses.replace(message, roster=fewer)
        place = (message.roster.place.name, message.view)
        if place not in self.told:
            self.told.append(place)
            self.vote(message)
            self.vote(other)
        return other if sorted(seat.party for seat in message.roster.seats).index(to) % 2 else message


class Replay(VaultLiar):
    """Sends what it heard once more, much later."""

    def __init__(self, node: VaultNode, dice: random.Random) -> None:
        super().__init__(node, dice)
        self.kept: list[Any] = []

    def hear(self, _sender: PartyId, message: Any) -> bool:
        if len(self.kept) < 200:
            self.kept.append(message)
        if self.dice.random() < 0.1:
            self.say(self.dice.choice(self.kept))
        return False


class Mutate(VaultLiar):
    """Changes one field of some of its messages."""

    def send(self, _to: PartyId, message: Any) -> Any:
        return mutated(message, self.dice) if self.dice.random() < 0.2 else message


class YesMan(VaultLiar):
    """Consents to whatever it is asked, and tells newcomers that nothing was ever read."""

    def hear(self, sender: PartyId, message: Any) -> bool:
        node, standing = self.node, self.node.disk.standing
        if isinstance(message, VaultAsk) and standing is not None:
            seat = standing.seat_of(node.party)
            if seat is not None and standing.generation == message.generation:
                word: VaultConsent = reading.consent(node.keys, standing, seat, message.asked.reading)
                node.world.send(node.party, sender, word)
            return True
        if isinstance(message, VaultUsesAsk):
            nothing = VaultUses(message.vault, message.generation, message.first, (), True)
            node.world.send(node.party, sender, nothing)
            return True
        return False


class FalseComplaint(VaultLiar):
    """Complains about good shares, with a true or a false disclosure."""

    def hear(self, _sender: PartyId, message: Any) -> bool:
        if isinstance(message, VaultDeal) and self.dice.random() < 0.5:
            keys, dealing = self.node.keys, message.deal.dealing
            seat = seat_in(message.seats, keys.party)
            if seat is not None:
                sealed = message.deal.sealed[seat]
                context = bytes(dealing.subject) + bytes(dealing.dealer) + bytes([seat])
                proof = sealing.disclose(keys.sealing_secret, sealed, context)
                shown = proof.shared_point if self.dice.random() < 0.5 else bytes(32)
                complaint = BadShare(dealing, seat, sealed, shown, proof.challenge, proof.response)
                self.say(VaultBadDeal(message.place, message.seats, complaint))
        return False


class FarViews(VaultLiar):
    """Votes in hundreds of views that nobody has reached."""

    def hear(self, _sender: PartyId, message: Any) -> bool:
        machine = self.node.renewals.machine
        seat = machine.standing.seat_of(self.node.party) if machine else None
        if isinstance(message, VaultPropose) and seat is not None and self.dice.random() < 0.3:
            for view in range(self.dice.choice([1, 100]), 700):
                outcome = message.roster.outcome
                ballot = cast(self.node.keys, seat, COMMIT, commit_subject(outcome, view))
                self.say(VaultVote(message.roster.place, view, True, outcome, ballot))
        return False


class ForgedUses(VaultLiar):
    """Tells newcomers of readings that nobody asked for."""

    def send(self, _to: PartyId, message: Any) -> Any:
        if not isinstance(message, VaultUses):
            return message
        forged = tuple(
            Asked(dataclasses.replace(one.reading, id=self.dice.randbytes(16)), self.dice.randbytes(64))
            for one in message.entries
        )
        return dataclasses.replace(message, entries=forged)


BY_NAME: dict[str, type[VaultLiar]] = {
    "silent": Silent,
    "wrong-share": WrongShare,
    "bad-shares": BadShares,
    "wrong-check": WrongCheck,
    "eager-votes": EagerVotes,
    "two-rosters": TwoRosters,
    "replay": Replay,
    "mutate": Mutate,
    "yes-man": YesMan,
    "false-complaint": FalseComplaint,
    "far-views": FarViews,
    "forged-uses": ForgedUses,
}
