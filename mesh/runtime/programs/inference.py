"""Private inference: a model file of this person's, on rows of another site or on rows of its own.

The submitter deals the weights, the owner of the rows deals these, a committee evaluates the graph, and its
output is revealed to the submitter alone: the graph names it, so that the digest which the owner allows
(policy: `allow = ["program"]`, `programs = [digest]`) fixes the recipient, the layers and the number of rows.
The weights are secret from the owner too. So what an answer tells of a row is the submitter's choice, up to
log2(classes) bits a row for the class and a whole vector for the output: the owner's consent is to that.

Invariant: nothing is dealt before the model, the columns and the rows fit; an error names what does not.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import trio

from mesh.api.shapes import AnswerInfo, InferenceSpec, JobResult, JobSpec, QuerySpec
from mesh.data import schema, sources
from mesh.models import onnx_reader
from mesh.overlay import program_explain
from mesh.overlay.plan_explain import Explanation
from mesh.overlay.program_planner import plan_program
from mesh.runtime.jobs.attempts import ATTEMPTS
from mesh.runtime.jobs.inquiry import Inquiry, Poll
from mesh.runtime.jobs.records import Job as Work
from mesh.runtime.jobs.results import INLINE_VALUES
from mesh.runtime.node import Node
from mesh.runtime.programs.jobs import FINAL, ProgramCalculation, limits_for
from protocols.arithmetic.rns import Residues
from protocols.circuits.cost import cost
from protocols.circuits.graph import Graph
from protocols.circuits.lower import lower
from protocols.circuits.network import Network, compiled
from protocols.circuits.passes import optimised
from protocols.errors import ConfigError, MeshError, Refused
from protocols.identifiers import PartyId
from protocols.programs import split
from protocols.programs.plan import ProgramPlan
from protocols.programs.recipient import ProgramOpened
from protocols.sessions.plan import Job, Query

MOST_COLUMNS = 64
"""Of another site's data set: a job's questions, which its policy judges one by one."""
MOST_LINES = 64
"""Outputs that are shown one by one; more are one vector."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of ours, (count, columns)."""

    columns: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything that a session needs."""

    plan: ProgramPlan
    graph: Graph
    values: Residues
    explanation: Explanation
    count: int


def check(spec: InferenceSpec) -> None:
    """Raise ConfigError C-101 for a request without sense."""
    if bool(spec.dataset) == bool(spec.rows):
        raise _wrong("name the rows once", "--on DATASET of another site, or --rows FILE.csv of yours")
    if spec.dataset and not spec.columns:
        raise _wrong("which columns fill a row of the model is not said", "--columns c1,c2,...")
    if spec.dataset and len(spec.columns) > MOST_COLUMNS:
        raise _wrong(
            f"{len(spec.columns)} columns of another site are more than {MOST_COLUMNS}: its policy judges"
            " every column by itself, and a job carries at most as many questions",
            "use a model with fewer, or --rows FILE.csv",
        )
    if len(set(spec.columns)) != len(spec.columns):
        raise _wrong("a column is named twice", "name each once")
    if spec.limit is not None and not 1 <= spec.limit <= 1 << 20:
        raise _wrong(f"--limit {spec.limit}: no number of rows", "for example --limit 10")
    if spec.reveal not in ("class", "output"):
        raise _wrong(f"--reveal {spec.reveal}: there is no such answer", "--reveal class or output")
    if spec.mode not in ("P", "A"):
        raise _wrong(f"--mode {spec.mode}: there is no such mode", "--mode P or A")
    if not (math.isfinite(spec.low) and math.isfinite(spec.high) and spec.low < spec.high):
        raise _wrong(f"--low {spec.low:g} --high {spec.high:g}: no range", "for example --low 0 --high 1")


def _wrong(what: str, fix: str) -> ConfigError:
    return ConfigError(what, code="C-101", fix=fix)


def work_spec(spec: InferenceSpec) -> JobSpec:
    """The job under which it is listed and watched."""
    query = QuerySpec("inference", Path(spec.model).name)
    rows = spec.dataset or Path(spec.rows).name
    return JobSpec(rows, (query,), None, spec.timeout_s, spec.purpose, spec.mode)


class Inference(ProgramCalculation):
    """Runs one inference of this node's person."""

    def __init__(self, node: Node, work: Work, spec: InferenceSpec) -> None:
        super().__init__(node, work)
        self._spec = spec
        self._ready: Ready | None = None

    async def run(self) -> None:
        """Until the job has its result or an error, which it keeps."""
        self._node.programs.listeners.append(self._listen)
        try:
            self._work.finish(await self._answered())
        except MeshError as error:
            self._work.fail(error)
        finally:
            self._node.programs.listeners.remove(self._listen)

    async def _answered(self) -> JobResult:
        for attempt in range(1, ATTEMPTS + 1):
            self._ready = ready = await prepare(self._node, self._spec, self._work)
            outcome = await self._session(ready.plan)
            if isinstance(outcome, ProgramOpened):
                return await self._told(ready, outcome)
            error = self._error(outcome)
            if not error.definite or error.code in FINAL or attempt == ATTEMPTS:
                raise error
            await self._again(error, attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _begin(self, plan: ProgramPlan) -> None:
        assert self._ready is not None  # `_answered` sets it before each session
        self._node.programs.begin(plan, self._ready.graph, (self._ready.values, 0))

    async def _told(self, ready: Ready, opened: ProgramOpened) -> JobResult:
        name = self._node.overlay.view().name
        answers = []
        for index, (what, values) in enumerate(_lines(self._spec, opened.outputs[self._spec.reveal])):
            value: tuple[int | float, ...] | None = tuple(values.tolist())
            if values.size > INLINE_VALUES:
                await trio.to_thread.run_sync(
                    self._node.results.keep, self._work.info.id, index, values.astype(np.float64)
                )
                value = None
            length = 0 if value is not None else values.size
            answers.append(AnswerInfo(self._spec.reveal, what, value, ready.count, length=length))
        driver = self._node.programs.driver(ready.plan.session)
        return JobResult(
            value=answers[0].value if len(answers) == 1 else None,
            n=ready.count,
            sites=len(ready.plan.owners),
            receipt=opened.transcript.hex(),
            answers=tuple(answers),
            session=ready.plan.session.hex(),
            seconds=round(time.monotonic() - self._started, 3),
            bytes_sent=driver.bytes_sent if driver else 0,
            revealed=ready.explanation.revealed,
            counted=tuple(name(party) for party in ready.plan.owners),
            job=self._work.info.id,
        )


def _lines(spec: InferenceSpec, opened: Floats) -> list[tuple[str, Floats | npt.NDArray[np.int64]]]:
    """What is shown: the class of each row, or one vector over the rows for each output."""
    if spec.reveal == "class":
        return [(Path(spec.model).name, np.rint(opened).astype(np.int64).ravel())]
    table = opened.reshape(opened.shape[0], -1)
    if table.shape[1] > MOST_LINES:
        return [(Path(spec.model).name, table.ravel())]
    return [(str(at), table[:, at]) for at in range(table.shape[1])]


# -- before the session --------------------------------------------------------------------------------


async def prepare(node: Node, spec: InferenceSpec, work: Work | None = None) -> Ready:
    """Read the model, ask the rows' owner, and plan.

    Raises ConfigError C-101, C-66x for the model, DataError and ConfigError C-671 for rows that do not fit,
    Refused when the owner does not allow it, with what it has to allow.
    """
    check(spec)
    ours = await trio.to_thread.run_sync(_own_rows, spec) if spec.rows else None
    network = await trio.to_thread.run_sync(_network, spec, ours)
    owner = node.me if ours is not None else await _holder(node, spec, work)
    owners = sorted({node.me, owner})
    graph, values = await trio.to_thread.run_sync(_dealt, spec, network, ours, owners, node.me, owner)
    blob = await trio.to_thread.run_sync(graph.encoded)
    queries = tuple(Query("program", column, ()) for column in (spec.columns if ours is None else ("",)))
    job = Job(spec.dataset, queries, 2, spec.purpose, (node.inputs.publish(blob),))
    if owner != node.me:
        await _permitted(node, job, owner)
    limits = limits_for(node.programs.limits, work_spec(spec))
    picture = node.picture()
    plan = plan_program(
        picture.view, picture.record, job, owners, nonce=os.urandom(32), limits=limits, mode=spec.mode
    )
    explanation = await trio.to_thread.run_sync(_explained, node, spec, plan, graph, network)
    if work:
        text = f"committee {plan.threshold} of {plan.size} · {explanation.rounds} rounds · program "
        work.emit("planned", text + job.inputs[0].hex()[:16], session=plan.session.hex())
    return Ready(plan, graph, values, explanation, network.shape[0])


def _own_rows(spec: InferenceSpec) -> Rows:
    """Of the file. Raises DataError, ConfigError C-671."""
    contents = sources.read(Path(spec.rows), schema.Schema(), spec.columns or None)
    names = spec.columns or tuple(contents.columns)
    sizes = {len(contents.columns[name]) for name in names}
    if len(sizes) != 1 or sizes == {0}:
        raise ConfigError(
            f"{spec.rows}: values are missing in some rows", code="C-671", fix="fill them, or drop the rows"
        )
    values = np.stack([np.asarray(contents.columns[name], dtype=np.float64) for name in names], axis=-1)
    if spec.limit is not None and spec.limit > len(values):
        raise ConfigError(
            f"--limit {spec.limit}: {spec.rows} has {len(values)} rows", code="C-671", fix="ask for fewer"
        )
    return Rows(names, values[: spec.limit])


def _network(spec: InferenceSpec, ours: Rows | None) -> Network:
    """The model for as many rows as are asked for. Raises ConfigError C-101, C-660 … C-662, C-671."""
    count = len(ours.values) if ours is not None else spec.limit
    report = onnx_reader.read(Path(spec.model), batch=count)
    network = report.network
    if network is None:
        first = report.findings[0]
        if count is None and [finding.operation for finding in report.findings] == ["input"]:
            raise _wrong("the model takes any number of rows", "say how many of the first: --limit N")
        raise ConfigError(
            f"{spec.model}: {first.operation} {first.name} {first.problem}",
            code="C-662",
            fix=first.alternative,
        )
    if count is not None and network.shape[0] != count:
        raise ConfigError(
            f"the model takes {network.shape[0]} rows at once, {count} are given",
            code="C-671",
            fix=f"--limit {network.shape[0]}, or export it with an open number of rows",
        )
    columns, wanted = len(ours.columns if ours is not None else spec.columns), math.prod(network.shape[1:])
    if columns != wanted:
        raise ConfigError(
            f"a row of the model has {wanted} values, {columns} columns are named",
            code="C-671",
            fix="name as many --columns, in the order in which the model was trained",
        )
    return network


def _dealt(
    spec: InferenceSpec,
    network: Network,
    ours: Rows | None,
    owners: list[PartyId],
    me: PartyId,
    owner: PartyId,
) -> tuple[Graph, Residues]:
    """The program, and what we deal. Raises LocalMisuse for a value out of range or layers that misfit."""
    place, sample = owners.index(me), f"{owners.index(owner)}:*"
    made = compiled(
        network,
        low=spec.low,
        high=spec.high,
        reveal=spec.reveal,
        recipient=me.hex(),
        prefix=f"{place}:",
        sample=sample,
    )
    graph, values = optimised(made.graph), dict(made.weights)
    if ours is not None:
        values[sample] = ours.values.reshape(network.shape)
    return graph, split.encoded_program(graph, place, values)


async def _holder(node: Node, spec: InferenceSpec, work: Work | None) -> PartyId:
    """Whose data set it is. Raises ConfigError C-101 if that is not clear, Refused if nobody has it."""
    if work:
        work.phase("asking", f"asking who has {spec.dataset}")
    query = tuple(Query("program", column, ()) for column in spec.columns)
    poll = await _polled(node, Job(spec.dataset, query, 2, spec.purpose))
    name = node.picture().view.name
    without = {party for party, reason in poll.reasons.items() if "rule dataset" in reason}
    holders = sorted((poll.willing | poll.reasons.keys()) - without - poll.silent, key=name)
    others = [party for party in holders if party != node.me]
    if spec.site:
        others = [party for party in others if spec.site in (name(party), party.hex())]
    if len(others) == 1:
        return others[0]
    if others:
        listed = ", ".join(name(party) for party in others)
        raise _wrong(f"{spec.dataset!r} is at {listed}", f"say whose rows: --site {name(others[0])}")
    if node.me in holders and not spec.site:
        raise _wrong(f"{spec.dataset!r} is a data set of this node", "name its file: --rows FILE.csv")
    where = f"{spec.site} has" if spec.site else "no other site that is here has"
    raise Refused(
        f"{where} {'no' if spec.site else 'a'} data set {spec.dataset!r}",
        reasons={},
        fix="see who is here: coppice peers",
    )


async def _permitted(node: Node, job: Job, owner: PartyId) -> None:
    """Ask the rows' owner. Raises Refused with what its policy has to say."""
    poll = await _polled(node, job)
    if owner in poll.willing:
        return
    name, reason = node.picture().view.name(owner), poll.reasons.get(owner, "not reachable")
    allowed = f"--allow program --programs {job.inputs[0].hex()} --min-sites 2"
    raise Refused(
        f"{name} does not let this program read {job.dataset!r}: {reason}",
        reasons={owner: reason},
        fix=f"its owner runs: coppice policy init {job.dataset} {allowed} --replace;"
        f" what it computes is told there by: coppice programs show {job.inputs[0].hex()[:16]}",
    )


async def _polled(node: Node, job: Job) -> Poll:
    return await node.poll(Inquiry(os.urandom(16), job, 2, 1))


def _explained(
    node: Node, spec: InferenceSpec, plan: ProgramPlan, graph: Graph, network: Network
) -> Explanation:
    committee, view = plan.committee(), node.overlay.view()
    found = cost(lower(graph, committee), committee)
    dealt = [
        sum(math.prod(graph.nodes[at].shape) for name, at in graph.inputs.items() if name.startswith(f"{k}:"))
        for k in range(len(plan.owners))
    ]
    explanation = program_explain.explain(plan, view, found, (max(dealt),), exact=True)
    me, count, digest = view.name(node.me), network.shape[0], plan.job.inputs[0].hex()
    owner = next((view.name(party) for party in plan.owners if party != node.me), me)
    rows = f"{count} rows of {spec.dataset or Path(spec.rows).name} at {owner}"
    what = "the class" if spec.reveal == "class" else "every output"
    revealed = (
        f"to {me}: {what} of each of {rows}",
        f"to all {len(plan.parties)} participants: the layers and their sizes, the power of two above the"
        f" weights of each, the number of rows, which columns (program {digest})",
        "to nobody: a weight, a value of a row, anything between the layers",
    )
    warning = (
        "the weights are secret from the owner of the rows: what an answer tells of a row is up to the model"
    )
    more = () if owner == me else (warning,)
    return replace(explanation, revealed=revealed, warnings=(*explanation.warnings, *more))
