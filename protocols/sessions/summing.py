"""A member's share of the certified sum: added up from devices' shares, recombined from reshared ones.

A generation that went on after an interim roster has both: the sum of the one before, and what came since.
The masks that a resharing uses up (see `resharing`) are dropped from devices' shares as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protocols.arithmetic.field import Elements
from protocols.identifiers import Digest, PartyId
from protocols.machine import Effect, Publish
from protocols.sessions import codewords, events, resharing
from protocols.sessions.assembly import Assembly
from protocols.sessions.messages import Group, Roster
from protocols.sessions.roster import roster_digest


def reshared(roster: Roster) -> list[Group]:
    """Groups of a roster that carry a committee's sum, in its order."""
    return [group for group in roster.groups if group.child >= 0]


def of_devices(assembly: Assembly, roster: Roster, held: Mapping[Digest, Elements]) -> list[Elements]:
    """The sum of devices' shares, if the roster has any: no or one row."""
    entries = [entry for group in roster.groups if group.child < 0 for entry in group.entries]
    if not entries:
        return []
    width = assembly.plan.length + 2 * assembly.masks_held
    rows = np.stack([held[entry.dealing][:width] for entry in entries])
    name = roster_digest(assembly.session, roster)
    return [codewords.added(assembly.plan, name, [entry.dealer for entry in entries], rows)]


def knows_dealers(assembly: Assembly, roster: Roster) -> bool:
    """Whether we know who dealt the reshared sums: else a generation did that we have yet to hear of."""
    sources = {source.child: source for source in assembly.sources}
    return all(sources[g.child].seats(entry.dealer) for g in reshared(roster) for entry in g.entries)


def incoming(assembly: Assembly, roster: Roster, held: Mapping[Digest, Elements]) -> list[resharing.Incoming]:
    """What the joint check and the recombination of reshared sums start from, group by group."""
    sources = {source.child: source for source in assembly.sources}
    result = []
    for group in reshared(roster):
        source = sources[group.child]
        points = tuple(source.point_of(entry.dealer) for entry in group.entries)
        rows = np.stack([held[entry.dealing] for entry in group.entries])
        result.append(resharing.Incoming(points, rows, source.threshold))
    return result


def named(roster: Roster, members: Sequence[PartyId], verdict: resharing.Checked) -> list[Effect]:
    """Who lied in the joint check; `members`: those whose check shares were used, by point."""
    faults = [(members[index], "published a wrong check share") for index in verdict.new_liars]
    for group, liars in zip(reshared(roster), verdict.old_liars, strict=True):
        faults += [(group.entries[index].dealer, "reshared a wrong sum") for index in liars]
    return [Publish(events.Named(party, fault, proven=False)) for party, fault in faults]
