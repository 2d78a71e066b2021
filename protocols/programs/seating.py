"""Which changes of the committee a member goes along with: it knows what the asker might be after.

Whoever holds a seat is handed its registers, so t corrupted parties must not come to more than t points.
A member therefore accepts other seats only if
  - nobody is given a second point in the session: two points of one substitute would be t+1 of t = 1;
  - a holder that is replaced was lost in this member's own view at some time, or dealt no keys at the start:
    an asker cannot unseat members that are there, in favour of a substitute that it likes.
A substitute that comes new, and a member that restarted, missed what went before; they take the first change
that they hear of as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.programs.messages import NOTHING, StartCertificate
from protocols.programs.plan import ProgramPlan
from protocols.sessions.plan import Seat


class Seating:
    """Seats as one member has seen them change."""

    def __init__(self, plan: ProgramPlan, me: PartyId) -> None:
        self._seats = plan.seats
        self._points = {seat.party: at for at, seat in enumerate(plan.seats)}
        self._gone: set[PartyId] = set()
        self._new = me not in self._points

    def lose(self, lost: Iterable[PartyId]) -> None:
        """Their seats may be given to others from now on, even if they come back."""
        self._gone.update(lost)

    def resume(self, seats: tuple[Seat, ...]) -> None:
        """After a restart: these were the seats, and we know of no loss."""
        self._seats, self._new = seats, True
        self._points.update((seat.party, at) for at, seat in enumerate(seats))

    def change(self, seats: tuple[Seat, ...], first: StartCertificate) -> None:
        """Note the new seats. Raises UnexpectedMessage for a change that no honest asker needs."""
        keyless = {self._seats[at].party for at, key in enumerate(first.start.keys) if key == NOTHING}
        for at, (before, now) in enumerate(zip(self._seats, seats, strict=True)):
            if self._points.get(now.party, at) != at:
                raise UnexpectedMessage("a party is given a second seat in one session")
            if before != now and not self._new and before.party not in self._gone | keyless:
                raise UnexpectedMessage("a member that is here is to lose its seat")
        self._seats, self._new = seats, False
        self._points.update((seat.party, at) for at, seat in enumerate(seats))
