"""One party's part in the handovers of certified sums, in every stage of the tree.

What is handed over, and why that is safe, is said in `handover`. Here is who acts when.

adder    once its stage's final roster is certified and a seat is vacant: the root's at once, as its members
         wait for it; another stage's when few are left and a member was lost for REFILL_WAIT_S, as they deal
         upward meanwhile, and are mostly counted there before. A lower rank has been in office as long.
member   votes for one handover of its generation, unless its sum is counted above already, or opened, or it
         promised to abort; to an adder that comes into office, or proposes another, it says which one, to be
         proposed by it as well
all      enter the next generation with the certificate, which is told to both generations, the substitutes,
         the adders, and those of the stage above; each member tells it to those whom it replaces, too: they
         wait for it when they come back, and the adder may be away then

A ballot cast is never withdrawn. So the first proposal that a member sees as due gets its ballot, also when a
later one replaces more seats: the next generation hands over again.
"""

from __future__ import annotations

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect
from protocols.sessions.adder import Adder
from protocols.sessions.assembly import Assembly
from protocols.sessions.collecting import Member
from protocols.sessions.handover import REFILL_WAIT_S, HandoverProposer, HandoverVoter, is_thin
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import HandoverCertificate, HandoverProposal, HandoverVote
from protocols.sessions.plan import Plan
from protocols.sessions.posts import Posts
from protocols.sessions.succession import Slot, Succession


class Handovers:
    """Ballots, proposals and certificates of handovers, as far as one party knows them."""

    def __init__(self, plan: Plan, keys: PartyKeys, succession: Succession, posts: Posts) -> None:
        self.plan = plan
        self.keys = keys
        self.closed = False
        self.opened = False
        """Whether we have begun to open: for the root a handover comes too late."""
        self.deadline: float | None = None
        """When a member will have been lost for long enough."""
        self._succession = succession
        self._posts = posts
        self._links: dict[int, list[HandoverCertificate]] = {}
        self._voters: dict[Slot, HandoverVoter] = {}
        self._proposers: dict[Slot, HandoverProposer] = {}
        self._lost: frozenset[PartyId] = frozenset()
        self._since: dict[PartyId, float] = {}
        self._in_office_since: dict[Slot, float] = {}

    def of(self, stage: int) -> list[HandoverCertificate]:
        """The certificates of a stage, in their order."""
        return self._links.setdefault(stage, [])

    def agreed(self, stage: int) -> int:
        """0, or one more than the latest generation of this stage for whose handover we voted."""
        voted = (slot[1] for slot, voter in self._voters.items() if slot[0] == stage and voter.agreed)
        return 1 + max(voted, default=-1)

    def end(self) -> None:
        """How the session ended is known: no part in handovers any more, nor any certificate by us."""
        self.closed = True
        self._proposers.clear()

    def lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Membership changed."""
        before, self._lost = self._lost, lost
        returned = before - lost
        self._since = {party: self._since.get(party, now) for party in lost}
        effects: list[Effect] = []
        for slot, voter in self._voters.items():
            voter.forget(returned)
            if (member := self._seated(slot)) is None:
                continue
            after = member.assembly.current_adder(lost)
            if after is not None and after != member.assembly.current_adder(before):
                effects += voter.standing(after)
            effects += voter.lose(self._absent(member))
        for proposer in self._proposers.values() if returned else ():
            effects += proposer.tell_again(returned)
        return effects

    def receive(self, sender: PartyId, message: HandoverProposal | HandoverVote) -> list[Effect]:
        """A proposal to us as a member, or by one who voted for it; a ballot. Raises ProtocolError."""
        if isinstance(message, HandoverVote):
            proposer = self._proposers.get((message.stage, message.generation))
            if proposer is None:
                raise UnexpectedMessage("we proposed no handover")
            return proposer.receive(sender, message)
        slot = (message.handover.stage, message.handover.generation)
        member, proposer = self._seated(slot), self._proposers.get(slot) or self._take_up(slot)
        if member is None and proposer is None:
            raise UnexpectedMessage("no handover is due here")
        effects: list[Effect] = []
        if proposer is not None and sender != self.keys.party:
            effects += proposer.learn(sender, message.handover)
        if member is not None and (proposer is None or sender in member.assembly.adders):
            voter = self._voters.setdefault(slot, HandoverVoter(member.assembly, self.keys))
            effects += voter.receive(sender, message, self._absent(member))
        return effects

    def _seated(self, slot: Slot) -> Member | None:
        """Our seat in the latest generation of a stage, as long as there is a sum to hand over."""
        member = self._posts.members.get(slot)
        if not self._is_open(slot) or member is None or member.erased:
            return None
        return member

    def _is_open(self, slot: Slot) -> bool:
        """Whether no other generation goes on, nor have we promised to go on no more, or begun to open."""
        shut = self.closed or (self.opened and slot[0] == self.plan.root)
        return not shut and self._succession.latest(slot[0]).generation == slot[1]

    def _absent(self, member: Member) -> frozenset[PartyId]:
        """Whose seats we agree to give away: at the root, where time is short, who is away right now."""
        return self._lost if member.assembly.is_root else member.absent

    def advance(self, now: float) -> list[Effect]:
        """As an adder in office: propose where it is time for it."""
        self.deadline = None
        if not self._lost or self.closed:
            return []
        effects: list[Effect] = []
        for slot, adder in self._posts.adders.items():
            proposer = self._take_up(slot)
            if proposer is not None and self._is_time(now, slot, adder):
                effects += proposer.propose(self._lost)
        return effects

    def _take_up(self, slot: Slot) -> HandoverProposer | None:
        """If the generation has its sum, no other goes on with it, and it is for us to propose."""
        adder, seat = self._posts.adders.get(slot), self._posts.members.get(slot)
        if adder is None or adder.certificate is None or not adder.in_office or not self._is_open(slot):
            return None
        final = adder.certificate.roster
        counted = seat is not None and seat.erased
        if final.is_interim or not final.sites or counted:
            return None
        return self._proposers.setdefault(slot, HandoverProposer(adder.assembly, adder.certificate))

    def _is_time(self, now: float, slot: Slot, adder: Adder) -> bool:
        assembly = adder.assembly
        gone = [self._since[member] for member in assembly.members if member in self._since]
        if assembly.is_root or not gone:
            return bool(gone)
        first = adder.me == assembly.adders[0]
        since = self._in_office_since.setdefault(slot, min(gone) if first else now)
        due = max(min(gone), since) + REFILL_WAIT_S
        if now < due:
            self.deadline = due if self.deadline is None else min(due, self.deadline)
        return now >= due and is_thin(assembly, self._lost)

    def enter(self, message: HandoverCertificate) -> Assembly | None:
        """The generation after a certified handover; None if we know it. Raises MalformedMessage."""
        successor = self._succession.hand_over(message)
        if successor is not None:
            self.of(successor.stage).append(message)
        return successor

    def tell_replaced(self, message: HandoverCertificate) -> list[Effect]:
        """As a member of the generation that ended: to who lost a seat in it, and may meet us first."""
        ended = self._succession.at((message.handover.stage, message.handover.generation))
        if ended is None or self.keys.party not in ended.members:
            return []
        kept = {seat.party for seat in message.handover.seats}
        told = tuple(member for member in ended.members if member not in {*kept, self.keys.party})
        return [Broadcast(told, message)] if told else []
