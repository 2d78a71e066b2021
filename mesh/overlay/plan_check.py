"""Is this plan the one sortition yields? Every party asks this before it takes part.

What is certain is compared exactly: epoch, certificates, sealing keys, labels, rank order, VRF proofs,
committee sizes. What depends on liveness is judged with tolerance in one direction: a plan may use a
party we believe dead (it may well live), but it may leave out a better-ranked one only if we have no
working link to it. So a planner cannot skip candidates it dislikes, and two honest views that differ
for a moment cost at most a refusal and a retry.

Each dealer checks that its leaf is its cluster: else an initiator could group a victim with its own devices,
as often as it takes to draw a committee of its own, or that of another site.

Of a plan by role each party judges its excerpt: every committee on its path to the root, and those below its
seats (protocols/sessions/excerpt argues why that is enough).

Invariant: `verify` accepts what `planner` builds from the same view, record and limits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from mesh.overlay.certificate import Certificate
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.planner import (
    BEACON_LABEL,
    BEACON_LENGTH,
    MAX_SUBSTITUTES,
    SHARES_LABEL,
    PlanLimits,
    beacon_min_sites,
    dealers_by_cluster,
    inner_label,
    is_beacon,
    leaf_labels,
    own_site,
    role_labels,
)
from mesh.overlay.sortition import Standing, check_claim, committee_size, score, seat_order
from mesh.overlay.view import Status, View
from protocols.errors import EpochEnded, MalformedMessage, Refused
from protocols.identifiers import PartyId
from protocols.sessions.excerpt import PartialPlan
from protocols.sessions.plan import Plan, Stage, hops_needed
from protocols.sessions.plan_rules import check
from protocols.sessions.plan_tree import Shape


def refusal(
    view: View, reason: str, fix: str = "try again: the views of the mesh may not have met yet"
) -> Refused:
    """Of a plan that our view speaks against."""
    return Refused(reason, reasons={view.me: reason}, fix=fix)


def check_epoch(epoch: int, record: EpochRecord, view: View) -> None:
    """Whether a plan's epoch is ours.

    Raises Refused for one that we have yet to hear of, EpochEnded for one that is over: no later look at our
    view would find otherwise.
    """
    reason = f"the plan is for epoch {epoch}, here it is epoch {record.epoch}"
    if epoch < record.epoch:
        raise EpochEnded(reason, definite=True, fix="plan again: this epoch's committees are others")
    if epoch > record.epoch:
        raise refusal(view, reason)


def verify(
    plan: Plan,
    view: View,
    record: EpochRecord,
    standings: Mapping[PartyId, Standing] | None = None,
    limits: PlanLimits | None = None,
) -> None:
    """Return if `plan` is what sortition yields, as far as `view` can tell; `standings` saves proof checks.

    Raises MalformedMessage (no honest planner makes this), Refused (our view differs; it says in what),
    EpochEnded.
    """
    if not isinstance(plan, PartialPlan):
        check(plan)
    checker = _Checker(plan, view, record, limits or PlanLimits())
    checker.circumstances()
    checker.extent()
    checker.parties()
    checker.shape()
    known = checker.proofs(standings or {})
    for index, stage in plan.known:
        checker.committee(index, stage)
        checker.adders(index, stage, known)
    checker.own_leaf()


class _Checker:
    def __init__(self, plan: Plan, view: View, record: EpochRecord, limits: PlanLimits) -> None:
        self._plan = plan
        self._view = view
        self._record = record
        self._limits = limits
        self._certificates: dict[PartyId, Certificate] = {m.party: m.certificate for m in view.members}
        self._sites = {party: certificate.site for party, certificate in self._certificates.items()}

    def circumstances(self) -> None:
        """Mesh, epoch."""
        if self._plan.mesh != self._view.mesh:
            raise MalformedMessage("the plan is for another mesh")
        check_epoch(self._plan.epoch, self._record, self._view)

    def parties(self) -> None:
        """Everybody certified here and now."""
        for party in self._plan.parties:
            if party not in self._certificates:
                raise refusal(self._view, f"{party.short()} has no valid certificate known here")

    def extent(self) -> None:
        """A plan goes out by role if it is large, and only then: the list of dealers is not withheld else."""
        wanted = self._limits.fan_in_of(self._plan.dealer_count, self._plan.bulk)
        if self._plan.fan_in != wanted and not is_beacon(self._plan):
            raise MalformedMessage(
                f"a plan of {self._plan.dealer_count} devices has fan-in {self._plan.fan_in}, not {wanted}"
            )

    def shape(self) -> None:
        """Labels are canonical, hops are not inflated."""
        plan = self._plan
        if is_beacon(plan):
            self._beacon_shape()
            return
        if plan.codes is not None:
            if [stage.label for stage in plan.stages] != [SHARES_LABEL]:
                raise MalformedMessage("a sum of shares has one stage of its own label")
            self._check_hops(1)
            return
        if plan.shape is not None:
            self._shape_by_role(plan.shape)
            return
        leaves = [stage for stage in plan.stages if stage.dealers]
        expected = leaf_labels([stage.dealers for stage in leaves], self._sites)
        depth, first, width = 1, 0, len(leaves)
        while width > 1:
            first, depth = first + width, depth + 1
            width = -(-width // self._limits.fan_in)
            expected += [inner_label(depth - 1, position, width) for position in range(width)]
        labels = [stage.label for stage in plan.stages]
        if labels != expected:
            raise MalformedMessage(f"stage labels are {labels[:4]}… where {expected[:4]}… belong")
        groups = [stage.dealers for stage in leaves]
        if groups != sorted(tuple(sorted(group)) for group in groups):
            raise MalformedMessage("the leaves are not in the order of their dealers")
        self._check_hops(depth)

    def _shape_by_role(self, shape: Shape) -> None:
        """As `shape`, of the stages that are known; that each is in its place was seen by its hash."""
        for index, stage in self._plan.known:
            level = shape.level(index)
            width = shape.widths[level]
            expected = inner_label(level, index - shape.firsts[level], width)
            if level == 0:
                (expected,) = role_labels([stage.dealers], self._sites)
            if stage.label != expected or stage.dealers != tuple(sorted(stage.dealers)):
                raise MalformedMessage(f"stage {index} is labelled {stage.label} where {expected} belongs")
        self._check_hops(shape.depth)

    def own_leaf(self) -> None:
        """We deal with the dealers of our cluster, with all of them and nobody else.

        Whom the initiator saw alive we know but for members that are not in the plan and not linked to us:
        it may have seen these or not. Of a plan that is not known as a whole: with dealers of our cluster and
        nobody else, since those that are missing may not have been asked.
        """
        groups = [stage.dealers for _, stage in self._plan.known if stage.dealers]
        mine = next((group for group in groups if self._view.me in group), None)
        if mine is None or is_beacon(self._plan) or self._plan.codes is not None:
            return
        partial = isinstance(self._plan, PartialPlan)
        wanted = set(mine) if partial else {party for group in groups for party in group}
        sizes = self._limits.sizes_of(self._plan.bulk)
        views = [self._as_planned(set(self._certificates)), self._as_planned(set())]
        views += [self._view] if partial else []
        if not any(mine in dealers_by_cluster(view, sizes, wanted) for view in views):
            raise refusal(
                self._view,
                "we are grouped with dealers that are not of our cluster, or without some that are",
            )

    def _as_planned(self, doubtful: Collection[PartyId]) -> View:
        """Our view with everybody in the plan alive, and of those we have no link to only the `doubtful`."""
        certain = set(self._plan.parties)
        members = tuple(
            replace(member, status=Status.ALIVE)
            if member.party in certain
            else member
            if not member.alive or member.linked or member.party in doubtful
            else replace(member, status=Status.SUSPECT)
            for member in self._view.members
        )
        return replace(self._view, members=members)

    def _beacon_shape(self) -> None:
        plan, stage = self._plan, self._plan.stages[0]
        if len(plan.stages) != 1 or stage.label != BEACON_LABEL or plan.length != BEACON_LENGTH:
            raise MalformedMessage("a beacon session has one stage of its own label and length")
        if not set(stage.dealers) <= set(self._record.gateways):
            raise MalformedMessage("a beacon session's dealers are gateways of the epoch")
        if plan.job.min_sites < beacon_min_sites(self._record):
            raise MalformedMessage(f"a beacon needs {beacon_min_sites(self._record)} dealers")
        self._check_hops(1)

    def _check_hops(self, depth: int) -> None:
        if self._plan.hops != hops_needed(depth):
            raise MalformedMessage(f"{self._plan.hops} mask pairs are planned for a tree of depth {depth}")

    def proofs(self, standings: Mapping[PartyId, Standing]) -> dict[PartyId, Standing]:
        """Verified standing of every party with a proof."""
        known: dict[PartyId, Standing] = {}
        for entry in self._plan.proofs:
            if entry.party in known or entry.party not in self._certificates:
                raise MalformedMessage(f"the proof of {entry.party.short()} is repeated or a stranger's")
            held = standings.get(entry.party)
            if held is not None and held.proof == entry.proof:
                known[entry.party] = held
            else:
                known[entry.party] = check_claim(self._record, self._certificates[entry.party], entry.proof)
        return known

    def committee(self, index: int, stage: Stage) -> None:
        """Seats and substitutes are the first of the rank order, leaving out only whom we cannot reach."""
        everywhere = stage.children or is_beacon(self._plan) or self._plan.codes is not None
        site = None if everywhere else own_site(stage.dealers, self._sites)
        order = seat_order(self._record, stage.label, site, self._certificates)
        rank = {party: position for position, party in enumerate(order)}
        seats = [*stage.seats, *stage.substitutes]
        for seat in seats:
            if seat.party not in rank:
                raise MalformedMessage(
                    f"stage {index}: {seat.party.short()} has a seat but is no gateway of this epoch"
                )
            if seat.sealing_key != self._certificates[seat.party].sealing_key:
                raise MalformedMessage(
                    f"stage {index}: the sealing key of {seat.party.short()} is not its own"
                )
        ranks = [rank[seat.party] for seat in seats]
        if ranks != sorted(set(ranks)):
            raise MalformedMessage(f"stage {index}: seats are not in rank order")
        full = len(stage.substitutes) == MAX_SUBSTITUTES
        skipped = set(order[: ranks[-1]] if full else order) - {seat.party for seat in seats}
        for party in sorted(skipped, key=rank.__getitem__):
            if self._view.is_linked(party):
                raise refusal(
                    self._view,
                    f"{self._view.name(party)} ranks before others for the committee of {stage.label} "
                    "and is alive, but was left out",
                )
        self._size(index, stage)

    def _size(self, index: int, stage: Stage) -> None:
        wanted = self._limits.committee
        if stage.size > wanted:
            raise MalformedMessage(f"stage {index}: a committee of {stage.size} where {wanted} are wanted")
        reachable = sum(self._view.is_linked(party) for party in self._record.gateways)
        least = committee_size(reachable, wanted)[0] if reachable >= 3 else 3
        if stage.size < least:
            raise refusal(
                self._view,
                f"the committee of {stage.label} has {stage.size} seats, {least} could be filled from here",
            )

    def adders(self, index: int, stage: Stage, known: Mapping[PartyId, Standing]) -> None:
        """Proved, and in score order: the cluster's own first, then the others."""
        near = set(stage.dealers)
        keys = []
        for party in stage.adders:
            if party not in known:
                raise MalformedMessage(f"stage {index}: adder {party.short()} has no proof")
            keys.append((party not in near, score(known[party], stage.label), party))
        if keys != sorted(keys):
            raise MalformedMessage(f"stage {index}: adders are not in the order of their scores")
