"""Proof that a program session opens nothing: enough members gave their one vote to that.

A start certificate of the first generation takes a ballot of q > (n+t)/2 members, and every later generation
and every attempt rests on it. A member that is told that the session is over before it voted signs, instead
of a start, that there is to be none; it stores that as its vote, so it votes for no start any more, also
after a restart. Two sets of q members share an honest one, so against q such ballots no start can be
certified: nothing was computed, nothing will be, and an owner's use is given back. The members send their
ballots to the owners themselves: the asker cannot keep them back.
"""

from __future__ import annotations

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.programs.messages import Renounced
from protocols.programs.plan import ProgramPlan, point_of
from protocols.programs.start import BALLOT, cast
from protocols.sessions.keys import PartyKeys
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement


def subject(plan: ProgramPlan) -> Digest:
    """What these ballots sign; no start has this digest."""
    return digest("program no start", plan.session)


def ballot(keys: PartyKeys, plan: ProgramPlan, seat: int) -> Renounced:
    """Our vote for no start at all; once the vote is stored."""
    return Renounced(cast(keys, seat, subject(plan)))


class Renunciations:
    """An owner's count of them."""

    def __init__(self, plan: ProgramPlan) -> None:
        self._plan = plan
        self._seats: set[int] = set()

    @property
    def complete(self) -> bool:
        """Whether no start can be certified any more."""
        return len(self._seats) >= self._plan.votes

    def take(self, sender: PartyId, message: Renounced) -> None:
        """Count one. Raises UnexpectedMessage, MalformedMessage naming the sender."""
        point = point_of(self._plan.seats, sender)
        if point is None:
            raise UnexpectedMessage("a ballot of somebody without a seat in the first committee")
        held = message.ballot
        signed = check_statement(sender, BALLOT, subject(self._plan), held.signature)
        if held.seat != point - 1 or not signed:
            raise MalformedMessage("a forged ballot", blame=sender)
        self._seats.add(held.seat)
