"""The posts of one party, members' seats and adders' ranks, in every generation that it sits in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from protocols.errors import ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Effect
from protocols.sessions.adder import Adder
from protocols.sessions.assembly import Assembly
from protocols.sessions.collecting import Member
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Certificate
from protocols.sessions.plan import Plan
from protocols.sessions.roster import check_certificate
from protocols.sessions.succession import Slot, Succession
from protocols.sessions.vectors import Vectors


class Posts:
    """Made when a generation is entered; a member's shares are erased when its sum lives on elsewhere."""

    def __init__(self, plan: Plan, keys: PartyKeys, vectors: Vectors, succession: Succession) -> None:
        self.plan = plan
        self.keys = keys
        self.adders: dict[Slot, Adder] = {}
        self.members: dict[Slot, Member] = {}
        self.outlived: set[Slot] = set()
        """Seats whose share we erased because a later generation of the committee has the sum."""
        self._vectors = vectors
        self._succession = succession

    def __iter__(self) -> Iterator[Adder | Member]:
        yield from self.adders.values()
        yield from self.members.values()

    @property
    def certificates(self) -> list[Certificate]:
        """Of the rosters that we know from our own posts."""
        return [post.certificate for post in self if post.certificate is not None]

    def start(self, now: float, seed: bytes) -> list[Effect]:
        """What the plan gives us."""
        effects: list[Effect] = []
        for index in self.plan.stages_of(self.keys.party):
            effects += self._take_up(now, self._succession.latest(index), seed)
        return effects

    def enter(
        self,
        now: float,
        successor: Assembly,
        ended: Certificate,
        seed: bytes,
        closed: bool,
        lost: frozenset[PartyId],
        not_counted: frozenset[PartyId],
    ) -> list[Effect]:
        """Our place in a next generation, if we have one. `ended`: the certificate of the one before it;
        `not_counted`: who is not counted on in this stage, `lost` or not.
        """
        slot = (successor.stage, successor.generation)
        before = (ended.roster.stage, ended.roster.generation)
        if before in self.members and before not in successor.sources_in:
            self.members[before].erase()  # there is no sum to pass on
            self.outlived.add(before)
        effects = self._take_up(now, successor, seed)
        if slot in self.adders and successor.sources_in:
            effects += self.adders[slot].receive(now, self.keys.party, ended)
        if slot in self.members:
            self.members[slot].closed = closed
        return [*effects, *self._lose(now, slot, lost, not_counted)]

    def _take_up(self, now: float, assembly: Assembly, seed: bytes) -> list[Effect]:
        slot, me = (assembly.stage, assembly.generation), self.keys.party
        lineage = self._succession.lineage(assembly)
        effects: list[Effect] = []
        if me in assembly.adders:
            adder = self.adders[slot] = Adder(assembly, me, self._vectors, lineage)
            before = self.adders.get((slot[0], slot[1] - 1))
            if before is not None:
                adder.inherit(before)
            effects = adder.start(now)
        if me in assembly.members:
            self.members[slot] = Member(assembly, self.keys, seed, lineage)
        return effects

    def lose(
        self, now: float, lost: frozenset[PartyId], lost_at: Callable[[int], frozenset[PartyId]]
    ) -> list[Effect]:
        """Who is `lost`, and who is not counted on `lost_at` a stage."""
        slots = dict.fromkeys((*self.adders, *self.members))
        return [effect for slot in slots for effect in self._lose(now, slot, lost, lost_at(slot[0]))]

    def _lose(
        self, now: float, slot: Slot, lost: frozenset[PartyId], not_counted: frozenset[PartyId]
    ) -> list[Effect]:
        adder, member = self.adders.get(slot), self.members.get(slot)
        effects: list[Effect] = []
        if adder is not None:
            adder.passed = not_counted - lost
            effects += adder.lose(now, not_counted)
        if member is not None:
            member.absent |= lost
            effects += member.lose(now, not_counted)
        return effects

    def decline(self, now: float, sender: PartyId, stage: int) -> list[Effect]:
        """A dealer of the stage will not contribute."""
        effects: list[Effect] = []
        for (index, _), adder in self.adders.items():
            if index == stage and sender in adder.assembly.expected:
                effects += adder.decline(now, sender)
        return effects

    def judge(self, slot: Slot, sender: PartyId, seat: int) -> Adder | Member | None:
        """Which post of ours judges a complaint of that seat: the adder its own member's, a member any."""
        adder = self.adders.get(slot)
        if adder is not None and adder.assembly.seat_of(sender) == seat:
            return adder
        return self.members.get(slot)

    def reseat(self, now: float, child: Assembly) -> list[Effect]:
        """A child stage has another generation: our posts above it await its sum from there."""
        above = [post for post in self if child.stage in post.assembly.blueprint.children]
        return [effect for post in above for effect in post.reseat(now, child)]

    def concerned(self, message: Certificate) -> list[Adder]:
        """Adders that take a certificate: their own assembly's, or the final one of a source."""
        slot, interim = (message.roster.stage, message.roster.generation), message.roster.is_interim
        return [adder for place, adder in self.adders.items()
                if place == slot or (not interim and adder.assembly.concerns(slot))]  # fmt: skip

    def erase_outlived(self, message: Certificate, moved: Sequence[Slot]) -> bool:
        """Seats whose sum lives on in the committee that took it over: those that `moved` as we dealt to it,
        and all of earlier generations, replaced while we were away, too; whether there were any of these.
        Raises MalformedMessage if there is no such certificate.
        """
        slot = (message.roster.stage, message.roster.generation)
        older = [place for place in self.members if place[0] == slot[0] and place[1] < slot[1]]
        assembly, found = self._succession.at(slot), False
        if assembly is not None and older:
            check_certificate(assembly, message)
            known, self.outlived = self.outlived, self.outlived.union(older)
            found = known != self.outlived
        for place in (*moved, *(older if assembly is not None else ())):
            self.members[place].erase()
        return found

    def blind(self) -> None:
        """Drop what came sealed to our outlived seats, and passed our hands as an adder."""
        for slot in self.outlived & self.adders.keys():
            self.adders[slot].ledger.blind(self.members[slot].seat)


def replayed(
    succession: Succession, slot: Slot, dispatch: Callable[[PartyId, object], list[Effect]]
) -> list[Effect]:
    """What came early for a generation that we have entered now."""
    effects: list[Effect] = []
    for sender, message in succession.early.take(slot, object):
        try:
            effects += dispatch(sender, message)
        except ProtocolError:
            continue  # a bad early message must not stop the good ones
    return effects
