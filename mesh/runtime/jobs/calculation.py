"""One job from its words to its result: ask owners, plan, run the session, try again where that is safe.

A failed session is tried again only if its abort was definite: then provably nothing was or will be opened,
so a second session over a slightly different roster cannot be subtracted from the first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import trio

from mesh.api.shapes import AnswerInfo, JobResult, JobSpec
from mesh.overlay.plan_explain import Explanation, explain
from mesh.overlay.planner import PlanLimits, plan_session
from mesh.overlay.sortition import committee_size
from mesh.runtime import background
from mesh.runtime.jobs.attempts import ATTEMPTS, pause_s
from mesh.runtime.jobs.gathering import gathered
from mesh.runtime.jobs.inquiry import Inquiry, Poll
from mesh.runtime.jobs.records import Job as Work
from mesh.runtime.jobs.results import INLINE_VALUES
from mesh.runtime.jobs.store import Stored, unstored
from mesh.runtime.node import Node
from mesh.runtime.vectors import masked
from protocols.errors import (
    ConfigError,
    DeadlinePassed,
    MeshError,
    Refused,
    SessionAborted,
    ThresholdLost,
    TooFewDealers,
)
from protocols.identifiers import PartyId
from protocols.programs.plan import MODES
from protocols.sessions import codewords, events
from protocols.sessions.messages import AbortProof, Result
from protocols.sessions.plan import Job, Plan, Query
from protocols.sessions.transcript import transcript
from protocols.statistics import registry as statistics
from protocols.statistics.statistic import Answer

MOST_QUERIES = 64
"""Of one job, as its plan carries them."""
SPARE_S = 15.0
"""Beyond the plan's total: our own machine has ended long before, unless it is broken. And so long does a job
wait when its session ended in doubt: whoever was down at its end clears it up when it is back."""
AGAIN_S = 120.0
"""A job of before a restart is begun again, if it is no older: a job that stops the node is not for ever."""
LOOK_S = 0.25
_UNBEGUN = "the node stopped before the session began"
_BETWEEN = "the node stopped between two tries"

_ABORTS: dict[str, type[SessionAborted]] = {
    "C-301": TooFewDealers,
    "C-302": ThresholdLost,
    "C-303": DeadlinePassed,
}


class Calculation:
    """Runs one job of this node's person."""

    def __init__(self, node: Node, work: Work) -> None:
        self._node = node
        self._work = work
        self._plan: Plan | None = None
        self._outcome: events.Opened | events.Aborted | None = None
        self._over = trio.Event()
        self._started = time.monotonic()
        self.bytes_sent = 0
        self._quiet = False
        self._names: dict[PartyId, str] = {}
        self._declined: set[PartyId] = set()

    async def run(self) -> None:
        """Until the job has its result or an error, which it keeps."""
        try:
            job = job_of(self._work.info.spec, self._node.config.min_sites)
            with self.listening():
                plan, explanation, opened = await self.opened(job)
                self._work.finish(await self._result(plan, explanation.revealed, opened))
        except MeshError as error:
            self._work.fail(error)

    async def resume(self, stored: Stored) -> None:
        """Of a job of before this node's restart: wait for the end of its session, wherever it is known."""
        plan = stored.plan
        try:
            if not isinstance(plan, Plan):
                raise SessionAborted(_UNBEGUN, definite=True, fix="submit the job again")
            self._plan, self._names = plan, stored.names
            self._work.phase("session", f"session {plan.session.short()} goes on", session=plan.session.hex())
            with self.listening():
                outcome = await self._awaited(plan, plan.total_ms / 1000 + SPARE_S)
            if not isinstance(outcome, events.Opened):
                raise self._error(outcome)
            self._work.finish(await self._result(plan, stored.revealed, outcome))
        except SessionAborted as error:
            if not error.definite or time.time() > self._work.info.created_at + AGAIN_S:
                return self._work.fail(error)
            self._work.phase("again", f"beginning again: {error.args[0]}")
            await gathered(self._node)
            await self.run()
        except MeshError as error:
            self._work.fail(error)

    async def _awaited(self, plan: Plan, seconds: float) -> events.Opened | events.Aborted:
        """How a session that may have ended in doubt did end, as soon as anybody tells."""
        with trio.move_on_after(seconds):
            while True:
                proof = self._node.sessions.aftermath.proof(plan.session)
                if isinstance(proof, Result) and plan.bulk is None:  # of masked sums it has the keys only
                    counted = proof.certificate.roster.contributors
                    return events.Opened(proof, proof.total, counted, transcript(plan.session, proof))
                if isinstance(proof, AbortProof):
                    return events.Aborted(proof.votes[0].code, proof.votes[0].reason, definite=True)
                if self._node.sessions.aftermath.aborted(plan.session):  # and the next one had not begun yet
                    return events.Aborted("C-300", _BETWEEN, definite=True)
                if self._outcome is not None and not events.in_doubt(self._outcome):
                    return self._outcome
                if not self._node.sessions.aftermath.knows(plan.session):  # our plan never left this node
                    return events.Aborted("C-300", _UNBEGUN, definite=True)
                await trio.sleep(LOOK_S)
        return self._outcome or events.Aborted("C-303", "nobody tells how it ended", definite=False)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the events of our sessions; `opened` wants it."""
        self._node.listeners.append(self._listen)
        try:
            yield
        finally:
            self._node.listeners.remove(self._listen)

    async def opened(self, job: Job, *, quiet: bool = False) -> tuple[Plan, Explanation, events.Opened]:
        """Plan and run sessions until one opened its total. `quiet`: say only what goes wrong.

        Raises SessionAborted, Refused, ConfigError.
        """
        self._quiet = quiet
        work = None if quiet else self._work
        for attempt in range(1, ATTEMPTS + 1):
            try:
                plan, explanation = await prepare(self._node, self._work.info.spec, job, work)
            except Refused as refusal:
                if refusal.reasons or attempt == ATTEMPTS:
                    raise
                await self._again(refusal, attempt)
                continue
            view = self._node.overlay.view()
            self._names = {party: view.name(party) for party in plan.dealers}
            told = plan, tuple(explanation.revealed), self._names
            if not await trio.to_thread.run_sync(self._node.jobs.save, self._work.info, *told):
                raise unstored()
            outcome = await self._session(plan)
            if isinstance(outcome, events.Opened):
                return plan, explanation, outcome
            error = self._error(outcome)
            if not outcome.definite or outcome.code == "C-301" or attempt == ATTEMPTS:
                raise error
            await self._again(error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _again(self, error: MeshError, attempt: int) -> None:
        self._work.phase("again", f"trying again: {error.args[0]}")
        await trio.sleep(pause_s(attempt))

    async def _session(self, plan: Plan) -> events.Opened | events.Aborted:
        self._plan, self._outcome, self._over = plan, None, trio.Event()
        self._declined = set()
        if not self._quiet:
            self._work.phase("session", f"session {plan.session.short()}", session=plan.session.hex())
        self._node.sessions.begin(plan)
        with trio.move_on_after(plan.total_ms / 1000 + SPARE_S):
            await self._over.wait()
        driver = self._node.sessions.registry.live.get(plan.session)
        self.bytes_sent += driver.bytes_sent if driver else 0
        if self._outcome is None:
            return events.Aborted("C-303", "the session did not end in time", definite=False)
        return await self._awaited(plan, SPARE_S) if events.in_doubt(self._outcome) else self._outcome

    def _listen(self, plan: Plan, event: object) -> None:
        if self._plan is None or plan.session != self._plan.session:
            return
        name = self._node.overlay.view().name
        match event:
            case events.Progress() if not self._quiet:
                label = plan.stages[event.stage].label
                self._work.emit(
                    "progress", f"{label}: {event.phase} · {event.detail}", phase=event.phase, stage=label
                )
            case events.Declined():
                self._declined.add(event.party)
                self._work.refused(name(event.party), event.reason)
            case events.Named():
                proof = "proven" if event.proven else "observed"
                self._work.emit(
                    "fault", f"{name(event.party)} {event.fault} ({proof})", party=name(event.party)
                )
            case events.Opened():
                self._tell_handovers(plan, event)
                self._end(event)
            case events.Aborted():
                self._end(event)

    def _end(self, event: events.Opened | events.Aborted) -> None:
        if self._outcome is None or events.in_doubt(self._outcome):
            self._outcome = event
            self._over.set()

    def _tell_handovers(self, plan: Plan, opened: events.Opened) -> None:
        """Which substitutes got whose seats, and the shares reshared with them."""
        name = self._node.overlay.view().name
        before = plan.stages[plan.root].members
        chain = [certificate.roster.successors for certificate in opened.result.interim]
        chain += [certificate.handover.seats for certificate in opened.result.handovers]
        for seats in chain:
            after = tuple(seat.party for seat in seats)
            for old, new in zip(before, after, strict=True):
                if old != new:
                    self._work.emit("handover", f"{name(new)} seated for {name(old)}, shares reshared")
            before = after

    def _error(self, outcome: events.Aborted) -> SessionAborted:
        reason, fix = outcome.reason, "see who is away: coppice peers"
        if self._work.info.refusals:
            fix = "those who refused say why; see who else is away: coppice peers"
            reason += "; refused: " + ", ".join(f"{name} ({why})" for name, why in self._work.info.refusals)
        cls = _ABORTS.get(outcome.code, SessionAborted)
        kind = "nothing was opened" if outcome.definite else "whether anything was opened is not known"
        error = cls(f"{reason}; {kind}", definite=outcome.definite, fix=fix)
        error.code = outcome.code
        return error

    async def _result(self, plan: Plan, revealed: tuple[str, ...], opened: events.Opened) -> JobResult:
        total = opened.total if plan.codes is None else codewords.answer(plan.codes, opened.total)
        answers = await background.run(statistics.decode_job, plan.job, total, opened.sites)
        shown = tuple([await self._shown(index, answer) for index, answer in enumerate(answers)])
        known = self._node.overlay.view().name
        absent = [] if plan.by_role else sorted(set(plan.dealers) - set(opened.contributors))
        only = shown[0] if len(shown) == 1 else None
        return JobResult(
            value=only.value if only else None,
            n=only.n if only else None,
            sites=opened.sites,
            receipt=opened.transcript.hex(),
            answers=shown,
            session=plan.session.hex(),
            seconds=round(time.monotonic() - self._started, 3),
            bytes_sent=self.bytes_sent,
            revealed=revealed,
            missing=tuple(self._names.get(party) or known(party) for party in absent),
            counted=tuple(self._names.get(party) or known(party) for party in opened.contributors),
            job=self._work.info.id,
        )

    async def _shown(self, index: int, a: Answer) -> AnswerInfo:
        """An answer for people; a long vector is put into a file."""
        if isinstance(a.value, np.ndarray) and a.value.size > INLINE_VALUES:
            await background.run(self._node.results.keep, self._work.info.id, index, a.value)
            return AnswerInfo(a.statistic, a.column, None, a.n, length=a.value.size)
        return AnswerInfo(a.statistic, a.column, a.listed, a.n, a.edges, a.under, a.over)


def job_of(spec: JobSpec, default_min_sites: int) -> Job:
    """The protocol's job of a spec. Raises ConfigError for an unknown statistic or wrong parameters."""
    queries = tuple(
        Query(query.statistic, query.column, tuple(float(value) for value in query.parameters))
        for query in spec.queries
    )
    if not queries:
        raise ConfigError(
            "the job asks for nothing", code="C-631", fix="name at least one statistic and column"
        )
    if spec.mode not in MODES:
        raise ConfigError(f"--mode {spec.mode}: there is no such mode", code="C-101", fix="--mode P or A")
    if len(queries) > MOST_QUERIES:
        raise ConfigError(
            f"the job asks {len(queries)} questions, at most {MOST_QUERIES} are taken: every owner's policy"
            " judges each column by itself, before anything runs",
            code="C-631",
            fix="name fewer columns; of a regression those that matter most, of statistics several jobs",
        )
    min_sites = spec.min_sites if spec.min_sites is not None else default_min_sites
    if min_sites < 2:
        raise ConfigError(
            "min_sites must be at least 2", code="C-631", fix="a sum over one site is that site's value"
        )
    job = Job(spec.dataset, queries, min_sites, spec.purpose)
    statistics.job_length(job)
    return job


async def prepare(node: Node, spec: JobSpec, job: Job, work: Work | None = None) -> tuple[Plan, Explanation]:
    """Ask the owners and plan with those who are willing.

    Raises Refused (who and why; or sortition cannot serve), TooFewDealers.
    """
    picture = node.picture()
    alive = picture.view.alive_gateways
    committee, threshold = committee_size(
        len(set(alive) & set(picture.record.gateways)), node.limits.committee
    )
    if work:
        work.phase("asking", f"asking {len(picture.view.alive)} members for their owners' consent")
    inquiry = Inquiry(os.urandom(16), job, min(len(picture.view.alive), 4096), threshold)
    poll = await node.poll(inquiry)
    picture = node.picture()
    willing = sorted(party for party in poll.willing if picture.view.is_alive(party))
    refusals = refusals_of(poll)
    if work:
        for party, reason in sorted(refusals.items()):
            work.refused(picture.view.name(party), reason)
    if len(willing) < job.min_sites:
        raise too_few(node, job, willing, poll)
    if poll.whole:  # owners that answered the like before want the same sites again or nothing
        job = replace(job, min_sites=len(willing))
    length, limits, bulk = statistics.job_length(job), _limits(node, spec), None
    choice = masked.choice_for(job, len(willing), committee)
    if choice is not None and (masks := masked.bulk_of(job, choice)) is not None:
        bulk, length = masks
        slow_ms = masked.extra_ms(bulk, len(willing))
        limits = replace(
            limits, collect_ms=limits.collect_ms + slow_ms, total_ms=limits.total_ms + 4 * slow_ms
        )
    plan = plan_session(
        picture.view, picture.record, picture.standings, job, length=length,
        nonce=os.urandom(32), limits=limits, dealers=willing, bulk=bulk,
    )  # fmt: skip
    explanation = explain(plan, picture.view)
    if work:
        clusters = len([stage for stage in plan.stages if stage.dealers])
        root = plan.stages[plan.root]
        text = f"{len(willing)} sites · {clusters} clusters · root {root.threshold} of {root.size}"
        work.emit("planned", text, session=plan.session.hex())
        if choice is not None:
            work.emit("mode", choice.reason)
    return plan, explanation


def _limits(node: Node, spec: JobSpec) -> PlanLimits:
    if spec.timeout_s is None:
        return node.limits
    total_ms = max(1000, min(int(spec.timeout_s * 1000), 86_400_000))
    collect_ms = min(node.limits.collect_ms, total_ms // 3)
    return replace(node.limits, collect_ms=collect_ms, total_ms=total_ms)


def refusals_of(poll: Poll) -> dict[PartyId, str]:
    """Those that have the data but will not give it; peers without such a data set are not refusing."""
    return {party: reason for party, reason in poll.reasons.items() if "rule dataset" not in reason}


def too_few(node: Node, job: Job, willing: list[PartyId], poll: Poll) -> SessionAborted:
    name = node.overlay.view().name
    refusals = refusals_of(poll)
    without = sorted(name(party) for party in poll.reasons.keys() - refusals.keys())
    words = [f"{name(party)} ({reason})" for party, reason in sorted(refusals.items())]
    what = f"{len(willing)} of {job.min_sites} required sites would contribute to {job.dataset!r}"
    if willing:
        what += ": " + ", ".join(sorted(name(party) for party in willing))
    if words:
        what += "; refused: " + ", ".join(words)
    if without:
        what += "; no such data set: " + ", ".join(without)
    said_no = refusals.keys() - poll.silent
    if said_no and len(willing) + len(said_no) >= job.min_sites:
        lacking = all("rule data" in reason for reason in refusals.values())
        fix = (
            "ask for what these sites have"
            if lacking
            else "ask these owners to allow it: coppice policy init"
        )
        return Refused(what, reasons=refusals, fix=fix)
    return TooFewDealers(what, definite=True, fix="wait for more sites, or ask with a smaller --min-sites")
