"""How a generation's holders decide on one roster of its renewal although some are dead or dishonest.

Source: PBFT (Castro, Liskov, OSDI 1999), for one value. Holders vote in views, each led by one seat:

    leader of view v   Propose(roster; for v > 0 with a quorum's Changes to v)
    each seat          Prepare, once a view, if the roster is acceptable to it and, for v > 0, is the one
                       prepared in the highest view that the Changes show, if they show any
    q Prepares         prepared: Commit
    q Commits          decided
    after a while      Change to the next view: a promise to vote in none below it, and what was prepared

Safety: decided in v means q commits, so q - T honest seats had it prepared in v; any q Changes to a later
view hold one of theirs, so a later leader can propose nothing else. Every vote and every change of view is
stored before it is sent (the caller carries out `Persist` first), so a restart contradicts nothing.

Liveness, under partial synchrony (after Bravo, Chockler, Gotsman 2020; at most T faulty seats, N >= 3T+1, and
after some moment what honest seats say arrives within an unknown time):

    1. A view's time runs at a seat once it has heard a quorum's Changes to this view or to later ones, so
       nobody runs ahead of all others; whose Change was to a later one counts, for it votes here no more.
    2. Who hears T+1 seats' Changes to later views goes to the latest view that all of these have reached, an
       honest one among them, so nobody is left behind. Changes are said again until a decision, so
       everybody hears of them in the end: if an honest seat's time runs, then so does soon that of all
       honest seats in its view, or they are in later ones.
    3. By 2 the honest seats meet in the latest view that one of them promised; by 1 (q <= N-T of them are
       enough) its time runs out at all of them, and they go to the next one together, within that unknown
       time of each other.
    4. `patience` doubles whenever each seat has had its turn. So there comes a view with an honest leader,
       long enough for its proposal and three steps of votes; all honest seats accept it, for its roster is
       the one that was prepared, or one that each of them would have composed (see `renewal`).

Invariant: `decided` never changes, and no two honest holders decide differently in one round.

Symbols: v view, q quorum, T threshold.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.sessions.plan import Seat
from protocols.vault.renewal_messages import (
    Change,
    Place,
    Prepared,
    Roster,
    VaultChange,
    VaultPropose,
    VaultVote,
    ViewEntered,
    VoteCast,
)
from protocols.vault.standing import COMMIT, cast, check_ballots, commit_subject, is_valid
from protocols.vault.terms import quorum
from protocols.wire.digest import digest

_PREPARE, _CHANGE = "vault prepare", "vault change"
VIEWS_AHEAD = 32
MOST_PATIENCE = 8


def patience(view: int, seats: int) -> int:
    """How many times longer than the first the view's leader has. Never more than MOST_PATIENCE: links with
    longer delays are taken for dead anyway."""
    return min(1 << min(view // seats, 16), MOST_PATIENCE)


class Decree:
    """One seat's part in deciding one round. Without a seat (`seat` None) it does not vote."""

    def __init__(self, keys: PartyKeys, place: Place, seats: tuple[Seat, ...], threshold: int) -> None:
        self.place = place
        self.view = 0
        self.decided: tuple[int, Roster, tuple[Ballot, ...]] | None = None
        self._keys = keys
        self._seats = seats
        self._threshold = threshold
        self._quorum = quorum(len(seats), threshold)
        self.members = tuple(seat.party for seat in seats)
        self.seat = self.members.index(keys.party) if keys.party in self.members else None
        self._rosters: dict[Digest, Roster] = {}
        self._proposals: dict[int, VaultPropose] = {}
        self._votes: dict[tuple[bool, int], dict[int, VaultVote]] = {}
        self._changes: dict[int, dict[int, Change]] = {}
        self._latest: dict[int, int] = {}
        """The latest view that each seat promised to go to."""
        self._cast: dict[tuple[bool, int], Digest] = {}
        self._prepared: Prepared | None = None
        self._said: list[Effect] = []

    @property
    def leader(self) -> PartyId:
        """Whose turn the current view is."""
        return self._leader(self.view)

    def _leader(self, view: int) -> PartyId:
        turn = self.place.generation + self.place.round + view
        return self.members[turn % len(self.members)]

    def restore(self, record: object) -> None:
        """Replay a stored record of ours, in the order of storing."""
        if isinstance(record, ViewEntered):
            self.view = max(self.view, record.view)
            if self.seat is not None:  # the same promise again, or its view might lack a quorum for good
                self._said = [self._promise(self.seat, record.view)]
        elif isinstance(record, VoteCast):
            self.view = max(self.view, record.view)
            self._cast[record.final, record.view] = record.outcome
            if self.seat is not None:  # the same vote again, for those who did not hear it
                label, subject = _statement(record.final, record.outcome, record.view)
                ballot = cast(self._keys, self.seat, label, subject)
                vote = VaultVote(self.place, record.view, record.final, record.outcome, ballot)
                self._votes.setdefault((record.final, record.view), {})[self.seat] = vote
                self._said.append(self._tell(vote))
            if record.prepared is not None:
                self._prepared = record.prepared
                self._rosters[record.prepared.roster.outcome] = record.prepared.roster

    # -- acting ---------------------------------------------------------------------------------------

    def may_propose(self) -> bool:
        """Whether it is our turn, we have not proposed, and a later view is justified."""
        mine = self.leader == self._keys.party and self.view not in self._proposals
        shown = self.view == 0 or len(self._changes.get(self.view, {})) >= self._quorum
        return mine and shown and self.decided is None and (False, self.view) not in self._cast

    @property
    def is_deciding(self) -> bool:
        """Whether we vote and nothing is decided."""
        return self.decided is None and self.seat is not None

    @property
    def is_entered(self) -> bool:
        """Whether a quorum is in our view or in later ones; before that its time has not begun."""
        return self.view == 0 or sum(view >= self.view for view in self._latest.values()) >= self._quorum

    def bound(self) -> Roster | None:
        """The roster that a proposal for the current view has to carry, None if it is free."""
        shown = [c.prepared for c in self._changes.get(self.view, {}).values() if c.prepared is not None]
        return max(shown, key=lambda prepared: prepared.view).roster if shown else None

    def propose(self, roster: Roster, accepts: Callable[[Roster], bool]) -> list[Effect]:
        """Our proposal; `bound` must have been honoured."""
        changes = tuple(change for _, change in sorted(self._changes.get(self.view, {}).items()))
        message = VaultPropose(self.view, roster, changes[: len(self._seats)])
        self._take_proposal(message)
        return [self._tell(message), *self.step(accepts)]

    def next_view(self) -> list[Effect]:
        """This view's time is over."""
        return self._enter(self.view + 1)

    def again(self) -> list[Effect]:
        """What we said last, for those who did not hear it."""
        return list(self._said)

    def receive(
        self,
        sender: PartyId,
        message: VaultPropose | VaultVote | VaultChange,
        accepts: Callable[[Roster], bool],
    ) -> list[Effect]:
        """Take a message of this round. Raises ProtocolError."""
        if sender not in self.members:
            raise UnexpectedMessage("a vote of somebody who holds nothing")
        effects: list[Effect] = []
        match message:
            case VaultPropose():
                if sender != self._leader(message.view):
                    raise MalformedMessage("a proposal out of turn", blame=sender)
                self._check_proposal(message)
                self._take_proposal(message)
                for change in message.changes:
                    self._note(change)
                effects += self._catch_up()
            case VaultVote():
                self._take_vote(sender, message)
            case VaultChange():
                effects += self._take_change(sender, message.change)
        return effects + self.step(accepts)

    def step(self, accepts: Callable[[Roster], bool]) -> list[Effect]:
        """Cast every vote that is due now; call after anything that may make a roster acceptable."""
        if self.decided is not None:
            return []
        effects = self._prepare(accepts) + self._commit()
        self._decide()
        return effects

    def learn(self, roster: Roster, view: int, commits: tuple[Ballot, ...]) -> None:
        """Somebody shows the decision. Raises MalformedMessage unless a quorum made it."""
        subject = commit_subject(roster.outcome, view)
        check_ballots(self._seats, commits, COMMIT, subject, self._quorum)
        if self.decided is None:
            self.decided = (view, roster, commits)

    # -- voting ---------------------------------------------------------------------------------------

    def _prepare(self, accepts: Callable[[Roster], bool]) -> list[Effect]:
        proposal = self._proposals.get(self.view)
        if proposal is None or self.seat is None or (False, self.view) in self._cast:
            return []
        bound = _bound(proposal.changes)
        if bound is None and not accepts(proposal.roster):
            return []
        return self._cast_vote(False, proposal.roster.outcome, None)

    def _commit(self) -> list[Effect]:
        if self.seat is None or (True, self.view) in self._cast:
            return []
        found = self._agreed(False, self.view)
        if found is None:
            return []
        self._prepared = Prepared(self.view, self._rosters[found[0]], found[1])
        return self._cast_vote(True, found[0], self._prepared)

    def _cast_vote(self, final: bool, outcome: Digest, prepared: Prepared | None) -> list[Effect]:
        assert self.seat is not None
        label, subject = _statement(final, outcome, self.view)
        ballot = cast(self._keys, self.seat, label, subject)
        vote = VaultVote(self.place, self.view, final, outcome, ballot)
        self._cast[final, self.view] = outcome
        self._votes.setdefault((final, self.view), {})[self.seat] = vote
        record = VoteCast(self.place.round, self.view, final, outcome, prepared)
        self._said = [*self._said[-3:], self._tell(vote)]
        effects: list[Effect] = [Persist(record), self._tell(vote)]
        return effects if final else effects + self._commit()

    def _decide(self) -> None:
        for final, view in list(self._votes):
            found = self._agreed(True, view) if final else None
            if found is not None:
                self.decided = (view, self._rosters[found[0]], found[1])
                return

    def _agreed(self, final: bool, view: int) -> tuple[Digest, tuple[Ballot, ...]] | None:
        """An outcome with a quorum of votes of one view, whose roster we know."""
        by_outcome: dict[Digest, list[Ballot]] = {}
        for vote in self._votes.get((final, view), {}).values():
            by_outcome.setdefault(vote.outcome, []).append(vote.ballot)
        for outcome, ballots in by_outcome.items():
            if len(ballots) >= self._quorum and outcome in self._rosters:
                return outcome, tuple(sorted(ballots, key=lambda ballot: ballot.seat))
        return None

    def _enter(self, view: int) -> list[Effect]:
        self.view = view
        if self.seat is None or self.decided is not None:
            return []
        told = self._promise(self.seat, view)
        self._said = [told]
        return [Persist(ViewEntered(self.place.round, view)), told]

    def _promise(self, seat: int, view: int) -> Effect:
        """Our change to a view, with what was prepared until then."""
        subject = _change_subject(self.place, view, self._prepared)
        change = Change(view, self._prepared, cast(self._keys, seat, _CHANGE, subject))
        self._note(change)
        return self._tell(VaultChange(self.place, change))

    def _tell(self, message: object) -> Effect:
        return Broadcast(tuple(party for party in self.members if party != self._keys.party), message)

    # -- judging --------------------------------------------------------------------------------------

    def _take_proposal(self, message: VaultPropose) -> None:
        if self._proposals.setdefault(message.view, message) is message:
            self._rosters[message.roster.outcome] = message.roster
            self._said = [*self._said[-3:], self._tell(message)] if self._mine(message) else self._said

    def _mine(self, message: VaultPropose) -> bool:
        return self._leader(message.view) == self._keys.party

    def _check_proposal(self, message: VaultPropose) -> None:
        if message.roster.place != self.place:
            raise MalformedMessage("a roster of another vault, generation or round")
        if abs(message.view - self.view) > VIEWS_AHEAD:
            raise UnexpectedMessage("a view that is far away")
        if message.view:
            seats = {change.ballot.seat for change in message.changes}
            if len(seats) != len(message.changes) or len(seats) < self._quorum:
                raise MalformedMessage("a later view's proposal without a quorum's changes")
            for change in message.changes:
                self._check_change(change, message.view)
        bound = _bound(message.changes)
        if bound is not None and bound.outcome != message.roster.outcome:
            raise MalformedMessage("a proposal of something else than what was prepared")

    def _take_vote(self, sender: PartyId, message: VaultVote) -> None:
        seat = message.ballot.seat
        label, subject = _statement(message.final, message.outcome, message.view)
        if self.members[seat : seat + 1] != (sender,) or not is_valid(
            self._seats, message.ballot, label, subject
        ):
            raise MalformedMessage("a forged vote", blame=sender)
        if abs(message.view - self.view) <= VIEWS_AHEAD:
            self._votes.setdefault((message.final, message.view), {}).setdefault(seat, message)

    def _take_change(self, sender: PartyId, change: Change) -> list[Effect]:
        seat = change.ballot.seat
        if self.members[seat : seat + 1] != (sender,):
            raise MalformedMessage("a change of view of somebody else's", blame=sender)
        if change.view < self.view:
            return []
        self._check_change(change, change.view)
        self._note(change)
        return self._catch_up()

    def _note(self, change: Change) -> None:
        """Keep a checked change of view, unless it is far away; where its seat is we know in any case."""
        seat = change.ballot.seat
        self._latest[seat] = max(change.view, self._latest.get(seat, 0))
        if abs(change.view - self.view) <= VIEWS_AHEAD:
            self._changes.setdefault(change.view, {})[seat] = change

    def _catch_up(self) -> list[Effect]:
        """Go to the latest view that T+1 seats have reached or passed: an honest one is among them."""
        reached = sorted(self._latest.values(), reverse=True)[self._threshold : self._threshold + 1]
        return self._enter(reached[0]) if reached and reached[0] > self.view else []

    def _check_change(self, change: Change, view: int) -> None:
        subject = _change_subject(self.place, view, change.prepared)
        if change.view != view or not is_valid(self._seats, change.ballot, _CHANGE, subject):
            raise MalformedMessage("a forged change of view")
        if change.prepared is None:
            return
        prepared = change.prepared
        if prepared.view >= view or prepared.roster.place != self.place:
            raise MalformedMessage("a change of view shows what cannot have been prepared")
        label, subject = _statement(False, prepared.roster.outcome, prepared.view)
        check_ballots(self._seats, prepared.ballots, label, subject, self._quorum)
        self._rosters.setdefault(prepared.roster.outcome, prepared.roster)


def _bound(changes: tuple[Change, ...]) -> Roster | None:
    shown = [change.prepared for change in changes if change.prepared is not None]
    return max(shown, key=lambda prepared: prepared.view).roster if shown else None


def _statement(final: bool, outcome: Digest, view: int) -> tuple[str, Digest]:
    if final:
        return COMMIT, commit_subject(outcome, view)
    return _PREPARE, digest("vault prepare", outcome, view.to_bytes(4, "big"))


def _change_subject(place: Place, view: int, prepared: Prepared | None) -> Digest:
    shown = b"" if prepared is None else prepared.roster.outcome + prepared.view.to_bytes(4, "big")
    return digest("vault change", place.name, view.to_bytes(4, "big"), shown)
