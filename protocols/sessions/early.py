"""Messages that came before their place was there: kept, a few for each sender, until it is.

A later generation of a committee is entered by one member before another. Only those who work with the stage
have such messages, and each of them has a quota, so nobody can push out what others sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.sessions.plan import MAX_HANDOVERS, Plan

MAX_EACH = 20
"""A committee's parts (16) and the few single messages of one sender."""


class Early:
    """Per sender, at most MAX_EACH messages, each under the stage and generation it is for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._by_sender: dict[PartyId, list[tuple[tuple[int, int], object]]] = {}

    def put(self, sender: PartyId, slot: tuple[int, int], message: object) -> None:
        """Keep `message`. Raises UnexpectedMessage from strangers and beyond the quota."""
        if slot[1] > MAX_HANDOVERS or sender not in _neighbours(self.plan, slot[0]):
            raise UnexpectedMessage(f"{sender.short()} has no part in generation {slot[1]} of {slot[0]}")
        kept = self._by_sender.setdefault(sender, [])
        if len(kept) >= MAX_EACH:
            raise UnexpectedMessage(f"too many early messages of {sender.short()}")
        kept.append((slot, message))

    def take(self, slot: tuple[int, int], *kinds: type) -> list[tuple[PartyId, object]]:
        """Messages of `kinds` for `slot`, sender by sender in the order they came; kept no longer."""
        taken = []
        for sender, kept in self._by_sender.items():
            rest = []
            for place, message in kept:
                if place == slot and isinstance(message, kinds):
                    taken.append((sender, message))
                else:
                    rest.append((place, message))
            self._by_sender[sender] = rest
        return taken

    def any(self, slot: tuple[int, int], kind: type, senders: Sequence[PartyId]) -> bool:
        """Whether a message of class `kind` by one of `senders` waits for `slot`."""
        return any(
            place == slot and isinstance(message, kind)
            for sender in senders
            for place, message in self._by_sender.get(sender, ())
        )


def _neighbours(plan: Plan, stage: int) -> frozenset[PartyId]:
    """Who works with a stage: it, the stages below and the one above; made once for each plan."""
    known = plan.derived.get(("neighbours", stage))
    if isinstance(known, frozenset):
        return known
    near: set[PartyId] = set()
    if stage < len(plan.stages):
        above = [] if stage == plan.root else [plan.parent_of(stage)]
        near.update(plan.stages[stage].dealers)
        for index in (stage, *plan.stages[stage].children, *above):
            if not plan.knows(index):
                continue  # of a plan by role: nobody there speaks to us
            blueprint = plan.stages[index]
            near.update(blueprint.members, blueprint.adders, (seat.party for seat in blueprint.substitutes))
    made = plan.derived["neighbours", stage] = frozenset(near)
    return made
