"""`plan` and `jobs submit|list|watch|result|cancel|logs`: compute statistics over the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.api.result_files import write_result
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table
from mesh.cli.program_options import PROGRAMS, ProgramOptions, parameters
from protocols.errors import ConfigError

OUTCOME_WIDTH = 80
GRACE_S = 15.0
"""How much longer than the job itself we listen for its end."""

NO_OPTIONS = ProgramOptions()
Statistic = Annotated[
    str,
    Parameter(
        help="mean, sum, count, variance, stddev, histogram; several with commas. Or one by a committee "
        "program: median, quantiles, minimum, maximum, top, at_least, group_by, overlap, flagged."
    ),
]
Target = Annotated[str, Parameter(help="DATASET.COLUMN or vault:NAME.COLUMN; several columns with commas.")]
Bins = Annotated[str | None, Parameter(help="Histogram edges: START:STOP:STEP or E0,E1,E2,….")]
Sites = Annotated[int | None, Parameter(help="Fewest sites in the result.")]
Timeout = Annotated[float | None, Parameter(help="Seconds until the job gives up.")]
Purpose = Annotated[str, Parameter(help="Told to every owner who is asked.")]


def plan(
    statistic: Statistic,
    target: Target,
    *,
    min_sites: Sites = None,
    bins: Bins = None,
    options: ProgramOptions = NO_OPTIONS,
    timeout: Timeout = None,
    purpose: Purpose = "",
    common: Common = COMMON,
) -> None:
    """Dry run: who takes part, what it costs and survives, what is revealed to whom."""
    answer = common.client.plan(job_spec(statistic, target, min_sites, bins, timeout, purpose, options))
    common.output.show(answer, plan_text(answer))


def submit(
    statistic: Statistic,
    target: Target,
    *,
    min_sites: Sites = None,
    bins: Bins = None,
    options: ProgramOptions = NO_OPTIONS,
    timeout: Timeout = None,
    purpose: Purpose = "",
    watch: Annotated[bool, Parameter(help="Follow the job and print its result.", negative="")] = False,
    dry_run: Annotated[bool, Parameter(help="Only plan.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Compute a statistic over the rows of all sites; only the answer is revealed."""
    spec = job_spec(statistic, target, min_sites, bins, timeout, purpose, options)
    client, output = common.client, common.output
    if dry_run:
        report = client.plan(spec)
        output.show(report, plan_text(report))
        return 0
    job = client.submit(spec)
    if not watch:
        output.show(shapes.JobAccepted(job), f"{job} · follow it: coppice jobs watch {job}")
        return 0
    output.say(f"▸ {job} · {statistic} of {target}")
    return follow(common, job, timeout)


def list_(*, common: Common = COMMON) -> None:
    """List the jobs of this node, newest first."""
    answer = common.client.jobs()
    rows = [(job.id, job.state, _asks(job.spec), job.phase, _outcome(job)) for job in answer]
    common.output.show_all("jobs", answer, table(("ID", "STATE", "JOB", "PHASE", "OUTCOME"), rows))


def watch(job: str, *, timeout: Timeout = None, common: Common = COMMON) -> int:
    """Follow a job until it ends and print its result."""
    return follow(common, job, timeout)


def result(
    job: str,
    *,
    out: Annotated[
        Path | None, Parameter(help="Write it to a file: .json, or .npz for long vectors.")
    ] = None,
    common: Common = COMMON,
) -> None:
    """Print the result of a job that is done, or write it to a file."""
    answer = common.client.result(job)
    if out is None:
        common.output.show(answer, _result_text(answer))
        return
    write_result(common.client, job, answer, out)
    common.output.show({"job": job, "file": str(out)}, f"✓ {out}")


def cancel(job: str, *, common: Common = COMMON) -> None:
    """Stop a job; nothing more of it is opened."""
    answer = common.client.cancel(job)
    common.output.show(answer, f"{answer.id} · {answer.state}")


def logs(job: str, *, common: Common = COMMON) -> None:
    """Print what happened to a job so far."""
    answer = common.client.events(job)
    common.output.show_all("events", answer, "\n".join(map(_event_text, answer)) or "nothing yet")


def job_spec(
    statistic: str,
    target: str,
    min_sites: int | None,
    bins: str | None,
    timeout: float | None,
    purpose: str,
    options: ProgramOptions = NO_OPTIONS,
) -> shapes.JobSpec:
    """What the arguments ask for. Raises ConfigError C-101."""
    dataset, dot, columns = target.partition(".")
    if not (dataset and dot and columns):
        raise ConfigError(
            f"{target!r} names no column", code="C-101", fix="write DATASET.COLUMN, for example readings.temp"
        )
    names = [name.strip() for name in statistic.split(",") if name.strip()]
    if ("histogram" in names) != (bins is not None):
        raise ConfigError(
            "a histogram needs --bins, and nothing else takes them",
            code="C-101",
            fix="for example: coppice jobs submit histogram readings.temp --bins 0:40:5",
        )
    if options.given() and not (len(names) == 1 and names[0] in PROGRAMS):
        raise ConfigError(
            f"{statistic} takes none of --range, --decimals, --at, --k, --groups",
            code="C-101",
            fix=f"these are for one of {', '.join(PROGRAMS)}",
        )
    edges = () if bins is None else _edges(bins)
    given = {name: parameters(name, options) for name in names if name in PROGRAMS}
    queries = tuple(
        shapes.QuerySpec(name, column.strip(), edges if name == "histogram" else given.get(name, ()))
        for column in columns.split(",")
        for name in names
    )
    return shapes.JobSpec(dataset, queries, min_sites, timeout, purpose, options.mode)


def _edges(text: str) -> tuple[float, ...]:
    """Edges of "0:120:10" (both ends) or "0,10,20". Raises ConfigError."""
    try:
        if ":" in text:
            start, stop, step = (float(part) for part in text.split(":"))
            count = round((stop - start) / step)
            edges = tuple(start + index * step for index in range(count + 1)) if 0 < count <= 1024 else ()
        else:
            edges = tuple(float(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError, OverflowError):
        edges = ()
    if len(edges) < 2 or len(edges) > 1025 or list(edges) != sorted(set(edges)):
        raise ConfigError(
            f"--bins {text}: not 2 to 1025 rising edges",
            code="C-101",
            fix="write START:STOP:STEP such as 0:120:10, or the edges such as 0,18,65,120",
        )
    return edges


def follow(common: Common, job: str, timeout: float | None) -> int:
    """Show a job's events until it ends, and its result; the exit code."""
    client, output = common.client, common.output
    try:
        for event in client.watch(job, None if timeout is None else timeout + GRACE_S):
            output.progress(event, _event_text(event))
        answer = client.result(job)
    except KeyboardInterrupt:
        output.say(f"the job goes on: coppice jobs watch {job} (or jobs cancel {job})")
        raise
    output.show(answer, _result_text(answer))
    return 0


def _event_text(event: shapes.JobEvent) -> str:
    """A line with a mark."""
    mark = {"dropout": "✗", "refused": "✗", "ended": "✓"}.get(event.kind, "▸")
    return f"  {mark} {event.text}"


def _asks(spec: shapes.JobSpec) -> str:
    return ", ".join(f"{query.statistic} {spec.dataset}.{query.column}" for query in spec.queries)


def _outcome(job: shapes.JobInfo) -> str:
    if job.result is not None:
        return "; ".join(_answer_text(answer) for answer in job.result.answers)
    if job.error is None:
        return ""
    text = f"{job.error.code}: {job.error.what}"
    return text if len(text) <= OUTCOME_WIDTH else text[: OUTCOME_WIDTH - 1] + "…"


def _answer_text(item: shapes.AnswerInfo) -> str:
    if item.length:
        return f"{item.length:,} values; write them to a file: coppice jobs result JOB --out FILE.npz"
    return _value_text(item.value)


def _value_text(value: shapes.Value) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{item:g}" for item in value) + "]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _result_text(answer: shapes.JobResult) -> str:
    lines = [
        f"✓ {item.statistic} {item.column} = {_answer_text(item)}"
        + (f"   n = {item.n}" if item.n is not None else "")
        for item in answer.answers
    ]
    lines.append(f"  {answer.sites} sites · {answer.seconds:.1f} s · receipt {answer.receipt[:16]}…")
    if answer.model:
        lines.append(f"  model {answer.model[:12]} · coppice models show {answer.model[:12]}")
    if answer.missing:
        lines.append(f"  missing: {', '.join(answer.missing)}")
    lines += [f"  revealed {item}" for item in answer.revealed]
    return "\n".join(lines)


def plan_text(report: shapes.PlanReport) -> str:
    rows = [
        (stage.label, f"({stage.n}, {stage.t})", stage.members, stage.adders[:1], stage.dropouts, stage.liars)
        for stage in report.committees
    ]
    costs = " · ".join(f"{cost.role} {cost.bytes_sent / 1000:.1f} kB" for cost in report.costs)
    return "\n".join(
        (
            f"{report.dealers} sites contribute, at least {report.min_sites} must",
            f"takes part: {', '.join(report.participants)}",
            table(("STAGE", "(n, t)", "COMMITTEE", "ADDER", "DROPOUTS", "LIARS"), rows),
            f"rounds {report.rounds} · about {report.seconds:.2g} s · {costs}",
            f"tolerates {report.dropouts} dropouts · corrects {report.liars} liars"
            f" · {report.colluders} colluders break it",
            *(f"revealed: {item}" for item in report.revealed),
            *(f"! {warning}" for warning in report.warnings),
        )
    )
