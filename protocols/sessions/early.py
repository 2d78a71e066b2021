"""Messages that came before their place was there: kept, a few for each sender, until it is.

Only parties that may sit at the root have such messages: a generation of its committee is entered by one
member before another. Each sender has its own quota, so nobody can push out what others sent.
"""

from __future__ import annotations

from collections.abc import Collection

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.sessions.plan import Plan

MAX_EACH = 20
"""A committee's parts (16) and the few single messages of one sender."""


class Early:
    """Per sender, at most MAX_EACH messages, each under the generation it is for."""

    def __init__(self, allowed: Collection[PartyId]) -> None:
        self._allowed = allowed
        self._by_sender: dict[PartyId, list[tuple[int, object]]] = {}

    def put(self, sender: PartyId, generation: int, message: object) -> None:
        """Keep `message`. Raises UnexpectedMessage from strangers and beyond the quota."""
        if sender not in self._allowed:
            raise UnexpectedMessage(f"{sender.short()} has no part in the root committee")
        kept = self._by_sender.setdefault(sender, [])
        if len(kept) >= MAX_EACH:
            raise UnexpectedMessage(f"too many early messages of {sender.short()}")
        kept.append((generation, message))

    def take(self, generation: int, *kinds: type) -> list[tuple[PartyId, object]]:
        """Messages of `kinds` for `generation`, sender by sender in the order they came; kept no longer."""
        taken = []
        for sender, kept in self._by_sender.items():
            rest = []
            for place, message in kept:
                if place == generation and isinstance(message, kinds):
                    taken.append((sender, message))
                else:
                    rest.append((place, message))
            self._by_sender[sender] = rest
        return taken

    def any(self, generation: int, kind: type) -> bool:
        """Whether a message of class `kind` waits for `generation`."""
        return any(
            place == generation and isinstance(message, kind)
            for kept in self._by_sender.values()
            for place, message in kept
        )


def root_parties(plan: Plan) -> tuple[PartyId, ...]:
    """Who may ever speak in the root's later generations: its members, substitutes and adders."""
    known = plan.derived.get(("root parties", plan.root))
    if not isinstance(known, tuple):
        root = plan.stages[plan.root]
        spare = (seat.party for seat in root.substitutes)
        known = plan.derived["root parties", plan.root] = tuple(
            dict.fromkeys((*root.members, *spare, *root.adders))
        )
    return known
