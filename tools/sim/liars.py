"""Parties that cheat, as adders and as mere nuisances, and the table of all behaviours by name."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.identifiers import Digest, PartyId
from protocols.sessions import dealing, roster
from protocols.sessions.aborting import audience, refusal, seatable
from protocols.sessions.messages import (
    Ballot,
    Certificate,
    CheckShares,
    Decline,
    Entry,
    Fetch,
    Held,
    OpeningShare,
    Part,
    Proposal,
    Result,
    ResultVote,
    Roster,
    Vote,
)
from tools.sim.byzantine import (
    BadShares,
    Behaviour,
    DealTwice,
    FalseComplaint,
    Silent,
    Unopenable,
    WrongChecks,
    WrongReshare,
    WrongValues,
    dealing_assembly,
)
from tools.sim.splicer import Splice

if TYPE_CHECKING:
    from tools.sim.world import World


class ForgeBallots(Behaviour):
    """Votes with rubbish, and hands round certificates and results made of rubbish."""

    def send(self, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Vote | ResultVote) and self.dice.random() < 0.7:
            return dataclasses.replace(message, ballot=Ballot(message.ballot.seat, self.dice.randbytes(64)))
        return message

    def hear(self, _sender: PartyId, message: Any) -> None:
        if isinstance(message, Proposal):
            size = self.world.plan.stages[message.roster.stage].size
            own = self._own_ballot(message.roster)
            rubbish = tuple(own if i == own.seat else Ballot(i, self.dice.randbytes(64)) for i in range(size))
            repeated = tuple(own for _ in range(size))
            for ballots in (rubbish, repeated):
                self.say(Certificate(message.roster, ballots))
                self.say(Result(Certificate(message.roster, ballots), self._total(), ballots, ()))

    def _own_ballot(self, subject: Roster) -> Ballot:
        members = self.world.plan.stages[subject.stage].members
        seat = members.index(self.me) if self.me in members else 0
        name = roster.roster_digest(self.world.plan.session, subject)
        return roster.cast(self.world.keys[self.index], seat, roster.ROSTER, name)

    def _total(self) -> Elements:
        return np.zeros(self.world.plan.length, dtype=np.uint64)


class TwoRosters(Behaviour):
    """As an adder: shows half of the members a smaller roster, and certifies whatever it can."""

    def __init__(self, world: World, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.smaller: dict[Digest, Roster] = {}
        self.ballots: dict[Digest, dict[int, Ballot]] = {}

    def send(self, _to: PartyId, message: Any) -> Any:
        if isinstance(message, Proposal) and message.roster.groups and self.dice.random() < 0.5:
            less = self._fewer(message.roster)
            self.smaller[roster.roster_digest(self.world.plan.session, less)] = less
            return dataclasses.replace(message, roster=less)
        return message

    def _fewer(self, full: Roster) -> Roster:
        group = full.groups[0]
        if group.child >= 0 or len(group.entries) < 2:
            return full
        kept = group.entries[:-1]
        groups = (dataclasses.replace(group, entries=kept), *full.groups[1:])
        contributors = tuple(entry.dealer for entry in kept)
        return dataclasses.replace(full, groups=groups, contributors=contributors)

    def hear(self, _sender: PartyId, message: Any) -> None:
        if isinstance(message, Vote) and message.roster in self.smaller:
            ballots = self.ballots.setdefault(message.roster, {})
            ballots[message.ballot.seat] = message.ballot
            chosen = self.smaller[message.roster]
            seats = self.world.plan.stages[chosen.stage].members
            if self.me in seats:
                seat = seats.index(self.me)
                ballots[seat] = roster.cast(self.world.keys[self.index], seat, roster.ROSTER, message.roster)
            if len(ballots) >= self.world.plan.stages[chosen.stage].quorum:
                self.say(Certificate(chosen, tuple(ballots[seat] for seat in sorted(ballots))))


class Withhold(Behaviour):
    """As an adder: passes on neither some dealer's parts nor some party's news."""

    def __init__(self, world: World, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.victim = dice.choice(self.others)

    def send(self, to: PartyId, message: Any) -> Any:
        about = isinstance(message, Part) and message.dealing.dealer == self.victim
        return None if about or (to == self.victim and self.dice.random() < 0.5) else message


class FakeClaims(Behaviour):
    """Tells adders that it holds everything and voted for a roster of its own making."""

    def hear(self, _sender: PartyId, message: Any) -> None:
        if not isinstance(message, Part) or self.dice.random() < 0.5:
            return
        place = message.dealing
        stage = self.world.plan.stages[place.stage]
        if self.me not in stage.members or not stage.dealers:
            return
        name = dealing.dealing_digest(dealing_assembly(self.world, message), place)
        entry = Entry(place.dealer, name)
        empty = Roster(place.stage, place.generation, (), ())
        ballot = roster.cast(
            self.world.keys[self.index],
            stage.members.index(self.me),
            roster.ROSTER,
            roster.roster_digest(self.world.plan.session, empty),
        )
        for adder in stage.adders:
            if adder != self.me:
                self.world.say(self.me, adder, Held(place.stage, place.generation, (entry,), empty, ballot))


class Flood(Behaviour):
    """Fills whatever might be kept: messages for generations that are not there yet, fetches, proposals."""

    def begun(self) -> None:
        root = self.world.plan.root
        values = np.zeros(self.world.plan.length, dtype=np.uint64)
        for count in range(90):
            name = Digest(count.to_bytes(32, "big"))
            generation = 1 + count % 4
            self.say(OpeningShare(root, generation, name, values))
            self.say(CheckShares(root, generation, name, values))
            self.say(ResultVote(root, generation, name, Ballot(0, bytes(64))))
        self.say(Fetch(root, 0, tuple(self.others)))
        self.say(Proposal(Roster(root, 0, (), ()), ()))


class AbortVotes(Behaviour):
    """Promises to abort, and goes on."""

    def begun(self) -> None:
        if self.me in seatable(self.world.plan):
            ballot = refusal(self.world.plan, self.world.keys[self.world.index[self.me]], "so it says")
            for party in audience(self.world.plan):
                self.world.say(self.me, party, ballot)
        self.world.say(self.me, self.world.plan.initiator, Decline(0, "so it says", True))


class Replay(Behaviour):
    """Sends what it heard once more, to anybody, as its own."""

    def hear(self, _sender: PartyId, message: Any) -> None:
        if self.dice.random() < 0.3:
            self.world.say(self.me, self.dice.choice(self.others), message)


class Mutate(Behaviour):
    """Changes one field of some of its messages."""

    def send(self, _to: PartyId, message: Any) -> Any:
        return mutated(message, self.dice) if self.dice.random() < 0.3 else message


def mutated(message: Any, dice: random.Random) -> Any:
    """A message that differs in one field, of the same types."""
    names = [field.name for field in dataclasses.fields(message)]
    if not names:
        return message
    name = dice.choice(names)
    value = getattr(message, name)
    if isinstance(value, bool):
        changed: Any = not value
    elif isinstance(value, int):
        changed = max(0, value + dice.choice([-1, 1]))
    elif isinstance(value, np.ndarray):
        changed = value.copy()
        if changed.size:
            changed[dice.randrange(changed.size)] ^= np.uint64(1)
    elif isinstance(value, bytes):
        changed = type(value)(bytes(value[:-1]) + bytes([value[-1] ^ 1])) if value else value
    elif isinstance(value, tuple) and value:
        changed = value[:-1] if dice.random() < 0.5 else (*value[:-1], _changed_item(value[-1], dice))
    elif dataclasses.is_dataclass(value):
        changed = mutated(value, dice)
    else:
        return message
    return dataclasses.replace(message, **{name: changed})


def _changed_item(item: Any, dice: random.Random) -> Any:
    if dataclasses.is_dataclass(item):
        return mutated(item, dice)
    return type(item)(bytes(item[:-1]) + bytes([item[-1] ^ 1])) if isinstance(item, bytes) and item else item


BY_NAME: dict[str, type[Behaviour]] = {
    "silent": Silent,
    "wrong-opening": WrongValues,
    "wrong-check": WrongChecks,
    "wrong-reshare": WrongReshare,
    "bad-shares": BadShares,
    "unopenable": Unopenable,
    "deal-twice": DealTwice,
    "false-complaint": FalseComplaint,
    "forge-ballots": ForgeBallots,
    "two-rosters": TwoRosters,
    "withhold": Withhold,
    "fake-claims": FakeClaims,
    "flood": Flood,
    "abort-votes": AbortVotes,
    "replay": Replay,
    "mutate": Mutate,
    "splice": Splice,
}
