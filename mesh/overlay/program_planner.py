"""From a view to the plan of a program session. What is built here, `program_check` accepts.

The committee is drawn like a sum's root: the first alive gateways in beacon rank for a fixed label, the next
ones as substitutes. The initiator chooses whom it asks for data, and who learns the outputs (itself, unless
told otherwise); owners judge both.

Invariant: two nodes with the same view, record and arguments build the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.overlay.certificate import Certificate
from mesh.overlay.epoch_record import EpochRecord
from mesh.overlay.planner import MAX_SUBSTITUTES
from mesh.overlay.sortition import committee_size, seat_order
from mesh.overlay.view import View
from protocols.errors import Refused
from protocols.identifiers import PartyId
from protocols.programs.plan import LABEL, MAX_OWNERS, MAX_SEATS, Limits, ProgramPlan, check
from protocols.sessions.plan import Job, Seat

DEFAULT_COST = Limits(rounds=20_000, sent_bytes=4 << 30, memory_bytes=1 << 30)


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """What a node allows and asks of programs.

    rounds, bytes, memory   of one member; more is refused with the figures
    patience_ms             of one layer before a silent member is replaced: shorter, quicker; longer, fewer
                            needless replacements of slow ones
    """

    cost: Limits = DEFAULT_COST
    committee: int = 7
    collect_ms: int = 10_000
    patience_ms: int = 2_000
    total_ms: int = 120_000


def plan_program(
    view: View,
    record: EpochRecord,
    job: Job,
    owners: Sequence[PartyId],
    *,
    nonce: bytes,
    limits: ProgramLimits,
    mode: str = "P",
    recipients: Sequence[PartyId] = (),
) -> ProgramPlan:
    """The plan of one program over the owners' data.

    Raises Refused: too few gateways, fewer owners here than min_sites, a recipient is away.
    """
    certificates: dict[PartyId, Certificate] = {m.party: m.certificate for m in view.members}
    here = sorted({party for party in owners if view.is_alive(party)})[:MAX_OWNERS]
    if len(here) < (1 if job.inputs else job.min_sites):
        raise Refused(
            f"{job.min_sites} sites are asked for, {len(here)} of those with the data are here",
            reasons={},
            fix="wait until they are back, or ask for fewer sites if the owners' policies allow it",
        )
    told = tuple(recipients) or (view.me,)
    away = [view.name(party) for party in told if not view.is_alive(party)]
    if away:
        raise Refused(f"who should learn the outputs is away: {', '.join(away)}", reasons={})
    order = [p for p in seat_order(record, LABEL, None, certificates) if view.is_alive(p)]
    n, t = committee_size(len(order), min(limits.committee, MAX_SEATS))
    seats = tuple(Seat(party, certificates[party].sealing_key) for party in order)
    if mode == "A" and n < 3 * t + 1:
        raise Refused(
            f"a committee of {n} corrects no lie: mode A needs four gateways",
            reasons={},
            fix="invite another gateway, or ask in mode P",
        )
    plan = ProgramPlan(
        mesh=view.mesh,
        epoch=record.epoch,
        nonce=nonce,
        initiator=view.me,
        job=job,
        mode=mode,
        seats=seats[:n],
        threshold=t,
        substitutes=seats[n : n + MAX_SUBSTITUTES],
        owners=tuple(here),
        recipients=tuple(Seat(party, certificates[party].sealing_key) for party in told),
        limits=limits.cost,
        collect_ms=limits.collect_ms,
        patience_ms=limits.patience_ms,
        total_ms=limits.total_ms,
    )
    check(plan)
    return plan
