"""An owner's part: deal the encoded values once to the first committee; then it may leave.

The same bytes are sent again to a member that comes back before the start, so nothing is counted twice.
"""

from __future__ import annotations

from protocols.arithmetic.rns import Residues
from protocols.identifiers import PartyId
from protocols.machine import Effect, Persist, Send
from protocols.programs import dealing
from protocols.programs.messages import InputPart
from protocols.programs.plan import ProgramPlan
from protocols.programs.records import InputDealt
from protocols.sessions.keys import PartyKeys


class Owner:
    """Holds one sealed dealing. `repr` shows no value."""

    def __init__(self, plan: ProgramPlan, keys: PartyKeys, values: Residues, rows: int, seed: bytes) -> None:
        """`values` (2, L) residues: what `questions.encoded` made of the owner's rows."""
        self.plan = plan
        self._public, self._sealed = dealing.deal_input(
            keys, plan.session, plan.seats, plan.threshold, values, rows, seed
        )

    def __repr__(self) -> str:
        return f"Owner({self._public.rows} rows)"

    def begin(self) -> list[Effect]:
        """Store the use, then send every member its share."""
        record = InputDealt(dealing.input_digest(self.plan.session, self._public))
        effects: list[Effect] = [Persist(record)]
        for seat in self.plan.seats:
            effects += self.again(seat.party)
        return effects

    def again(self, member: PartyId) -> list[Effect]:
        """All pieces of one member's share."""
        return [
            Send(member, InputPart(self._public, number, piece))
            for seat, pieces in zip(self.plan.seats, self._sealed, strict=True)
            if seat.party == member
            for number, piece in enumerate(pieces)
        ]
