"""One program job from its words to its result: ask owners, plan, run the session, read the answers.

A session that ended before any start was certified is tried again: provably nothing was computed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, fields, replace

import trio

from mesh.api.shapes import AnswerInfo, CommitteeFacts, JobResult, JobSpec, PlanReport, RoleCost
from mesh.overlay import program_explain
from mesh.overlay.plan_explain import Explanation
from mesh.overlay.program_planner import ProgramLimits, plan_program
from mesh.runtime.jobs.attempts import ATTEMPTS, pause_s
from mesh.runtime.jobs.calculation import job_of, refusals_of, too_few
from mesh.runtime.jobs.inquiry import Inquiry
from mesh.runtime.jobs.records import Job as Work
from mesh.runtime.jobs.store import Stored, unstored
from mesh.runtime.node import Node
from protocols.errors import ConfigError, LocalMisuse, MeshError, Refused, SessionAborted
from protocols.identifiers import PartyId
from protocols.programs import answers, questions
from protocols.programs.events import Begun, Reseated
from protocols.programs.party import Finished
from protocols.programs.plan import ProgramPlan
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from protocols.sessions.plan import Job
from protocols.statistics import names

SPARE_S = 10.0
FINAL = frozenset({"C-301", "C-400", "C-671", "C-672"})
"""Ends that another attempt meets again: too few values, beyond the limits, rows that do not fit."""
FIXES = {
    "C-400": "ask for less at once: fewer rows or columns, a narrower --range, fewer --decimals",
    "C-671": "let every site add the rows that they have in common, in the same order",
    "C-672": "ask for a column that has values",
}
UNBEGUN = "the node stopped before the session began"
ASSUMED_ROWS = 100
"""Of each site, for a dry run on a node that has no such data itself."""


class ProgramCalculation:
    """Runs one program job of this node's person."""

    def __init__(self, node: Node, work: Work) -> None:
        self._node = node
        self._work = work
        self._plan: ProgramPlan | None = None
        self._outcome: ProgramOpened | Finished | events.Aborted | None = None
        self._names: dict[PartyId, str] = {}
        self._over = trio.Event()
        self._started = time.monotonic()

    async def run(self) -> None:
        """Until the job has its result or an error, which it keeps."""
        self._node.programs.listeners.append(self._listen)
        try:
            job = job_of(self._work.info.spec, self._node.config.min_sites)
            plan, explanation, opened = await self._opened(job)
            self._work.finish(self._result(plan, explanation.revealed, opened))
        except MeshError as error:
            self._work.fail(error)
        finally:
            self._node.programs.listeners.remove(self._listen)

    async def resume(self, stored: Stored) -> None:
        """Of a job of before this node's restart: its session goes on, with or without us."""
        plan = stored.plan
        self._node.programs.listeners.append(self._listen)
        try:
            if not isinstance(plan, ProgramPlan):
                raise SessionAborted(UNBEGUN, definite=True, fix="submit the job again")
            self._plan, self._names = plan, stored.names
            self._work.phase("session", f"session {plan.session.short()} goes on", session=plan.session.hex())
            outcome = await self._awaited(plan)
            if not isinstance(outcome, ProgramOpened):
                raise self._error(outcome)
            self._work.finish(self._result(plan, stored.revealed, outcome))
        except MeshError as error:
            self._work.fail(error)
        finally:
            self._node.programs.listeners.remove(self._listen)

    async def _awaited(self, plan: ProgramPlan) -> ProgramOpened | Finished | events.Aborted:
        """The end of a session that is rebuilt from the journal; it may have ended before we listened."""
        ended = self._node.programs.ended.get(plan.session)
        if ended is not None:
            return ended
        if not await trio.to_thread.run_sync(self._node.programs.is_open, plan.session):
            known = await trio.to_thread.run_sync(self._node.programs.knows, plan.session)
            words = "its end was not stored before the node stopped" if known else UNBEGUN
            return events.Aborted("C-300", words, definite=not known)
        with trio.move_on_after(plan.total_ms / 1000 + SPARE_S):
            await self._over.wait()
        return self._outcome or events.Aborted("C-303", "the session did not end in time", definite=False)

    async def _opened(self, job: Job) -> tuple[ProgramPlan, Explanation, ProgramOpened]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                plan, explanation = await prepare(self._node, self._work.info.spec, job, self._work)
            except Refused as refusal:
                if refusal.reasons or attempt == ATTEMPTS:
                    raise
                await self._again(refusal, attempt)
                continue
            view = self._node.overlay.view()
            self._names = {party: view.name(party) for party in plan.owners}
            told = plan, tuple(explanation.revealed), self._names
            if not await trio.to_thread.run_sync(self._node.jobs.save, self._work.info, *told):
                raise unstored()
            outcome = await self._session(plan)
            if isinstance(outcome, ProgramOpened):
                return plan, explanation, outcome
            error = self._error(outcome)
            if not error.definite or error.code in FINAL or attempt == ATTEMPTS:
                raise error
            await self._again(error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _again(self, error: MeshError, attempt: int) -> None:
        self._work.phase("again", f"trying again: {error.args[0]}")
        await trio.sleep(pause_s(attempt))

    async def _session(self, plan: ProgramPlan) -> ProgramOpened | Finished | events.Aborted:
        self._plan, self._outcome, self._over = plan, None, trio.Event()
        text = f"session {plan.session.short()}"
        self._work.phase("session", text, session=plan.session.hex())
        self._begin(plan)
        try:
            with trio.move_on_after(plan.total_ms / 1000 + SPARE_S):
                await self._over.wait()
        except trio.Cancelled:
            self._node.programs.cancel(plan.session)
            raise
        if self._outcome is None:
            return events.Aborted("C-303", "the session did not end in time", definite=False)
        return self._outcome

    def _begin(self, plan: ProgramPlan) -> None:
        self._node.programs.begin(plan)

    def _listen(self, plan: ProgramPlan, event: object) -> None:
        if self._plan is None or plan.session != self._plan.session:
            return
        name = self._node.overlay.view().name
        match event:
            case events.Progress():
                self._work.emit("progress", f"{event.phase} · {event.detail}", phase=event.phase)
            case Begun():
                members = ", ".join(name(party) for party in event.members)
                what = f"{event.sites} sites · {members} compute from layer {event.layer}"
                self._work.phase("computing", what, members=members, attempt=str(event.attempt))
            case Reseated():
                gone, new = (", ".join(map(name, parties)) for parties in (event.gone, event.seated))
                self._work.emit("handover", f"{new} seated for {gone} at layer {event.layer}")
            case events.Declined():
                self._work.refused(name(event.party), event.reason)
            case events.Named():
                proof = "proven" if event.proven else "observed"
                self._work.emit(
                    "fault", f"{name(event.party)} {event.fault} ({proof})", party=name(event.party)
                )
            case ProgramOpened() | Finished() | events.Aborted():
                if self._outcome is None:
                    self._outcome = event
                    self._over.set()

    def _error(self, outcome: Finished | events.Aborted) -> SessionAborted:
        definite = isinstance(outcome, events.Aborted) and outcome.definite
        reason = outcome.reason or "the outputs went to others"
        refused = ", ".join(f"{name} ({why})" for name, why in self._work.info.refusals)
        fix = FIXES.get(outcome.code or "", "see who is away: coppice peers")
        if refused and outcome.code not in FIXES:
            fix = "those who refused say why; see who else is away: coppice peers"
        if refused:
            reason += f"; refused: {refused}"
        kind = "nothing was computed" if definite else "whether anything was opened is not known"
        error = SessionAborted(f"{reason}; {kind}", definite=definite, fix=fix)
        error.code = outcome.code or error.code
        return error

    def _result(self, plan: ProgramPlan, revealed: tuple[str, ...], opened: ProgramOpened) -> JobResult:
        rows = sum(entry.rows for entry in opened.inputs)
        found = answers.read(plan.job, opened.outputs, rows, len(opened.inputs))
        shown = tuple(AnswerInfo(a.statistic, a.column, a.value, a.n, a.edges) for a in found)
        known = self._node.overlay.view().name
        counted = {entry.dealer for entry in opened.inputs}

        def name(party: PartyId) -> str:
            return self._names.get(party) or known(party)

        driver = self._node.programs.driver(plan.session)
        only = shown[0] if len(shown) == 1 else None
        self._work.emit(
            "computed", f"{opened.rounds} rounds · {opened.attempts} interruptions", rounds=str(opened.rounds)
        )
        return JobResult(
            value=only.value if only else None,
            n=only.n if only else None,
            sites=len(counted),
            receipt=opened.transcript.hex(),
            answers=shown,
            session=plan.session.hex(),
            seconds=round(time.monotonic() - self._started, 3),
            bytes_sent=driver.bytes_sent if driver else 0,
            revealed=revealed,
            missing=tuple(name(party) for party in plan.owners if party not in counted),
            counted=tuple(name(party) for party in sorted(counted)),
        )


async def prepare(
    node: Node, spec: JobSpec, job: Job, work: Work | None = None
) -> tuple[ProgramPlan, Explanation]:
    """Ask the owners and plan with those who are willing. Raises Refused, TooFewDealers, LocalMisuse."""
    questions.asked(job)
    limits = limits_for(node.programs.limits, spec)
    picture = node.picture()
    if work:
        work.phase("asking", f"asking {len(picture.view.alive)} members for their owners' consent")
    inquiry = Inquiry(os.urandom(16), job, min(len(picture.view.alive), 4096), 1)
    poll = await node.poll(inquiry)
    picture = node.picture()
    willing = sorted(party for party in poll.willing if picture.view.is_alive(party))
    refused = refusals_of(poll)
    if work:
        for party, reason in sorted(refused.items()):
            work.refused(picture.view.name(party), reason)
    if len(willing) < job.min_sites:
        raise too_few(node, job, willing, poll)
    name = picture.view.name
    held = {name(party): poll.held.get(party, ()) for party in willing}
    check_columns(job, held, {name(party): reason for party, reason in refused.items()})
    if poll.whole:  # owners that answered the like before want the same sites again or nothing
        job = replace(job, min_sites=len(willing))
    plan = plan_program(
        picture.view, picture.record, job, willing, nonce=os.urandom(32), limits=limits, mode=spec.mode
    )
    rows = (await _assumed_rows(node, job),) * len(plan.owners)
    explanation = await trio.to_thread.run_sync(_explained, node, plan, rows)
    if work:
        members = f"committee {plan.threshold} of {plan.size}"
        text = f"{len(plan.owners)} sites · {members} · {explanation.rounds} rounds"
        work.emit("planned", text, session=plan.session.hex())
    return plan, explanation


def check_columns(job: Job, held: Mapping[str, tuple[str, ...]], refused: Mapping[str, str]) -> None:
    """Columns of a vertical regression come from exactly one site each: two would be added to each other.

    `held`: columns of each willing site, `refused`: why others are not, by name. Raises ConfigError C-671.
    """
    if job.queries[0].statistic != "logistic":
        return
    holders = {q.column: sorted(site for site, at in held.items() if q.column in at) for q in job.queries}
    twice = [f"{column!r} is at {', '.join(sites)}" for column, sites in holders.items() if len(sites) > 1]
    if twice:
        raise ConfigError(
            f"each column of a regression comes from exactly one site: {'; '.join(twice)}",
            code="C-671",
            fix="leave the column out, or let all but one of these owners drop or rename theirs",
        )
    nowhere = [repr(column) for column, sites in holders.items() if not sites]
    if nowhere:
        here = "; ".join(f"{site} has {', '.join(columns)}" for site, columns in sorted(held.items()))
        no = "".join(f"; {site} refused ({reason})" for site, reason in sorted(refused.items()))
        raise ConfigError(
            f"no site that would take part has column {', '.join(nowhere)} of {job.dataset!r}: {here}{no}",
            code="C-671",
            fix="name columns that these sites have, or wait for the site that has it: coppice peers",
        )


def _explained(node: Node, plan: ProgramPlan, rows: tuple[int, ...]) -> Explanation:
    """For as many rows at each site as we have; if that is too much, for ours and one of every other site."""
    try:
        program = _assumed(plan, rows)
    except LocalMisuse:
        if plan.job.queries[0].statistic in names.SPLIT or len(set(rows)) > 1:
            raise
        return _explained(node, plan, (rows[0], *(1 for _ in rows[1:])))
    cost = program.cost(plan.committee())
    return program_explain.explain(plan, node.overlay.view(), cost, rows, exact=False)


def _assumed(plan: ProgramPlan, rows: tuple[int, ...]) -> questions.Compiled:
    roster = questions.Roster(tuple(range(len(rows))), rows)
    return questions.compiled(plan.job, roster, plan.committee(), limits=(plan.limits,))


async def _assumed_rows(node: Node, job: Job) -> int:
    """Ours, if we have the data set."""
    for info in await trio.to_thread.run_sync(node.room.list):
        if info.name == job.dataset:
            return max(1, min(info.columns.get(query.column, info.rows) for query in job.queries))
    return ASSUMED_ROWS


def report_of(explanation: Explanation) -> PlanReport:
    """A dry run as clients see it."""
    committees = tuple(CommitteeFacts(**asdict(facts)) for facts in explanation.committees)
    costs = tuple(RoleCost(cost.role, cost.bytes_sent) for cost in explanation.costs)
    facts = {field.name: getattr(explanation, field.name) for field in fields(explanation)}
    return PlanReport(**(facts | {"committees": committees, "costs": costs}))


def limits_for(limits: ProgramLimits, spec: JobSpec) -> ProgramLimits:
    """A node's limits with the patience that a job asks for."""
    if spec.timeout_s is None:
        return limits
    total_ms = max(1000, min(int(spec.timeout_s * 1000), 86_400_000))
    return replace(limits, total_ms=total_ms, collect_ms=min(limits.collect_ms, total_ms // 3))


def is_program(spec: JobSpec) -> bool:
    """Whether a committee program answers the job. Raises ConfigError for a mixture with sums."""
    found = {names.is_program(query.statistic) for query in spec.queries}
    if len(found) > 1 or (True in found and len({query.statistic for query in spec.queries}) > 1):
        raise ConfigError(
            "programs answer one question at a time", code="C-631", fix="submit one job for each statistic"
        )
    return True in found
