"""What the initiator concludes from its members' reports: which dealings are common, where to go on from.

Pure functions of the reports; nothing here is trusted by members, who check every proposal themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from protocols.circuits.graph import Graph
from protocols.identifiers import Digest, PartyId
from protocols.programs import questions
from protocols.programs.messages import NOTHING, Entry, Holding, Mark, Standing
from protocols.programs.plan import ProgramPlan
from protocols.sessions.plan import Seat


def common_entries(
    holdings: Mapping[int, Holding], here: Sequence[int], excluded: Collection[PartyId]
) -> tuple[Entry, ...]:
    """Owners' dealings that all members `here` hold alike, sorted by owner."""
    common = set(holdings[here[0]].inputs)
    for point in here[1:]:
        common &= set(holdings[point].inputs)
    return tuple(sorted((e for e in common if e.dealer not in excluded), key=lambda e: e.dealer))


def common_keys(holdings: Mapping[int, Holding], here: Sequence[int], size: int) -> tuple[Digest, ...]:
    """The key dealing of each seat that all members `here` hold alike, or NOTHING."""
    columns = ({holdings[point].keys[at] for point in here} for at in range(size))
    return tuple(found.pop() if len(found) == 1 else NOTHING for found in columns)


def complete(
    holdings: Mapping[int, Holding], told: Sequence[int], here: Sequence[int], owners: Collection[PartyId]
) -> bool:
    """Whether all members `here` have told, each holds keys of all of them, and inputs of all `owners`."""
    if set(here) - set(told):
        return False
    if any(holdings[point].keys[at - 1] == NOTHING for point in told for at in here):
        return False
    return all(set(owners) <= {entry.dealer for entry in holdings[point].inputs} for point in told)


def graph_of(plan: ProgramPlan, entries: Sequence[Entry], graph: Graph | None) -> Digest:
    """Of the program over these dealings. Raises LocalMisuse when there is none, or it costs too much."""
    places = tuple(plan.owners.index(entry.dealer) for entry in entries)
    roster = questions.Roster(places, tuple(entry.rows for entry in entries))
    program, _ = questions.affordable(plan, roster, graph)
    return program.graph.digest()


def best_mark(standings: Mapping[int, Standing], needed: int) -> tuple[Mark, set[int]] | None:
    """The latest mark that `needed` members hold, enough to go on from it, and who holds it."""
    holders: dict[Mark, set[int]] = {}
    for point, standing in standings.items():
        for mark in standing.marks:
            holders.setdefault(mark, set()).add(point)
    fit = [mark for mark, points in holders.items() if len(points) >= needed]
    if not fit:
        return None
    best = max(fit, key=lambda mark: (mark.layer, mark.attempt))
    return best, holders[best]


def chosen(ranked: Sequence[int], holders: Collection[int], working: int, threshold: int) -> tuple[
    tuple[int, ...], tuple[int, ...], tuple[int, ...]
]:  # fmt: skip
    """(quorum, helpers, fresh): the first `working` of the ranked, and who hands the mark to whom."""
    quorum = tuple(sorted(ranked[:working]))
    fresh = tuple(point for point in quorum if point not in holders)
    helpers = tuple(sorted(holders))[: threshold + 1] if fresh else ()
    return quorum, helpers, fresh


def reseated(
    seats: tuple[Seat, ...], here: Collection[int], spare: Sequence[Seat], lost: Collection[PartyId]
) -> tuple[Seat, ...]:
    """Seats whose members are not here go to substitutes in order, those of lost members first."""
    new, left = list(seats), list(spare)
    away = [at for at in range(1, len(seats) + 1) if at not in here]
    for at in sorted(away, key=lambda at: seats[at - 1].party not in lost):
        if left:
            new[at - 1] = left.pop(0)
    return tuple(new)
