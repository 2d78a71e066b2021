"""What members hand on to an adder that took over: the public halves of dealings whose dealers are gone.

An adder that is lost takes the dealings with it. Who dealt deals again to the next rank, but who left
meanwhile does not; and a committee's sum counts only with 2t+1 of its dealings, which may be all there were.
Members hold their shares of them, and tell so by digest; so each also sends the signed public half, a `Deal`
that seals nothing, of what came from another adder and whose dealer it sees lost. The adder lists it once a
quorum holds it, as any other; it waits RELAY_S for it where more than t members hold what it does not know,
and somebody is lost whose dealing of a committee's sum is not here.
Only dealings of committees are kept for that, at most n for each sum: a device that left may be missed.

Privacy and soundness: the adder before saw the same bytes, which the dealer signed, and nothing sealed moves.
Nobody but the dealer can make a dealing, so who hands on rubbish hands on nothing. A roster lists what a
quorum holds, as ever; who lacks a share that its adder cannot send comes to no share of the sum.

Symbols: n seats, t threshold of the committee that dealt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from protocols.arithmetic.field import Elements
from protocols.identifiers import Digest, PartyId
from protocols.machine import Effect, Send
from protocols.sessions.assembly import Assembly
from protocols.sessions.messages import NO_SOURCE, Deal, Dealing


@dataclass(frozen=True, slots=True)
class HeldShare:
    """A member's good share of one dealing."""

    child_source: Digest
    dealer: PartyId
    share: Elements


class Relay:
    """A member's public halves of committees' dealings, and which adders have them."""

    def __init__(self, assembly: Assembly) -> None:
        self._first = assembly.adders[0]
        self._dealings: dict[Digest, Dealing] = {}
        self._known_to: dict[Digest, set[PartyId]] = {}

    def keep(self, name: Digest, dealing: Dealing, adder: PartyId) -> None:
        """`adder` sent us a good share of this dealing."""
        if dealing.source != NO_SOURCE:
            self._dealings.setdefault(name, dealing)
            self._known_to.setdefault(name, set()).add(adder)

    def hand_on(self, adder: PartyId | None, lost: Collection[PartyId]) -> list[Effect]:
        """What the adder in office may lack, since its dealer cannot deal it again; once each."""
        if adder is None or adder == self._first:
            return []
        effects: list[Effect] = []
        for name, dealing in sorted(self._dealings.items()):
            if dealing.dealer in lost and adder not in self._known_to[name]:
                self._known_to[name].add(adder)
                effects.append(Send(adder, Deal(dealing, (), None)))
        return effects

    def erase(self) -> None:
        """Nobody asks any more."""
        self._dealings.clear()
        self._known_to.clear()
