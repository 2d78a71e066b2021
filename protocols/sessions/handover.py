"""Refilling a committee: a substitute takes the seat of a member that left, at any stage of the tree.

While a stage collects. Once as few members are left as a quorum needs (one more where there are many), the
adder in office proposes an *interim roster*: what a quorum holds by now, and the seats of the generation
after. Its certificate ends this one: the members reshare that sum to the next, and then erase it. What is not
in it is sent again, by whoever dealt it, to the next generation, whose inputs are that sum and the rest.
The roster that is not interim goes up the tree, or is opened.

Once the root has its sum. The root corrects t liars only while all n = 3t+1 seats are held. So, if a member
is lost before anything was opened, the adder proposes a handover of the whole sum; a quorum signs; the old
members reshare it and the new generation opens. A member that waits in vain opens with its old generation.

Between a final roster and its being counted above, at any other stage: the same handover, while the members
go on dealing upward. The next generation certifies which sub-shares of that one sum it adds up (a roster of
one group, with the same contributors, see `roster.check_sources`), and deals the sum upward, too. The stage
above takes it from one generation: a group names the roster of the sum, whoever is listed sat in that
generation, and nobody changes seats. A sum that was listed there, in whatever generation, is no input of the
next one there (`assembly.after_interim`). So nothing is added twice, and the devices behind the sum stay the
certified ones.

Nothing is counted twice, one roster is opened. An interim roster and a final one stand in the same place of a
generation, where a quorum signs one of them: so generations form one chain, with one final roster at its end.
What a generation's roster lists is no input of the next (`assembly.after_interim`), except inside its sum. An
interim sum is never opened nor dealt upward. After the root's final roster both generations hold the same
sum: even if a split view made both of them open, nothing more than the agreed total would be known.

Privacy. At most t members of each generation are corrupt. A vector that is dealt again is shared with fresh
polynomials, so t shares of each of two generations say as little as t shares of one. A sum that moves on is
shared anew by every old member, and its checks are masked by columns that are dropped (see `resharing`): old
and new shares do not combine. No pair of columns masks two checks, though two generations deal one sum
upward: with the pairs numbered as in `assembly`, the handovers of a stage of height h use up those from
dealt(h, 1) to dealt(h, MAX_HANDOVERS), all above dealt(h+1, 0), from where the stages above count down; and a
generation there checks what one generation dealt, since it certifies one roster. An honest member erases what
it held once the new generation is certified, what is on no roster as soon as it sees the interim certificate,
and both when it was away and comes back.

Who is replaced, and by whom. The substitutes' order is fixed in the plan by sortition, so an adder cannot
pick accomplices at will; a member votes only for seats that it has seen vacant, filled with the next
substitutes but for those that it has seen gone. Seen once is enough: who comes and goes must not divide the
votes. Its own seat it gives up when it is asked to. Limit: who can make links of others flap may have
substitutes passed over that are back; at most `MAX_HANDOVERS` times, and only along the drawn order.
"""

from __future__ import annotations

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions import events, roster
from protocols.sessions.assembly import Assembly, after_interim, first_generation, next_generation
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    Ballot,
    Certificate,
    Handover,
    HandoverCertificate,
    HandoverProposal,
    HandoverVote,
)
from protocols.sessions.plan import MAX_HANDOVERS, Plan, Seat
from protocols.sessions.records import VoteCast

HANDOVER_WAIT_S = 2.0
"""How long a member holds back its opening share for a handover that is due."""
REFILL_WAIT_S = 1.0
"""How long a member of a stage that collects must be lost before the stage ends its generation for it."""
MAX_PROPOSALS = 8
"""Of one generation by one adder; each loss or return of a member makes another."""
MAX_CLAIMS = 16
"""And as many that members say they voted for."""


def successor_seats(assembly: Assembly, lost: frozenset[PartyId]) -> tuple[Seat, ...] | None:
    """Seats with each lost member replaced by the next substitute; None if nothing can or need be done."""
    if not set(assembly.members) & lost or assembly.generation >= MAX_HANDOVERS:
        return None
    spare = [seat for seat in assembly.blueprint.substitutes
             if seat.party not in lost and seat.party not in assembly.members]  # fmt: skip
    seats = list(assembly.seats)
    for index, seat in enumerate(seats):
        if seat.party in lost and spare:
            seats[index] = spare.pop(0)
    return tuple(seats) if tuple(seats) != assembly.seats else None


def is_thin(assembly: Assembly, lost: frozenset[PartyId]) -> bool:
    """Whether so few members are left that the next loss, or the one after it, would end the stage."""
    live = len(set(assembly.members) - lost)
    spare = 1 if assembly.threshold > 1 else 0
    return assembly.quorum <= live <= assembly.quorum + spare


def is_agreeable(assembly: Assembly, seats: tuple[Seat, ...], lost: frozenset[PartyId]) -> bool:
    """Whether `seats` take away from nobody we reach, and pass over no substitute we reach."""
    replaced = {old.party for old, new in zip(assembly.seats, seats, strict=True) if old != new}
    fresh = [new for old, new in zip(assembly.seats, seats, strict=True) if old != new]
    spare = [seat for seat in assembly.blueprint.substitutes if seat.party not in assembly.members]
    passed = [seat for seat in spare[: 1 + max(map(spare.index, fresh))] if seat not in fresh]
    return replaced <= lost and all(seat.party in lost for seat in passed)


def check_succession(assembly: Assembly, handover: Handover) -> None:
    """Raise MalformedMessage unless `handover` only fills seats with substitutes of the plan."""
    if (handover.stage, handover.generation) != (assembly.stage, assembly.generation):
        raise MalformedMessage("handover of another stage or generation")
    roster.check_seats(assembly, handover.seats)


def check_handover(assembly: Assembly, certificate: HandoverCertificate, in_part: bool = False) -> Assembly:
    """The next generation. Raises MalformedMessage unless a quorum of `assembly` agreed to it."""
    check_succession(assembly, certificate.handover)
    roster.check_certificate(assembly, certificate.certificate, in_part)
    if certificate.certificate.roster.is_interim:
        raise MalformedMessage("handover of a sum that is not final")
    subject = roster.handover_digest(assembly.session, certificate.handover)
    roster.check_ballots(assembly, certificate.ballots, roster.HANDOVER, subject, assembly.quorum)
    return next_generation(assembly, certificate)


def check_interim(assembly: Assembly, certificate: Certificate, in_part: bool = False) -> Assembly:
    """The generation after an interim roster. Raises MalformedMessage unless `assembly` certified one."""
    roster.check_certificate(assembly, certificate, in_part)
    if not certificate.roster.is_interim:
        raise MalformedMessage("nobody takes over after a final roster without a handover")
    return after_interim(assembly, certificate.roster)


def generations(
    plan: Plan,
    stage: int,
    interim: tuple[Certificate, ...],
    handovers: tuple[HandoverCertificate, ...],
) -> list[Assembly]:
    """The first generation and those that interim rosters and then handovers lead to, whole or in part.

    Raises MalformedMessage at the first bad link.
    """
    chain = [first_generation(plan, stage)]
    for link in interim:
        chain.append(check_interim(chain[-1], link, in_part=True))
    for certificate in handovers:
        chain.append(check_handover(chain[-1], certificate, in_part=True))
    return chain


def replay(
    plan: Plan,
    stage: int,
    interim: tuple[Certificate, ...],
    handovers: tuple[HandoverCertificate, ...],
) -> Assembly:
    """The last of these `generations`."""
    return generations(plan, stage, interim, handovers)[-1]


def heirs(assembly: Assembly) -> tuple[PartyId, ...]:
    """Who is told of another generation of a stage: those who sit or may come to sit there, its adders, and
    the same of the stage above, who check what the new seats send.
    """
    plan, told = assembly.plan, dict.fromkeys(assembly.members)
    stages = [assembly.blueprint]
    if not assembly.is_root:
        stages.append(plan.stages[plan.parent_of(assembly.stage)])
    for stage in stages:
        told.update(dict.fromkeys((*stage.members, *stage.adders)))
        told.update((seat.party, None) for seat in stage.substitutes)
    return tuple(told)


def audience(assembly: Assembly, interim: bool) -> tuple[PartyId, ...]:
    """Who is told of a stage's certificate: its members, adders and dealers, and the adders above, who must
    know about an empty cluster too. Of an interim one also those whom a next generation concerns.
    """
    plan = assembly.plan
    told = dict.fromkeys((*assembly.members, *assembly.adders, *assembly.expected))
    if not assembly.is_root:
        told.update(dict.fromkeys(plan.stages[plan.parent_of(assembly.stage)].adders))
    if interim:
        told.update(dict.fromkeys(heirs(assembly)))
    return tuple(told)


class HandoverVoter:
    """A member's part: vote once, for seats it sees vacant, at once or when it comes to see them so."""

    def __init__(self, assembly: Assembly, keys: PartyKeys) -> None:
        self.assembly = assembly
        self.keys = keys
        self._vote: tuple[Handover, HandoverVote] | None = None
        self._pending: list[tuple[PartyId, Handover]] = []
        self._answered: dict[PartyId, list[Handover]] = {}

    def standing(self, adder: PartyId) -> list[Effect]:
        """What an adder that comes into office has to know: what we voted for."""
        if self._vote is None:
            return []
        voted, vote = self._vote
        return [Send(adder, HandoverProposal(voted)), Send(adder, vote)]

    @property
    def agreed(self) -> bool:
        """Whether we voted for a handover."""
        return self._vote is not None

    def forget(self, returned: frozenset[PartyId]) -> None:
        """Answers to who comes back may be lost."""
        for party in returned:
            self._answered.pop(party, None)

    def lose(self, lost: frozenset[PartyId]) -> list[Effect]:
        """Membership changed: a proposal that was too early may be right now."""
        for sender, handover in self._pending:
            if self._vote is None and is_agreeable(self.assembly, handover.seats, lost):
                return self._cast(sender, handover)
        return []

    def receive(self, sender: PartyId, message: HandoverProposal, lost: frozenset[PartyId]) -> list[Effect]:
        """Judge a proposal. Raises ProtocolError if it is unacceptable."""
        if sender not in self.assembly.adders:
            raise UnexpectedMessage("handovers are proposed by an adder")
        check_succession(self.assembly, message.handover)
        if self._vote is not None:
            return self._answer(sender, message.handover, *self._vote)
        if not is_agreeable(self.assembly, message.handover.seats, lost):
            waiting = (sender, message.handover)
            mine = sum(proposer == sender for proposer, _ in self._pending)
            if waiting not in self._pending and mine < MAX_PROPOSALS + MAX_CLAIMS:
                self._pending.append(waiting)
            return []
        return self._cast(sender, message.handover)

    def _answer(
        self, sender: PartyId, handover: Handover, voted: Handover, vote: HandoverVote
    ) -> list[Effect]:
        """Our vote; to each other proposal once, with what it is for: two adders with seats that voted
        differently would else answer each other's answers, which are proposals, without end.
        """
        if voted == handover:
            return [Send(sender, vote)]
        answered = self._answered.setdefault(sender, [])
        if handover in answered or len(answered) >= MAX_PROPOSALS + MAX_CLAIMS:
            return []
        answered.append(handover)
        return self.standing(sender)

    def _cast(self, sender: PartyId, handover: Handover) -> list[Effect]:
        seat = self.assembly.seat_of(self.keys.party)
        if seat is None:
            raise UnexpectedMessage("we hold no seat to hand over")
        subject = roster.handover_digest(self.assembly.session, handover)
        ballot = roster.cast(self.keys, seat, roster.HANDOVER, subject)
        vote = HandoverVote(self.assembly.stage, self.assembly.generation, ballot)
        self._vote = (handover, vote)
        record = VoteCast(self.assembly.stage, self.assembly.generation, roster.HANDOVER, subject)
        return [Persist(record), Send(sender, vote)]


class HandoverProposer:
    """The adder's part: propose once a seat is vacant, collect a quorum's ballots.

    Members vote once, so ballots for an earlier proposal still count for that one.
    """

    def __init__(self, assembly: Assembly, certificate: Certificate) -> None:
        self.assembly = assembly
        self.certificate: HandoverCertificate | None = None
        self._roster_certificate = certificate
        self._proposals: list[tuple[Handover, dict[int, Ballot]]] = []
        self._claimed_by: set[PartyId] = set()
        self._early: dict[int, Ballot] = {}

    def propose(self, lost: frozenset[PartyId]) -> list[Effect]:
        """Propose when a seat is vacant and a substitute is there; again if more seats fell vacant."""
        seats = successor_seats(self.assembly, lost)
        if seats is None or self.certificate is not None:
            return []
        handover = Handover(self.assembly.stage, self.assembly.generation, seats)
        own = len(self._proposals) - len(self._claimed_by)
        return self._propose(handover) if own < MAX_PROPOSALS else []

    def learn(self, sender: PartyId, handover: Handover) -> list[Effect]:
        """What a member says it voted for, as a lost adder may have proposed it: proposed, too; once for each
        member. Raises ProtocolError if it is unacceptable.
        """
        check_succession(self.assembly, handover)
        is_member = self.assembly.seat_of(sender) is not None
        if not is_member or sender in self._claimed_by or self.certificate is not None:
            return []
        effects = self._propose(handover)
        self._claimed_by |= {sender} if effects else set()
        return effects

    def _propose(self, handover: Handover) -> list[Effect]:
        if any(handover == known for known, _ in self._proposals):
            return []
        votes = {seat: ballot for seat, ballot in self._early.items() if self._is_for(handover, ballot)}
        self._proposals.append((handover, votes))
        proposed = Broadcast(self.assembly.members, HandoverProposal(handover))
        return [proposed, *self._certify(handover, votes)]

    def _is_for(self, proposal: Handover, ballot: Ballot) -> bool:
        subject = roster.handover_digest(self.assembly.session, proposal)
        return roster.is_valid(self.assembly, ballot, roster.HANDOVER, subject)

    def tell_again(self, returned: frozenset[PartyId]) -> list[Effect]:
        """What was under way to those who come back may be lost."""
        if self.certificate is not None:
            told = tuple(party for party in heirs(self.assembly) if party in returned)
            return [Broadcast(told, self.certificate)] if told else []
        told = tuple(party for party in self.assembly.members if party in returned)
        again = [HandoverProposal(handover) for handover, _ in self._proposals]
        return [Broadcast(told, message) for message in again] if told else []

    def receive(self, sender: PartyId, message: HandoverVote) -> list[Effect]:
        """Count one ballot, whichever proposal it is for: it may come before we learn what a lost adder had
        proposed. Raises UnexpectedMessage.
        """
        seat = self.assembly.seat_of(sender)
        if not self._proposals or seat is None or message.ballot.seat != seat:
            raise UnexpectedMessage("a handover ballot nobody asked for")
        for proposal, ballots in self._proposals:
            if self._is_for(proposal, message.ballot):
                ballots[seat] = message.ballot
                return self._certify(proposal, ballots)
        self._early[seat] = message.ballot
        return []

    def _certify(self, proposal: Handover, votes: dict[int, Ballot]) -> list[Effect]:
        if self.certificate is not None or len(votes) < self.assembly.quorum:
            return []
        ballots = tuple(votes[index] for index in sorted(votes))
        self.certificate = HandoverCertificate(proposal, ballots, self._roster_certificate)
        successors = tuple(seat.party for seat in proposal.seats)
        fresh = [party for party in successors if party not in self.assembly.members]
        detail = "shares reshared to " + ", ".join(party.short() for party in fresh)
        event = events.Progress(self.assembly.stage, "handover", detail)
        return [Publish(event), Broadcast(heirs(self.assembly), self.certificate)]
