"""Parties that cheat with masked vectors; what they do to stores is asked for by `masked_world`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from protocols.identifiers import PartyId
from protocols.sessions import audit
from protocols.sessions.bulk_messages import AuditTag, SumClaim
from tools.sim import liars
from tools.sim.byzantine import Behaviour

if TYPE_CHECKING:
    from tools.sim.world import World


class WrongSum(Behaviour):
    """As an adder: stores another vector than the sum, and says that it is the sum."""


class KeepVectors(Behaviour):
    """Some of its vectors reach nobody."""

    def __init__(self, world: World, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.share = dice.choice([0.3, 1.0])

    def keeps(self) -> bool:
        """Whether the next one does not."""
        return self.dice.random() < self.share


class FalseTag(Behaviour):
    """As a device: signs another fingerprint than its vector's."""

    def send(self, _to: PartyId, message: Any) -> Any:
        if isinstance(message, AuditTag) and message.dealer == self.me:
            keys = self.world.keys[self.index]
            return audit.tag(keys, message.challenge, message.vector, self.dice.randbytes(len(message.words)))
        return message


class UnclaimedSum(WrongSum):
    """Stores another vector than the sum, and signs no claim that it is the sum."""

    def send(self, _to: PartyId, message: Any) -> Any:
        return None if isinstance(message, SumClaim) and message.adder == self.me else message


liars.BY_NAME |= {
    "wrong-sum": WrongSum,
    "keep-vectors": KeepVectors,
    "false-tag": FalseTag,
    "unclaimed-sum": UnclaimedSum,
}
