"""What must hold in every simulated session, checked apart from whatever drives it.

Each checker sees what the world shows it and answers with sentences; an empty list means that all is well.
Rules of the whole: the opened value is the sum over the certified roster; one roster and one total at most;
no sharing has more than t shares at corrupt parties, counting shares that should have been erased; nobody
honest is accused; nobody honest contradicts itself, not over restarts either; once faults stop every session
ends, and who asked knows how; machines keep a bounded number of things.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.sessions import events
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import audience
from protocols.sessions.messages import (
    Certificate,
    CheckShares,
    Deal,
    HandoverVote,
    OpeningShare,
    Proposal,
    ResultVote,
    Roster,
    Vote,
)
from protocols.sessions.party import SessionParty
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S
from protocols.sessions.roster import roster_digest

if TYPE_CHECKING:
    from tools.sim.world import World

SLACK_S = 1.0
MODERATE_S = 0.1
"""Of latency: tenfold, as slow nodes have it, it leaves the ballots time."""
WEIGHED_EVERY = 32
MAX_ITEMS = 350
"""Things one machine may keep for each seat of each generation: dealings, shares, ballots, early messages."""
MAX_DURABLE_ITEMS = 8000
"""And one that remembers what it heard and told, within its quota."""


class Checker:
    """Sees what happens; says at the end, or at once, what was wrong."""

    name = "checker"

    def __init__(self, world: World) -> None:
        self.world = world

    def certificate(self, certificate: Certificate) -> list[str]:
        """A certificate, true or forged, is being delivered."""
        del certificate
        return []

    def event(self, party: PartyId, event: object) -> list[str]:
        """An honest machine published something."""
        del party, event
        return []

    def refused(self, sender: PartyId, to: PartyId, error: ProtocolError) -> list[str]:
        """An honest machine refused a message."""
        del sender, to, error
        return []

    def said(self, party: PartyId, message: object) -> list[str]:
        """An honest party says something (asked only where parties come back from their journals)."""
        del party, message
        return []

    def end(self) -> list[str]:
        """The simulation is over."""
        return []

    def honest(self) -> list[tuple[PartyId, SessionParty]]:
        """Machines of parties that were reached by the plan, are not Byzantine and not down."""
        parties = [p for p in self.world.machines if self.world.is_honest(p) and self.world.is_running(p)]
        return [(party, self.world.inner(party)) for party in parties]


class RightTotal(Checker):
    """An opened value is the sum of what the certified roster's contributors put in."""

    name = "right total"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.wanted = world.plan.job.min_sites
        self.sums: dict[Digest, Elements | str] = {}
        self.counted: frozenset[PartyId] = frozenset()

    def event(self, party: PartyId, event: object) -> list[str]:
        if isinstance(event, events.Counted):
            right = event.counted == (party in self.counted)
            return [] if right else ["a device is told wrongly whether it was counted"]
        if not isinstance(event, events.Opened):
            return []
        if event.sites < self.wanted:
            return [f"opened over {event.sites} sites only"]
        opened = roster_digest(self.world.plan.session, event.result.certificate.roster)
        if opened not in self.sums:
            contributors = event.contributors or self._below(opened)
            self.counted = frozenset(contributors)
            right = len(contributors) == event.sites
            self.sums[opened] = self._sum(contributors) if right else "opened over another number of sites"
        expected = self.sums[opened]
        if isinstance(expected, str):
            return [expected]
        return [] if np.array_equal(expected, event.total) else ["opened a wrong total"]

    def _below(self, opened: Digest) -> tuple[PartyId, ...]:
        """Of a plan by role: the contributors of the rosters that this one names, and those name."""
        session = self.world.plan.session
        named = {
            roster_digest(session, certificate.roster): certificate.roster
            for machine in map(self.world.inner, self.world.machines)
            for certificate in machine.posts.certificates
        }
        rosters = [named[opened]] if opened in named else []
        for roster in rosters:
            rosters += [named[group.source] for group in roster.groups if group.source in named]
        return tuple(sorted({party for roster in rosters for party in roster.contributors}))

    def _sum(self, contributors: tuple[PartyId, ...]) -> Elements | str:
        strangers = [who for who in contributors if who not in self.world.inputs]
        if strangers:
            return f"{self.world.label(strangers[0])} is on the roster but gave nothing"
        return field.total(np.stack([self.world.inputs[who] for who in contributors]))


class OneRoster(Checker):
    """At most one roster is certified for a stage and generation, at most one total opened, or none."""

    name = "one roster"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.certified: dict[tuple[int, int], Roster] = {}
        self.totals: set[tuple[bytes, int, tuple[PartyId, ...]]] = set()
        self.definite = False
        self.seen: set[int] = set()

    def certificate(self, certificate: Certificate) -> list[str]:
        if not self.world.accepts(certificate):
            return []
        place = (certificate.roster.stage, certificate.roster.generation)
        first = self.certified.setdefault(place, certificate.roster)
        return [] if first == certificate.roster else [f"two rosters certified for stage {place}"]

    def event(self, _party: PartyId, event: object) -> list[str]:
        if isinstance(event, events.Opened):
            self.totals.add((event.total.tobytes(), event.sites, event.contributors))
        if isinstance(event, events.Aborted) and event.definite:
            self.definite = True
        if len(self.totals) > 1:
            return ["two totals were opened"]
        return ["opened after a definite abort"] if self.totals and self.definite else []


class FewShares(Checker):
    """Per sharing, corrupt parties plus honest ones that should have erased theirs hold at most t shares.

    Whoever breaks into an honest member later finds what it did not erase; so a share counts from the
    moment on at which its holder knew that the next committee was certified, or knew the result. Shares are
    in memory only: what a crashed party held is gone.
    """

    name = "few shares"

    def end(self) -> list[str]:
        exposed: dict[tuple[int, int], int] = {}
        thresholds: dict[tuple[int, int], int] = {}
        for party in self.world.machines:
            machine = self.world.inner(party)
            if not self.world.is_running(party):
                continue
            passed_on = {
                dealer.origin
                for dealer in machine._dealers
                if dealer.certificate is not None and dealer.origin is not None
            }
            for place, member in machine._members.items():
                thresholds[place] = member.assembly.threshold
                due = place in passed_on or isinstance(machine.outcome, events.Opened)
                kept = member.sum is not None or bool(member._held)
                if not self.world.is_honest(party, even_if_crashed=True) or (due and kept):
                    exposed[place] = exposed.get(place, 0) + 1
        return [
            f"{count} shares of stage {place} exposed, t = {thresholds[place]}"
            for place, count in exposed.items()
            if count > thresholds[place]
        ]


class HonestBlameless(Checker):
    """Nobody honest is named, with proof or without, nor blamed for a message that it really sent.

    But one that was out of reach of who asked may be said not to have shown what it was asked for.
    """

    name = "honest blameless"

    def event(self, party: PartyId, event: object) -> list[str]:
        if not isinstance(event, events.Named):
            return []
        silent = event.fault.startswith("did not show") and not event.proven
        if silent and (self._was_away(event.party) or self._was_away(party)):
            return []
        if self.world.is_honest(event.party, even_if_crashed=True):
            return [f"{self.world.label(event.party)} is honest but was named: {event.fault}"]
        return []

    def _was_away(self, party: PartyId) -> bool:
        """Whether links to it failed, or it was slow, at some time."""
        scenario, index = self.world.scenario, self.world.index[party]
        crashed = any(crash.index == index for crash in scenario.crashes)
        return bool(scenario.loss or scenario.cuts or crashed or index in scenario.slow)

    def refused(self, _sender: PartyId, _to: PartyId, error: ProtocolError) -> list[str]:
        blamed = getattr(error, "blame", None) if isinstance(error, MalformedMessage) else None
        if blamed is not None and self.world.is_honest(blamed, even_if_crashed=True):
            return [f"{self.world.label(blamed)} is honest but was blamed: {error}"]
        return []


class Ends(Checker):
    """Every honest machine has an outcome when its time is over; in a clean scenario, the total."""

    name = "ends"

    def end(self) -> list[str]:
        wrong = []
        for party, machine in self.honest():
            if machine.outcome is None:
                wrong.append(f"{self.world.label(party)} never ended")
            elif self.world.scenario.clean and not isinstance(machine.outcome, events.Opened):
                wrong.append(f"{self.world.label(party)} aborted although nothing went wrong")
        limit = self.world.plan.total_ms / 1000 + INITIATOR_PATIENCE_S + SLACK_S
        for party, took in self.world.ended_after.items():
            back = self.world.faults.restored.get(party, 0.0) * 1.1 + INITIATOR_PATIENCE_S + SLACK_S
            if took > max(limit, back) and self.world.is_honest(party):
                wrong.append(f"{self.world.label(party)} took {took:.1f} s")
        return wrong


class CertainEnd(Checker):
    """Once faults stop, who asked learns the total, or that nothing was or will be opened, for certain.

    Where nobody lies, all who may sit at the root are there at the end, and what a cut swallowed is retold.
    """

    name = "certain end"

    def end(self) -> list[str]:
        scenario, plan = self.world.scenario, self.world.plan
        swallowed = any(not (cut.noticed and scenario.durable) for cut in scenario.cuts)
        if scenario.loss or swallowed or (scenario.slow and scenario.latency_s[1] > MODERATE_S):
            return []
        if any(
            not self.world.is_running(party) or not self.world.is_honest(party) for party in audience(plan)
        ):
            return []
        doubt = events.in_doubt(self.world.inner(plan.initiator).outcome)
        return ["who asked does not know whether anything was opened"] if doubt else []


class OneVoice(Checker):
    """No honest party contradicts itself, over all its lives: one dealing, ballot or share for one place.

    After a promise to abort (see `initiator`) it neither votes nor opens.
    """

    name = "one voice"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.first: dict[tuple[PartyId, object], object] = {}
        self.promised: set[PartyId] = set()

    def said(self, party: PartyId, message: object) -> list[str]:
        place, content = _slot(message)
        if isinstance(message, AbortVote):
            self.promised.add(party)
        if place is None:
            return []
        known = self.first.get((party, place))
        if known is None:
            self.first[party, place] = content
            if party in self.promised and isinstance(message, Vote | OpeningShare | HandoverVote):
                return [f"{self.world.label(party)} promised to abort and sends a {type(message).KIND}"]
        elif known != content:
            return [f"{self.world.label(party)} contradicts its {type(message).__name__} of {place[1:]}"]
        return []


def _slot(message: Any) -> tuple[tuple[Any, ...] | None, object]:
    """What a message may be said about once, and what it says."""
    match message:
        case Deal() if message.sealed:
            place = message.dealing
            return ("deal", place.stage, place.generation, place.source), place.signature
        case Vote():
            return ("vote", message.stage, message.generation), message.roster
        case HandoverVote():
            return ("handover", message.stage, message.generation), message.ballot.signature
        case OpeningShare() | CheckShares():
            content = (message.roster, message.values.tobytes())
            return (message.KIND, message.stage, message.generation), content
        case ResultVote():
            return ("result", message.stage, message.generation), message.result
        case Proposal():
            return ("proposal", message.roster.stage, message.roster.generation), message.roster
    return None, None


class BoundedMemory(Checker):
    """No machine keeps more things than a small session can have."""

    name = "bounded memory"

    def end(self) -> list[str]:
        flooded = any(name == "flood" for _, name in self.world.scenario.byzantine)
        if not flooded and self.world.scenario.seed % WEIGHED_EVERY:
            return []  # weighing costs as much as the session
        wrong = []
        seats = sum(stage.size for stage in self.world.plan.stages)
        for party, machine in self.honest():
            later = sum(
                stage.size * machine.succession.latest(index).generation
                for index, stage in machine.plan.known
            )
            limit = MAX_DURABLE_ITEMS if self.world.scenario.durable else MAX_ITEMS * max(seats + later, 4)
            items = weigh(self.world.machines[party])
            if items > limit:
                wrong.append(f"{self.world.label(party)} keeps {items} things")
        return wrong


SHARED = ("plan", "excerpt", "excerpts", "keys", "assembly", "target", "generations", "blueprint", "_chains")


def weigh(root: object) -> int:
    """How many objects hang on `root`: entries of containers and attributes, the plan apart."""
    seen: set[int] = set()
    stack: list[Any] = [root]
    count = 0
    while stack:
        item = stack.pop()
        children_of = _children_of(item.__class__)
        if children_of is None or id(item) in seen:
            continue
        seen.add(id(item))
        children = children_of(item)
        count += len(children)
        stack.extend(children)
    return count


@cache
def _children_of(cls: Any) -> Callable[[Any], list[Any]] | None:
    """What lists the entries and attributes of an object of this class; None if it has none that count."""
    if issubclass(cls, str | bytes | int | float | type(None) | np.ndarray | type):
        return None
    if issubclass(cls, dict):
        return lambda item: [*item.values()]
    if issubclass(cls, list | tuple | set | frozenset | deque):
        return list
    if is_dataclass(cls):
        names = [field.name for field in fields(cls) if field.name not in SHARED]
        return lambda item: [getattr(item, name) for name in names]
    if issubclass(cls, Callable) or not hasattr(cls, "__dict__"):  # type: ignore[arg-type]  # an ABC
        return None
    return lambda item: [value for name, value in getattr(item, "__dict__", {}).items() if name not in SHARED]


CHECKERS: tuple[type[Checker], ...] = (
    RightTotal,
    OneRoster,
    FewShares,
    HonestBlameless,
    OneVoice,
    Ends,
    CertainEnd,
    BoundedMemory,
)
