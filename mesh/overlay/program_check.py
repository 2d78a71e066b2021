"""Every party's own judgement of a program's plan, before its owner is asked and before a machine starts.

The committee must be the first of the beacon's rank order, leaving out only members we cannot reach, and of
the size that the mesh wants: an initiator can neither choose its members nor shrink it. Recipients hold
certificates; what they may be told is the data owner's to judge.
"""

from __future__ import annotations

from mesh.overlay.certificate import Certificate
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.plan_check import check_epoch, refusal
from mesh.overlay.planner import MAX_SUBSTITUTES
from mesh.overlay.program_planner import ProgramLimits
from mesh.overlay.sortition import committee_size, seat_order
from mesh.overlay.view import View
from protocols.errors import MalformedMessage
from protocols.identifiers import PartyId
from protocols.programs.plan import LABEL, MAX_SEATS, ProgramPlan, check


def verify(plan: ProgramPlan, view: View, record: EpochRecord, limits: ProgramLimits) -> None:
    """Return if we may take part in `plan`, as far as `view` can tell.

    Raises MalformedMessage (no honest planner makes this), Refused (our view differs; it says in what),
    EpochEnded.
    """
    check(plan)
    if plan.mesh != view.mesh:
        raise MalformedMessage("the plan is for another mesh")
    check_epoch(plan.epoch, record, view)
    certificates: dict[PartyId, Certificate] = {m.party: m.certificate for m in view.members}
    for party in plan.parties:
        if party not in certificates:
            raise refusal(view, f"{party.short()} has no valid certificate known here")
    for seat in (*plan.seats, *plan.substitutes, *plan.recipients):
        if seat.sealing_key != certificates[seat.party].sealing_key:
            raise MalformedMessage(f"the sealing key of {seat.party.short()} is not its own")
    _committee(plan, view, record, limits, certificates)
    _limits(plan, view, limits)


def _committee(
    plan: ProgramPlan,
    view: View,
    record: EpochRecord,
    limits: ProgramLimits,
    certificates: dict[PartyId, Certificate],
) -> None:
    order = seat_order(record, LABEL, None, certificates)
    rank = {party: position for position, party in enumerate(order)}
    seated = [seat.party for seat in (*plan.seats, *plan.substitutes)]
    strangers = [party for party in seated if party not in rank]
    if strangers:
        raise MalformedMessage(f"{strangers[0].short()} has a seat but is no gateway of this epoch")
    ranks = [rank[party] for party in seated]
    if ranks != sorted(set(ranks)):
        raise MalformedMessage("seats are not in rank order")
    full = len(plan.substitutes) == MAX_SUBSTITUTES
    skipped = set(order[: ranks[-1]] if full else order) - set(seated)
    for party in sorted(skipped, key=rank.__getitem__):
        if view.is_linked(party):
            raise refusal(
                view,
                f"{view.name(party)} ranks before others for the committee, is alive, and was left out",
            )
    wanted = min(limits.committee, MAX_SEATS)
    if plan.size > wanted:
        raise MalformedMessage(f"a committee of {plan.size} where {wanted} are wanted")
    reachable = sum(view.is_linked(party) for party in record.gateways)
    least = committee_size(reachable, wanted) if reachable >= 3 else (3, 1)
    if (plan.size, plan.threshold) < least:
        raise refusal(
            view, f"the committee is ({plan.size}, {plan.threshold}), {least} could be filled from here"
        )


def _limits(plan: ProgramPlan, view: View, limits: ProgramLimits) -> None:
    for name in ("rounds", "sent_bytes", "memory_bytes"):
        asked, allowed = getattr(plan.limits, name), getattr(limits.cost, name)
        if asked > allowed:
            raise refusal(
                view, f"the plan allows {asked:,} {name}, this node {allowed:,}", "ask for a smaller program"
            )
