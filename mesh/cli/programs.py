"""`programs list|show`: what others want to compute with data of this node, read before it is allowed."""

from __future__ import annotations

import datetime
from typing import Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table


def list_(*, common: Common = COMMON) -> None:
    """List the programs that others asked to run over data of this node, and what its policy answered."""
    answer = common.client.programs()
    rows = [
        (one.digest[:16], one.requester, one.dataset, len(one.columns), _when(one.at), one.answer)
        for one in answer
    ]
    heads = ("PROGRAM", "ASKED BY", "DATA SET", "COLUMNS", "LAST", "ANSWER")
    text = table(heads, rows, empty="nobody has asked since this node started")
    common.output.show_all("programs", answer, text)


def show(
    digest: Annotated[str, Parameter(help="Of the program: all 64 digits, or the first 8 and more.")],
    *,
    steps: Annotated[bool, Parameter(help="Every operation in order, too.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Show what the program of a digest does: inputs with ranges, operations, outputs and to whom, cost."""
    answer = common.client.program(digest)
    common.output.show(answer, _text(answer, steps))


def _text(answer: shapes.ProgramInfo, steps: bool) -> str:
    columns = [", ".join(one.columns) if one.columns != ("*",) else "all asked for" for one in answer.inputs]
    inputs = [
        (one.name, one.owner or f"owner {one.place}", what, _size(one.shape), one.kind, _range(one))
        for one, what in zip(answer.inputs, columns, strict=True)
    ]
    operations = [(one.name, one.times, f"{one.numbers:,}") for one in answer.operations]
    outputs = [(one.name, one.recipient, _size(one.shape), one.kind) for one in answer.outputs]
    parts = [
        f"program {answer.digest} · {answer.bytes:,} bytes",
        table(("INPUT", "OWNER", "FILLED BY", "SHAPE", "KIND", "RANGE"), inputs),
        table(("OPERATION", "TIMES", "NUMBERS"), operations),
        table(("OUTPUT", "REVEALED TO", "SHAPE", "KIND"), outputs),
        _cost(answer),
    ]
    if steps:
        more = [f"… and {answer.left_out:,} more"] if answer.left_out else []
        parts.append("\n".join((*answer.steps, *more)))
    ends = [*(f"! {note}" for note in answer.notes), *map(_asked, answer.asked)]
    return "\n\n".join([*parts, "\n".join(ends)] if ends else parts)


def _cost(answer: shapes.ProgramInfo) -> str:
    if answer.cost is None:
        return f"cost: not worked out, and it would be refused: {answer.beyond}"
    return f"by a committee ({answer.cost.members}, {answer.cost.threshold}):\n" + "\n".join(
        f"  {line}" for line in answer.cost.explained.splitlines()
    )


def _asked(one: shapes.ProgramAsked) -> str:
    purpose = f" for {one.purpose!r}" if one.purpose else ""
    head = f"{one.requester} asked to run it over {one.dataset}{purpose}: {one.answer}"
    return head if one.allowed else f"{head}\n  to allow it: {one.fix}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one"


def _range(one: shapes.ProgramInput) -> str:
    return "0 or 1" if one.kind == "bit" else f"{one.low:g} to {one.high:g}"


def _when(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
