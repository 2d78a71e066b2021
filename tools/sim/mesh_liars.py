"""Members of a simulated mesh that lie. They sign with their own keys only."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

from mesh.overlay.agreement import Ballot, Proposal, Wish
from mesh.overlay.announcement import Announcement
from mesh.overlay.epoch_messages import EpochHead
from mesh.overlay.epoch_record import Certified, EpochVote, faults, sign_vote, vote_payload
from mesh.overlay.gossip import News
from mesh.overlay.suspicion import Suspicion
from protocols.identifiers import Digest, PartyId
from tools.sim.liars import mutated
from tools.sim.stand_ins import sign_statement

if TYPE_CHECKING:
    from tools.sim.mesh_node import Node
    from tools.sim.mesh_world import MeshWorld


class MeshLiar:
    """Honest as it stands; subclasses override what they bend."""

    def __init__(self, world: MeshWorld, index: int, dice: random.Random) -> None:
        self.world = world
        self.index = index
        self.dice = dice

    @property
    def node(self) -> Node:
        """The member that lies."""
        return self.world.nodes[self.index]

    def send(self, _to: PartyId, message: Any) -> Any:
        """What leaves instead of `message`; None for nothing."""
        return message

    def hear(self, _sender: PartyId, _message: Any) -> None:
        """Something arrived."""

    def say(self, message: object) -> None:
        """Tell everybody."""
        for other in self.world.nodes.values():
            if other.index != self.index:
                self.world.post(self.node, other.party, message)

    def vote(self, record: Digest, epoch: int, round_: int, final: bool) -> Ballot:
        """A ballot of our own."""
        secrets = self.node.secrets
        if final:
            vote = sign_vote(secrets.identity, secrets.party, record, round_)
        else:
            payload = vote_payload(record, round_)
            signature = sign_statement(secrets.identity, "epoch-prevote", payload)
            vote = EpochVote(secrets.party, signature)
        return Ballot(epoch, round_, final, record, vote)


class Silent(MeshLiar):
    """Listens only, from some message on."""

    def __init__(self, world: MeshWorld, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.left = dice.randint(0, 200)

    def send(self, _to: PartyId, message: Any) -> Any:
        self.left -= 1
        return message if self.left >= 0 else None


class TwoFaced(MeshLiar):
    """Votes for whatever it hears of, twice a round; proposes one thing here and another there."""

    def hear(self, _sender: PartyId, message: Any) -> None:
        if isinstance(message, Proposal):
            record = message.candidate.record
            for final in (False, True):
                self.say(self.vote(record.digest, record.epoch, message.round, final))

    def send(self, _to: PartyId, message: Any) -> Any:
        if not isinstance(message, Proposal) or self.dice.random() < 0.5:
            return message
        record = message.candidate.record
        fewer = dataclasses.replace(record.intent, gateways=record.gateways[1:] or record.gateways)
        candidate = dataclasses.replace(message.candidate, record=dataclasses.replace(record, intent=fewer))
        return dataclasses.replace(message, candidate=candidate)


class Slander(MeshLiar):
    """Doubts everybody it hears of, until faults stop."""

    def hear(self, _sender: PartyId, message: Any) -> None:
        if not isinstance(message, News) or self.world.now > self.world.stop_s or self.dice.random() < 0.5:
            return
        for said in message.announcements:
            if isinstance(said, Announcement) and said.party != self.node.party:
                self.say(Suspicion(said.party, said.incarnation, self.node.party))


class Replay(MeshLiar):
    """Sends what it heard once more, much later."""

    def __init__(self, world: MeshWorld, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.kept: list[Any] = []

    def hear(self, _sender: PartyId, message: Any) -> None:
        if len(self.kept) < 200:
            self.kept.append(message)
        if self.dice.random() < 0.1:
            self.say(self.dice.choice(self.kept))


class Mutate(MeshLiar):
    """Changes one field of some of its messages."""

    def send(self, _to: PartyId, message: Any) -> Any:
        return mutated(message, self.dice) if self.dice.random() < 0.2 else message


class Fork(MeshLiar):
    """Certifies what was proposed with its own votes, as many as it takes."""

    def hear(self, _sender: PartyId, message: Any) -> None:
        if not isinstance(message, Proposal):
            return
        record = message.candidate.record
        own = self.vote(record.digest, record.epoch, message.round, True).vote
        few = max(1, faults(len(record.gateways)))
        for votes in ((own,) * len(record.gateways), (own,) * few):
            self.say(Certified(record, message.round, votes, message.candidate.operator))


class FarRounds(MeshLiar):
    """Votes and wishes in hundreds of rounds that nobody has reached."""

    def hear(self, _sender: PartyId, message: Any) -> None:
        if isinstance(message, Proposal) and self.dice.random() < 0.3:
            record = message.candidate.record
            self._vote_ahead(record.digest, record.epoch, message.round)
        elif isinstance(message, EpochHead) and self.dice.random() < 0.02:
            self._vote_ahead(message.record, message.epoch + 1, 0)

    def _vote_ahead(self, record: Digest, epoch: int, round_: int) -> None:
        first = round_ + self.dice.choice([1, 100, 1000])
        for ahead in range(first, first + 120):
            self.say(self.vote(record, epoch, ahead, bool(ahead % 2)))
        self.say(Wish(epoch, first + 120))


class Late(MeshLiar):
    """Its agreement messages leave a round too late."""

    def send(self, to: PartyId, message: Any) -> Any:
        if isinstance(message, Proposal | Ballot) and self.dice.random() < 0.5:
            self.world.at(self.world.now + 5.0, self.world.post, self.node, to, message)
            return None
        return message


BY_NAME: dict[str, type[MeshLiar]] = {
    "silent": Silent,
    "two-faced": TwoFaced,
    "slander": Slander,
    "replay": Replay,
    "mutate": Mutate,
    "fork": Fork,
    "far-rounds": FarRounds,
    "late": Late,
}
