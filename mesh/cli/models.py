"""`models check|run FILE`: whether committees can compute a model file, and a run on secret rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mesh.api import shapes
from mesh.api.outcome import Exit
from mesh.api.result_files import FORMATS, write_result
from mesh.cli.jobs import follow, plan_text
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table
from protocols.errors import ConfigError


def check(
    file: Path,
    *,
    batch: Annotated[int | None, Parameter(help="Samples at once, where the file leaves it open.")] = None,
    low: Annotated[float, Parameter(help="Smallest value of a sample.")] = 0.0,
    high: Annotated[float, Parameter(help="Largest value of a sample.")] = 1.0,
    reveal: Annotated[str, Parameter(help="output, or class: only where it is largest.")] = "output",
    committee: Annotated[str, Parameter(help="Members and threshold, for example 7,2.")] = "4,1",
    mode: Annotated[str, Parameter(help="P: passive; A: lies stop the run.")] = "P",
    common: Common = COMMON,
) -> int:
    """Check an ONNX model: what is not supported and what to do instead, or what a run costs."""
    from mesh.models.checking import checked

    found = checked(file, batch=batch, low=low, high=high, reveal=reveal, committee=committee, mode=mode)
    common.output.show(found, _text(found))
    return 0 if found["supported"] else int(Exit.USAGE)


def run(
    file: Path,
    *,
    on: Annotated[str, Parameter(help="Data set of another site.")] = "",
    rows: Annotated[Path | None, Parameter(help="Or a CSV file of yours.")] = None,
    columns: Annotated[
        str, Parameter(help="Columns that fill a row of the model, in its order; of a file [all numeric].")
    ] = "",
    limit: Annotated[int | None, Parameter(help="The first so many rows.")] = None,
    site: Annotated[str, Parameter(help="Whose data set, if several have it.")] = "",
    reveal: Annotated[str, Parameter(help="class, or output: every score.")] = "class",
    low: Annotated[float, Parameter(help="Smallest value of a row.")] = 0.0,
    high: Annotated[float, Parameter(help="Largest value of a row.")] = 1.0,
    mode: Annotated[str, Parameter(help="P: passive; A: lies stop the run.")] = "P",
    timeout: Annotated[float | None, Parameter(help="Seconds until it gives up.")] = None,
    purpose: Annotated[str, Parameter(help="Told to the owner of the rows.")] = "",
    out: Annotated[Path | None, Parameter(help="Write the result to a file: .json or .npz.")] = None,
    dry_run: Annotated[bool, Parameter(help="Only plan.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Evaluate an ONNX model on secret rows: a committee computes, only you learn the answers."""
    if out is not None and out.suffix not in FORMATS:
        raise ConfigError(
            f"{out}: a result is not written as that", code="C-648", fix=f"end it in {' or '.join(FORMATS)}"
        )
    spec = shapes.InferenceSpec(
        model=_absolute(file), dataset=on, rows=_absolute(rows) if rows is not None else "",
        columns=tuple(name.strip() for name in columns.split(",") if name.strip()), site=site, limit=limit,
        reveal=reveal, low=low, high=high, mode=mode, timeout_s=timeout, purpose=purpose,
    )  # fmt: skip
    client, output = common.client, common.output
    if dry_run:
        report = client.plan_inference(spec)
        output.show(report, plan_text(report))
        return 0
    job = client.infer(spec)
    output.say(f"▸ {job} · {file.name} on {on or spec.rows}")
    code = follow(common, job, timeout)
    if code == 0 and out is not None:
        write_result(client, job, client.result(job), out)
        output.say(f"✓ {out}")
    return code


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())


def _text(found: dict[str, Any]) -> str:
    operators = ", ".join(f"{count} {kind}" for kind, count in sorted(found["operators"].items()))
    head = f"{found['file']}: {operators}; {found['parameters']:,} parameters"
    if found["supported"]:
        shape = " x ".join(map(str, found["sample"]))
        name = f"committee ({found['committee'][0]}, {found['committee'][1]})"
        return f"✓ {head}\n  one run on {shape} by a {name}:\n" + "\n".join(
            f"  {line}" for line in found["explained"].splitlines()
        )
    rows = [(f["operation"], f["name"], f["problem"], f["alternative"]) for f in found["findings"]]
    return f"✗ {head}\n" + table(("OPERATOR", "WHERE", "PROBLEM", "INSTEAD"), rows)
