"""A committee member's part: hold shares, vote for one roster, and come to a share of the sum.

States: COLLECTING -> VOTED (at most one roster, persisted before the ballot leaves) -> CERTIFIED (only
against a quorum's certificate; missing parts are fetched) -> [CHECKING, for sums that were reshared]
-> SUMMED. What happens to the sum (resharing upward, opening, handing over) is decided in `party`.

Every member ends with a share of the sum over the identical, certified roster, or with none. Once the
committee that takes over the sum has certified its own roster, everything here is erased.

A proposal counts only while its sender is in office as we see it, else once we see the better ranks lost too:
nobody splits votes out of turn. That too few sites gave anything is believed of the last rank (`progress`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, ProtocolError, UnattributableFault, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish, Send
from protocols.sessions import dealing, events, resharing, roster, summing
from protocols.sessions.assembly import Assembly, certifier_of, first_generation, with_source
from protocols.sessions.handover import is_agreeable
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import (
    Ballot,
    Certificate,
    CheckShares,
    Complaint,
    Dealing,
    Entry,
    Fetch,
    Held,
    Part,
    Parts,
    Proposal,
    Roster,
    Vote,
)
from protocols.sessions.records import VoteCast
from protocols.sessions.relaying import HeldShare, Relay

CHECK_GRACE_S = 1.0


class Member:
    """One seat of one assembly."""

    def __init__(
        self, assembly: Assembly, keys: PartyKeys, seed: bytes, lineage: dict[int, Assembly] | None = None
    ) -> None:
        self.assembly = assembly
        self.keys = keys
        if (seat := assembly.seat_of(keys.party)) is None:
            raise UnexpectedMessage("we hold no seat in this committee")
        self.seat = seat
        self.lost: frozenset[PartyId] = frozenset()
        self.absent = frozenset({keys.party})
        self.certificate: Certificate | None = None
        self.sum: Elements | None = None
        self.failure: str | None = None
        self.shortfall: str | None = None
        self.closed = self.erased = False
        self._seed = seed
        self._sources = lineage or {
            source.child: first_generation(assembly.plan, source.child)
            for source in assembly.sources
            if not source.is_devices
        }
        self._held: dict[Digest, HeldShare] = {}
        self._relay = Relay(assembly)
        self._bad: dict[Digest, Complaint] = {}
        self._known: dict[Digest, Certificate] = {}  # of sources, by what dealings call their sums
        self._pending: tuple[PartyId, Roster] | None = None
        self._deferred: dict[PartyId, Roster] = {}
        self._vote: tuple[Roster, Ballot] | None = None
        self._checks: dict[int, Elements] = {}
        self._checked_since: float | None = None
        self._patient = True

    # -- inputs ---------------------------------------------------------------------------------

    def lose(self, _now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """When the adder in office changed, tell it all we hold and how we voted, or the certificate."""
        before, after = self.assembly.current_adder(self.lost), self.assembly.current_adder(lost)
        self.lost = lost
        effects = [*self._try_checks(), *self._try_vote()]
        if self.certificate is None:
            effects += self._relay.hand_on(after, lost & self.absent)  # not who is passed over only
        if before == after or after is None or self.erased:
            return effects
        if self.certificate is not None:
            return [*effects, Send(after, self.certificate), *self._fetch(after, self.certificate.roster)]
        effects.append(Send(after, self._standing()))
        if after in self._deferred and self._vote is None:
            effects += self._consider(after, self._deferred.pop(after))
        return effects

    def reseat(self, now: float, child: Assembly) -> list[Effect]:
        """A source's sum comes from another generation of its stage."""
        if child.stage not in self._sources:
            return []
        self._sources[child.stage] = child
        self.assembly = with_source(self.assembly, child)
        return self._try_sum(now)

    def erase(self) -> None:
        """Drop every share: another committee holds the sum now. What follows finds nothing to do."""
        self.erased = True
        self.sum = None
        self._held.clear()
        self._relay.erase()
        self._checks.clear()
        self._pending = None
        self._checked_since = None
        self._seed = b""

    @property
    def voted(self) -> bool:
        """Whether our ballot for a roster is out, so that its certificate may exist."""
        return self._vote is not None

    @property
    def gives_way(self) -> bool:
        """Whether we agreed, or learned, that another generation of this stage goes on."""
        return self.is_interim or (self._vote is not None and self._vote[0].is_interim)

    @property
    def is_interim(self) -> bool:
        """Whether our sum is for the next generation only."""
        return self.certificate is not None and self.certificate.roster.is_interim

    @property
    def deadline(self) -> float | None:
        """End of the grace period for check shares."""
        if self.sum is not None or self._checked_since is None or not self._patient:
            return None
        return self._checked_since + CHECK_GRACE_S

    def expire(self, now: float) -> list[Effect]:
        """The grace period is over."""
        if self._checked_since is not None and now >= self._checked_since + CHECK_GRACE_S:
            self._patient = False
        return self._try_checks()

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one message. Raises ProtocolError if it is unacceptable."""
        if self.erased:
            return []
        match message:
            case Part():
                return self._on_parts(now, sender, (message,))
            case Parts():
                return self._on_parts(now, sender, message.parts)
            case Proposal():
                return self._on_proposal(sender, message)
            case Certificate():
                return self._on_certificate(now, sender, message)
            case CheckShares():
                return self._on_check(sender, message)
            case Complaint():
                return self._on_complaint(message)
        raise UnexpectedMessage(f"a member takes no {type(message).__name__}")

    # -- shares ---------------------------------------------------------------------------------

    def _on_parts(self, now: float, sender: PartyId, parts: Sequence[Part]) -> list[Effect]:
        """Shares of one or several dealings. Of several, one that its dealer may not deal is left out."""
        if sender not in self.assembly.adders:
            raise UnexpectedMessage("parts come from an adder")
        effects: list[Effect] = []
        fresh: dict[Digest, Part] = {}
        known: list[Digest] = []
        for part in parts:
            name = dealing.dealing_digest(self.assembly, part.dealing)
            if name in self._held:
                self._relay.keep(name, part.dealing, sender)
                known.append(name)
            elif name in self._bad:
                effects += [Send(sender, self._bad[name])] if self._bad[name].seat == self.seat else []
            elif self._is_new(part.dealing, alone=len(parts) == 1):
                fresh[name] = part
        shares = dealing.accept_each(self.keys, self.assembly, list(fresh.values())) if fresh else []
        for (name, part), share in zip(fresh.items(), shares, strict=True):
            public = part.dealing
            if isinstance(share, Complaint):
                self._bad[name] = share
                named = Publish(events.Named(public.dealer, "dealt an inconsistent share", proven=True))
                effects += [named, Send(sender, share)]
            else:
                self._held[name] = HeldShare(public.source, public.dealer, share)
                self._relay.keep(name, public, sender)
                known.append(name)
        effects += [Send(sender, self._receipt(known))] if known else []
        return [*effects, *self._try_vote(), *self._try_sum(now)]

    def _is_new(self, public: Dealing, alone: bool) -> bool:
        """Whether a dealing is good and not one too many. `alone`: ProtocolError tells why not."""
        try:
            self._check_new(public)
            return True
        except ProtocolError:
            if alone:
                raise
            return False

    def _check_new(self, public: Dealing) -> None:
        dealing.check_dealing(self.assembly, public)
        same = sum(held.dealer == public.dealer for held in self._held.values())
        same += sum(complaint.dealing.dealer == public.dealer for complaint in self._bad.values())
        if same >= 2 * len(self.assembly.expected[public.dealer]):
            raise UnexpectedMessage(f"too many dealings of {public.dealer.short()}")

    def _receipt(self, names: Iterable[Digest], vote: tuple[Roster, Ballot] | None = None) -> Held:
        entries = tuple(Entry(self._held[name].dealer, name) for name in names)
        return Held(self.assembly.stage, self.assembly.generation, entries, *(vote or (None, None)))

    def _standing(self) -> Held:
        return self._receipt(sorted(self._held), self._vote)

    def _on_complaint(self, message: Complaint) -> list[Effect]:
        """Another member's proof, relayed: check it ourselves, then never vote for that dealing."""
        if not dealing.uphold(self.assembly, message):
            raise MalformedMessage("the relayed complaint does not convince")
        name = dealing.dealing_digest(self.assembly, message.dealing)
        theirs = [old for old in self._bad.values() if old.dealing.dealer == message.dealing.dealer]
        if name in self._bad or len(theirs) >= 2 * len(self.assembly.expected[message.dealing.dealer]):
            return []
        self._bad[name] = message
        return [Publish(events.Named(message.dealing.dealer, "dealt an inconsistent share", proven=True))]

    # -- roster ---------------------------------------------------------------------------------

    def _on_proposal(self, sender: PartyId, message: Proposal) -> list[Effect]:
        if sender not in self.assembly.adders:
            raise UnexpectedMessage("proposals come from an adder")
        proposal = message.roster
        roster.check_roster(self.assembly, proposal)
        for certificate in message.certificates:
            self._learn(certificate)
        roster.check_sources(self.assembly, proposal, self._known)
        if self.certificate is not None:
            return [Send(sender, self.certificate)] if sender != self.keys.party else []
        if self.closed:
            return []
        if self._vote is not None:
            voted, ballot = self._vote
            if voted != proposal:
                return [Send(sender, self._standing())]
            subject = roster.roster_digest(self.assembly.session, proposal)
            return [Send(sender, Vote(self.assembly.stage, self.assembly.generation, subject, ballot))]
        if sender != self.assembly.current_adder(self.lost):
            self._deferred[sender] = proposal
            return []
        return self._consider(sender, proposal)

    def _consider(self, adder: PartyId, proposal: Roster) -> list[Effect]:
        """Judge the roster of the adder in office; the total of too few sites is never opened."""
        counted, wanted, ranks = proposal.sites, self.assembly.plan.job.min_sites, self.assembly.adders
        if self.assembly.is_refill and not counted:
            return []  # the sum that was handed over is certified: its adder lacks dealings of it, no more
        if self.assembly.is_root and counted < wanted and not proposal.is_interim:
            if self.lost.issuperset(ranks[ranks.index(adder) + 1 :]):
                self.shortfall = f"{counted} sites contributed, {wanted} are required"
            return []
        self._pending = (adder, proposal)
        return [*self._fetch(adder, proposal), *self._try_vote()]

    def _learn(self, certificate: Certificate) -> None:
        child = certificate.roster.stage
        interim = certificate.roster.is_interim and child != self.assembly.stage  # stays in its stage
        name = roster.roster_digest(self.assembly.session, certificate.roster)
        if interim or name in self._known or child not in self._sources:
            return
        roster.check_certificate(certifier_of(self.assembly, self._sources[child], certificate), certificate)
        self._known[name] = certificate

    def _missing(self, proposal: Roster) -> list[Entry]:
        return [entry for group in proposal.groups for entry in group.entries
                if entry.dealing not in self._held]  # fmt: skip

    def _fetch(self, adder: PartyId, proposal: Roster) -> list[Effect]:
        missing = {entry.dealer for entry in self._missing(proposal) if entry.dealing not in self._bad}
        wanted = tuple(sorted(missing))
        return [Send(adder, Fetch(self.assembly.stage, self.assembly.generation, wanted))] if missing else []

    def _try_vote(self) -> list[Effect]:
        if self._pending is None or self._vote is not None or self.closed:
            return []
        adder, proposal = self._pending
        if self._missing(proposal) or not self._matches(proposal):
            return []
        if proposal.is_interim and not is_agreeable(
            self.assembly, proposal.successors, self.absent | {self.keys.party}
        ):
            return []  # until we have seen the same seats vacant
        subject = roster.roster_digest(self.assembly.session, proposal)
        ballot = roster.cast(self.keys, self.seat, roster.ROSTER, subject)
        self._vote = (proposal, ballot)
        self._pending = None
        record = VoteCast(self.assembly.stage, self.assembly.generation, roster.ROSTER, subject)
        return [
            Persist(record),
            Send(adder, Vote(self.assembly.stage, self.assembly.generation, subject, ballot)),
        ]

    def _matches(self, proposal: Roster) -> bool:
        """Whether each listed dealing is by the dealer, and of the source, that the roster says."""
        return all(
            (held := self._held[entry.dealing]).dealer == entry.dealer
            and held.child_source == group.source
            and entry.dealing not in self._bad
            for group in proposal.groups
            for entry in group.entries
        )

    def _on_certificate(self, now: float, sender: PartyId, message: Certificate) -> list[Effect]:
        if self.certificate is not None:
            return []
        roster.check_certificate(self.assembly, message)
        self.certificate = message
        if message.roster.is_interim:  # what is not in the sum that moves on is dealt again, to others
            listed = {entry.dealing for group in message.roster.groups for entry in group.entries}
            self._held = {name: held for name, held in self._held.items() if name in listed}
        adder = self.assembly.current_adder(self.lost) if sender in self.lost else sender
        return [*self._fetch(adder or sender, message.roster), *self._try_sum(now)]

    # -- the sum --------------------------------------------------------------------------------

    def _try_sum(self, now: float) -> list[Effect]:
        if self.certificate is None or self.sum is not None or self.erased:
            return []
        certified = self.certificate.roster
        if self._missing(certified) or not certified.groups or not certified.sites:
            return []
        if not summing.reshared(certified):
            (self.sum,) = summing.of_devices(self.assembly, certified, self._shares())
            return []
        if self._checked_since is not None or not summing.knows_dealers(self.assembly, certified):
            return []
        self._checked_since = now
        incoming = summing.incoming(self.assembly, certified, self._shares())
        mine = resharing.combinations(self._subject(), incoming)
        self._checks[self.seat + 1] = mine
        message = CheckShares(self.assembly.stage, self.assembly.generation, self._subject(), mine)
        others = tuple(member for member in self.assembly.members if member != self.keys.party)
        return [Broadcast(others, message), *self._try_checks()]

    def _subject(self) -> Digest:
        assert self.certificate is not None
        return roster.roster_digest(self.assembly.session, self.certificate.roster)

    def _shares(self) -> dict[Digest, Elements]:
        return {name: held.share for name, held in self._held.items()}

    def _on_check(self, sender: PartyId, message: CheckShares) -> list[Effect]:
        seat = self.assembly.seat_of(sender)
        if seat is None:
            raise UnexpectedMessage("check shares come from members")
        if seat + 1 in self._checks:
            return []
        if self.certificate is not None and message.roster != self._subject():
            raise UnexpectedMessage("check shares for another roster")
        self._checks[seat + 1] = message.values
        return self._try_checks()

    def _try_checks(self) -> list[Effect]:
        """Go on with all live members' check shares, or with a quorum's once the grace period is over.

        A verdict that fails is final only when nobody who is there could still answer.
        """
        if self._checked_since is None or self.sum is not None or self.failure is not None:
            return []
        assert self.certificate is not None
        members = self.assembly.members
        live = {index + 1 for index, member in enumerate(members) if member not in self.lost}
        answered = live <= self._checks.keys()
        mine, held, threshold = self._checks[self.seat + 1], self._shares(), self.assembly.threshold
        usable = {point: said for point, said in self._checks.items() if said.size == mine.size}
        early = not answered and (self._patient or len(self._checks) < self.assembly.quorum)
        if early or len(usable) <= 2 * threshold:
            return []
        incoming = summing.incoming(self.assembly, self.certificate.roster, held)
        try:
            verdict = resharing.check(self._subject(), incoming, usable, threshold, self._seed)
            pairs = zip(incoming, verdict.old_liars, strict=True)
            shares = [resharing.recombine(source, liars) for source, liars in pairs]
        except UnattributableFault as fault:
            if len(self._checks) == len(self.assembly.members) or (answered and not self._patient):
                self.failure = str(fault)
            return []
        shares += summing.of_devices(self.assembly, self.certificate.roster, held)
        self.sum = field.total(np.stack(shares))
        heard = [members[point - 1] for point in sorted(usable)]
        return summing.named(self.certificate.roster, heard, verdict)
