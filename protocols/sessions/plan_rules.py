"""What every plan must obey, whoever signed it: a tree of legal committees, and no room for a second reading.

Whether its parties are the right ones is judged against the membership view, in mesh/overlay/plan_check.
"""

from __future__ import annotations

from protocols.errors import MalformedMessage
from protocols.masking.parameters import TABLE
from protocols.sessions.plan import (
    COMMITTEE_SIZES,
    VAULTS,
    Bulk,
    Codes,
    Plan,
    Stage,
    hops_needed,
)


def check(plan: Plan) -> None:
    """Refuse a plan that is not a well-formed tree of legal committees, whoever signed it.

    Whether its parties are the right ones is judged against the membership view, in mesh/overlay/planner.
    Raises MalformedMessage naming the first defect.
    """
    if not plan.stages:
        raise MalformedMessage("plan has no stage")
    depth = _check_tree(plan)
    if plan.hops < hops_needed(depth):
        raise MalformedMessage(
            f"plan has {plan.hops} mask pairs, a tree of depth {depth} needs {hops_needed(depth)}"
        )
    dealers = [dealer for stage in plan.stages for dealer in stage.dealers]
    if len(set(dealers)) != len(dealers):
        raise MalformedMessage("a dealer appears twice in the plan")
    if plan.job.min_sites > len(dealers):
        raise MalformedMessage(f"plan asks for {plan.job.min_sites} sites but lists {len(dealers)}")
    for index, stage in enumerate(plan.stages):
        check_committee(index, stage)
    if plan.by_role:
        _check_by_role(plan)
    if plan.bulk is not None:
        _check_bulk(plan, plan.bulk, len(dealers))
    if plan.codes is not None:
        _check_codes(plan, plan.codes)


def _check_codes(plan: Plan, codes: Codes) -> None:
    """One committee, which weighs: so all its dealers count or none, and nobody's own rows are weighed."""
    if len(plan.stages) != 1 or plan.bulk is not None or not plan.job.dataset.startswith(VAULTS):
        raise MalformedMessage("shares are added up by one committee, in sums over vaults only")
    if plan.dealers != codes.dealers or plan.job.min_sites != len(codes.dealers):
        raise MalformedMessage("a sum of shares is opened over all its dealers or not at all")
    if plan.length != codes.length:
        raise MalformedMessage(f"{plan.length} elements where shares and checks take {codes.length}")
    if codes.plain != tuple(sorted(set(codes.plain))) or not codes.groups:
        raise MalformedMessage("plain dealers are repeated or out of order, or there are no shares")
    for code in codes.groups:
        if len(set(code.dealers)) != len(code.dealers) or len(code.points) != len(code.dealers):
            raise MalformedMessage("a share has not one dealer and one point")
        if code.points != tuple(sorted(set(code.points))) or len(code.points) <= 2 * code.threshold:
            raise MalformedMessage("points of shares do not rise, or are too few to check them")


def _check_bulk(plan: Plan, bulk: Bulk, devices: int) -> None:
    parameters = next((row for row in TABLE if row.name == bulk.parameters), None)
    if parameters is None:
        raise MalformedMessage(f"there is no mask called {bulk.parameters!r}")
    if plan.length != parameters.dealt_length:
        raise MalformedMessage(
            f"{plan.length} elements are dealt where the mask has {parameters.dealt_length}"
        )
    if devices > parameters.devices:
        raise MalformedMessage(f"{devices} devices are more than the mask holds ({parameters.devices})")


def _check_by_role(plan: Plan) -> None:
    """Of a plan by role: nothing is in it that its session's id does not commit to."""
    if plan.bulk is not None or plan.codes is not None:
        raise MalformedMessage("a session with masked vectors, or of shares, has no plan by role")
    _ = plan.header  # which checks its shape
    proved = [entry.party for entry in plan.proofs]
    if proved != sorted(set(proved)) or not {a for s in plan.stages for a in s.adders}.issuperset(proved):
        raise MalformedMessage("proofs are unsorted, repeated, or of parties that add nothing")


def check_committee(index: int, stage: Stage) -> None:
    """Raise MalformedMessage unless a stage is a legal committee with work to do."""
    if (stage.size, stage.threshold) not in COMMITTEE_SIZES:
        raise MalformedMessage(f"stage {index}: ({stage.size}, {stage.threshold}) is not a legal committee")
    if len(set(stage.members)) != stage.size:
        raise MalformedMessage(f"stage {index}: a party holds two seats")
    if {seat.party for seat in stage.substitutes} & set(stage.members):
        raise MalformedMessage(f"stage {index}: a member is its own substitute")
    if not stage.adders or len(set(stage.adders)) != len(stage.adders):
        raise MalformedMessage(f"stage {index}: adders missing or repeated")
    if bool(stage.dealers) == bool(stage.children):
        raise MalformedMessage(f"stage {index}: wants either dealers or children")


def _check_tree(plan: Plan) -> int:
    """Return the depth (stages on the longest path). Children come before their one parent."""
    depth = [0] * len(plan.stages)
    adopted: set[int] = set()
    for index, stage in enumerate(plan.stages):
        for child in stage.children:
            if child >= index or child in adopted:
                raise MalformedMessage(f"stage {index}: child {child} is out of order or has two parents")
            adopted.add(child)
        depth[index] = 1 + max((depth[child] for child in stage.children), default=0)
    if len(adopted) != len(plan.stages) - 1:
        raise MalformedMessage("plan is not one tree")
    return depth[plan.root]
