"""The asking side: hand out the plan, propose starts, begin attempts when somebody falls silent.

The initiator decides nothing that privacy rests on. Which owners count is fixed by the members' one
certificate; an attempt's content is part of its streams' label. It can delay its own program, no more.

    gathering   until every owner has dealt, declined or gone, or the collect time is over
    voting      a quorum of ballots for one start makes a certificate
    running     members compute; a report of a missing member begins a recount
    recounting  all members stop and say which marks they hold; then the next attempt, with those that are
                here; with fewer than 2t+1 of them, substitutes are seated first: another generation
    over        the recipients have the outputs, or it cannot go on

Symbols: n seats, t threshold.
"""

from __future__ import annotations

from protocols.circuits.graph import Graph
from protocols.errors import LocalMisuse, MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Publish
from protocols.programs import questions
from protocols.programs.choosing import best_mark, chosen, common_entries, common_keys, complete
from protocols.programs.disputes import Disputes
from protocols.programs.events import Begun, Reseated
from protocols.programs.gathering import upheld
from protocols.programs.messages import (
    FIRST,
    MAX_ATTEMPTS,
    NOTHING,
    Attempt,
    BadDealing,
    Entry,
    Failed,
    Holding,
    ProgramDecline,
    ProgramDone,
    ProgramOffer,
    Recount,
    Reseat,
    Standing,
    Start,
    StartCertificate,
    StartProposal,
    StartVote,
)
from protocols.programs.plan import ProgramPlan, point_of
from protocols.programs.sitting import Sitting
from protocols.programs.start import check_certificate, is_valid, start_digest
from protocols.sessions import events
from protocols.sessions.messages import Ballot

RECOUNT_S = 0.6
"""How long answers to a recount are awaited from members that seem to be here."""
VOTE_S = 3.0
"""How long ballots are awaited before the others are proposed to again."""


class Initiator:
    """One session's coordinator."""

    def __init__(self, plan: ProgramPlan, graph: Graph | None = None) -> None:
        self.plan = plan
        self.phase = "gathering"
        self.declined: dict[PartyId, str] = {}
        self.certificate: StartCertificate | None = None
        self.first: StartCertificate | None = None
        self.aborted: events.Aborted | None = None
        self.attempts = 0
        self._graph = graph
        self._sitting = Sitting(plan)
        self._holdings: dict[int, Holding] = {}
        self._proposal: Start | None = None
        self._ballots: dict[int, Ballot] = {}
        self._standings: dict[int, Standing] = {}
        self._attempt: Attempt | None = None
        self._finished: set[int] = set()
        self._disputes = Disputes(plan.threshold)
        self._named: set[PartyId] = set()
        self._mark = FIRST
        self._holders: set[int] = set()
        self._done: set[PartyId] = set()
        self._until = float("inf")

    def begin(self, now: float) -> list[Effect]:
        """Send the plan to everybody with a role."""
        self._until = now + self.plan.collect_ms / 1000
        others = tuple(party for party in self.plan.parties if party != self.plan.initiator)
        return [Broadcast(others, ProgramOffer(self.plan))] if others else []

    @property
    def deadline(self) -> float | None:
        """When waiting in this phase is over."""
        return self._until if self.phase in ("gathering", "voting", "recounting") else None

    def expire(self, now: float) -> list[Effect]:
        """Go on with what there is."""
        if now < self._until:
            return []
        if self.phase == "recounting":
            return self._next(now, final=True)
        if self.phase in ("gathering", "voting"):
            self._until = now + VOTE_S
            return self._propose(now, final=True)
        return []

    def lose(self, now: float, lost: frozenset[PartyId]) -> list[Effect]:
        """Parties went or came back."""
        returned, self._sitting.lost = self._sitting.lost - lost, lost
        again = tuple(party for party in self.plan.parties if party in returned)
        effects: list[Effect] = [Broadcast(again, ProgramOffer(self.plan))] if again else []
        if self.phase == "gathering":
            effects += self._propose(now) + (self._too_few() if again and self.first else [])
        elif self.phase == "voting" and self._proposal and self._sitting.gone(self._proposal.attempt.quorum):
            effects += self._propose(now, final=True)
        elif self.phase == "recounting" and self._attempt:
            recount = Recount(self._attempt.number)
            effects += [Broadcast(again, recount)] if again else self._next(now)
        elif self.phase == "running" and self._attempt and self._sitting.gone(self._attempt.quorum):
            effects += self._recount(now)
        return effects

    def receive(self, now: float, sender: PartyId, message: object) -> list[Effect]:
        """One message of a party. Raises ProtocolError; the state is then unchanged."""
        match message:
            case ProgramDecline():
                return self._on_decline(now, sender, message)
            case Holding():
                return self._on_holding(now, sender, message)
            case BadDealing():
                return self._on_complaint(sender, message)
            case StartVote():
                return self._on_vote(now, sender, message)
            case Standing():
                return self._on_standing(now, sender, message)
            case Failed():
                return self._on_failed(now, sender, message)
            case ProgramDone():
                return self._on_done(sender)
        raise UnexpectedMessage(f"an initiator takes no {type(message).__name__}")

    # -- gathering and voting ---------------------------------------------------------------------------

    def _on_decline(self, now: float, sender: PartyId, message: ProgramDecline) -> list[Effect]:
        if sender not in self.plan.parties or sender in self.declined:
            return []
        self.declined[sender] = message.reason
        if message.whole:
            self._sitting.absent.add(sender)
        effects: list[Effect] = [Publish(events.Declined(sender, message.reason))]
        return [*effects, *(self._propose(now) if self.phase == "gathering" else [])]

    def _on_holding(self, now: float, sender: PartyId, message: Holding) -> list[Effect]:
        if message.generation != self._sitting.generation:
            raise UnexpectedMessage("holdings of another generation")
        if len(message.keys) != self.plan.size:
            raise MalformedMessage("holdings of the wrong size", blame=sender)
        self._holdings[self._sitting.point(sender)] = message
        return self._propose(now) if self.phase == "gathering" else []

    def _on_complaint(self, sender: PartyId, message: BadDealing) -> list[Effect]:
        seat = point_of(self.plan.seats, sender)
        if seat is None or message.generation:
            raise UnexpectedMessage("a complaint of somebody who was dealt nothing")
        if not upheld(self.plan, seat - 1, message):
            raise MalformedMessage("a false complaint", blame=sender)
        guilty = message.part.dealing.dealer
        if guilty in self.declined:
            return []
        self.declined[guilty] = "dealt an inconsistent share"
        return [Publish(events.Named(guilty, "dealt an inconsistent share", proven=True))]

    def _propose(self, now: float, *, final: bool = False) -> list[Effect]:
        """Propose a start when nobody more is awaited, or `final`: with what is there."""
        here = [point for point in self._sitting.here() if point in self._holdings]
        if len(here) < self.plan.working or len(here) < self.plan.votes:
            return self._too_few() if final else []
        away = self._sitting.lost | self.declined.keys()
        awaited = set() if self.first else set(self.plan.owners) - away
        if not final and not complete(self._holdings, here, self._sitting.here(), awaited):
            return []
        entries = (
            self.first.start.inputs if self.first else common_entries(self._holdings, here, self.declined)
        )
        if self._sitting.generation == 0 and len(entries) < self.plan.least:
            words = f"{len(entries)} of {self.plan.least} required sites dealt their values"
            hopeless = len(set(self.plan.owners) - self.declined.keys()) < self.plan.least
            return self.abort("C-301", words) if final or hopeless else []
        keys = common_keys(self._holdings, here, self.plan.size)
        if sum(key != NOTHING for key in keys) <= self.plan.threshold:
            return self._too_few() if final else []
        try:
            start = self._start(here, keys, entries)
        except LocalMisuse as error:
            return self.abort(error.code, str(error.args[0]))
        if start == self._proposal and self.phase == "voting":
            return [self._to_members(StartProposal(start))]
        if self._proposal is not None and self._proposal.generation == start.generation:
            return self.abort("C-302", "members left between the proposal of the start and its certificate")
        self._proposal, self._ballots, self.phase, self._until = start, {}, "voting", now + VOTE_S
        return [self._to_members(StartProposal(start))]

    def _start(self, here: list[int], keys: tuple[Digest, ...], entries: tuple[Entry, ...]) -> Start:
        """The start of this generation. Raises LocalMisuse when there is no program for the roster."""
        plan = self.plan
        if self.first is not None:
            graph = self.first.start.graph
        else:
            places = tuple(plan.owners.index(entry.dealer) for entry in entries)
            roster = questions.Roster(places, tuple(entry.rows for entry in entries))
            program, _ = questions.affordable(plan, roster, self._graph)
            graph = program.graph.digest()
        holders = self._holders if self._sitting.generation else set(here)
        ranked = self._disputes.ranked(here, holders, plan.working)
        parts = chosen(ranked, holders, plan.working, plan.threshold)
        attempt = Attempt(self._sitting.generation, self.attempts, self._mark, *parts)
        return Start(self._sitting.generation, self._sitting.seats, keys, entries, graph, attempt)

    def _to_members(self, message: object) -> Effect:
        return Broadcast(tuple(seat.party for seat in self._sitting.seats), message)

    def _on_vote(self, now: float, sender: PartyId, message: StartVote) -> list[Effect]:
        start = self._proposal
        if start is None or self.phase != "voting" or message.generation != start.generation:
            raise UnexpectedMessage("a ballot for nothing that is proposed")
        subject = start_digest(self.plan.session, start)
        seat = self._sitting.point(sender) - 1
        if message.ballot.seat != seat or message.subject != subject:
            raise MalformedMessage("a ballot for something else", blame=sender)
        if not is_valid(start, message.ballot, subject):
            raise MalformedMessage("a forged ballot", blame=sender)
        self._ballots[seat] = message.ballot
        return self._certify(now)

    def _certify(self, now: float) -> list[Effect]:
        """A certificate, once there are ballots enough, and of all that are to compute and are here."""
        start = self._proposal
        assert start is not None
        voters = {at + 1 for at in self._ballots}
        awaited = set(start.attempt.quorum) & set(self._sitting.here())
        if len(voters) < self.plan.votes or not awaited <= voters:
            return []
        ballots = tuple(self._ballots[at] for at in sorted(self._ballots))
        self.certificate = StartCertificate(start, ballots)
        check_certificate(self.plan, self.certificate)
        self.first = self.first or self.certificate
        self.phase, self._finished = "running", set()
        self._attempt = start.attempt
        told = tuple(dict.fromkeys((*(s.party for s in self._sitting.seats), *self.plan.parties)))
        effects: list[Effect] = [self._begun(), Broadcast(told, self.certificate)]
        return [*effects, *(self._recount(now) if self._sitting.gone(start.attempt.quorum) else [])]

    def _too_few(self) -> list[Effect]:
        """Not enough members dealt keys: with a certificate, ask them again while there is time."""
        if self.first is not None:
            return [self._to_members(Reseat(self._sitting.generation, self._sitting.seats, self.first))]
        return self.abort(
            "C-302", f"{len(self._sitting.here())} members are here, {self.plan.working} must compute"
        )

    # -- running ----------------------------------------------------------------------------------------

    def _on_standing(self, now: float, sender: PartyId, message: Standing) -> list[Effect]:
        point = self._sitting.point(sender)
        if message.generation != self._sitting.generation or self._attempt is None:
            raise UnexpectedMessage("a standing of another generation")
        if message.finished and message.attempt == self._attempt.number:
            self._finished.add(point)
        self._standings[point] = message
        if message.attempt == self._attempt.number:
            self._disputes.missed(message.missing)
        if self.phase == "recounting":
            return self._next(now)
        if self.phase == "running" and message.missing and message.attempt == self._attempt.number:
            return self._recount(now)
        return []

    def _recount(self, now: float) -> list[Effect]:
        """Stop the attempt and ask everybody."""
        assert self._attempt is not None
        settled = all(p in self._finished for p in self._attempt.quorum if p in self._sitting.here())
        if settled and len(self._finished) > self.plan.threshold:
            return []
        self._standings = {}
        self.phase, self._until = "recounting", now + RECOUNT_S
        progress = events.Progress(
            0, "recount", f"attempt {self._attempt.number} stopped: somebody is silent"
        )
        return [Publish(progress), self._to_members(Recount(self._attempt.number))]

    def _next(self, now: float, *, final: bool = False) -> list[Effect]:
        """The next attempt, once all members here have answered, or `final`: with those that have."""
        assert self._attempt is not None
        answered = {p: s for p, s in self._standings.items() if p in self._sitting.here()}
        silent = set(self._sitting.here()) - answered.keys()
        if not final and silent:
            if self._disputes.is_missed(silent):  # only those are silent who were missed before
                self._until = min(self._until, now + RECOUNT_S / 4)
            return []
        best = best_mark(answered, self.plan.holders)
        if best is None:
            return self._wait(now) if final else []
        self._mark, self._holders = best
        self._disputes.heard(answered, self._attempt)
        named = self._name_unfit()
        if len(answered) < self.plan.working:
            return [*named, *(self._reseat(now) or (self._wait(now) if final else []))]
        if len(set(answered) - self._disputes.unfit) < self.plan.working and (seated := self._reseat(now)):
            return [*named, *seated]
        if self.attempts >= MAX_ATTEMPTS:
            return self.abort("C-302", f"{MAX_ATTEMPTS} attempts were interrupted")
        self.attempts += 1
        able = self._holders if self.plan.mode == "A" else answered
        ranked = self._disputes.ranked(able, self._holders, self.plan.working)
        parts = chosen(ranked, self._holders, self.plan.working, self.plan.threshold)
        self._attempt = Attempt(self._sitting.generation, self.attempts, self._mark, *parts)
        self.phase, self._finished = "running", set()
        return [*named, self._begun(), self._to_members(self._attempt)]

    def _name_unfit(self) -> list[Effect]:
        """Members whose vectors too many others missed, or who complain about too many: once each."""
        unfit = {self._sitting.seats[point - 1].party for point in self._disputes.unfit} - self._named
        self._named |= unfit
        fault = "misses, or is missed by, more members than can be at fault"
        return [Publish(events.Named(party, fault, proven=False)) for party in sorted(unfit)]

    def _begun(self) -> Effect:
        assert self._attempt is not None
        members = tuple(self._sitting.seats[point - 1].party for point in self._attempt.quorum)
        sites = len(self.first.start.inputs) if self.first else 0
        return Publish(Begun(self._attempt.number, self._attempt.mark.layer, members, sites))

    def _wait(self, now: float) -> list[Effect]:
        """Too few are here to know anything: ask again while there is time."""
        self._until = now + VOTE_S
        assert self._attempt is not None
        return [self._to_members(Recount(self._attempt.number))]

    # -- another generation -----------------------------------------------------------------------------

    def _reseat(self, now: float) -> list[Effect]:
        """Give the seats of members that are gone to substitutes; nobody takes two (`seating`)."""
        before = self._sitting.seats
        changed = self._sitting.refill(self._disputes.unfit) if self.first else None
        if changed is None or self.first is None:
            return []
        seats = self._sitting.seats
        self.attempts += 1
        self._holdings, self._proposal, self._ballots = {}, None, {}
        self.phase, self._until = "gathering", now + self.plan.patience_ms / 1000 + RECOUNT_S
        gone, seated = (tuple(held[at - 1].party for at in changed) for held in (before, seats))
        self._disputes.forget(changed)
        message = Reseat(self._sitting.generation, seats, self.first)
        return [Publish(Reseated(self._mark.layer, gone, seated)), self._to_members(message)]

    # -- the end ------------------------------------------------------------------------------------------

    def _on_failed(self, now: float, sender: PartyId, message: Failed) -> list[Effect]:
        """A member that cannot go on is like one that left. In mode A a deviation ends it, whoever saw it."""
        self._sitting.point(sender)
        if self.plan.mode == "A" and self.first is not None:
            return self.abort(message.code, message.reason)
        if sender in self._sitting.absent or self.phase == "over":
            return []
        self._sitting.absent.add(sender)
        fault = f"does not compute: {message.code} {message.reason}"
        effects: list[Effect] = [Publish(events.Named(sender, fault, proven=False))]
        if self.first is None and len(self._sitting.here()) < max(self.plan.votes, self.plan.working):
            return [*effects, *self.abort(message.code, message.reason)]
        if self.phase == "voting":
            return [*effects, *self._certify(now)]
        if self.phase == "recounting":
            return [*effects, *self._next(now)]
        running = self.phase == "running" and self._attempt and self._sitting.gone(self._attempt.quorum)
        return [*effects, *(self._recount(now) if running else [])]

    def _on_done(self, sender: PartyId) -> list[Effect]:
        told = {seat.party for seat in self.plan.recipients}
        if sender not in told:
            raise UnexpectedMessage("only recipients know that outputs are open")
        self._done.add(sender)
        if told - self._done - self._sitting.lost or self.phase == "over":
            return []
        self.phase = "over"
        return [self._to_all(ProgramDone(True, "", ""))]

    def abort(self, code: str, reason: str) -> list[Effect]:
        """Give up and say so. Nothing was opened before the first certificate."""
        if self.phase == "over":
            return []
        self.phase = "over"
        self.aborted = events.Aborted(code, reason, definite=self.first is None)
        return [self._to_all(ProgramDone(False, code[:8], reason[:500]))]

    def _to_all(self, message: object) -> Effect:
        return Broadcast(tuple(party for party in self.plan.parties if party != self.plan.initiator), message)
