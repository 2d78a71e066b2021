"""Who sits where, and who of them is here, as the asker sees it."""

from __future__ import annotations

from collections.abc import Collection

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.programs.choosing import reseated
from protocols.programs.plan import MAX_GENERATIONS, ProgramPlan, point_of
from protocols.sessions.plan import Seat


class Sitting:
    """The committee of the current generation. `lost`: no link; `absent`: takes no part, for good."""

    def __init__(self, plan: ProgramPlan) -> None:
        self.plan = plan
        self.seats: tuple[Seat, ...] = plan.seats
        self.generation = 0
        self.lost: frozenset[PartyId] = frozenset()
        self.absent: set[PartyId] = set()
        self._used: set[PartyId] = set()

    def point(self, sender: PartyId) -> int:
        """Of a member. Raises UnexpectedMessage for anybody else."""
        point = point_of(self.seats, sender)
        if point is None:
            raise UnexpectedMessage("a message of somebody without a seat")
        return point

    def here(self) -> list[int]:
        """Seats whose holders are not lost and take part."""
        away = self.lost | self.absent
        return [at for at, seat in enumerate(self.seats, 1) if seat.party not in away]

    def gone(self, points: Collection[int]) -> bool:
        """Whether one of these seats is held by somebody lost, or who takes no part."""
        return not set(points) <= set(self.here())

    def taken(self, seats: tuple[Seat, ...], generation: int) -> None:
        """After a restart: these sit now."""
        self.seats, self.generation = seats, generation
        self._used = {seat.party for seat in seats} - {seat.party for seat in self.plan.seats}

    def refill(self, unfit: Collection[int]) -> list[int] | None:
        """Give the seats of members that are gone, or unfit, to substitutes: another generation.

        The points that changed hands; None if there are too few substitutes, or generations, left.
        """
        away = self.lost | self.absent | self._used
        spare = [seat for seat in self.plan.substitutes if seat.party not in away]
        here = [point for point in self.here() if point not in unfit]
        needed = self.plan.working - len(here)
        possible = self.generation + 1 < MAX_GENERATIONS and self.plan.mode != "A"
        if not 0 < needed <= len(spare) or not possible:
            return None
        before, self.seats = self.seats, reseated(self.seats, here, spare, self.lost)
        self.generation += 1
        changed = [at for at in range(1, self.plan.size + 1) if before[at - 1] != self.seats[at - 1]]
        self._used.update(self.seats[at - 1].party for at in changed)
        return changed
