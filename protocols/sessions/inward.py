"""A party's messages to itself: handled at once, never on the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protocols.errors import ProtocolError
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Send


def settle(
    me: PartyId,
    effects: Sequence[Effect],
    dispatch: Callable[[object], Sequence[Effect]],
    advance: Callable[[], Sequence[Effect]],
) -> list[Effect]:
    """Deliver our own messages to ourselves and let every role advance until nothing moves."""
    out: list[Effect] = []
    while True:
        for effect in (queue := list(effects)):  # grows meanwhile
            if isinstance(effect, Send) and effect.to == me:
                mine = effect.message
            elif isinstance(effect, Broadcast) and me in effect.to:
                mine = effect.message
                others = tuple(party for party in effect.to if party != me)
                if others:
                    out.append(Broadcast(others, effect.message))
            else:
                out.append(effect)
                continue
            try:
                queue.extend(dispatch(mine))
            except ProtocolError:
                continue  # we do not blame ourselves, and what we say to others must not be lost with it
        effects = advance()
        if not effects:
            return out
