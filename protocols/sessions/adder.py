"""The sub-aggregator of one assembly: relays shares, proposes the roster, collects the certificate.

An adder is trusted with nothing but liveness. It sees sealed shares only; it cannot forge a dealing, a
ballot or a complaint; a dealer it leaves out sees so in the certificate. When the adder in office is
lost the next rank takes over: dealers send their dealings again, members send what they hold and how
they voted, or the certificate if there is one; what they voted for is proposed again (see `composing`).

States: COLLECTING (until all sources are settled, the deadline passes, or so many members are lost that the
next generation must go on with the rest, see `handover`) -> PROPOSED -> CERTIFIED.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions import events, roster
from protocols.sessions.assembly import Assembly
from protocols.sessions.composing import Composer
from protocols.sessions.dealing import check_dealing, check_sealed, dealing_digest, uphold
from protocols.sessions.handover import REFILL_WAIT_S, audience, is_thin, successor_seats
from protocols.sessions.ledger import Account, Ledger
from protocols.sessions.messages import (
    Ballot,
    Certificate,
    Complaint,
    Deal,
    Decline,
    Fetch,
    Held,
    Part,
    Proposal,
    Roster,
    Vote,
)
from protocols.sessions.parcels import Parcels
from protocols.sessions.plan import Seat
from protocols.sessions.progress import collecting_s
from protocols.sessions.vectors import Vectors

TAKE_OVER_S = 2.0
"""What an adder that comes into office late gives dealers, members and the clusters below to tell it all."""


class Adder:
    """One rank's part; passive until it is in office."""

    def __init__(
        self,
        assembly: Assembly,
        me: PartyId,
        vectors: Vectors,
        lineage: dict[int, Assembly] | None = None,
    ) -> None:
        """`lineage` maps each committee source to its assembly, where that is not generation 0 of a child."""
        self.assembly = assembly
        self.me = me
        self.in_office = assembly.adders[0] == me
        """Whether every better rank is lost."""
        self.ledger = Ledger(assembly, vectors, lineage)
        self.lost: frozenset[PartyId] = frozenset()
        self.passed: frozenset[PartyId] = frozenset()
        self.certificate: Certificate | None = None
        self.proposal: Roster | None = None
        self._parcels = Parcels(assembly)
        self._ballots: dict[int, Ballot] = {}
        self._composer = Composer(self.ledger)
        self._wanted: set[tuple[int, PartyId]] = set()
        self._liars: set[PartyId] = set()
        self._announced = False
        self._heard: set[PartyId] = set()
        self._collect_until, self._now = float("inf"), 0.0
        self._fresh_until = 0.0

    def inherit(self, before: Adder) -> None:
        """What dealers did in the generation before counts in this one."""
        self.ledger.before = before.ledger
        self.ledger.declined |= before.ledger.declined
        self.ledger.excluded |= before.ledger.excluded
        self._collect_until = before._collect_until

    def reseat(self, _now: float, child: Assembly) -> list[Effect]:
        """A source's sum will come from another generation of its stage."""
        self.ledger.reseat(child)
        self.assembly = self.ledger.assembly
        return []

    # -- inputs ---------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin to collect; leaves wait for `collect_ms`, each level above half as long again."""
        if self.assembly.generation == 0 or self.assembly.is_refill:
            self._collect_until = now + collecting_s(self.assembly.plan, self.assembly.stage)
        else:
            self._collect_until = max(self._collect_until, now + TAKE_OVER_S)
            self._fresh_until = now + REFILL_WAIT_S
        return self._advance(now)

    def expire(self, now: float) -> list[Effect]:
        """A grace period or the collecting deadline is over."""
        return self._advance(now)

    @property
    def deadline(self) -> float | None:
        """When to look again."""
        if self.certificate is not None or self.proposal is not None or not self.in_office:
            return self._parcels.due
        ends = [self.ledger.next_grace(self._now), self._collect_until, self._parcels.due, self._fresh_until]
        for since in self.ledger.lost_at.values():
            ends += [since + REFILL_WAIT_S, since + REFILL_WAIT_S + TAKE_OVER_S]
        return min([end for end in ends if end is not None and end > self._now], default=None)

    @property
    def _can_certify(self) -> bool:
        """In office and with a quorum; who comes to be so, back from where it was, has yet to be told all."""
        return self.in_office and self.ledger.has_quorum(self.lost - self.passed)

    def parts(self) -> tuple[Digest, ...] | None:
        """Masked vectors behind the certified roster, in its order; None until certified and all here."""
        if self.certificate is None or not self.certificate.roster.sites:
            return None
        return self.ledger.masked_parts(self.certificate.roster)

    @property
    def names_vectors(self) -> bool:
        """Whether our roster is its stage's final one of devices: a handover afterwards moves keys only."""
        final = self.certificate is not None and not self.certificate.roster.is_interim
        return final and not self.assembly.is_refill

    def lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Who cannot be reached, or is `passed` over as an adder (see `progress`)."""
        self.ledger.lost_at |= dict.fromkeys(lost - self.lost, now)
        before, returned, self.lost = self._can_certify, self.lost - lost, lost
        self.in_office = self.assembly.current_adder(lost) == self.me
        if self._can_certify and not before:
            self._collect_until = max(self._collect_until, now + TAKE_OVER_S)
            self._fresh_until = now + REFILL_WAIT_S
        return [*self._tell_again(returned), *self._advance(now)]

    def _tell_again(self, returned: frozenset[PartyId]) -> list[Effect]:
        """What was under way to those who come back may be lost."""
        effects: list[Effect] = []
        for party in sorted(returned) if self.in_office else ():
            seat = self.assembly.seat_of(party)
            if self.certificate is not None and self._announced and party in self._audience():
                effects.append(Send(party, self.certificate))
            elif seat is not None:
                for account in self.ledger.accounts.values():
                    effects += self._parts(account, [seat]) if seat not in account.holders else []
                if self.proposal is not None:
                    effects.append(Send(party, self._proposed(self.proposal)))
        return effects

    def decline(self, now: float, sender: PartyId) -> list[Effect]:
        """A dealer will not contribute. Raises UnexpectedMessage from anybody else."""
        if sender not in self.assembly.expected:
            raise UnexpectedMessage(f"{sender.short()} is no dealer of stage {self.assembly.stage}")
        self.ledger.declined.add(sender)
        return self._advance(now)

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one message. Raises ProtocolError if it is unacceptable."""
        match message:
            case Deal():
                return self._on_deal(now, sender, message)
            case Held():
                return self._on_held(now, sender, message)
            case Complaint():
                return self._on_complaint(now, sender, message)
            case Vote():
                return self._on_vote(now, sender, message)
            case Fetch():
                return self._on_fetch(sender, message)
            case Certificate():
                return self._on_certificate(now, message)
            case Decline():
                return self.decline(now, sender)
        raise UnexpectedMessage(f"an adder takes no {type(message).__name__}")

    # -- dealings -------------------------------------------------------------------------------

    def _on_deal(self, now: float, sender: PartyId, message: Deal) -> list[Effect]:
        """Of its dealer, or the public half alone of one who is gone, as members hand it on (`relaying`)."""
        dealing = message.dealing
        relayed = not message.sealed and self.assembly.seat_of(sender) is not None
        if relayed:
            message = self.ledger.with_certificate(message)
        elif dealing.dealer != sender:
            raise MalformedMessage("a dealing comes from its dealer only", blame=sender)
        check_dealing(self.assembly, dealing)
        if not relayed:
            check_sealed(message)
        source = self.ledger.source_of(message)
        name = dealing_digest(self.assembly, dealing)
        known = self.ledger.accounts.get((dealing.source, dealing.dealer))
        if self.certificate is not None and (relayed or not self._is_open_to(name, dealing.source)):
            return [Send(sender, self.certificate)]  # that tells where to deal now, or that all is counted
        if known is not None and known.digest != name:
            self.ledger.exclude(dealing.dealer, "dealt twice")
            event = events.Named(dealing.dealer, "signed two dealings for one slot", proven=True)
            return [Publish(event), *self._advance(now)]
        if known is not None and (relayed or not known.is_bare):
            return []
        account = self.ledger.enter(now, source, message, name)
        if relayed:
            return self._advance(now)
        if self.certificate is None:
            self._parcels.put(now, account)
            return self._advance(now)
        seats = [seat for seat, dealer in sorted(self._wanted) if dealer == sender]
        return [*self._parts(account, seats), *self._advance(now)]

    def _on_certificate(self, now: float, message: Certificate) -> list[Effect]:
        """Of a source, or of our own assembly: made by a better rank that may be gone by now."""
        slot = (message.roster.stage, message.roster.generation)
        if slot != (self.assembly.stage, self.assembly.generation):
            self.ledger.keep(message)
        elif self.certificate is None:
            roster.check_certificate(self.assembly, message)
            self.proposal, self.certificate = message.roster, message
        return self._advance(now)

    def _parts(self, account: Account, seats: Sequence[int]) -> list[Effect]:
        deal = account.deal
        there = [] if account.is_bare else seats
        return [Send(self.assembly.members[seat], Part(deal.dealing, deal.sealed[seat])) for seat in there]

    def _on_fetch(self, sender: PartyId, message: Fetch) -> list[Effect]:
        seat = self._member(sender)
        wanted = set(message.dealers)
        self._wanted.update((seat, dealer) for dealer in wanted if dealer in self.assembly.expected)
        effects: list[Effect] = []
        for (_, dealer), account in self.ledger.accounts.items():
            if dealer in wanted:
                effects += self._parts(account, [seat])
        return effects

    # -- members --------------------------------------------------------------------------------

    def _member(self, sender: PartyId) -> int:
        seat = self.assembly.seat_of(sender)
        if seat is None:
            raise UnexpectedMessage(f"{sender.short()} has no seat in stage {self.assembly.stage}")
        return seat

    def _on_held(self, now: float, sender: PartyId, message: Held) -> list[Effect]:
        seat = self._member(sender)
        self._heard.add(sender)
        for entry in message.entries:
            self.ledger.hold(now, entry.dealing, seat)
        if message.voted is not None and message.ballot is not None and self.certificate is None:
            subject = roster.roster_digest(self.assembly.session, message.voted)
            if message.voted == self.proposal:
                return self._count(message.ballot, seat, subject)
            roster.check_roster(self.assembly, message.voted)
            valid = roster.is_valid(self.assembly, message.ballot, roster.ROSTER, subject)
            if message.ballot.seat != seat or not valid:
                raise MalformedMessage("a forged ballot was handed on", blame=sender)
            self._composer.claims[seat] = (message.voted, message.ballot)
        return self._advance(now)

    def _on_complaint(self, now: float, sender: PartyId, message: Complaint) -> list[Effect]:
        if self._member(sender) != message.seat:
            raise MalformedMessage("a complaint comes from the seat it speaks for", blame=sender)
        if not uphold(self.assembly, message):
            if sender in self._liars:
                return []
            self._liars.add(sender)
            return [Publish(events.Named(sender, "complained about a good share", proven=True))]
        dealer = message.dealing.dealer
        if dealer in self.ledger.excluded:
            return []
        self.ledger.exclude(dealer, "bad share")
        named = Publish(events.Named(dealer, "dealt an inconsistent share", proven=True))
        others = tuple(member for member in self.assembly.members if member != sender)
        told = (*others, self.assembly.plan.initiator)
        return [named, Broadcast(tuple(dict.fromkeys(told)), message), *self._advance(now)]

    # -- roster ---------------------------------------------------------------------------------

    def _advance(self, now: float) -> list[Effect]:
        """Send shares that waited, then propose or certify."""
        if self._parcels.due is None:
            return self._proceed(now)
        hurry = now >= self._collect_until or self.ledger.all_dealt(self.lost)
        return [*self._parcels.take(now, hurry), *self._proceed(now)]

    def _proceed(self, now: float) -> list[Effect]:
        """Propose as soon as nothing more need be awaited; hand on the certificate of a rank that is gone."""
        self._now = now
        if not self.in_office:
            return []
        if self.certificate is not None and not self._announced:
            self._announced = True
            return [Broadcast(self._audience(), self.certificate)]
        if self.proposal is not None:
            return []
        claimed = self._composer.claimed()
        if claimed is not None:
            return self._propose(claimed)
        live = set(self.assembly.members) - self.lost
        took_over = self.assembly.adders[0] != self.me
        if took_over and not live <= self._heard and now < self._collect_until:
            return []
        if took_over and self.ledger.awaits_relayed(now, self._fresh_until):
            return []
        gone = self.ledger.gone(now, self.lost)
        settled = all(self.ledger.is_settled(now, source, gone) for source in self.assembly.sources)
        successors: tuple[Seat, ...] = ()
        if not settled and now < self._collect_until:
            successors = self._successors(now)
            if not successors:
                return []
        proposal = self._composer.compose(successors)
        futile = self.ledger.is_futile(proposal, self.lost - self.passed, now < self._collect_until)
        return [] if futile else self._propose(proposal)

    def _successors(self, now: float) -> tuple[Seat, ...]:
        """Who should go on in our members' place, if it is time for that."""
        lost = self.lost - self.passed
        if not lost:
            return ()
        away = {p for p in lost if now >= self.ledger.lost_at.get(p, now) + REFILL_WAIT_S}
        long_away = {p for p in away if now >= self.ledger.lost_at[p] + REFILL_WAIT_S + TAKE_OVER_S}
        if not self.assembly.is_divisible or now < self._fresh_until:
            return ()
        if not is_thin(self.assembly, lost) or not set(self.assembly.members) & away:
            return ()
        awaited = [s for s in self.assembly.sources if s.child in self.ledger.certificates]
        if set(self.assembly.members) & long_away:
            awaited = [source for source in awaited if source.child == self.assembly.stage]
        if not all(self.ledger.is_settled(now, source, lost) for source in awaited):
            return ()  # what is on its way is waited for a while, the sum of the generation before always
        return successor_seats(self.assembly, lost) or ()

    def _propose(self, proposal: Roster) -> list[Effect]:
        self.proposal = proposal
        phase, detail = "roster", f"{proposal.sites} contributions"
        if proposal.is_interim:
            fresh = (seat.party for seat in proposal.successors if seat not in self.assembly.seats)
            phase, detail = "handover", "shares reshared to " + ", ".join(party.short() for party in fresh)
        event = events.Progress(self.assembly.stage, phase, detail)
        told: list[Effect] = [
            Publish(event),
            Broadcast(self.assembly.members, self._proposed(proposal)),
        ]
        subject = roster.roster_digest(self.assembly.session, proposal)
        for seat, (claim, ballot) in sorted(self._composer.claims.items()):
            if claim == proposal and self.certificate is None:
                told += self._count(ballot, seat, subject)
        return told

    def _proposed(self, proposal: Roster) -> Proposal:
        sources, known = [group.source for group in proposal.groups], self.ledger.learned
        return Proposal(proposal, tuple(known[source] for source in sources if source in known))

    def _on_vote(self, now: float, sender: PartyId, message: Vote) -> list[Effect]:
        del now
        seat = self._member(sender)
        if self.proposal is None or self.certificate is not None:
            return []
        return self._count(message.ballot, seat, message.roster)

    def _count(self, ballot: Ballot, seat: int, subject: Digest) -> list[Effect]:
        assert self.proposal is not None
        if subject != roster.roster_digest(self.assembly.session, self.proposal):
            raise UnexpectedMessage("a ballot for another roster")
        if ballot.seat != seat or not roster.is_valid(self.assembly, ballot, roster.ROSTER, subject):
            raise MalformedMessage("forged ballot", blame=self.assembly.members[seat])
        self._ballots[seat] = ballot
        if self.certificate is not None or len(self._ballots) < self.assembly.quorum:
            return []
        ballots = tuple(self._ballots[index] for index in sorted(self._ballots))
        self.certificate = Certificate(self.proposal, ballots)
        self._announced = True
        event = events.Progress(self.assembly.stage, "certified", f"{len(ballots)} ballots")
        return [Publish(event), Broadcast(self._audience(), self.certificate)]

    def _audience(self) -> tuple[PartyId, ...]:
        interim = self.certificate is not None and self.certificate.roster.is_interim
        return audience(self.assembly, interim)

    def _is_open_to(self, name: Digest, source: Digest) -> bool:
        """Whether a dealing may still be of use here: it is on our roster, or that one is final and has not
        the same sum from another generation.
        """
        roster_ = self.certificate.roster if self.certificate is not None else None
        known, groups = self.ledger.learned, () if roster_ is None else roster_.groups
        if any(entry.dealing == name for group in groups for entry in group.entries):
            return True
        elsewhere = source in known and known[source].roster.stage in {
            g.child for g in groups if g.source != source
        }
        return roster_ is None or not (roster_.is_interim or elsewhere)
