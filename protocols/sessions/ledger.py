"""What an adder knows of the dealings of its assembly: the book-keeping behind `adder`.

In a bulk session a dealing counts only once its masked vector is here, a sum only with its masked sum.
A dealing is *settled* when every member that is not lost has answered for it, or when a quorum holds it
and the grace period is over. A source is settled when each of its dealers is: settled, lost or excluded;
of a committee's sum it is enough that its quorum has dealt and the grace period is over.

A committee that was refilled after it had certified its sum may deal it from several generations (see
`handover`). Those are different sharings, so one of them is counted: the first of which a quorum of dealings
is here, until then that of the latest generation that has certified it. A committee too small by now to deal
may have handed over; so its sum is awaited as long as a quorum of the latest generation is there.

Symbols: q quorum, t threshold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.assembly import Assembly, Source, certifier_of, first_generation, with_source
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Certificate, Deal, Entry, Group, Roster
from protocols.sessions.roster import check_certificate, roster_digest
from protocols.sessions.vectors import Vectors

GRACE_S = 1.0
"""How long stragglers may hold up a dealing or a source that a quorum already answered for."""
RELAY_S = 1.0
"""How long members have, once somebody is lost, to see that, too, and to hand on what it dealt."""
RETURN_S = 2.0
"""How long those who were lost while masked vectors were under way may come back, with the rest of them."""


@dataclass(slots=True)
class Account:
    """One dealing: its bytes, who holds a good share of it, and since when that is a quorum."""

    source: Source
    deal: Deal
    digest: Digest
    holders: set[int] = field(default_factory=set)
    quorum_at: float | None = None

    @property
    def is_bare(self) -> bool:
        """Whether only its public half is here: a member handed it on."""
        return not self.deal.sealed


class Ledger:
    """Accounts by (sum that is dealt, dealer), exclusions, and the certificates of the sources."""

    def __init__(
        self, assembly: Assembly, vectors: Vectors, lineage: dict[int, Assembly] | None = None
    ) -> None:
        """`lineage` maps each committee source to its assembly, where that is not generation 0 of a child."""
        self.assembly = assembly
        self.vectors = vectors
        self.before: Ledger | None = None
        """Of the generation before, as the same adder kept it."""
        self.accounts: dict[tuple[Digest, PartyId], Account] = {}
        self.by_digest: dict[Digest, Account] = {}
        self.pledges: dict[Digest, set[int]] = {}
        self._pledged: Counter[int] = Counter()
        self.excluded: dict[PartyId, str] = {}
        self.declined: set[PartyId] = set()
        self.certificates: dict[int, Certificate] = {}
        """Of each source, that of the generation which is counted."""
        self.learned: dict[Digest, Certificate] = {}
        """All, by what dealings call the sum."""
        self._counted: dict[int, Digest] = {-1: NO_SOURCE}
        self._lineage = lineage or {
            source.child: first_generation(assembly.plan, source.child)
            for source in assembly.sources
            if not source.is_devices
        }
        self.reached_quorum_at: dict[Digest, float] = {}
        self.lost_at: dict[PartyId, float] = {}

    def reseat(self, child: Assembly) -> None:
        """A source's sum will come from another generation of its stage."""
        if child.stage in self._lineage:
            self._lineage[child.stage] = child
            self.assembly = with_source(self.assembly, child)

    def keep(self, certificate: Certificate) -> None:
        """Keep the certificate of a source. Raises ProtocolError if it is none, or another one."""
        child = certificate.roster.stage
        if child not in self._lineage:
            raise UnexpectedMessage(f"stage {child} is no source of stage {self.assembly.stage}")
        if certificate.roster.is_interim and child != self.assembly.stage:
            raise UnexpectedMessage("an interim sum stays in its stage: the final one is awaited")
        name = roster_digest(self.assembly.session, certificate.roster)
        if name in self.learned:
            return
        check_certificate(certifier_of(self.assembly, self._lineage[child], certificate), certificate)
        self.learned[name] = certificate
        self._choose(child)

    def _choose(self, child: int) -> None:
        """Which generation's sum of a source is counted."""
        known = {c.roster.generation: name for name, c in self.learned.items() if c.roster.stage == child}
        ready = [generation for generation, name in known.items() if name in self.reached_quorum_at]
        self._counted[child] = known[min(ready, default=max(known))]
        self.certificates[child] = self.learned[self._counted[child]]

    def blind(self, seat: int) -> None:
        """Forget what was dealt to one seat: our own, whose share is to be lost for good."""
        for account in self.accounts.values():
            if seat < len(account.deal.sealed) and account.deal.sealed[seat]:
                sealed = (*account.deal.sealed[:seat], b"", *account.deal.sealed[seat + 1 :])
                account.deal = replace(account.deal, sealed=sealed)

    def source_of(self, message: Deal) -> Source:
        """Which source a dealing belongs to; keeps the source's certificate. Raises ProtocolError."""
        dealing, certificate, generation = message.dealing, message.certificate, 0
        if dealing.source == NO_SOURCE:
            source = next((s for s in self.assembly.sources if s.is_devices), None)
        else:
            if certificate is None:
                raise MalformedMessage("a resharing comes with its certificate", blame=dealing.dealer)
            self.keep(certificate)
            child, generation = certificate.roster.stage, certificate.roster.generation
            source = next((s for s in self.assembly.sources if s.child == child), None)
            if roster_digest(self.assembly.session, certificate.roster) != dealing.source:
                raise MalformedMessage(
                    "dealing names another roster than its certificate", blame=dealing.dealer
                )
        if source is None or dealing.dealer not in source.seated(generation):
            raise MalformedMessage("not a dealer of this stage", blame=dealing.dealer)
        return source

    def enter(self, now: float, source: Source, deal: Deal, digest: Digest) -> Account:
        """Open the account of a new dealing; members that already said they hold it need not say so again."""
        known = self.by_digest.get(digest)
        if known is not None:  # its public half came first
            known.deal = deal
            return known
        account = Account(source, deal, digest)
        self.accounts[deal.dealing.source, deal.dealing.dealer] = account
        self.by_digest[digest] = account
        for seat in sorted(self.pledges.pop(digest, ())):
            self._pledged[seat] -= 1
            self.hold(now, digest, seat)
        return account

    def hold(self, now: float, digest: Digest, seat: int) -> None:
        """Member `seat` has a good share of the dealing."""
        account = self.by_digest.get(digest)
        if account is None:
            self._pledge(digest, seat)
            return
        account.holders.add(seat)
        if account.quorum_at is None and len(account.holders) >= self.assembly.quorum:
            account.quorum_at = now
        source, name = account.source, account.deal.dealing.source
        if not source.is_devices and name not in self.reached_quorum_at:
            settled = sum(other.quorum_at is not None for other in self._dealt(name))
            if settled >= self.assembly.plan.stages[source.child].quorum:
                self.reached_quorum_at[name] = now
                self._choose(source.child)

    def _pledge(self, digest: Digest, seat: int) -> None:
        """A member holds a share of a dealing that never came here: its dealer may be gone by now."""
        known = self.pledges.get(digest, ())
        if seat not in known and self._pledged[seat] < 2 * self.assembly.dealings:
            self._pledged[seat] += 1
            self.pledges.setdefault(digest, set()).add(seat)

    def awaits_relayed(self, now: float, until: float) -> bool:
        """Whether an honest member holds what never came here, and may yet hand it on (see `relaying`): it
        may be of a committee only if one who is lost could have dealt there."""
        latest = max([until, *(since + RELAY_S for since in self.lost_at.values())])
        if now >= latest or all(len(seats) <= self.assembly.threshold for seats in self.pledges.values()):
            return False
        return any(
            dealer in self.lost_at and (self._counted.get(source.child), dealer) not in self.accounts
            for source in self.assembly.sources
            if not source.is_devices
            for dealer in self._dealers(source)
        )

    def with_certificate(self, relayed: Deal) -> Deal:
        """With that of its source, as dealers send it. Raises UnexpectedMessage if it never came here."""
        certificate = self.learned.get(relayed.dealing.source)
        if certificate is None:
            raise UnexpectedMessage("a dealing was handed on of a sum that we know nothing of")
        return replace(relayed, certificate=certificate)

    def all_dealt(self, lost: frozenset[PartyId]) -> bool:
        """Whether a dealing of everybody is here who is, and has not declined."""
        gone = lost | self.excluded.keys() | self.declined
        awaited = sum([len(self._dealers(source)) for source in self.assembly.sources])
        if len(self.accounts) + len(gone) < awaited:
            return False
        return all(
            dealer in gone or (self._counted.get(source.child), dealer) in self.accounts
            for source in self.assembly.sources
            for dealer in self._dealers(source)
        )

    def votable(self) -> set[Digest]:
        """Dealings that a quorum could vote for, whether they ever came here or not."""
        held = {name for name, seats in self.pledges.items() if len(seats) >= self.assembly.quorum}
        return held | {account.digest for account in self.eligible()}

    def exclude(self, dealer: PartyId, reason: str) -> None:
        """A dealer that provably cheated does not count, for any source."""
        self.excluded[dealer] = reason

    def of(self, source: Source) -> list[Account]:
        """Accounts of one source that are not excluded, of the generation that counts, sorted by dealer."""
        name = self._counted.get(source.child)
        return [] if name is None else self._dealt(name)

    def _dealt(self, name: Digest) -> list[Account]:
        chosen = [a for (source, dealer), a in self.accounts.items()
                  if source == name and dealer not in self.excluded]  # fmt: skip
        return sorted(chosen, key=lambda account: account.deal.dealing.dealer)

    def _dealers(self, source: Source) -> tuple[PartyId, ...]:
        """Who deals a source's sum: the generation of it that counts, or the latest as long as none does."""
        certificate = self.certificates.get(source.child)
        return source.dealers if certificate is None else source.seated(certificate.roster.generation)

    def is_settled(self, now: float, source: Source, lost: frozenset[PartyId]) -> bool:
        """Whether nothing more need be awaited from this source."""
        certificate = self.certificates.get(source.child)
        if certificate is not None and not certificate.roster.sites:
            return True
        if not source.is_devices and certificate is None:
            quorum = self.assembly.plan.stages[source.child].quorum
            live = [dealer for dealer in source.dealers if dealer not in lost]
            return len(live) < quorum  # it can never be certified
        if not source.is_devices and not self._has_masked_sum(source):
            return self._is_gone_for_good(source, lost)
        since = self.reached_quorum_at.get(self._counted.get(source.child, NO_SOURCE))
        if since is not None and now >= since + GRACE_S:
            return True
        gone = lost | self.excluded.keys() | self.declined
        dealt: list[Account] = []
        for dealer in self._dealers(source):
            account = self.accounts.get((self._counted[source.child], dealer))
            unsealed = account is None or account.is_bare
            if unsealed and dealer not in gone:
                return False
            if account is not None and dealer not in self.excluded and (not unsealed or account.quorum_at):
                dealt.append(account)
        live_seats = {i for i, member in enumerate(self.assembly.members) if member not in lost}
        if not all(self._answered(now, account, lost, live_seats) for account in dealt):
            return False
        return source.is_devices or not self._may_hand_over(source, gone)

    def _may_hand_over(self, source: Source, gone: frozenset[PartyId] | set[PartyId]) -> bool:
        """Whether too few have dealt a committee's sum, but those who sit there now may yet do so."""
        dealt = sum(len(account.holders) >= self.assembly.quorum for account in self.of(source))
        live = sum(dealer not in gone for dealer in source.dealers)
        return dealt <= 2 * source.threshold and live >= self.assembly.plan.stages[source.child].quorum

    def gone(self, now: float, lost: frozenset[PartyId]) -> frozenset[PartyId]:
        """Of the lost, those that need not be awaited."""
        if self.assembly.plan.bulk is None:
            return lost
        return frozenset(party for party in lost if now >= self.lost_at.get(party, now) + RETURN_S)

    def next_grace(self, now: float) -> float | None:
        """When a grace period ends next, so that the adder looks again."""
        ends = [a.quorum_at + GRACE_S for a in self.accounts.values() if a.quorum_at is not None]
        if self.reached_quorum_at:
            ends += [since + GRACE_S for since in self.reached_quorum_at.values()]
        if self.lost_at:
            ends += [since + RETURN_S for since in self.lost_at.values()]
        return min([end for end in ends if end > now], default=None)

    def is_futile(self, roster: Roster, lost: frozenset[PartyId], collecting: bool) -> bool:
        """Whether nobody would certify `roster`, yet what is missing may come: we may be the ones who are cut
        off. An adder proposes once, so one that sees too few members, or the root's one too few sites, waits;
        and so does one that lacks the certified sum which was handed over.
        """
        last = self.assembly.is_root and not roster.is_interim
        few_sites = last and roster.sites < self.assembly.plan.job.min_sites
        lacks_sum = self.assembly.is_refill and not roster.sites
        return not self.has_quorum(lost) or lacks_sum or (few_sites and collecting)

    def has_quorum(self, lost: frozenset[PartyId]) -> bool:
        """Whether enough members are here to certify anything."""
        return len(set(self.assembly.members) - lost) >= self.assembly.quorum

    def eligible(self) -> list[Account]:
        """Dealings that a quorum holds and whose dealer was not caught cheating."""
        return [a for a in self.accounts.values()
                if a.deal.dealing.dealer not in self.excluded
                and len(a.holders) >= self.assembly.quorum
                and self.vectors.has(a.deal.dealing.vector)]  # fmt: skip

    def groups(self) -> tuple[Group, ...]:
        """Roster groups of all dealings that one and the same quorum of members holds.

        Dealings with the fewest holders are dropped until the members that hold all the rest are a quorum;
        a committee source left with too few sub-shares to tell liars (2t+1) is dropped whole.
        """
        eligible = self.eligible()
        eligible.sort(key=lambda account: (-len(account.holders), account.deal.dealing.dealer))
        common = set(range(len(self.assembly.seats)))
        chosen: set[Digest] = set()
        for account in eligible:
            narrowed = common & account.holders
            if len(narrowed) >= self.assembly.quorum:
                common = narrowed
                chosen.add(account.digest)
        groups = []
        for source in self.assembly.sources:
            entries = tuple(
                Entry(a.deal.dealing.dealer, a.digest) for a in self.of(source) if a.digest in chosen
            )
            if source.is_devices:
                groups.append(Group(source.child, NO_SOURCE, NO_VECTOR, entries))
            elif len(entries) > 2 * source.threshold and self._has_masked_sum(source):
                own = source.child == self.assembly.stage
                vector = NO_VECTOR if own else self.vectors.child_name(source.child)
                groups.append(Group(source.child, _source_digest(self.of(source)), vector, entries))
        return tuple(groups)

    def _has_masked_sum(self, source: Source) -> bool:
        """Whether the masked vectors behind a committee's sum are here; a handover moves keys only."""
        if self.assembly.plan.bulk is None or self.assembly.is_refill:
            return True
        if source.child != self.assembly.stage:
            return self.vectors.has_child(source.child)
        moved = self.certificates.get(source.child)
        return (
            moved is not None
            and self.before is not None
            and (self.before.masked_parts(moved.roster) is not None)
        )

    def _is_gone_for_good(self, source: Source, lost: frozenset[PartyId]) -> bool:
        """Whether nobody is left who could send a masked vector behind a committee's sum."""
        stages = self.assembly.plan.stages
        if source.child != self.assembly.stage:
            return lost.issuperset(stages[source.child].adders)
        moved = self.certificates.get(source.child)
        for ledger, group in () if moved is None or self.before is None else self.before.behind(moved.roster):
            if group.vector != NO_VECTOR:
                if not self.vectors.has(group.vector) and lost.issuperset(stages[group.child].adders):
                    return True
            elif any(e.dealer in lost and not ledger.has_vector(e.dealing) for e in group.entries):
                return True
        return False

    # -- masked vectors behind a roster ---------------------------------------------------------------

    def behind(self, roster: Roster) -> list[tuple[Ledger, Group]]:
        """The groups of a certified roster of ours, those of the generations before whose sum is in it in
        place of that sum, each with the ledger that has its dealings.
        """
        found: list[tuple[Ledger, Group]] = []
        for group in roster.groups:
            moved = self.learned.get(group.source) if group.child == self.assembly.stage else None
            if moved is not None and self.before is not None:
                found += self.before.behind(moved.roster)
            else:
                found.append((self, group))
        return found

    def masked_parts(self, roster: Roster) -> tuple[Digest, ...] | None:
        """Names of the masked vectors behind a certified roster of ours, in its order; None until all are
        here.
        """
        names: list[Digest] = []
        for ledger, group in self.behind(roster):
            if group.vector != NO_VECTOR:
                names.append(group.vector)
            elif group.child == self.assembly.stage:
                return None
            elif all(ledger.has_vector(entry.dealing) for entry in group.entries):
                names += [ledger.by_digest[e.dealing].deal.dealing.vector for e in group.entries]
            else:
                return None
        return tuple(names) if all(self.vectors.has(name) for name in names) else None

    def has_vector(self, dealing: Digest) -> bool:
        """Whether a dealing is here with the vector that it names."""
        account = self.by_digest.get(dealing)
        return account is not None and self.vectors.has(account.deal.dealing.vector)

    def _answered(self, now: float, account: Account, lost: frozenset[PartyId], live_seats: set[int]) -> bool:
        if not self.vectors.has(account.deal.dealing.vector):
            return account.deal.dealing.dealer in lost
        if live_seats <= account.holders:
            return True
        return account.quorum_at is not None and now >= account.quorum_at + GRACE_S


def _source_digest(accounts: list[Account]) -> Digest:
    return accounts[0].deal.dealing.source if accounts else NO_SOURCE
