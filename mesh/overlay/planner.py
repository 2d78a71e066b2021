"""From a view to a plan: clusters, committees, adders, tree. What is built here, `plan_check` accepts.

The tree: a leaf stage for each cluster with dealers in it, inner stages of at most `fan_in` children,
one root. A mesh with one such cluster has one stage, which adds and opens.

Stage labels are canonical because they are sortition inputs: leaf "site/j" counts the leaves of a site,
where the site is the commonest one among the stage's dealers; inner "level-i/j"; the last "root" (for a
single leaf its leaf label). Leaves stand in the order of their dealers, and dealers are grouped as the view's
clusters are, which each dealer checks for its own leaf. What is left to the initiator is whom it asks.
A plan of many devices goes out by role, and its leaves have labels that can be judged one by one.

Invariant: two nodes with the same view, record, standings and arguments build the same plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mesh.overlay.certificate import Certificate
from mesh.overlay.clustering import ClusterSizes, clusters
from mesh.overlay.epoch_record import EpochRecord, faults
from mesh.overlay.sortition import (
    WANTED_COMMITTEE,
    Standing,
    adder_order,
    committee_size,
    seat_order,
)
from mesh.overlay.view import View
from protocols.errors import LocalMisuse, Refused
from protocols.identifiers import PartyId
from protocols.sessions.plan import (
    Bulk,
    Codes,
    Job,
    Plan,
    Query,
    Seat,
    SortitionProof,
    Stage,
    hops_needed,
)
from protocols.sessions.plan_rules import check

MAX_ADDERS = 8
MAX_SUBSTITUTES = 8
BEACON_LENGTH = 4
BEACON_LABEL = "beacon"
SHARES_LABEL = "shares"
BEACON_QUERY = Query("beacon", "", ())


BULK_SIZES = ClusterSizes(min=16, target=64, max=127)
"""Clusters of sessions with masked vectors.

A leaf costs a committee that certifies and reshares, and one vector more to send up and add: as much work as
some ten devices make. Members check the shares of a mask's key together, so a large cluster costs them
little, and up to 127 devices of one place need one leaf only, which opens by itself. No larger: all vectors
of a leaf go into one adder's link (64 of 4 MB take 20 s at 100 Mbit/s). A site of 16 devices or more keeps
leaves of its own: 16 vectors that become one over its uplink are worth a committee; smaller sites are pooled.
Privacy does not depend on it: of any leaf t members learn nothing, and what is opened is the root's sum of at
least `min_sites` contributors."""


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a mesh wants of its plans; the same for all its nodes, since `plan_check` compares."""

    sizes: ClusterSizes = field(default_factory=ClusterSizes)
    committee: int = WANTED_COMMITTEE
    fan_in: int = 16
    """Children of an inner stage. More: flatter tree, fewer rounds; fewer: less work for one committee."""

    collect_ms: int = 10_000
    """How long a cluster waits for its dealers before it counts those that came."""

    total_ms: int = 60_000
    """When the session gives up."""

    bulk_sizes: ClusterSizes = BULK_SIZES

    by_role_above: int = 256
    """Devices above which a plan goes out by role. Up to there everybody sees the list of who deals: it costs
    little, and consent to questions that are asked again can be judged by names (overlap)."""

    def sizes_of(self, bulk: Bulk | None) -> ClusterSizes:
        """Clusters of a session with these masked vectors, or without."""
        return self.sizes if bulk is None else self.bulk_sizes

    def fan_in_of(self, dealers: int, bulk: Bulk | None) -> int:
        """What a plan of so many devices says of its fan-in: 0 if it goes out whole."""
        return self.fan_in if bulk is None and dealers > self.by_role_above else 0


def plan_session(
    view: View,
    record: EpochRecord,
    standings: Mapping[PartyId, Standing],
    job: Job,
    *,
    length: int,
    nonce: bytes,
    limits: PlanLimits | None = None,
    dealers: Sequence[PartyId] | None = None,
    bulk: Bulk | None = None,
) -> Plan:
    """The plan of one aggregation by everybody alive, or by `dealers`; `bulk` for masked long vectors.

    Raises Refused: too few gateways, nobody to add, a named dealer is away, fewer dealers than min_sites.
    """
    limits = limits or PlanLimits()
    wanted = _dealers(view, job, dealers)
    builder = _Builder(view, record, standings, limits)
    groups = dealers_by_cluster(view, limits.sizes_of(bulk), wanted)
    fan_in = limits.fan_in_of(sum(map(len, groups)), bulk)
    stages = builder.tree(builder.leaves(groups, by_role=fan_in > 0))
    depth = len(stages)
    flat = tuple(stage for level in stages for stage in level)
    plan = builder.plan(job, length, nonce, flat, depth, fan_in)
    if bulk is None:
        return plan
    masked = replace(plan, bulk=bulk)
    check(masked)
    return masked


def plan_shares(
    view: View,
    record: EpochRecord,
    standings: Mapping[PartyId, Standing],
    job: Job,
    codes: Codes,
    *,
    nonce: bytes,
    limits: PlanLimits | None = None,
) -> Plan:
    """The plan of one sum to which secrets come as shares: one stage, whose committee weighs them.

    Its label is fixed, so an initiator draws the one committee of the epoch whatever it asks. Raises Refused.
    """
    builder = _Builder(view, record, standings, limits or PlanLimits())
    wanted = tuple(sorted(_dealers(view, job, codes.dealers)))
    stage = builder.stage(SHARES_LABEL, None, wanted, ())
    plan = replace(builder.plan(job, codes.length, nonce, (stage,), 1), codes=codes)
    check(plan)
    return plan


def plan_beacon(
    view: View,
    record: EpochRecord,
    standings: Mapping[PartyId, Standing],
    *,
    nonce: bytes,
    limits: PlanLimits | None = None,
) -> Plan:
    """The session whose total makes the next beacon: alive gateways of this epoch deal to one committee.

    `nonce` is EpochIntent.nonce. All of them deal, not only the committee, so that every voter gets the
    result at first hand and one honest dealer anywhere suffices. Raises Refused as plan_session does.
    """
    limits = limits or PlanLimits()
    builder = _Builder(view, record, standings, limits)
    dealers = tuple(party for party in record.gateways if view.is_alive(party))
    job = Job("", (BEACON_QUERY,), beacon_min_sites(record), "")
    if len(dealers) < job.min_sites:
        raise Refused(f"{len(dealers)} of {len(record.gateways)} gateways are alive", reasons={})
    stage = builder.stage(BEACON_LABEL, None, dealers, ())
    return builder.plan(job, BEACON_LENGTH, nonce, (stage,), 1)


def beacon_min_sites(record: EpochRecord) -> int:
    """Dealers a beacon needs: more than can be dishonest, so that at least one value in the sum is random."""
    return max(2, faults(len(record.gateways)) + 1)


def is_beacon(plan: Plan) -> bool:
    """Whether the plan is of a beacon session, which nodes take part in without asking a data owner."""
    return plan.job.dataset == "" and plan.job.queries == (BEACON_QUERY,)


def dealers_by_cluster(
    view: View, sizes: ClusterSizes, wanted: Collection[PartyId]
) -> list[tuple[PartyId, ...]]:
    """The leaves' dealers: each cluster without whom is not wanted, sorted."""
    groups = (tuple(party for party in group if party in wanted) for group in clusters(view, sizes))
    return sorted(group for group in groups if group)


def leaf_labels(dealers_by_leaf: Sequence[Sequence[PartyId]], sites: Mapping[PartyId, str]) -> list[str]:
    """Canonical labels of the leaves in their order."""
    seen: Counter[str] = Counter()
    labels = []
    for dealers in dealers_by_leaf:
        site = common_site(dealers, sites)
        labels.append(f"{site}/{seen[site]}")
        seen[site] += 1
    return labels


def role_labels(dealers_by_leaf: Sequence[Sequence[PartyId]], sites: Mapping[PartyId, str]) -> list[str]:
    """Labels of the leaves of a plan by role: by their first dealer, since nobody there can count the leaves.

    Whoever plans has as many draws of a committee as a cluster has devices it may leave out, no more: each
    dealer checks that all are of its cluster.
    """
    return [f"{common_site(group, sites)[:40]}/{min(group).hex()[:16]}" for group in dealers_by_leaf]


def own_site(dealers: Sequence[PartyId], sites: Mapping[PartyId, str]) -> str | None:
    """The site whose gateways take a leaf's seats first: that of all its dealers.

    None if they come from several: else the gateways of the commonest site could hold more than t seats of a
    committee that sums the others' values too, whatever the beacon says.
    """
    found = {sites[party] for party in dealers}
    return found.pop() if len(found) == 1 else None


def common_site(dealers: Sequence[PartyId], sites: Mapping[PartyId, str]) -> str:
    """The site most dealers are of; the first by name among equals."""
    counts = Counter(sites[party] for party in dealers)
    return min(counts, key=lambda site: (-counts[site], site))


def inner_label(level: int, position: int, width: int) -> str:
    """Canonical label of an inner stage; `width` stages stand on its level."""
    return "root" if width == 1 else f"level-{level}/{position}"


def _dealers(view: View, job: Job, dealers: Sequence[PartyId] | None) -> set[PartyId]:
    if dealers is None:
        wanted = {member.party for member in view.alive}
    else:
        wanted = {party for party in dealers if view.is_alive(party)}
        away = [view.name(party) for party in sorted(set(dealers) - wanted)]
        if len(wanted) < job.min_sites:
            raise Refused(
                f"{job.min_sites} sites are asked for, {len(wanted)} of those with the data are here"
                + (f"; away: {', '.join(away)}" if away else ""),
                reasons={},
                fix="wait until they are back, or ask for fewer sites if the owners' policies allow it",
            )
    if len(wanted) < job.min_sites:
        raise Refused(
            f"{job.min_sites} sites are asked for, the mesh has {len(wanted)}",
            reasons={},
            fix="ask for fewer sites if the owners' policies allow it, or invite more peers",
        )
    return wanted


class _Builder:
    """Draws committees and adders for one plan."""

    def __init__(
        self, view: View, record: EpochRecord, standings: Mapping[PartyId, Standing], limits: PlanLimits
    ) -> None:
        if record.intent.mesh != view.mesh:
            raise LocalMisuse("the epoch record is of another mesh")
        self._view = view
        self._record = record
        self._limits = limits
        self._certificates: dict[PartyId, Certificate] = {m.party: m.certificate for m in view.members}
        self._standings = {party: s for party, s in standings.items() if view.is_alive(party)}
        self._size = committee_size(sum(view.is_alive(party) for party in record.gateways), limits.committee)
        if not self._standings:
            raise Refused(
                f"no gateway has claimed to add in epoch {record.epoch} yet",
                reasons={},
                fix="try again in a second",
            )

    def leaves(self, groups: Sequence[tuple[PartyId, ...]], by_role: bool = False) -> list[Stage]:
        """One stage a cluster."""
        sites = {party: certificate.site for party, certificate in self._certificates.items()}
        labels = role_labels(groups, sites) if by_role else leaf_labels(groups, sites)
        return [
            self.stage(label, own_site(group, sites), group, ())
            for label, group in zip(labels, groups, strict=True)
        ]

    def tree(self, leaves: list[Stage]) -> list[list[Stage]]:
        """Levels from the leaves to the root."""
        levels, first = [leaves], 0
        while len(levels[-1]) > 1:
            below = len(levels[-1])
            cuts = range(0, below, self._limits.fan_in)
            children = [tuple(range(first + c, first + min(c + self._limits.fan_in, below))) for c in cuts]
            level = len(levels)
            levels.append(
                [
                    self.stage(inner_label(level, position, len(children)), None, (), those)
                    for position, those in enumerate(children)
                ]
            )
            first += below
        return levels

    def stage(
        self, label: str, site: str | None, dealers: tuple[PartyId, ...], children: tuple[int, ...]
    ) -> Stage:
        """Seats, substitutes and adders for one stage."""
        n, t = self._size
        order = [
            p for p in seat_order(self._record, label, site, self._certificates) if self._view.is_alive(p)
        ]
        seats = [Seat(party, self._certificates[party].sealing_key) for party in order]
        adders = adder_order(self._standings, label, dealers)
        return Stage(
            label=label,
            seats=tuple(seats[:n]),
            threshold=t,
            adders=adders[:MAX_ADDERS],
            substitutes=tuple(seats[n : n + MAX_SUBSTITUTES]),
            dealers=dealers,
            children=children,
        )

    def plan(
        self, job: Job, length: int, nonce: bytes, stages: tuple[Stage, ...], depth: int, fan_in: int = 0
    ) -> Plan:
        """Put together and checked."""
        adders = sorted({party for stage in stages for party in stage.adders})
        plan = Plan(
            mesh=self._view.mesh,
            epoch=self._record.epoch,
            nonce=nonce,
            initiator=self._view.me,
            job=job,
            length=length,
            hops=hops_needed(depth),
            collect_ms=self._limits.collect_ms,
            total_ms=self._limits.total_ms,
            stages=stages,
            proofs=tuple(SortitionProof(party, self._standings[party].proof) for party in adders),
            fan_in=fan_in,
        )
        check(plan)
        return plan
