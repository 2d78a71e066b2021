"""A whole aggregation session in straight lines: the executable specification.

No messages, no clock, no failures: every device deals, every member is honest. The machines of
`protocols.sessions` are tested to reach the same rosters, the same shares and the same total from the
same seeds. Read this first, then the machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import LocalMisuse
from protocols.identifiers import PartyId
from protocols.sessions import dealing, resharing
from protocols.sessions.assembly import Assembly, first_generation
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import NO_SOURCE, NO_VECTOR, Complaint, Deal, Entry, Group, Part, Roster
from protocols.sessions.plan import Plan
from protocols.sessions.roster import roster_digest
from protocols.sharing import shamir


@dataclass(frozen=True, slots=True)
class Sum:
    """What a committee ends with: its certified roster and each seat's share of the sum, shape (n, W)."""

    roster: Roster
    shares: Elements


def run(
    plan: Plan,
    keys: Mapping[PartyId, PartyKeys],
    seeds: Mapping[PartyId, bytes],
    inputs: Mapping[PartyId, Elements],
) -> tuple[Elements, Roster]:
    """Total of `inputs` (each of shape (plan.length,)) and the root's roster."""
    root = sums(plan, keys, seeds, inputs)[plan.root]
    t = plan.stages[plan.root].threshold
    points = range(1, t + 2)
    total = shamir.reconstruct(points, root.shares[: t + 1, : plan.length], t)
    return total, root.roster


def sums(
    plan: Plan,
    keys: Mapping[PartyId, PartyKeys],
    seeds: Mapping[PartyId, bytes],
    inputs: Mapping[PartyId, Elements],
) -> dict[int, Sum]:
    """What each stage's committee ends with, by stage index."""
    reached: dict[int, Sum] = {}
    for index, stage in enumerate(plan.stages):
        assembly = first_generation(plan, index)
        if stage.dealers:
            reached[index] = _cluster(assembly, keys, seeds, inputs)
        else:
            reached[index] = _inner(assembly, keys, seeds, reached)
    return reached


def _cluster(
    assembly: Assembly,
    keys: Mapping[PartyId, PartyKeys],
    seeds: Mapping[PartyId, bytes],
    inputs: Mapping[PartyId, Elements],
) -> Sum:
    """Devices deal; each member adds the shares it got."""
    deals = {}
    for device in sorted(set(assembly.blueprint.dealers) & inputs.keys()):
        masks = dealing.random_masks(seeds[device], assembly)
        vector = np.concatenate([inputs[device], masks])
        deals[device] = dealing.deal(keys[device], assembly, vector, seeds[device], NO_SOURCE)
    entries = _entries(assembly, deals)
    contributors = tuple(deals)
    roster = Roster(assembly.stage, 0, (Group(-1, NO_SOURCE, NO_VECTOR, entries),), contributors)
    rows = [
        field.total(np.stack([_share(assembly, keys[member], deal) for deal in deals.values()]))
        for member in assembly.members
    ]
    return Sum(roster, np.stack(rows))


def _inner(
    assembly: Assembly,
    keys: Mapping[PartyId, PartyKeys],
    seeds: Mapping[PartyId, bytes],
    sums: Mapping[int, Sum],
) -> Sum:
    """The members of each child reshare their shares; each member here recombines and adds."""
    plan = assembly.plan
    deals: dict[int, dict[PartyId, Deal]] = {}
    groups = []
    contributors: set[PartyId] = set()
    for source in assembly.sources:
        below = sums[source.child]
        name = roster_digest(plan.session, below.roster)
        width = assembly.dealt_width - 2
        deals[source.child] = {
            member: dealing.deal(keys[member], assembly, share[:width], seeds[member], name)
            for member, share in sorted(
                zip(source.dealers, below.shares, strict=True), key=lambda pair: pair[0]
            )
        }
        groups.append(Group(source.child, name, NO_VECTOR, _entries(assembly, deals[source.child])))
        contributors.update(below.roster.contributors)
    roster = Roster(assembly.stage, 0, tuple(groups), tuple(sorted(contributors)))
    name = roster_digest(plan.session, roster)
    incoming = {
        member: [
            resharing.Incoming(
                tuple(source.point_of(dealer) for dealer in deals[source.child]),
                np.stack([_share(assembly, keys[member], deal) for deal in deals[source.child].values()]),
                source.threshold,
            )
            for source in assembly.sources
        ]
        for member in assembly.members
    }
    published = {
        point: resharing.combinations(name, incoming[member])
        for point, member in enumerate(assembly.members, start=1)
    }
    verdict = resharing.check(name, incoming[assembly.members[0]], published, assembly.threshold, bytes(32))
    if verdict.new_liars or any(verdict.old_liars):
        raise LocalMisuse("the reference run has honest parties only")
    rows = [
        field.total(np.stack([resharing.recombine(source, ()) for source in incoming[member]]))
        for member in assembly.members
    ]
    return Sum(roster, np.stack(rows))


def _entries(assembly: Assembly, deals: Mapping[PartyId, Deal]) -> tuple[Entry, ...]:
    return tuple(
        Entry(dealer, dealing.dealing_digest(assembly, deal.dealing)) for dealer, deal in deals.items()
    )


def _share(assembly: Assembly, keys: PartyKeys, deal: Deal) -> Elements:
    seat = assembly.members.index(keys.party)
    share = dealing.accept(keys, assembly, Part(deal.dealing, deal.sealed[seat]))
    if isinstance(share, Complaint):
        raise LocalMisuse("the reference run has honest parties only")
    return share
