"""A training run of this node's person: one secure session a round, by the ordinary machinery of jobs.

    step 0   mean and variance of the columns, by secure sums, if they are to be standardised
    round r  publish the weights, name them in the job, plan with whoever is willing, sum the updates
    after it every device of the round makes the next weights from the certified total (training_runs)

Who joins late is asked in the next round, who left is not in its roster, and a round that failed is run again
with whoever is there: training never restarts. When the run cannot go on it ends with a definite error, and
the last certified model stays on this node and on every device that took part.

A linear regression by its exact method is a single round without descent.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import trio

from mesh.api.shapes import AnswerInfo, JobResult, JobSpec, QuerySpec, RoundInfo, TrainSpec
from mesh.overlay.plan_explain import Explanation
from mesh.runtime import background
from mesh.runtime.jobs.calculation import Calculation
from mesh.runtime.jobs.records import Job as Work
from mesh.runtime.node import Node
from mesh.runtime.training import recipe as recipes
from mesh.runtime.training.models import Ledger
from mesh.runtime.training.recipe import Scaling
from mesh.runtime.training.runs import next_round
from protocols.errors import MeshError, Refused, SessionAborted
from protocols.identifiers import Digest, PartyId
from protocols.learning import least_squares, models, rounds
from protocols.learning.rounds import Round
from protocols.sessions import events
from protocols.sessions.plan import MAX_LENGTH, Job, Plan, Query
from protocols.statistics import registry as statistics
from protocols.statistics.statistic import Answer
from protocols.statistics.update import gram_of

TRIES = 6
PAUSE_S = 1.0
"""Between tries of a round that failed: what was lost is noticed, and others may come, meanwhile."""


class Training:
    """Runs one training run to its end."""

    def __init__(self, node: Node, work: Work, spec: TrainSpec, ledger: Ledger) -> None:
        self._node = node
        self._work = work
        self._spec = spec
        self._ledger = ledger
        self._calculation = Calculation(node, work)
        self._min_sites = spec.min_sites if spec.min_sites is not None else node.config.min_sites
        self._started = time.monotonic()
        self._history: list[RoundInfo] = []
        self._last: tuple[Plan, Explanation, events.Opened] | None = None
        self._asked = False

    async def run(self) -> None:
        """Until the work has its result or an error, which it keeps."""
        try:
            with self._calculation.listening():
                await self._train()
        except MeshError as error:
            if self._history:
                kept = f"the last certified model is kept: coppice models show {self._work.info.id}"
                error.fix = f"{error.fix}; {kept}" if error.fix else kept
            self._work.fail(error)

    async def _train(self) -> None:
        current = await self._first()
        self._ledger.name(self._work.info.id, current)
        self._ledger.private(current.run.hex(), self._min_sites, self._spec.dp_delta)
        if recipes.exact(self._spec):
            current = await self._regression(current)
        else:
            current = await self._descend(current)
        self._ledger.note(current, tuple(self._history))
        self._work.finish(self._result(current))

    async def _first(self) -> Round:
        """Where the run starts: at the certified model it resumes, or at fresh weights."""
        spec = self._spec
        if spec.resume:
            kept = await background.run(self._node.runs.load, spec.resume)
            recipes.check_resumed(spec, kept.round.recipe)
            return kept.round
        columns = recipes.columns_to_scale(spec)
        answers: list[AnswerInfo] = []
        if columns:
            self._work.phase("scaling", f"mean and variance of {len(columns)} columns by secure sums")
        for queries in recipes.scaling_queries(columns):
            job = Job(spec.dataset, queries, self._min_sites, spec.purpose)
            for answer in await self._answers(job):
                answers.append(AnswerInfo(answer.statistic, answer.column, answer.listed, answer.n))
        found = recipes.scaling(answers) if answers else Scaling({}, {}, None)
        made = recipes.recipe(spec, found, self._min_sites)
        seed = spec.seed.to_bytes(32, "big", signed=True)
        return rounds.first(made, os.urandom(16), models.initial(made.model, seed))

    # -- rounds -----------------------------------------------------------------------------------------

    async def _descend(self, current: Round) -> Round:
        spec, until = self._spec, current.number + self._spec.rounds
        best, stale = float("inf"), 0
        while current.number < until:
            current, loss = await self._round(current)
            if spec.patience and loss is not None:
                best, stale = (loss, 0) if loss < best else (best, stale + 1)
                if stale >= spec.patience:
                    self._work.emit("stopped", f"no lower loss in {spec.patience} rounds")
                    break
        if self._evaluates(current):
            await self._evaluate(current)
        return current

    async def _round(self, current: Round) -> tuple[Round, float | None]:
        """One round: the next state, and the loss of the weights it started from."""
        began = time.monotonic()
        job = await self._job(current, (Query("update", current.recipe.label, current.recipe.parameters),))
        together = self._evaluates(current) and _fits(job, self._metrics(current))
        if together:
            job = replace(job, queries=(*job.queries, *self._metrics(current)))
        found: tuple[Answer, ...] = ()
        if self._spec.patience and self._evaluates(current) and not together:
            found = await self._answers(await self._job(current, self._metrics(current)))
        plan, _, opened = await self._session(job)
        after = await background.run(next_round, plan, current, opened)
        assert after is not None
        await self._node.runs.keep(after, opened.transcript)
        found = _decode(plan, opened) if together else found
        n = int(opened.total[0])
        info = RoundInfo(
            after.number, opened.sites, n, opened.transcript.hex(),
            round(time.monotonic() - began, 3), _value(found, "loss"), _value(found, "accuracy"),
        )  # fmt: skip
        self._remember(after, info)
        return after, info.loss

    async def _evaluate(self, current: Round) -> None:
        """Loss and accuracy of the last weights, in a session of their own."""
        bins = (float(self._spec.ranking),)
        curve = (Query("ranking", current.recipe.label, bins),) if self._spec.ranking else ()
        plan, _, opened = await self._session(await self._job(current, (*self._metrics(current), *curve)))
        found = _decode(plan, opened)
        info = RoundInfo(
            current.number + 1, opened.sites, found[0].n, opened.transcript.hex(),
            0.0, _value(found, "loss"), _value(found, "accuracy"), _value(found, "ranking"),
        )  # fmt: skip
        self._history.append(info)
        self._work.emit("evaluated", _words(info))

    async def _regression(self, current: Round) -> Round:
        """Sums of products in one session, solved exactly."""
        job = await self._job(current, (Query("gram", current.recipe.label, gram_of(current)),))
        self._work.phase("session", "sums of products by one secure sum")
        began = time.monotonic()
        plan, _, opened = await self._session(job)
        features, clip, max_rows = job.queries[0].parameters
        n, gram = least_squares.decode(opened.total, int(features), clip, int(max_rows))
        fit = least_squares.solve(n, gram, self._spec.penalty)
        weights = np.append(fit.coefficients, fit.intercept)
        after = replace(current, number=1, session=Digest(plan.session), weights=weights)
        info = RoundInfo(1, opened.sites, n, opened.transcript.hex(),
                         round(time.monotonic() - began, 3), fit.loss)  # fmt: skip
        self._remember(after, info)
        await self._node.runs.keep(after, opened.transcript)
        self._ledger.fitted(after, fit.r2)
        return after

    def _remember(self, after: Round, info: RoundInfo) -> None:
        self._history.append(info)
        self._ledger.note(after, tuple(self._history))
        self._work.phase("round", _words(info), round=str(info.number))

    # -- sessions ---------------------------------------------------------------------------------------

    async def _job(self, current: Round, queries: tuple[Query, ...]) -> Job:
        blob = await background.run(current.encoded)
        name = self._node.inputs.hold(await background.run(rounds.blob_name, blob), blob)
        purpose = self._spec.purpose or f"train {self._spec.kind} · round {current.number + 1}"
        return Job(self._spec.dataset, queries, self._min_sites, purpose, (name,))

    async def _session(self, job: Job) -> tuple[Plan, Explanation, events.Opened]:
        """The job's session, tried again with whoever is there when it fails. Raises its last error."""
        for attempt in range(1, TRIES + 1):
            try:
                self._last = await self._calculation.opened(job, quiet=self._asked)
            except Refused as refusal:
                if refusal.reasons or attempt == TRIES:
                    raise
                await self._pause(refusal)
            except SessionAborted as error:
                if attempt == TRIES or self._is_refused():
                    raise
                await self._pause(error)
            else:
                self._asked = True
                return self._last
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _is_refused(self) -> bool:
        """Whether the rows, labels or plug-ins (C-64x) of so many do not fit that trying again is no use."""
        view = self._node.overlay.view()
        refusing = {name for name, reason in self._work.info.refusals if "C-64" in reason}
        left = sum(member.certificate.name not in refusing for member in view.alive)
        return left < self._min_sites

    async def _pause(self, error: MeshError) -> None:
        self._work.emit("again", f"the round is run again: {error.args[0]}")
        await trio.sleep(PAUSE_S)

    async def _answers(self, job: Job) -> tuple[Answer, ...]:
        plan, _, opened = await self._session(job)
        return _decode(plan, opened)

    # -- what is measured -------------------------------------------------------------------------------

    def _evaluates(self, current: Round) -> bool:
        recipe = current.recipe
        return self._spec.evaluate and recipe.unit == "none" and recipe.model.kind != "plugin"

    def _metrics(self, current: Round) -> tuple[Query, ...]:
        label = current.recipe.label
        accuracy = (Query("accuracy", label, ()),) if current.recipe.model.task == "classification" else ()
        return (Query("loss", label, ()), *accuracy)

    def _result(self, current: Round) -> JobResult:
        last = self._history[-1]
        assert self._last is not None
        plan, explanation, opened = self._last
        view = self._node.overlay.view()
        measured = (("loss", last.loss), ("accuracy", last.accuracy), ("ranking", last.area))
        label = current.recipe.label
        answers = [AnswerInfo(name, label, value, last.n) for name, value in measured if value is not None]
        return JobResult(
            value=last.loss,
            n=last.n,
            sites=last.sites,
            receipt=last.receipt,
            answers=tuple(answers),
            session=plan.session.hex(),
            seconds=round(time.monotonic() - self._started, 3),
            bytes_sent=self._calculation.bytes_sent,
            revealed=explanation.revealed,
            missing=tuple(view.name(party) for party in _absent(plan, opened)),
            counted=tuple(view.name(party) for party in opened.contributors),
            model=current.run.hex(),
            job=self._work.info.id,
        )


def work_spec(spec: TrainSpec) -> JobSpec:
    """The job under which a run is listed and watched."""
    query = QuerySpec(f"train {spec.kind}", spec.label)
    return JobSpec(spec.dataset, (query,), spec.min_sites, spec.timeout_s, spec.purpose)


def _fits(job: Job, more: tuple[Query, ...]) -> bool:
    """Whether the metrics go with the update in one direct session."""
    return statistics.job_length(replace(job, queries=(*job.queries, *more))) <= MAX_LENGTH


def _decode(plan: Plan, opened: events.Opened) -> tuple[Answer, ...]:
    return statistics.decode_job(plan.job, opened.total, opened.sites)


def _value(found: tuple[Answer, ...], statistic: str) -> float | None:
    value = next((answer.value for answer in found if answer.statistic == statistic), None)
    return float(value) if isinstance(value, int | float) else None


def _words(info: RoundInfo) -> str:
    words = [f"round {info.number}", f"{info.sites} sites", f"{info.seconds:.2f} s"]
    if info.loss is not None:
        words.append(f"loss {info.loss:.5g}")
    if info.accuracy is not None:
        words.append(f"accuracy {info.accuracy:.4f}")
    if info.area is not None:
        words.append(f"area under precision-recall {info.area:.4f}")
    return " · ".join(words)


def _absent(plan: Plan, opened: events.Opened) -> list[PartyId]:
    """Devices that were asked and not counted; of a plan by role nobody has the names."""
    return [] if plan.by_role else sorted(set(plan.dealers) - set(opened.contributors))
