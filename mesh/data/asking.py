"""What a job asks of one owner: every column it reads, what it costs in privacy, and what is written down.

A job about a model reads all columns that the model names, so they are judged one by one as if each had been
asked for by itself. Invariant: what is judged is read from the public input that the job names by digest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mesh.data.errors import DataError
from mesh.data.overlap import Use
from mesh.data.policy import ANY_COLUMN, Asked, Decision, Policy
from protocols.statistics import names
from protocols.wire.digest import digest

if TYPE_CHECKING:
    from mesh.data.catalog import Catalog, DatasetInfo
    from mesh.data.ledger import Page
    from mesh.data.uses import Entry
    from protocols.identifiers import PartyId
    from protocols.programs.plan import ProgramPlan
    from protocols.sessions.plan import Job, Plan

    AnyPlan = Plan | ProgramPlan
    Columns = dict[str, list[float]]


def asked(job: Job, blobs: tuple[bytes, ...] = ()) -> tuple[Asked, ...]:
    """Queries that read data, one for each column. Raises ConfigError C-640, C-646 for a wrong model."""
    found: list[Asked] = []
    columns: tuple[str, ...] = ()
    if is_about_model(job):
        from protocols.statistics.update import round_of

        recipe = round_of(job, blobs).recipe
        columns = (recipe.label, *recipe.features)
    for query in job.queries:
        if query.statistic == "beacon":
            continue
        read = columns if query.statistic in names.OF_MODEL else (query.column,)
        found += [Asked(query.statistic, column, query.parameters) for column in read]
    return tuple(found)


def held(queries: tuple[Asked, ...], info: DatasetInfo) -> tuple[Asked, ...]:
    """Of queries over columns that different sites hold, those on ours; of others all."""
    if not all(query.statistic in names.SPLIT for query in queries):
        return queries
    ours = tuple(query for query in queries if query.column in info.columns)
    return ours or queries[:1]  # judged, and denied, by the column that is not there


def split(queries: tuple[Asked, ...]) -> tuple[str, ...]:
    """Columns that a job over different sites' columns reads here, of the queries that `held` left."""
    return tuple(dict.fromkeys(query.column for query in queries if query.statistic in names.SPLIT))


def rows(info: DatasetInfo) -> dict[str, int]:
    """Values in each numeric column, and the rows themselves."""
    return {**info.columns, ANY_COLUMN: info.rows}


def is_about_model(job: Job) -> bool:
    """Whether a public input must be at hand before the job can be judged."""
    return any(query.statistic in names.OF_MODEL for query in job.queries)


def epsilon(
    policy: Policy | None, earlier: Iterable[Use], queries: Sequence[Asked] = (), min_sites: int = 2
) -> float:
    """Privacy spent at the policy's delta by models trained on the data, with the given queries on top.

    Every session counts as opened unless it was released; one without noise costs infinity. 0 where the
    policy sets no budget.
    """
    if policy is None or not policy.dp_epsilon_budget:
        return 0.0
    from protocols.privacy import accountant

    releases: list[accountant.Release] = []
    for asked_for, sites in [*((use.queries, use.min_sites) for use in earlier), (queries, min_sites)]:
        of_model = {query.statistic: query for query in asked_for if query.statistic in names.OF_MODEL}
        if set(of_model) - {"update"}:
            return math.inf
        if of_model:
            size, clip, bits, max_weight, noise = of_model["update"].parameters
            releases.append(
                accountant.Release(int(size), clip, int(bits), int(max_weight), int(noise), sites)
            )
    return accountant.epsilon(releases, policy.dp_delta)


def inputs(job: Job) -> tuple[str, ...]:
    """The job's public inputs as the ledger names them."""
    return tuple(name.hex() for name in job.inputs)


def fewest(plan: AnyPlan) -> int:
    """Sites without which nothing is opened: more than the job's for a program that names its owners."""
    return int(getattr(plan, "least", plan.job.min_sites))


def edges(earlier: Iterable[Use]) -> dict[str, frozenset[float]]:
    """Edges of all histograms answered before, by column."""
    found: dict[str, frozenset[float]] = {}
    for query in (query for use in earlier for query in use.queries if query.statistic == "histogram"):
        found[query.column] = found.get(query.column, frozenset()) | frozenset(query.parameters)
    return found


def threshold(plan: AnyPlan) -> int:
    """Least of the committees that our values reach: of a plan by role we see those, up to the root."""
    return min(stage.threshold for _, stage in plan.known)


def approval(plan: AnyPlan, info: DatasetInfo, queries: Sequence[Asked]) -> dict[str, object]:
    """What the owner's policy said yes to, as the ledger keeps it."""
    from protocols.wire import codec

    return {
        "job_digest": digest("job", codec.encode(plan.job)).hex(),
        "purpose": plan.job.purpose,
        "requester": plan.initiator.hex(),
        "queries": [[query.statistic, query.column, list(query.parameters)] for query in queries],
        "inputs": list(inputs(plan.job)),
        "reveals": [item for query in queries for item in names.reveals(query.statistic, query.column)],
        "min_sites": plan.job.min_sites,
        "least": fewest(plan),
        "threshold": threshold(plan),
        "sites": sorted(party.hex() for party in plan.dealers),
        "others": plan.dealer_count - len(plan.dealers),
        "rows": info.rows,
        "data_digest": info.digest,
    }


def ending(
    plan: AnyPlan, roster: Sequence[PartyId], answers: Sequence[dict[str, object]]
) -> dict[str, object]:
    """What was opened, as the ledger keeps it; without a roster any that the plan allows may have been."""
    sites = sorted(party.hex() for party in (roster or plan.dealers))
    return {"roster": sites, "answers": list(answers), "known": bool(roster)}


def note_certified(page: Page, at: float, plan: AnyPlan, roster: Sequence[PartyId]) -> None:
    """Write down, once and for a standing approval only, what a session opens if it opens anything."""
    session = plan.session.hex()
    approval = page.approval(session)
    if approval is None or page.standing(session) != "approved":
        return
    if all(entry.kind != "certified" for entry in page.entries(session=session)):
        body: dict[str, object] = {"roster": sorted(party.hex() for party in roster)}
        page.append(at, "certified", approval.dataset, session, body)


def approved(page: Page, catalog: Catalog, plan: AnyPlan) -> DatasetInfo:
    """The data set of a standing approval of this very plan. Raises DataError C-623, C-614."""
    standing, entry = page.standing(plan.session.hex()), page.approval(plan.session.hex())
    if standing != "approved" or entry is None:
        raise DataError(
            f"session {plan.session.hex()[:8]} has no approval on this node",
            code="C-623",
            fix="the owner's policy must allow this very plan; an approval of another one does not count",
        )
    info = catalog.get(plan.job.dataset)
    check_same(entry, info)
    return info


def check_same(approved: Entry, info: DatasetInfo) -> None:
    """Raise DataError C-614 unless the file is still the one whose use was approved."""
    if info.digest != approved.body.get("data_digest"):
        raise DataError(
            f"{info.name!r} was added anew after this session was approved",
            code="C-614",
            fix="make a new plan: rows and overlaps are judged again",
        )


_FOR_OTHERS = {
    "min_rows": "this site has too few values in a column",
    "requesters": "the requester is not one of those whom the owner allows",
    "max_uses": "all uses are spent",
    "dp_budget": "it would cost more privacy than is left",
}


def public(decision: Decision) -> str:
    """The decision's sentence for others: without what it tells of our rows, uses and requesters."""
    words = _FOR_OTHERS.get(decision.rule)
    return (
        decision.sentence() if decision.allowed or words is None else f"DENY by rule {decision.rule}: {words}"
    )
