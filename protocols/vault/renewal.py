"""Renewing a vault's shares, in place or with substitutes for holders that left: one machine for both.

Shares of generation g at seats S become shares of generation g+1 at seats S' (S with substitutes), of the
same secrets under fresh polynomials, so that what up to T holders learned in one generation is of no use in
another (resharing after Desmedt-Jajodia 1997; the check as in `protocols.sessions.resharing`).

    1. Each old holder j deals (its share F(j); its share of mask pair r, r the round; fresh masks) to S'.
       A bad dealing is proven by whoever got a bad share (`dealing.uphold`) and left out.
    2. New holders sign which dealings they hold. The old ones decide on a Roster (see `decree`).
    3. New holders publish rho-combinations of their sub-shares, masked by the pair, rho = H(roster); a
       codeword over S' gives what j really dealt, a codeword over S whether that was F(j). Liars are named.
    4. Each stores sum_j lambda_j s_jl over the T+1 lowest honest points, and the sums of all fresh masks;
       then it signs an Ack. A quorum of Acks certifies generation g+1: whoever sees it erases generation g.

If too few truthful dealings are left for step 3 (which all honest holders find alike, from the same
roster), they say so instead, and the next round begins with the next mask pair and another leader; its roster
needs a dealer that the failed one had not.

Liveness. Let all honest holders run and what they say arrive within some unknown time, T seats lie or are
silent, and each honest holder of the old generation have its share or recover it (see `recovery`). Then:
each deals, and every honest new holder says that it holds all these dealings, so a leader can compose a
roster (`Gathering.compose`) that all honest holders accept as soon as they want the same seats. `decree`
brings them into one view of an honest leader for long enough. Of a decided roster a quorum holds the
dealings, T+1 honest ones among them, who pass them on to whoever lacks one and show theirs to whom one is bad
(`gathering`); so all honest new holders publish their checks, which makes the dealings legible (2T+1 truths
among at most T lies) and their words alike (`conclusion`). Good, and the generation is certified; bad, and
the next roster has another dealer; one with all honest dealers never fails. Who comes back from a crash or a
cut is told the standing, or asks for it.

Privacy is argued in `recasting`. The pending share is stored before its Ack, the old one erased only against
a certificate, and each fragment carries its generation: a crash between store and send never mixes two.

Symbols: N seats, T threshold, q quorum, j old and l new seats, L payload elements.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from protocols.arithmetic.field import Elements
from protocols.errors import ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.sessions.plan import Seat
from protocols.vault import dealing, recasting
from protocols.vault.conclusion import Conclusion
from protocols.vault.decree import Decree, patience
from protocols.vault.gathering import Gathering, seat_in
from protocols.vault.renewal_messages import (
    AckCast,
    Place,
    Renewed,
    Roster,
    VaultAck,
    VaultBadDeal,
    VaultChange,
    VaultCheck,
    VaultDeal,
    VaultDecided,
    VaultHeld,
    VaultPropose,
    VaultShown,
    VaultVote,
    ViewEntered,
    VoteCast,
    place_of,
)
from protocols.vault.standing import Standing, Succession, advance
from protocols.vault.terms import MASK_PAIRS

TICK_S = 0.7
SLOWEST_TICK_S = 4.0
VIEW_S = 4.0
"""How long the first leaders have; see `decree.patience`."""
LINGER_S = 12.0
"""How long a certified generation is told on to those who miss their share of it."""

MOST_EARLY_OF_ONE = 16


@dataclass(slots=True)
class Round:
    """What one round has gathered; a new one begins empty."""

    decree: Decree
    gathering: Gathering
    conclusion: Conclusion
    decided: bool = False


class Renewal:
    """One party's part, as an old holder (with `share`), a new one, or both. `seed` is kept over restarts."""

    def __init__(
        self,
        keys: PartyKeys,
        standing: Standing,
        share: Elements | None,
        seed: bytes,
        wanted: tuple[Seat, ...],
    ) -> None:
        """`share`: ours of the standing's generation, (width,), or None; `wanted`: what we think is next."""
        self.standing = standing
        self.outcome: Renewed | None = None
        self.lost: frozenset[PartyId] = frozenset()
        self.wanted = wanted
        self._keys = keys
        self._terms = standing.terms.terms
        self._share = share
        self._seed = seed
        self._index = 0
        self._failed: list[frozenset[int]] = []
        self._acked: dict[int, AckCast] = {}
        self._round = self._fresh()
        self._own: dict[Digest, VaultDeal] = {}
        self._said: dict[str, Effect] = {}
        self._tick = TICK_S
        self._next = self._view_ends = self._enough_at = float("inf")
        self._missing, self._in_view = 0, (0, True)
        self._ahead: list[tuple[PartyId, object]] = []

    def _fresh(self) -> Round:
        place = self.place
        decree = Decree(self._keys, place, self.standing.seats, self._terms.threshold)
        gathering = Gathering(self._keys, self.standing, place)
        gathering.failed = tuple(self._failed)
        earlier = self._acked.get(self._index)
        return Round(decree, gathering, Conclusion(self._keys, self.standing, gathering, earlier))

    @property
    def place(self) -> Place:
        """Vault, generation that is replaced, round."""
        return Place(self.standing.vault, self.standing.generation, self._index)

    def restore(self, record: object) -> None:
        """Replay a stored record, in the order of storing; call before `start`."""
        if isinstance(record, AckCast):
            self._acked[record.round] = record
            if record.round == self._index:
                self._round.conclusion.earlier = record
        elif isinstance(record, VoteCast | ViewEntered):
            if self._index < record.round:
                self._index = record.round
                self._round = self._fresh()
            self._round.decree.restore(record)

    # -- the Machine contract -------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Deal our share, if we have one."""
        self._next, self._view_ends = now + self._tick, now + VIEW_S
        return [*self._deal(), *self._settle(now)]

    def want(self, now: float, seats: tuple[Seat, ...], lost: frozenset[PartyId]) -> list[Effect]:
        """Membership changed: who is gone, and the seats that should be next."""
        changed, back = seats != self.wanted, self.lost - lost
        self.wanted, self.lost = seats, lost
        if back:  # they missed what was said
            self._hurry(now)
        return [*(self._deal() if changed else []), *self._settle(now)]

    @property
    def lacks_share(self) -> bool:
        """Whether we hold a seat of the standing's generation and could not deal."""
        seated = self.standing.seat_of(self._keys.party) is not None
        return seated and self._share is None and self.outcome is None

    def supply(self, now: float, share: Elements, seed: bytes) -> list[Effect]:
        """Our share of the standing's generation, and its seed, have come after all (see `recovery`)."""
        if not self.lacks_share:
            return []
        self._share, self._seed = share, seed
        return [*self._deal(), *self._settle(now)]

    def _hurry(self, now: float) -> None:
        self._tick = TICK_S
        self._next = min(self._next, now + TICK_S)

    @property
    def deadline(self) -> float | None:
        """When to say things again, or to give up on a leader."""
        if self.done:
            return None
        decree = self._round.decree
        waits = self.outcome is None and decree.is_deciding and decree.is_entered
        return min(self._next, self._view_ends) if waits else self._next

    @property
    def done(self) -> bool:
        """Certified, and nobody who is here is without its share, or has had time enough."""
        return self.outcome is not None and self._missing == 0

    def expire(self, now: float) -> list[Effect]:
        """Say again what others may have missed; leave a view whose time is over."""
        effects = self._repeat(now) if now >= self._next else []
        if self.outcome is not None:
            return effects
        decree = self._round.decree
        if decree.is_deciding and decree.is_entered and now >= self._view_ends:
            effects += decree.next_view()
        return [*effects, *self._settle(now, patient=False)]

    def _repeat(self, now: float) -> list[Effect]:
        self._tick = min(self._tick * 1.5, SLOWEST_TICK_S)
        self._next = now + self._tick
        conclusion = self._round.conclusion
        if self.outcome is not None:
            self._missing = self._missing if now < self._enough_at + LINGER_S else 0
            return [*self._said.values(), *conclusion.said.values()] if self._missing else []
        effects = [*self._said.values(), *conclusion.said.values(), *self._round.decree.again()]
        gathering = self._round.gathering
        return [*effects, *gathering.complain(), *gathering.pass_on(conclusion.has_said(), self.lost)]

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """Take one authenticated message. Raises ProtocolError."""
        place = place_of(message)
        if (place.vault, place.generation) != (self.place.vault, self.place.generation):
            raise UnexpectedMessage("a renewal of another vault or generation")
        if self.outcome is not None:
            if isinstance(message, VaultAck) and place.round == self._index:
                self._round.conclusion.receive(sender, message)
                return self._count_missing()
            return []
        if place.round > self._index:
            return self._ahead_of_us(now, sender, place.round, message)
        if place.round != self._index:
            raise UnexpectedMessage("a round that is over")
        effects = self._dispatch(sender, message)
        return [*effects, *self._settle(now)]

    def _ahead_of_us(self, now: float, sender: PartyId, round_: int, message: object) -> list[Effect]:
        """Keep it; T+1 who are in a later round cannot all be lying about this one's failure."""
        if sum(party == sender for party, _ in self._ahead) < MOST_EARLY_OF_ONE:
            self._ahead.append((sender, message))
        there = {party for party, one in self._ahead if place_of(one).round >= round_}
        if len(there & set(self.standing.members)) <= self._terms.threshold:
            return []
        return self._enter(now, round_)

    def _enter(self, now: float, round_: int) -> list[Effect]:
        """Begin a round afresh: another mask pair, another leader."""
        self._index, self._said = round_, {}
        self._round = self._fresh()
        self._view_ends, self._tick = now + VIEW_S, TICK_S
        kept, self._ahead = self._ahead, []
        effects = self._deal()
        for sender, message in kept:
            with contextlib.suppress(ProtocolError):  # a bad early message must not stop the good ones
                effects += self.receive(now, sender, message)
        return [*effects, *self._settle(now)]

    def _dispatch(self, sender: PartyId, message: object) -> list[Effect]:
        match message:
            case VaultDeal():
                return self._round.gathering.on_deal(sender, message)
            case VaultBadDeal():
                return self._round.gathering.on_bad_deal(sender, message)
            case VaultShown():
                self._round.gathering.on_shown(sender, message)
            case VaultHeld():
                self._round.gathering.on_held(sender, message)
            case VaultPropose() | VaultVote() | VaultChange():
                return self._round.decree.receive(sender, message, self._accepts)
            case VaultDecided():
                self._round.gathering.check_roster(message.roster)
                self._round.decree.learn(message.roster, message.view, message.commits)
            case VaultCheck() | VaultAck():
                self._round.conclusion.receive(sender, message)
            case _:
                raise UnexpectedMessage(f"a renewal takes no {type(message).__name__}")
        return []

    # -- dealing, holding, proposing ------------------------------------------------------------------

    def _deal(self) -> list[Effect]:
        """Our share, this round's mask pair and fresh masks, to the seats decided or wanted."""
        decided = self._round.decree.decided
        seats = decided[1].seats if decided else self.wanted
        if self._share is None or self.standing.seat_of(self._keys.party) is None:
            return []
        to = self._round.gathering.target(seats)
        message = self._own.get(to.subject)
        if message is None:
            vector = recasting.vector(self._terms, self._share, self._index, self._seed, to.subject)
            message = VaultDeal(self.place, seats, dealing.deal(self._keys, to, vector, self._seed))
            self._own[to.subject] = message
        told = tuple(seat.party for seat in seats)
        self._said["deal"] = Broadcast(tuple(p for p in told if p != self._keys.party), message)
        mine = self._round.gathering.on_deal(self._keys.party, message) if self._keys.party in told else []
        return [self._said["deal"], *mine]

    def _hold(self, patient: bool) -> list[Effect]:
        """Say which dealings we hold, when all that can come are there or it is time to say so."""
        if self._round.decree.decided is not None:
            return []
        word = self._round.gathering.hold(self.wanted, self.lost, patient)
        if word is None:
            return []
        self._said["held"] = Broadcast(self._others(self.standing.members), word)
        return [self._said["held"]]

    def _propose(self, patient: bool) -> list[Effect]:
        decree = self._round.decree
        if not decree.may_propose():
            return []
        bound = decree.bound()
        roster = bound or self._round.gathering.compose(self.wanted, self.lost, patient)
        return [] if roster is None else decree.propose(roster, self._accepts)

    def _accepts(self, roster: Roster) -> bool:
        return self._round.gathering.accepts(roster, self.wanted)

    def _others(self, *groups: tuple[PartyId, ...]) -> tuple[PartyId, ...]:
        return tuple(sorted({party for group in groups for party in group} - {self._keys.party}))

    # -- going on -------------------------------------------------------------------------------------

    def _settle(self, now: float, patient: bool = True) -> list[Effect]:
        """Whatever has become possible."""
        effects = [*self._hold(patient), *self._lead(patient)]
        decree = self._round.decree
        if (place := (decree.view, decree.is_entered)) != self._in_view:
            self._in_view, self._view_ends = place, now + VIEW_S * patience(decree.view, len(decree.members))
        if decree.decided is None:
            return effects
        view, roster, commits = decree.decided
        if not self._round.decided:
            effects += self._on_decided(view, roster, commits)
        effects += self._round.conclusion.go_on(roster, self.lost, patient, self._seed)
        return [*effects, *self._finish(now, view, roster, commits)]

    def _lead(self, patient: bool) -> list[Effect]:
        decree = self._round.decree
        effects = [*decree.step(self._accepts), *self._propose(patient)]
        while decree.is_deciding and decree.leader in self.lost:
            if len(self.lost & set(self.standing.members)) > self._terms.threshold:
                break  # nobody could decide anything
            effects += decree.next_view()
        return effects

    def _on_decided(self, view: int, roster: Roster, commits: tuple[Ballot, ...]) -> list[Effect]:
        self._round.decided, self._round.gathering.roster = True, roster
        told = self._others(self.standing.members, tuple(seat.party for seat in roster.seats))
        self._said.pop("held", None)
        self._said["decided"] = Broadcast(told, VaultDecided(roster, view, commits))
        effects: list[Effect] = [self._said["decided"], *self._round.gathering.complain()]
        if roster.seats != self.wanted:
            effects += self._deal()
        for sender, message in self._round.conclusion.early():
            with contextlib.suppress(ProtocolError):  # a bad early message must not stop the good ones
                self._round.conclusion.receive(sender, message)
        return effects

    def _finish(self, now: float, view: int, roster: Roster, commits: tuple[Ballot, ...]) -> list[Effect]:
        conclusion = self._round.conclusion
        if (good := conclusion.verdict(good=True)) is not None:
            left_out, ballots = good
            self._enough_at = min(self._enough_at, now)
            missing = seat_in(roster.seats, self._keys.party) not in {None, *ballots}
            if missing and now < self._enough_at + LINGER_S / 2:
                return []  # the others linger: our own share may still come about
            acks = tuple(ballots[seat] for seat in sorted(ballots))
            after, body = self.standing.generation + 1, roster.body
            step = Succession(after, self._index, view, roster.seats, body, left_out, commits, acks)
            self.outcome = Renewed(advance(self.standing, step), roster.outcome)
            self._share, self._seed = None, b""
            return [*self._count_missing(), Publish(self.outcome)]
        if conclusion.verdict(good=False) is not None and self._index + 1 < MASK_PAIRS:
            self._failed.append(frozenset(entry.seat for entry in roster.entries))
            return self._enter(now, self._index + 1)
        return []

    def _count_missing(self) -> list[Effect]:
        """Who is here and has not its share yet; for whom we keep what it is made of, if that changed."""
        assert self.outcome is not None
        _, good = self._round.conclusion.verdict(good=True) or ((), {})
        seats = enumerate(self.outcome.standing.seats)
        self._missing = sum(index not in good and seat.party not in self.lost for index, seat in seats)
        return self._round.conclusion.trimmed(set(good))
