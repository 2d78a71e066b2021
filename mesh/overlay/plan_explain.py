"""What a plan means for people: who takes part, what it survives, what it costs, what is revealed to whom.

Bytes and rounds follow the session machines' messages (dealing, parts, roster, resharing, opening) to
first order; seconds are rounds at the slowest measured round trip plus transfer at a stated bandwidth.
They are estimates, and named so. Privacy and robustness figures are exact consequences of (n, t).

Symbols: n seats, t threshold, q votes of a roster certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.overlay.view import View
from protocols.identifiers import PartyId
from protocols.masking.layout import Layout
from protocols.masking.parameters import TABLE
from protocols.sessions.plan import Plan, Stage
from protocols.statistics import names

BANDWIDTH_BYTES_S = 2_000_000
"""What a link is taken to carry when nothing better is known: a slow upstream."""

DEFAULT_RTT_S = 0.02
_MASK_ELEMENTS = 2
_ENVELOPE_BYTES = 320
_SEALING_BYTES = 96
_ROUNDS_ONCE = 4
_ROUNDS_A_STAGE = 6


@dataclass(frozen=True, slots=True)
class CommitteeFacts:
    """One stage. `dropouts` may vanish at once without a substitute; `liars` are corrected and named."""

    label: str
    n: int
    t: int
    members: tuple[str, ...]
    adders: tuple[str, ...]
    substitutes: int
    dropouts: int
    liars: int


@dataclass(frozen=True, slots=True)
class RoleCost:
    """Estimated bytes one party in this role sends."""

    role: str
    bytes_sent: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that `coppice plan` shows."""

    session: str
    participants: tuple[str, ...]
    dealers: int
    min_sites: int
    committees: tuple[CommitteeFacts, ...]
    depth: int
    dropouts: int
    liars: int
    colluders: int
    rounds: int
    costs: tuple[RoleCost, ...]
    seconds: float
    revealed: tuple[str, ...]
    warnings: tuple[str, ...]


def explain(plan: Plan, view: View) -> Explanation:
    """The facts of `plan`, with names and round trips from `view`."""
    committees = tuple(_committee(stage, view) for stage in plan.stages)
    depth = _depth(plan)
    rounds = _ROUNDS_ONCE + _ROUNDS_A_STAGE * depth
    costs = _costs(plan)
    slowest_s = max((_rtt_s(view, party) for party in plan.parties), default=DEFAULT_RTT_S)
    heaviest = max(cost.bytes_sent for cost in costs)
    return Explanation(
        session=plan.session.short(),
        participants=tuple(view.name(party) for party in plan.parties),
        dealers=len(plan.dealers),
        min_sites=plan.job.min_sites,
        committees=committees,
        depth=depth,
        dropouts=min(facts.dropouts for facts in committees),
        liars=min(facts.liars for facts in committees),
        colluders=min(facts.t for facts in committees) + 1,
        rounds=rounds,
        costs=costs,
        seconds=round(rounds * slowest_s / 2 + depth * heaviest / BANDWIDTH_BYTES_S, 3),
        revealed=_revealed(plan, view),
        warnings=_warnings(plan),
    )


def _committee(stage: Stage, view: View) -> CommitteeFacts:
    return CommitteeFacts(
        label=stage.label,
        n=stage.size,
        t=stage.threshold,
        members=tuple(view.name(party) for party in stage.members),
        adders=tuple(view.name(party) for party in stage.adders),
        substitutes=len(stage.substitutes),
        dropouts=stage.size - stage.quorum,
        liars=(stage.size - stage.threshold - 1) // 2 if stage.size > 3 * stage.threshold else 0,
    )


def _depth(plan: Plan) -> int:
    depth = [1] * len(plan.stages)
    for index, stage in enumerate(plan.stages):
        depth[index] += max((depth[child] for child in stage.children), default=0)
    return depth[plan.root]


def _costs(plan: Plan) -> tuple[RoleCost, ...]:
    """Of the largest stage. A dealt vector is the payload, two masks a hop and two for the degree check.

    With masked vectors a device sends its own once, and an adder the sum of its stage.
    """
    share = 8 * (plan.length + _MASK_ELEMENTS * plan.hops + 2) + _SEALING_BYTES
    vector = _vector_bytes(plan)
    n = max(stage.size for stage in plan.stages)
    dealing = n * (share + 32) + _ENVELOPE_BYTES
    sources = max(len(stage.dealers) + len(stage.children) * stage.size for stage in plan.stages)
    adder = sources * n * (share + _ENVELOPE_BYTES) + 3 * n * (_ENVELOPE_BYTES + 64 * sources)
    member = dealing + 6 * (_ENVELOPE_BYTES + 64 * sources)
    root = (n - 1) * (8 * plan.length + 2 * _ENVELOPE_BYTES)
    return (
        RoleCost("dealer", dealing + vector),
        RoleCost("committee member", member),
        RoleCost("adder", adder + vector),
        RoleCost("root committee member", root),
    )


def _vector_bytes(plan: Plan) -> int:
    """One masked vector, or nothing."""
    if plan.bulk is None:
        return 0
    parameters = next(row for row in TABLE if row.name == plan.bulk.parameters)
    return Layout(parameters, plan.bulk.length).packed_bytes


def _rtt_s(view: View, party: PartyId) -> float:
    member = view.by_party.get(party)
    if party == view.me or member is None:
        return 0.0
    return member.rtt_s if member.rtt_s is not None else DEFAULT_RTT_S


def _revealed(plan: Plan, view: View) -> tuple[str, ...]:
    words = [item for query in plan.job.queries for item in names.reveals(query.statistic, query.column)]
    what = ", ".join(dict.fromkeys(words)) or "a random number that chooses the next epoch's committees"
    return (
        f"to all {len(plan.parties)} participants: {what}, over at least {plan.job.min_sites} sites, "
        "and which sites were counted",
        f"to {view.name(plan.initiator)}: the same",
        "to nobody: a row, one site's numbers, one cluster's sums",
    )


def _warnings(plan: Plan) -> tuple[str, ...]:
    sizes = {(stage.size, stage.threshold) for stage in plan.stages}
    warnings = []
    if (3, 1) in sizes:
        warnings.append(
            "(3,1) hides from any one peer but corrects no liar, and none of the three may vanish"
        )
    elif (4, 1) in sizes:
        warnings.append("(4,1): any two members of one committee together could read what it holds")
    if any(not stage.substitutes for stage in plan.stages):
        warnings.append("a committee has no substitutes: more losses than it tolerates end the session")
    return tuple(warnings)
