"""The asking side: hand out the plan, propose starts, begin attempts when somebody falls silent.

It decides nothing that privacy rests on: which owners count is fixed by the members' one certificate, an
attempt's content is part of its streams' label. It can delay its own program, no more.

    gathering   until every owner has dealt, declined or gone, or the collect time is over
    voting      a quorum of ballots for one start makes a certificate
    running     members compute; a report of a missing member begins a recount
    recounting  all members stop and say which marks they hold; then the next attempt, with those that are
                here; with fewer than 2t+1 of them, substitutes are seated first: another generation
    over        the recipients have the outputs, or it cannot go on
"""

from __future__ import annotations

from protocols.circuits.graph import Graph
from protocols.errors import LocalMisuse, MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Persist, Publish
from protocols.programs.choosing import best_mark, chosen, common_entries, common_keys, complete, graph_of
from protocols.programs.disputes import Disputes
from protocols.programs.events import Begun, Reseated
from protocols.programs.gathering import guilty_of
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
from protocols.programs.plan import ProgramPlan
from protocols.programs.records import Coordinated
from protocols.programs.sitting import Sitting
from protocols.programs.voting import Voting
from protocols.sessions import events

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
        self._voting = Voting(plan)
        self._standings: dict[int, Standing] = {}
        self._attempt: Attempt | None = None
        self._finished: set[int] = set()
        self._disputes = Disputes(plan.threshold)
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
        if self.aborted is not None:
            return [Broadcast(again, self._given_up())] if again else []
        effects: list[Effect] = [Broadcast(again, ProgramOffer(self.plan))] if again else []
        if self.phase == "gathering":
            effects += self._propose(now) + (self._too_few() if again and self.first else [])
        elif self.phase == "voting" and self._voting.lacks(self._sitting.here()):
            effects += self._propose(now, final=True)
        elif self.phase == "recounting" and self._attempt:
            words = (self.certificate, Recount(self._attempt.number))  # it may have missed both
            effects += [Broadcast(again, each) for each in words] if again else self._next(now)
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
        guilty = guilty_of(self.plan, sender, message)
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
        if start == self._voting.proposal and self.phase == "voting":
            return [self._to_members(StartProposal(start))]
        if self._voting.proposal is not None and self._voting.proposal.generation == start.generation:
            return self.abort("C-302", "members left between the proposal of the start and its certificate")
        self._voting.propose(start)
        self.phase, self._until = "voting", now + VOTE_S
        return [self._to_members(StartProposal(start))]

    def _start(self, here: list[int], keys: tuple[Digest, ...], entries: tuple[Entry, ...]) -> Start:
        """The start of this generation. Raises LocalMisuse when there is no program for the roster."""
        plan = self.plan
        graph = self.first.start.graph if self.first else graph_of(plan, entries, self._graph)
        holders = self._holders if self._sitting.generation else set(here)
        ranked = self._disputes.ranked(here, holders, plan.working)
        parts = chosen(ranked, holders, plan.working, plan.threshold)
        attempt = Attempt(self._sitting.generation, self.attempts, self._mark, *parts)
        return Start(self._sitting.generation, self._sitting.seats, keys, entries, graph, attempt)

    def _to_members(self, message: object) -> Effect:
        return Broadcast(tuple(seat.party for seat in self._sitting.seats), message)

    def _on_vote(self, now: float, sender: PartyId, message: StartVote) -> list[Effect]:
        if self.phase != "voting":
            raise UnexpectedMessage("a ballot for nothing that is proposed")
        self._voting.take(sender, self._sitting.point(sender), message)
        return self._certify(now)

    def _certify(self, now: float) -> list[Effect]:
        """Begin, once there is a certificate: stored first, so that it is known whether one was sent."""
        found = self._voting.certificate(self._sitting.here())
        if found is None:
            return []
        self.certificate, self.first = found, self.first or found
        self.phase, self._finished = "running", set()
        self._attempt = found.start.attempt
        told = tuple(dict.fromkeys((*(s.party for s in self._sitting.seats), *self.plan.parties)))
        again = self._recount(now) if self._sitting.gone(self._attempt.quorum) else []
        return [*self._noted(), self._begun(), Broadcast(told, found), *again]

    def _too_few(self) -> list[Effect]:
        """Not enough members dealt keys: with a certificate, ask them again while there is time."""
        if self.first is not None:
            return [self._to_members(Reseat(self._sitting.generation, self._sitting.seats, self.first))]
        here = len(self._sitting.here())
        return self.abort("C-302", f"{here} members are here, {self.plan.working} must compute")

    # -- running ----------------------------------------------------------------------------------------

    def _on_standing(self, now: float, sender: PartyId, message: Standing) -> list[Effect]:
        point = self._sitting.point(sender)
        if message.generation != self._sitting.generation or self._attempt is None:
            raise UnexpectedMessage("a standing of another generation")
        self._standings[point] = message
        ours = message.attempt == self._attempt.number
        if ours and message.finished:
            self._finished.add(point)
        if ours:
            self._disputes.missed(message.missing)
        if self.phase == "recounting":
            return self._next(now)
        return self._recount(now) if ours and message.missing and self.phase == "running" else []

    def _recount(self, now: float) -> list[Effect]:
        """Stop the attempt and ask everybody."""
        assert self._attempt is not None
        if self._settled():
            return []
        self._standings = {}
        self.phase, self._until = "recounting", now + RECOUNT_S
        progress = events.Progress(0, "recount", f"attempt {self._attempt.number} stopped: one is silent")
        return [Publish(progress), self._to_members(Recount(self._attempt.number))]

    def _settled(self) -> bool:
        """Whether all of the quorum that are here have sent their shares of the outputs, and enough."""
        assert self._attempt is not None
        here = set(self._attempt.quorum) & set(self._sitting.here())
        return here <= self._finished and len(self._finished) >= self.plan.holders

    def _next(self, now: float, *, final: bool = False) -> list[Effect]:
        """The next attempt, once all members here have answered, or `final`: with those that have."""
        assert self._attempt is not None
        answered = {p: s for p, s in self._standings.items() if p in self._sitting.here()}
        silent = set(self._sitting.here()) - answered.keys()
        if not final and silent:
            if self._disputes.is_missed(silent):  # only those are silent who were missed before
                self._until = min(self._until, now + RECOUNT_S / 4)
            return []
        if self._settled():
            self.phase = "running"
            return []
        if not final and len(self._finished) >= self.plan.holders:
            return []  # their shares are on the way; if it was not true, another attempt follows
        best = best_mark(answered, self.plan.holders)
        if best is None:
            return self._wait(now) if final else []
        self._mark, self._holders = best
        self._disputes.heard(answered, self._attempt)
        fault = "misses, or is missed by, more members than can be at fault"
        unfit = [self._sitting.seats[point - 1] for point in self._disputes.newly_unfit()]
        named = [Publish(events.Named(seat.party, fault, proven=False)) for seat in unfit]
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
        return [*named, *self._noted(), self._begun(), self._to_members(self._attempt)]

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
        self._holdings = {}
        self._voting.propose(None)
        self.phase, self._until = "gathering", now + self.plan.patience_ms / 1000 + RECOUNT_S
        gone, seated = (tuple(held[at - 1].party for at in changed) for held in (before, seats))
        self._disputes.forget(changed)
        message = Reseat(self._sitting.generation, seats, self.first)
        told = Publish(Reseated(self._mark.layer, gone, seated))
        return [*self._noted(reseating=True), told, self._to_members(message)]

    # -- coming back ------------------------------------------------------------------------------------

    def _noted(self, *, reseating: bool = False) -> list[Effect]:
        """Where we are, stored before members hear of it: no number is used for two things."""
        first, certificate, sitting, attempt = self.first, self.certificate, self._sitting, self._attempt
        if first is None or certificate is None or attempt is None:
            return []
        place = sitting.generation, sitting.seats, self.attempts
        return [Persist(Coordinated(*place, first, certificate, attempt, reseating))]

    def resume(self, now: float, last: Coordinated | None) -> list[Effect]:
        """Instead of `begin`, after a restart; without a certificate nothing was computed, for certain."""
        if last is None:
            return self.abort("C-300", "the asker's node stopped before the program began")
        self._sitting.taken(last.seats, last.generation)
        self.first, self.certificate, self._attempt = last.first, last.certificate, last.attempt
        self.attempts = max(last.attempts, last.attempt.number)
        if last.reseating:
            self.phase, self._until = "gathering", now + VOTE_S
            return self._too_few()
        self.phase, self._until = "recounting", now + VOTE_S
        return [self._to_members(last.certificate), self._to_members(Recount(last.attempt.number))]

    # -- the end ------------------------------------------------------------------------------------------

    def _on_failed(self, now: float, sender: PartyId, message: Failed) -> list[Effect]:
        """A member that cannot go on is like one that left. In mode A a deviation ends it, whoever saw it."""
        self._sitting.point(sender)
        if self.plan.mode == "A" and self.first is not None:
            return self.abort(message.code, message.reason)
        if sender in self._sitting.absent or self.phase == "over":
            return []
        self._sitting.absent.add(sender)
        fault = events.Named(sender, f"does not compute: {message.code} {message.reason}", proven=False)
        effects: list[Effect] = [Publish(fault)]
        if self.first is None and len(self._sitting.here()) < max(self.plan.votes, self.plan.working):
            return [*effects, *self.abort(message.code, message.reason)]
        if self.phase == "voting":
            return [*effects, *self._certify(now)]
        if self.phase == "recounting":
            return [*effects, *self._next(now)]
        gone = self.phase == "running" and self._attempt and self._sitting.gone(self._attempt.quorum)
        return [*effects, *(self._recount(now) if gone else [])]

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
        return [self._to_all(self._given_up())]

    def _given_up(self) -> ProgramDone:
        assert self.aborted is not None
        return ProgramDone(False, self.aborted.code[:8], self.aborted.reason[:500])

    def _to_all(self, message: object) -> Effect:
        return Broadcast(tuple(party for party in self.plan.parties if party != self.plan.initiator), message)
