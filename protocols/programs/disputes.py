"""Who misses whom: which members compute next, so that one that complains or withholds ends nothing.

A member of the quorum that misses another's vector says so (`Standing.missing`). If the other one is gone, it
does not answer the recount and is left out. If it does answer, the two are in dispute: either may lie, or
the link between them is bad, and nobody else can tell. So they are not both asked to compute again as long as
there is a choice. Only complaints of the earliest layer count: who waits further on waits for one that is
held up.

A member in dispute with more than t others lies or cannot be reached by an honest one: the honest differ with
at most the t corrupted, unless links are bad. It is left out before any other, named, and its seat may go to
a substitute. Each interruption adds a dispute, a corrupted member has n-1 at most, so a liar that stays in
the game costs a few attempts and no more; with fewer honest members than must compute it can still stop the
program, as by silence.

Symbols: n seats, t threshold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

from protocols.programs.messages import Attempt, Standing


class Disputes:
    """What one asker has heard in one session. Seats are told by their points; `forget` those reseated."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._pairs: dict[frozenset[int], set[int]] = {}
        self._told: set[int] = set()
        self._missed: Counter[int] = Counter()

    def missed(self, points: Collection[int]) -> None:
        """Somebody waits for these."""
        self._missed.update(points)

    def heard(self, standings: Mapping[int, Standing], attempt: Attempt) -> None:
        """Note the answers to one recount: complaints of the earliest layer about members that answered.

        If one that did not answer was waited for there, that explains the rest: vectors were under way.
        """
        told = {
            point: (standing.layer, set(standing.missing) & set(attempt.quorum) - {point})
            for point, standing in standings.items()
            if standing.missing and standing.attempt == attempt.number
        }
        first = min((layer for layer, _ in told.values()), default=0)
        pairs = {
            frozenset((p, other)) for p, (layer, them) in told.items() if layer == first for other in them
        }
        if all(pair <= standings.keys() for pair in pairs):
            for pair in pairs:
                self._pairs.setdefault(pair, set()).add(attempt.number)

    def forget(self, points: Collection[int]) -> None:
        """These seats are held by others now."""
        for pair in [pair for pair in self._pairs if pair & set(points)]:
            del self._pairs[pair]
        for point in points:
            self._missed.pop(point, None)
            self._told.discard(point)

    def is_missed(self, points: Collection[int]) -> bool:
        """Whether somebody missed each of these before."""
        return set(points) <= self._missed.keys()

    @property
    def unfit(self) -> frozenset[int]:
        """Members in dispute with more than t others."""
        others: dict[int, set[int]] = {}
        for pair in self._pairs:
            for point in pair:
                others.setdefault(point, set()).update(pair - {point})
        return frozenset(point for point, met in others.items() if len(met) > self._threshold)

    def newly_unfit(self) -> list[int]:
        """Those that were not told before."""
        found = sorted(self.unfit - self._told)
        self._told.update(found)
        return found

    def ranked(self, points: Collection[int], holders: Collection[int], working: int) -> list[int]:
        """Those to compute next first: with the fewest disputes among them, then the least missed, then
        holders of the mark.
        """
        order = sorted(points, key=lambda p: (p in self.unfit, self._missed[p], p not in holders, p))
        if len(order) <= working or not self._pairs:
            return order
        best = min(combinations(range(len(order)), working), key=lambda at: self._cost(order, at))
        chosen = [order[at] for at in best]
        return [*chosen, *(point for point in order if point not in chosen)]

    def _cost(self, order: Sequence[int], places: tuple[int, ...]) -> tuple[int, int, int]:
        """Unfit members, disputes within, and how far down the order the choice goes."""
        members = {order[at] for at in places}
        within = sum(len(attempts) for pair, attempts in self._pairs.items() if pair <= members)
        return len(members & self.unfit), within, sum(places)
