"""A party that says what no honest one says and every codec takes; where its own signature is due, it signs.

Some of its messages, and of those it hears, come out spliced (see `splicing`), in their place or beside them.
What the codec would refuse is not said: the checks behind it are what this is about. In what is said, the
liar's own dealings, ballots, pledges, claims and fingerprints are signed as they then stand, so that checks
after the signature are reached, and a dealing lists the digests of what is sealed. It signs no dealing that
names another masked vector: what a device's own vector is, is its own business, and a total with it is not
to be unmasked.

Offers of plans stay as they are: who is offered another plan is in another session.

Invariant: at most MOST_SPLICED messages a session, from the dice alone.
"""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any, Final

from protocols.errors import MeshError, ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.sessions import aborting, audit, dealing, opening, roster
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.assembly import first_generation
from protocols.sessions.bulk_messages import AuditTag, SumClaim
from protocols.sessions.messages import (
    BY_KIND,
    NO_VECTOR,
    Ballot,
    Certificate,
    Deal,
    Dealing,
    HandoverCertificate,
    Held,
    PlanOffer,
    Result,
    ResultVote,
    Vote,
)
from protocols.sessions.offers import ExcerptOffer
from protocols.wire import codec, sealing
from protocols.wire.digest import digest
from tools.sim.byzantine import Behaviour
from tools.sim.splicing import Fragments

if TYPE_CHECKING:
    from tools.sim.world import World

MOST_SPLICED: Final = 60
SHOWN_TO: Final = 3
RARE: Final = (Deal, Result, Certificate, HandoverCertificate)
RARE_SHARE: Final = 0.3
"""Of these there are few."""
OFFERS: Final = (PlanOffer, ExcerptOffer)
KINDS: Final = tuple(cls for cls in BY_KIND.values() if cls not in OFFERS)


class Splice(Behaviour):
    """Puts messages together from pieces of others."""

    def __init__(self, world: World, index: int, dice: random.Random) -> None:
        super().__init__(world, index, dice)
        self.fragments = Fragments(dice)
        self.left = MOST_SPLICED
        self.share = dice.choice([0.05, 0.15, 0.4])
        for stage in world.plan.stages:
            self.fragments.keep(stage, type(stage))

    def send(self, to: PartyId, message: Any) -> Any:
        if not self._takes(message):
            return message
        self.fragments.keep(message, type(message))
        spliced = self._spliced(message)
        if spliced is None or self.dice.random() < 0.5:
            return spliced or message
        self.world.say(self.me, to, spliced)
        return message

    def hear(self, sender: PartyId, message: Any) -> None:
        if not self._takes(message):
            return
        self.fragments.keep(message, type(message))
        if self.dice.random() < 0.3:
            message = self.fragments.made(self.dice.choice(KINDS))
        spliced = self._spliced(message)
        for to in {sender: 0} | dict.fromkeys(self.dice.choices(self.others, k=SHOWN_TO)) if spliced else ():
            self.world.say(self.me, to, spliced)

    def _takes(self, message: Any) -> bool:
        share = max(self.share, RARE_SHARE) if isinstance(message, RARE) else self.share
        return not isinstance(message, OFFERS) and self.dice.random() < share

    def _spliced(self, message: Any) -> Any:
        """A message as whoever gets it decodes it; None if no codec takes it, or there were enough."""
        if self.left <= 0:
            return None
        kind = type(message)
        mine = (
            isinstance(message, Deal) and message.dealing.dealer == self.me
        )  # what is sealed may be bent alone
        for _ in range(self.dice.choice([0, 0, 1, 2] if mine else [1, 1, 2, 3])):
            message = self.fragments.changed(message, kind)
        try:
            codec.encode(message)  # out of bounds, it could not be signed either
            made = codec.decode(kind, codec.encode(self._signed(message)))
        except MeshError:
            return None
        self.left -= 1
        return made

    # -- signing -------------------------------------------------------------------------------------

    def _signed(self, value: Any) -> Any:
        """The same, with this liar's own signatures under what now stands there. Raises MeshError."""
        if isinstance(value, tuple):
            return tuple(self._signed(item) for item in value)
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return value
        if isinstance(value, Deal) and value.dealing.dealer == self.me and self.dice.random() < 0.7:
            value = self._sealed(value)
        within = {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if isinstance(getattr(value, field.name), tuple)
            or dataclasses.is_dataclass(getattr(value, field.name))
        }
        changes = {name: self._signed(item) for name, item in within.items()}
        value = dataclasses.replace(value, **changes) if changes else value
        try:
            return self._sign(value)
        except ProtocolError:
            return value  # what has no name cannot be signed, but said

    def _sign(self, value: Any) -> Any:
        session = self.world.plan.session
        match value:
            case Dealing() if value.dealer == self.me and value.vector in self._vectors:
                place = first_generation(self.world.plan, 0)  # only its session counts
                name = dealing.dealing_digest(place, value)
                return dataclasses.replace(value, signature=self._signature(dealing._LABEL, name))
            case AbortVote() if value.pledge is not None and value.pledge.party == self.me:
                return aborting.cast(self.world.plan, self.world.keys[self.index], value)
            case SumClaim() if value.adder == self.me:
                subject = audit._claimed(session, value)
                return dataclasses.replace(value, signature=self._signature(audit._CLAIM, Digest(subject)))
            case AuditTag() if value.dealer == self.me:
                return audit.tag(self.world.keys[self.index], value.challenge, value.vector, value.words)
            case Vote():
                return self._voted(value, value.stage, roster.ROSTER, value.roster)
            case ResultVote():
                return self._voted(value, value.stage, roster.RESULT, value.result)
            case Held() if value.voted is not None and value.ballot is not None:
                name = roster.roster_digest(session, value.voted)
                return self._voted(value, value.stage, roster.ROSTER, name)
            case Certificate():
                return self._certified(value, value.roster.stage, roster.ROSTER, self._name(value))
            case Result():
                subject = opening.result_digest(session, self._name(value.certificate), value.total)
                return self._certified(value, value.certificate.roster.stage, roster.RESULT, subject)
            case HandoverCertificate():
                subject = roster.handover_digest(session, value.handover)
                return self._certified(value, value.handover.stage, roster.HANDOVER, subject)
        return value

    @property
    def _vectors(self) -> set[Digest]:
        """What its own dealings may name: see the module."""
        return {self.world.inner(self.me)._masked, NO_VECTOR}

    def _name(self, certificate: Certificate) -> Digest:
        return roster.roster_digest(self.world.plan.session, certificate.roster)

    def _signature(self, label: str, subject: Digest) -> bytes:
        return roster.cast(self.world.keys[self.index], 0, label, subject).signature

    def _seat(self, stage: int) -> int | None:
        stages = self.world.plan.stages
        members = stages[stage].members if 0 <= stage < len(stages) else ()
        return members.index(self.me) if self.me in members else None

    def _voted(self, value: Any, stage: int, label: str, subject: Digest) -> Any:
        seat = value.ballot.seat if self.dice.random() < 0.3 else self._seat(stage)
        signature = self._signature(label, subject)
        return dataclasses.replace(
            value, ballot=Ballot(value.ballot.seat if seat is None else seat, signature)
        )

    def _certified(self, value: Any, stage: int, label: str, subject: Digest) -> Any:
        """With a ballot that holds in its own seat, whatever stands in the others."""
        seat = self._seat(stage)
        signed = tuple(
            Ballot(ballot.seat, self._signature(label, subject)) if ballot.seat == seat else ballot
            for ballot in value.ballots
        )
        return dataclasses.replace(value, ballots=signed)

    def _sealed(self, deal: Deal) -> Deal:
        """Nonsense sealed well to some seats of the plan; the dealing lists what is sealed."""
        place, blobs = deal.dealing, list(deal.sealed)
        seats = self.world.plan.stages[place.stage].seats if place.stage < len(self.world.plan.stages) else ()
        for seat in range(min(len(blobs), len(seats))) if self.dice.random() < 0.5 else ():
            if self.dice.random() < 0.5:
                there = dataclasses.replace(
                    first_generation(self.world.plan, place.stage), generation=place.generation
                )
                context = dealing._seal_context(there, place.dealer, place.source)
                text = self.dice.choice([b"", bytes(32), b"\xff" * len(blobs[seat]), bytes(len(blobs[seat]))])
                blobs[seat] = sealing.seal(seats[seat].sealing_key, text, context, bytes(32))
        blobs = [b""] * len(blobs) if self.dice.random() < 0.4 else blobs
        names = tuple(digest("sealed share", blob) for blob in blobs)
        return dataclasses.replace(
            deal, dealing=dataclasses.replace(place, sealed=names), sealed=tuple(blobs)
        )
