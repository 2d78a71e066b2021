"""Which dealings count: one start certificate for each generation of the committee.

A member signs at most one start for a generation; a certificate is q > (n+t)/2 ballots, so two starts of
generation 0 cannot both have one: the roster of owners, the number of values of each and the graph are
fixed before anything is computed, and a second result over another roster cannot be subtracted. Later
generations repeat the inputs and the graph of the first certificate, which they carry as proof.

Streams. Every draw of masks is labelled by `attempt_label`: the digest of the start and of the attempt
(its number, mark, quorum). Within one label the engine's labels (step, purpose) never repeat, and what a
member sends in a step is a function of its registers at the mark and of the vectors received. It takes
part in an attempt number once and from one mark, so no mask ever hides two different values; two
members told different contents of one number draw from different streams and merely fail to understand
each other. Keys differ from generation to generation as well.
"""

from __future__ import annotations

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.programs.messages import FIRST, NOTHING, Attempt, Start, StartCertificate
from protocols.programs.plan import ProgramPlan
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.sessions.plan import Seat
from protocols.wire import codec
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

BALLOT = "program start ballot"


def start_digest(session: SessionId, start: Start) -> Digest:
    """What ballots sign."""
    return digest("program start", session, codec.encode(start))


def cast(keys: PartyKeys, seat: int, subject: Digest) -> Ballot:
    """Sign as the holder of `seat`."""
    return Ballot(seat, sign_statement(keys.signing_seed, BALLOT, subject))


def is_valid(start: Start, ballot: Ballot, subject: Digest) -> bool:
    """Whether the holder of the ballot's seat in this start signed `subject`."""
    if ballot.seat >= len(start.seats):
        return False
    return check_statement(start.seats[ballot.seat].party, BALLOT, subject, ballot.signature)


def check_certificate(plan: ProgramPlan, certificate: StartCertificate) -> None:
    """Raise MalformedMessage unless a quorum of its generation signed the start."""
    start = certificate.start
    check_start(plan, start)
    subject = start_digest(plan.session, start)
    seats = {ballot.seat for ballot in certificate.ballots}
    if len(seats) != len(certificate.ballots) or len(seats) < plan.votes:
        raise MalformedMessage(f"a start with {len(seats)} ballots where {plan.votes} are needed")
    if not all(is_valid(start, ballot, subject) for ballot in certificate.ballots):
        raise MalformedMessage("a start with a forged ballot")


def check_start(plan: ProgramPlan, start: Start, first: Start | None = None) -> None:
    """Raise MalformedMessage unless the start fits the plan and, later on, the first start."""
    n, t = plan.size, plan.threshold
    if len(start.seats) != n or len(start.keys) != n:
        raise MalformedMessage("a start for another committee")
    dealers = [entry.dealer for entry in start.inputs]
    if dealers != sorted(set(dealers)) or not set(dealers) <= set(plan.owners):
        raise MalformedMessage("a start's owners are unsorted, repeated or not the plan's")
    if len(dealers) < plan.least:
        raise MalformedMessage(f"{len(dealers)} owners where {plan.least} are asked for")
    if sum(key != NOTHING for key in start.keys) <= t:
        raise MalformedMessage("too few key dealings to reach every set")
    check_attempt(plan, start.attempt)
    if start.attempt.generation != start.generation:
        raise MalformedMessage("a start's attempt is of another generation")
    if start.generation == 0:
        if start.seats != plan.seats or start.attempt.mark != FIRST or start.attempt.fresh:
            raise MalformedMessage("the first start is of the plan's committee, from the inputs")
        return
    check_seats(plan, start.seats)
    if first is not None and (start.inputs, start.graph) != (first.inputs, first.graph):
        raise MalformedMessage("a later start changes the inputs or the program")


def check_seats(plan: ProgramPlan, seats: tuple[Seat, ...]) -> None:
    """Raise MalformedMessage unless seats are held by their first holder or a substitute."""
    legal = set(plan.substitutes)
    if len(seats) != plan.size:
        raise MalformedMessage("seats of another committee")
    if len({seat.party for seat in seats}) != len(seats):
        raise MalformedMessage("a start gives a party two seats")
    for held, planned in zip(seats, plan.seats, strict=True):
        if held != planned and held not in legal:
            raise MalformedMessage("a start gives a seat to somebody who is no substitute")


def check_attempt(plan: ProgramPlan, attempt: Attempt) -> None:
    """Raise MalformedMessage for a quorum that cannot compute, or helpers that cannot help."""
    quorum, helpers, fresh = attempt.quorum, attempt.helpers, attempt.fresh
    for points in (quorum, helpers, fresh):
        if list(points) != sorted(set(points)) or not all(1 <= point <= plan.size for point in points):
            raise MalformedMessage(f"points are ascending numbers of 1..{plan.size}")
    if len(quorum) < plan.working:
        raise MalformedMessage(f"a quorum has {plan.working} or more points")
    if not set(fresh) <= set(quorum) or set(fresh) & set(helpers):
        raise MalformedMessage("fresh members are of the quorum, and none of the helpers")
    if fresh and plan.mode == "A":
        raise MalformedMessage("in mode A nobody takes registers over: a helper's lie would not be seen")
    if len(helpers) != (plan.threshold + 1 if fresh else 0):
        raise MalformedMessage(f"{plan.threshold + 1} helpers hand registers over, where there is need")


def attempt_label(start: Digest, attempt: Attempt) -> bytes:
    """Names all streams of one attempt; see the module."""
    return bytes(digest("program streams", start, codec.encode(attempt)))


def seat_of(start: Start, party: PartyId) -> int:
    """The point of a member. Raises MalformedMessage for a party without a seat."""
    for at, seat in enumerate(start.seats, 1):
        if seat.party == party:
            return at
    raise MalformedMessage("a start that gives this party no seat")
