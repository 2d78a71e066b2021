"""What a program's plan means for people: who computes, what it costs and survives, what is revealed to whom.

Rounds and payload bytes are exact counts over the program for the given numbers of rows; what envelopes,
keys and inputs add is estimated. Seconds are rounds at the slowest measured round trip, transfer at a stated
bandwidth, and computing at measured rates.

Symbols: n seats, t threshold.
"""

from __future__ import annotations

from mesh.overlay.plan_explain import DEFAULT_RTT_S, CommitteeFacts, Explanation, RoleCost
from mesh.overlay.view import View
from protocols.circuits.cost import Cost
from protocols.identifiers import PartyId
from protocols.programs.plan import LABEL, ProgramPlan
from protocols.statistics import names

BANDWIDTH_BYTES_S = 6_250_000
ENVELOPE_BYTES = 320
SETUP_ROUNDS = 5
"""Offer, dealings, holdings, proposal and votes, certificate; the output shares make it six one-way trips."""


def explain(plan: ProgramPlan, view: View, cost: Cost, rows: tuple[int, ...], *, exact: bool) -> Explanation:
    """The facts of `plan` when its owners deal `rows`; `exact`: these are certified, not assumed."""
    n, t = plan.size, plan.threshold
    committee = CommitteeFacts(
        label=LABEL,
        n=n,
        t=t,
        members=tuple(view.name(party) for party in plan.members),
        adders=(),
        substitutes=len(plan.substitutes),
        dropouts=n - plan.working,
        liars=max(0, (n - t - 1) // 2),
    )
    rtt = max((_rtt_s(view, party) for party in plan.members), default=DEFAULT_RTT_S)
    others = plan.working - 1  # who is idle is sent nothing; the engine counts all n - 1
    sent = cost.busiest_bytes * others // (n - 1) + ENVELOPE_BYTES * cost.rounds * others
    seconds = (cost.rounds + SETUP_ROUNDS) * rtt + sent / BANDWIDTH_BYTES_S + cost.computing_s
    return Explanation(
        session=plan.session.short(),
        participants=tuple(view.name(party) for party in plan.parties),
        dealers=len(plan.owners),
        min_sites=plan.job.min_sites,
        committees=(committee,),
        depth=1,
        dropouts=committee.dropouts,
        liars=0,
        colluders=t + 1,
        rounds=cost.rounds,
        costs=(RoleCost("committee member", sent), RoleCost("owner", _dealing(plan, max(rows, default=0)))),
        seconds=round(seconds, 3),
        revealed=revealed(plan, view),
        warnings=_warnings(plan, cost, rows, exact=exact),
    )


def revealed(plan: ProgramPlan, view: View) -> tuple[str, ...]:
    """To whom what is shown."""
    words = [item for query in plan.job.queries for item in names.reveals(query.statistic, query.column)]
    told = ", ".join(view.name(seat.party) for seat in plan.recipients)
    results = [word for word in words if "number of rows" not in word]
    return (
        f"to {told}: {', '.join(dict.fromkeys(results))}, over at least {plan.job.min_sites} sites",
        f"to all {len(plan.parties)} participants: which sites were counted, and the number of rows of each",
        "to nobody: a row, an order, a comparison, one site's numbers",
    )


def _dealing(plan: ProgramPlan, rows: int) -> int:
    return plan.size * (16 * (rows + 2) + 112 + ENVELOPE_BYTES)


def _rtt_s(view: View, party: PartyId) -> float:
    member = view.by_party.get(party)
    if party == view.me or member is None:
        return 0.0
    return member.rtt_s if member.rtt_s is not None else DEFAULT_RTT_S


def _warnings(plan: ProgramPlan, cost: Cost, rows: tuple[int, ...], *, exact: bool) -> tuple[str, ...]:
    found = [
        "mode P: committee members that deviate from the program can spoil its result unseen"
        if plan.mode == "P"
        else "mode A: a member that deviates stops the program before any output"
    ]
    if not exact:
        each = f"{rows[0] if rows else 0} rows at each of"
        if len(set(rows)) > 1:  # as many at each would be beyond the limits
            each = f"{sum(rows)} rows in all at"
        found.append(f"figures for {each} {len(rows)} sites; exact once theirs are certified")
    if plan.size < plan.working + 1:
        found.append("no member may vanish without a substitute")
    for name, needed, allowed in (
        ("rounds", cost.rounds, plan.limits.rounds),
        ("bytes of one member", cost.busiest_bytes, plan.limits.sent_bytes),
        ("bytes of memory", cost.memory_bytes, plan.limits.memory_bytes),
    ):
        if needed > allowed:
            found.append(f"it needs {needed:,} {name}, the plan allows {allowed:,}: it would be refused")
    return tuple(found)
