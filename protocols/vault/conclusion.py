"""The end of one round of a renewal: from its decided roster to a quorum's word on the new shares.

    1. New holders publish rho-combinations of their sub-shares, masked by the round's pair, rho = H(roster);
       a codeword over S' gives what j really dealt, a codeword over S whether that was F(j).
    2. Each keeps sum_j lambda_j s_jl over the T+1 lowest seats that told the truth, and the sums of all fresh
       masks, stores it with what its fellows were dealt (see `recovery`), then signs an Ack that names the
       seats left out; or that the roster's dealings cannot be used.

Agreement: a word is given only once what was published tells what was dealt (`recasting.is_legible`). What
was dealt is a function of the roster alone, so all honest seats say good, leaving out the same seats, or all
say bad: their words never split into parts none of which is a quorum, however late some checks come.

Symbols: S old and S' new seats, T threshold, F(j) share of old seat j, l new seat, s_jl sub-share.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, UnattributableFault
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.vault import recasting, recovery
from protocols.vault.gathering import Gathering, observed, seat_in
from protocols.vault.recovery import Remains
from protocols.vault.renewal_messages import AckCast, PendingShare, Place, Roster, VaultAck, VaultCheck
from protocols.vault.standing import ACK, Standing, ack_subject, cast, is_valid

MOST_EARLY_OF_ONE = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an acknowledgement says."""

    outcome: Digest
    good: bool
    left_out: tuple[int, ...] = ()


class Conclusion:
    """One party's part. `earlier`: what we acknowledged in this round before a restart."""

    def __init__(
        self, keys: PartyKeys, standing: Standing, gathering: Gathering, earlier: AckCast | None
    ) -> None:
        self.said: dict[str, Effect] = {}
        """What to say again."""
        self.checks: dict[int, Elements] = {}
        self.remains: Remains | None = None
        self._keys = keys
        self._standing = standing
        self._terms = standing.terms.terms
        self._gathering = gathering
        self.earlier = earlier
        self._acks: dict[Verdict, dict[int, Ballot]] = {}
        self._early: list[tuple[PartyId, VaultCheck | VaultAck]] = []
        self._checked = self._acked = False

    @property
    def place(self) -> Place:
        """Which round."""
        return self._gathering.place

    # -- mail -----------------------------------------------------------------------------------------

    def receive(self, sender: PartyId, message: VaultCheck | VaultAck) -> None:
        """Take a check or an acknowledgement. Raises MalformedMessage."""
        roster = self._gathering.roster
        if roster is None:
            if sum(party == sender for party, _ in self._early) < MOST_EARLY_OF_ONE:
                self._early.append((sender, message))
        elif isinstance(message, VaultCheck):
            self._on_check(roster, sender, message)
        else:
            self._on_ack(roster, sender, message)

    def early(self) -> list[tuple[PartyId, VaultCheck | VaultAck]]:
        """What came before the decision, to be taken now."""
        kept, self._early = self._early, []
        return kept

    def _on_check(self, roster: Roster, sender: PartyId, message: VaultCheck) -> None:
        seat = seat_in(roster.seats, sender)
        wrong = message.values.size != 2 * len(roster.entries)
        if seat is None or message.outcome != roster.outcome or wrong:
            raise MalformedMessage("a check of another roster, or of the wrong size", blame=sender)
        self.checks.setdefault(seat, message.values)

    def _on_ack(self, roster: Roster, sender: PartyId, message: VaultAck) -> None:
        seat = message.ballot.seat
        verdict = Verdict(message.outcome, message.good, message.left_out)
        subject = ack_subject(verdict.outcome, verdict.good, verdict.left_out)
        if (
            message.outcome != roster.outcome
            or seat_in(roster.seats, sender) != seat
            or not is_valid(roster.seats, message.ballot, ACK, subject)
        ):
            raise MalformedMessage("a forged acknowledgement", blame=sender)
        if all(seat not in ballots for ballots in self._acks.values()):
            self._acks.setdefault(verdict, {})[seat] = message.ballot

    # -- our part -------------------------------------------------------------------------------------

    def go_on(self, roster: Roster, lost: frozenset[PartyId], patient: bool, seed: bytes) -> list[Effect]:
        """Publish our check, and our word once the dealings can be judged."""
        mine, incoming = seat_in(roster.seats, self._keys.party), self._gathering.incoming(roster)
        if mine is None or incoming is None or self._acked:
            return []
        effects = list[Effect]()
        if not self._checked:
            self._checked = True
            values = self.checks[mine] = recasting.combinations(self._terms, roster.outcome, incoming)
            others = tuple(seat.party for seat in roster.seats if seat.party != self._keys.party)
            self.said["check"] = Broadcast(others, VaultCheck(self.place, roster.outcome, values))
            effects.append(self.said["check"])
        live = {i for i, seat in enumerate(roster.seats) if seat.party not in lost}
        if patient and not live <= self.checks.keys():
            return effects
        if not recasting.is_legible(self._terms, roster.outcome, self.checks, seed):
            return effects
        return [*effects, *self._judge(roster, mine, incoming, seed)]

    def _judge(
        self, roster: Roster, mine: int, incoming: list[tuple[int, Elements]], seed: bytes
    ) -> list[Effect]:
        try:
            made = recasting.recast(self._terms, roster.outcome, incoming, self.checks, seed)
        except UnattributableFault:
            return self._say(roster, mine, Verdict(roster.outcome, False))
        wrong = [roster.seats[seat].party for seat in made.published]
        effects: list[Effect] = [observed(party, "published a wrong check") for party in wrong]
        members = self._standing.members
        effects += [observed(members[seat], "dealt a false share") for seat in made.dealt]
        self.remains = recovery.of_roster(roster, self._gathering.deals(roster), mine)
        effects += [Persist(PendingShare(roster.outcome, made.share)), Persist(self.remains)]
        return [*effects, *self._say(roster, mine, Verdict(roster.outcome, True, made.dealt))]

    def _say(self, roster: Roster, mine: int, verdict: Verdict) -> list[Effect]:
        self._acked, before = True, self.earlier
        if before is not None and Verdict(before.outcome, before.good, before.left_out) != verdict:
            return []  # a restart must not contradict what was said
        subject = ack_subject(verdict.outcome, verdict.good, verdict.left_out)
        ballot = cast(self._keys, mine, ACK, subject)
        message = VaultAck(self.place, verdict.outcome, verdict.good, verdict.left_out, ballot)
        self._acks.setdefault(verdict, {})[mine] = ballot
        told = {*self._standing.members, *(seat.party for seat in roster.seats)} - {self._keys.party}
        self.said["ack"] = Broadcast(tuple(sorted(told)), message)
        record = AckCast(self.place.round, verdict.outcome, verdict.good, verdict.left_out)
        return [Persist(record), self.said["ack"]]

    # -- the outcome ----------------------------------------------------------------------------------

    def has_said(self) -> set[int]:
        """Seats that gave their word."""
        return {seat for ballots in self._acks.values() for seat in ballots}

    def verdict(self, good: bool) -> tuple[tuple[int, ...], dict[int, Ballot]] | None:
        """(seats left out, ballots by seat) once a quorum says so."""
        for verdict, ballots in self._acks.items():
            if verdict.good == good and len(ballots) >= self._terms.quorum:
                return verdict.left_out, ballots
        return None

    def trimmed(self, done: set[int]) -> list[Effect]:
        """Keep for those only who have not said that they have their share; say so if that changed."""
        if self.remains is None or not {one.seat for one in self.remains.seats} & done:
            return []
        self.remains = self.remains.without(done)
        return [Persist(self.remains)]
