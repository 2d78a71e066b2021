"""`models check FILE`: whether committees can compute a model file, and what one run would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mesh.cli.options import COMMON, Common
from mesh.cli.output import table


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
    return 0 if found["supported"] else 1


def _text(found: dict[str, Any]) -> str:
    operators = ", ".join(f"{count} {kind}" for kind, count in sorted(found["operators"].items()))
    head = f"{found['file']}: {operators}; {found['parameters']:,} parameters"
    if found["supported"]:
        shape = " x ".join(map(str, found["sample"]))
        name = f"committee ({found['committee'][0]}, {found['committee'][1]})"
        return f"✓ {head}\n  one run on {shape} by a {name}, program {found['program'][:16]}:\n" + "\n".join(
            f"  {line}" for line in found["explained"].splitlines()
        )
    rows = [(f["operation"], f["name"], f["problem"], f["alternative"]) for f in found["findings"]]
    return f"✗ {head}\n" + table(("OPERATOR", "WHERE", "PROBLEM", "INSTEAD"), rows)
