"""From a job to a program and back: what each owner deals, which graph follows, what the outputs mean.

A job's program depends on how many values each certified owner dealt, and on nothing else: `graph_of` is a
pure function of the job and the roster, its digest is voted on in the start certificate, and owners approve
the job, which fixes the function. So the roster may shrink to min_sites, and the graph with it.

Values enter as whole numbers of 10^-decimals, checked against the job's range at their owner; order
statistics, counts and sums are then exact. Rows are public: the graph shows how many values each site has.

A program of its own (`program`) is a graph that the job names by the digest of its encoding; the name of each
of its inputs begins with its owner's place in the plan, "0:", "1:" and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocols.arithmetic import rns
from protocols.arithmetic.rns import Residues
from protocols.circuits import jobs, passes
from protocols.circuits.builder import Array, Declared, bits, fixed, integers, maximum, trace
from protocols.circuits.cost import Cost, cost, within_limits
from protocols.circuits.graph import Graph
from protocols.circuits.lower import Lowered, lower
from protocols.engine.committee import Committee
from protocols.errors import ConfigError, LocalMisuse, MalformedMessage
from protocols.learning.rounds import blob_name
from protocols.programs import sizes, split
from protocols.programs.plan import Limits, ProgramPlan
from protocols.sessions.plan import Job
from protocols.statistics import names
from protocols.wire import codec

Floats = npt.NDArray[np.float64]
MOST_DECIMALS_EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a job's query, taken apart."""

    statistic: str
    columns: tuple[str, ...]
    low: float
    high: float
    decimals: int
    rest: tuple[float, ...]

    @property
    def unit(self) -> float:
        """What one step of the whole numbers stands for, inverted: 10^decimals."""
        return float(10**self.decimals)


def asked(job: Job) -> Asked:
    """What the job asks. Raises MalformedMessage for a mixture, ConfigError for wrong parameters."""
    first = job.queries[0]
    if any((q.statistic, q.parameters) != (first.statistic, first.parameters) for q in job.queries):
        raise MalformedMessage("a program's queries are of one statistic with one set of parameters")
    names.check_parameters(first.statistic, first.parameters)
    columns = tuple(query.column for query in job.queries)
    wanted = {"group_by": 2, "logistic": max(2, len(columns)), "program": len(columns)}.get(
        first.statistic, 1
    )
    if len(columns) != wanted:
        raise ConfigError(
            f"{first.statistic} takes {wanted} columns, not {len(columns)}",
            code="C-631",
            fix="name them as DATASET.COLUMN, or DATASET.KEY,VALUE for group_by",
        )
    if first.statistic == "program":
        return Asked("program", columns, 0.0, 0.0, 0, ())
    low, high, decimals, *rest = first.parameters
    return Asked(first.statistic, columns, low, high, int(decimals), tuple(rest))


def declared(job: Job, rows: int) -> tuple[Declared, ...]:
    """Inputs that an owner of `rows` values deals, in order."""
    what = asked(job)
    if what.statistic in ("overlap", "flagged"):
        return (bits((int(what.high - what.low) + 1,)),)
    if what.statistic == "group_by":
        groups = what.rest[1:]
        keys = integers((rows,), int(min(groups)) - 1, int(max(groups)) + 1)
        return keys, _whole(what, rows)
    if what.statistic == "logistic":
        features = fixed((rows, len(what.columns) - 1), what.low, what.high)
        return features, fixed((rows,), 0.0, 1.0)
    return (_whole(what, rows),)


def _whole(what: Asked, rows: int) -> Declared:
    return integers((rows,), round(what.low * what.unit), round(what.high * what.unit))


def encoded(job: Job, columns: Mapping[str, Floats]) -> tuple[Residues, int]:
    """An owner's flat input (2, L) and its number of rows.

    Raises LocalMisuse C-670 naming column, row and range for the first value outside it.
    """
    what = asked(job)
    if what.statistic == "logistic":
        return split.encoded(what.columns, columns, (what.low, what.high))
    checked = {name: np.asarray(columns[name], dtype=np.float64) for name in what.columns}
    rows = checked[what.columns[0]].size
    if any(values.size != rows for values in checked.values()):
        raise LocalMisuse(
            "the columns have values missing in different rows",
            code="C-671",
            fix="fill them, or drop the rows",
        )
    if what.statistic in ("overlap", "flagged"):
        return _encoded_items(what, checked[what.columns[0]]), rows
    parts: list[Residues] = []
    for name, form in zip(what.columns, declared(job, rows), strict=True):
        values = checked[name]
        if what.statistic == "group_by" and name == what.columns[0]:
            known = np.isin(values, np.array(what.rest[1:]))
            parts.append(rns.from_ints(np.where(known, values, form.high).astype(np.int64)))
            continue
        _check_range(name, values, what)
        parts.append(rns.from_ints(np.rint(values * what.unit).astype(np.int64)))
    return np.concatenate([part.reshape(2, -1) for part in parts], axis=1), rows


def _check_range(name: str, values: Floats, what: Asked) -> None:
    with np.errstate(invalid="ignore"):
        bad = ~((values >= what.low) & (values <= what.high))
    if bad.any():
        raise LocalMisuse(
            f"column {name!r} has a value outside the declared range [{what.low:g}, {what.high:g}]",
            code="C-670",
            fix=f"it is value {int(np.argmax(bad)) + 1}: clip it, or ask with a wider --range",
        )


def _encoded_items(what: Asked, values: Floats) -> Residues:
    """One bit for each whole number of the range: whether it is among the values."""
    _check_range(what.columns[0], values, what)
    if (values != np.rint(values)).any():
        raise LocalMisuse(
            f"column {what.columns[0]!r} has a value that is not a whole number",
            code="C-670",
            fix="number the items",
        )
    present = np.zeros(int(what.high - what.low) + 1, dtype=np.int64)
    present[(values - what.low).astype(np.int64)] = 1
    return rns.from_ints(present)


# -- the graph --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Roster:
    """Owners that count, by their place in the plan, with the number of rows of each."""

    places: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Compiled:
    """A job's program for one roster and committee."""

    graph: Graph
    lowered: Lowered
    inputs: tuple[tuple[str, ...], ...]
    """Names of the inputs of each owner of the roster, in the order in which it deals them."""

    def cost(self, committee: Committee) -> Cost:
        """Before anything runs; exact in rounds and bytes."""
        return cost(self.lowered, committee)


def graph_of(job: Job, roster: Roster) -> Graph:
    """The job's program for this roster. Raises LocalMisuse when the roster cannot answer it."""
    what = asked(job)
    shapes = {
        f"{place}:{at}": form
        for place, rows in zip(roster.places, roster.rows, strict=True)
        for at, form in enumerate(declared(job, rows))
        if form.shape != (0,)
    }
    if not shapes or (not sum(roster.rows) and what.statistic not in ("overlap", "flagged")):
        raise LocalMisuse("no site has a value", code="C-672", fix="ask for a column that has values")
    write = _WRITERS.get(what.statistic)
    if write is None:
        raise LocalMisuse(f"there is no program for {what.statistic}", code="C-630")

    def program(**arrays: Array) -> None:
        columns = [
            [array for name, array in arrays.items() if name.endswith(f":{at}")]
            for at in range(2 if what.statistic == "logistic" else len(what.columns))
        ]
        write(what, columns)

    return passes.optimised(trace(program, **shapes))


@lru_cache(maxsize=8)
def _graph(job: bytes, roster: Roster) -> Graph:
    return graph_of(codec.decode(Job, job), roster)


@lru_cache(maxsize=8)
def _compiled(job: bytes, roster: Roster, committee: Committee) -> Compiled:
    return _joined(_graph(job, roster), roster, committee)


def compiled(
    job: Job,
    roster: Roster,
    committee: Committee,
    graph: Graph | None = None,
    limits: Sequence[Limits] = (),
) -> Compiled:
    """Graph and engine program for any quorum of the committee; `graph` for a job that names its own.

    What is plainly beyond one of the `limits` is not laid out at all. Raises LocalMisuse.
    """
    committee = replace(committee, quorum=tuple(range(1, committee.n + 1)))
    if asked(job).statistic == "program":
        if graph is None or blob_name(graph.encoded()) not in job.inputs:
            raise LocalMisuse("the job's program is not at hand, or another one", code="C-673")
        if limits:
            sizes.check_sizes(graph, limits)
        return _joined(graph, roster, committee)
    if limits:
        sizes.check_rows(roster.rows, len(job.queries), limits)
        sizes.check_sizes(_graph(codec.encode(job), roster), limits)
    return _compiled(codec.encode(job), roster, committee)


def affordable(
    plan: ProgramPlan, roster: Roster, graph: Graph | None, own: Limits | None = None
) -> tuple[Compiled, Cost]:
    """The program and what it costs a member. Raises LocalMisuse beyond the plan's limits, or one's `own`."""
    limits = [each for each in (plan.limits, own) if each is not None]
    program = compiled(plan.job, roster, plan.committee(), graph, limits)
    found = program.cost(plan.committee())
    for each in limits:
        within_limits(found, rounds=each.rounds, sent_bytes=each.sent_bytes, memory_bytes=each.memory_bytes)
    return program, found


def _joined(graph: Graph, roster: Roster, committee: Committee) -> Compiled:
    lowered = lower(graph, committee)
    owned: dict[int, list[str]] = {place: [] for place in roster.places}
    for name in graph.inputs:
        place, _, _ = name.partition(":")
        if not place.isdigit() or int(place) not in owned:
            raise LocalMisuse(f"input {name!r} belongs to nobody who takes part", code="C-673")
        owned[int(place)].append(name)
    return Compiled(graph, lowered, tuple(tuple(owned[place]) for place in roster.places))


def registers_of(program: Compiled, shares: Sequence[Residues]) -> dict[int, Residues]:
    """Input registers from each owner's flat share, in roster order. Raises LocalMisuse for a misfit."""
    found: dict[int, Residues] = {}
    for owned, flat in zip(program.inputs, shares, strict=True):
        start = 0
        for name in owned:
            number = program.lowered.inputs[name]
            found[number.register] = np.ascontiguousarray(flat[:, start : start + number.count]).reshape(
                2, *number.shape
            )
            start += number.count
        if start != flat.shape[1]:
            raise LocalMisuse(f"an owner dealt {flat.shape[1]} numbers where {start} are wanted")
    return found


def widths(program: Compiled) -> tuple[int, ...]:
    """How many numbers each owner of the roster deals."""
    return tuple(sum(program.lowered.inputs[name].count for name in owned) for owned in program.inputs)


def width_of(job: Job, rows: int, place: int = 0, graph: Graph | None = None) -> int:
    """How many numbers an owner of `rows` rows deals."""
    if asked(job).statistic == "program":
        nodes = (
            [graph.nodes[at] for name, at in graph.inputs.items() if name.startswith(f"{place}:")]
            if graph
            else []
        )
        return sum(int(np.prod(node.shape, dtype=np.int64)) for node in nodes)
    return sum(int(np.prod(form.shape, dtype=np.int64)) for form in declared(job, rows))


# -- what each statistic computes ---------------------------------------------------------------------

Columns = list[list[Array]]


def _median(_: Asked, columns: Columns) -> None:
    values = jobs.pooled(columns[0])
    count = values.shape[0]
    line = jobs.ordered(values)
    (line[[(count - 1) // 2]] + line[[count // 2]]).reveal_to(name="median")


def _quantiles(what: Asked, columns: Columns) -> None:
    jobs.quantiles(jobs.pooled(columns[0]), what.rest).reveal_to(name="quantiles")


def _maximum(_: Asked, columns: Columns) -> None:
    maximum(jobs.pooled(columns[0]).reshape(1, -1)).reveal_to(name="maximum")


def _minimum(_: Asked, columns: Columns) -> None:
    (-maximum((-jobs.pooled(columns[0])).reshape(1, -1))).reveal_to(name="minimum")


def _top(what: Asked, columns: Columns) -> None:
    values = jobs.pooled(columns[0])
    jobs.top(values, min(int(what.rest[0]), values.shape[0])).reveal_to(name="top")


def _at_least(what: Asked, columns: Columns) -> None:
    values = jobs.pooled(columns[0])
    for at, threshold in enumerate(what.rest):
        jobs.count_at_least(values, round(threshold * what.unit)).reveal_to(name=f"at_least:{at}")


def _group_by(what: Asked, columns: Columns) -> None:
    keys, values = jobs.pooled(columns[0]), jobs.pooled(columns[1])
    least, *groups = (int(value) for value in what.rest)
    rows, sums = jobs.group_by(keys, values, groups, least)
    rows.reveal_to(name="rows")
    sums.reveal_to(name="sums")


def _logistic(what: Asked, columns: Columns) -> None:
    iterations, rate = int(what.rest[0]), what.rest[1]
    split.regression(columns[0], columns[1], iterations, rate).reveal_to(name="weights")


def _overlap(_: Asked, columns: Columns) -> None:
    jobs.overlap_size(columns[0]).reveal_to(name="overlap")


def _flagged(what: Asked, columns: Columns) -> None:
    jobs.over_threshold(columns[0], int(what.rest[0])).reveal_to(name="flagged")


_WRITERS: dict[str, Callable[[Asked, Columns], None]] = {
    "median": _median,
    "quantiles": _quantiles,
    "maximum": _maximum,
    "minimum": _minimum,
    "top": _top,
    "at_least": _at_least,
    "group_by": _group_by,
    "overlap": _overlap,
    "flagged": _flagged,
    "logistic": _logistic,
}
