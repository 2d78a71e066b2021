"""The plan of a program session: agreed before any input is dealt.

One committee computes; owners deal their inputs to it and may leave; recipients are sent the output
shares. The session's id is the digest of the plan, so an approval binds the job, the parties, the
threshold, the recipients and the limits. The program itself follows from the job and the certified
number of values of each owner (`questions`): its graph's digest is part of the start certificate.

Mode P: at most t members are corrupted and follow the protocol. Mode A needs n >= 3t+1: a member that
deviates stops the program before any output, and it is not run again.

Symbols: n seats, t threshold = degree of the sharing polynomials.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from protocols.engine.committee import Committee
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, Point, SessionId
from protocols.sessions.plan import Job, Seat, Stage
from protocols.statistics import names
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Milliseconds
from protocols.wire.digest import digest

MAX_SEATS = 13
MAX_OWNERS = 64
MAX_RECIPIENTS = 64
MAX_GENERATIONS = 4
"""The first committee and three refills; each costs a key agreement."""
LABEL = "program"
"""Sortition label of the committee: fixed, so that an initiator cannot look for a committee it likes."""
MODES = ("P", "A")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the program may cost one member; a graph beyond them is refused with the figures."""

    rounds: Annotated[int, Between(1, 1 << 20)]
    sent_bytes: Annotated[int, Between(1, 1 << 40)]
    memory_bytes: Annotated[int, Between(1, 1 << 40)]


@dataclass(frozen=True)
class ProgramPlan:
    """Everything a party must know, and check, before it takes part."""

    mesh: Digest
    epoch: Annotated[int, Between(0, 2**48)]
    nonce: Annotated[bytes, AtMost(32)]
    initiator: PartyId
    job: Job
    mode: Annotated[str, AtMost(1)]
    seats: Annotated[tuple[Seat, ...], AtMost(MAX_SEATS)]
    threshold: Annotated[int, Between(1, 4)]
    substitutes: Annotated[tuple[Seat, ...], AtMost(8)]
    owners: Annotated[tuple[PartyId, ...], AtMost(MAX_OWNERS)]
    recipients: Annotated[tuple[Seat, ...], AtMost(MAX_RECIPIENTS)]
    limits: Limits
    collect_ms: Milliseconds
    patience_ms: Milliseconds
    """How long a member waits for one layer before it reports who is missing."""
    total_ms: Milliseconds

    @cached_property
    def session(self) -> SessionId:
        """Digest of the canonical encoding."""
        return SessionId(digest("program plan", codec.encode(self)))

    @property
    def size(self) -> int:
        """n."""
        return len(self.seats)

    @property
    def votes(self) -> int:
        """Ballots of a certificate: the least q > (n+t)/2, so that two share an honest voter."""
        return (self.size + self.threshold) // 2 + 1

    @property
    def working(self) -> int:
        """Members that compute: 2t+1, or 3t+1 where every lie must be seen."""
        return (3 if self.mode == "A" else 2) * self.threshold + 1

    @property
    def holders(self) -> int:
        """Members that must hold a mark to go on from it: t+1 hand it to the others of a quorum.

        In mode A all that compute: nobody would see the lie of one that hands it over.
        """
        return self.working if self.mode == "A" else self.threshold + 1

    @property
    def least(self) -> int:
        """Owners without whose values nothing is computed: all of them, for a program that names them."""
        own = self.job.queries[0].statistic in names.SPLIT
        return len(self.owners) if own else self.job.min_sites

    def committee(self, quorum: tuple[int, ...] = ()) -> Committee:
        """The engine's committee of a quorum; of the first that can compute, by default."""
        return Committee(self.size, self.threshold, quorum or tuple(range(1, self.working + 1)), self.mode)

    @property
    def members(self) -> tuple[PartyId, ...]:
        """Parties in seat order."""
        return tuple(seat.party for seat in self.seats)

    @cached_property
    def parties(self) -> tuple[PartyId, ...]:
        """Everybody with a role, sorted, without duplicates."""
        seated = (seat.party for seat in (*self.seats, *self.substitutes, *self.recipients))
        return tuple(sorted({self.initiator, *self.owners, *seated}))

    # -- what a data owner's room reads of any plan -------------------------------------------------

    @property
    def dealers(self) -> tuple[PartyId, ...]:
        """Owners, sorted."""
        return self.owners

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The one committee."""
        return (Stage(LABEL, self.seats, self.threshold, (), self.substitutes, self.owners, ()),)

    @property
    def known(self) -> tuple[tuple[int, Stage], ...]:
        """The same, with its index."""
        return ((0, self.stages[0]),)

    @property
    def dealer_count(self) -> int:
        """How many owners there are."""
        return len(self.owners)

    @property
    def bulk(self) -> None:
        """No masked vectors."""
        return

    @property
    def length(self) -> int:
        """Elements that the job's sums would take: none, programs are dealt in blocks."""
        return sum(names.length(query.statistic, query.parameters) for query in self.job.queries)


def point_of(seats: tuple[Seat, ...], party: PartyId) -> Point | None:
    """x-coordinate of `party` among `seats`, or None."""
    for at, seat in enumerate(seats, start=1):
        if seat.party == party:
            return Point(at)
    return None


def check(plan: ProgramPlan) -> None:
    """Refuse a plan that no honest planner makes, whoever signed it. Raises MalformedMessage."""
    n, t = plan.size, plan.threshold
    if n < 2 * t + 1 or plan.mode not in MODES or (plan.mode == "A" and n < 3 * t + 1):
        raise MalformedMessage(f"({n}, {t}) is no committee for mode {plan.mode!r}")
    seated = [seat.party for seat in (*plan.seats, *plan.substitutes)]
    if len(set(seated)) != len(seated):
        raise MalformedMessage("a party holds two seats of the committee")
    if not plan.owners or list(plan.owners) != sorted(set(plan.owners)):
        raise MalformedMessage("owners are missing, repeated or out of order")
    if len(plan.owners) < plan.least:
        raise MalformedMessage(f"plan asks for {plan.least} sites but lists {len(plan.owners)}")
    told = [seat.party for seat in plan.recipients]
    if not told or len(set(told)) != len(told):
        raise MalformedMessage("recipients are missing or repeated")
    if not plan.job.queries or not all(names.is_program(q.statistic) for q in plan.job.queries):
        raise MalformedMessage("the job is not a program's")
