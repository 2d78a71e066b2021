"""`explain C-123`: what an error code means, offline."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from mesh.cli.catalogue import codes, lookup
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table
from protocols.errors import ConfigError


def explain(
    code: Annotated[str | None, Parameter(help="A code such as C-301; without one, all are listed.")] = None,
    *,
    common: Common = COMMON,
) -> None:
    """Explain an error code."""
    if code is None:
        known = {one: (lookup(one) or ("", ""))[0] for one in codes()}
        common.output.show({"codes": known}, table(("CODE", "MEANING"), list(known.items())))
        return
    wanted = code.upper() if code.upper().startswith("C-") else f"C-{code}"
    found = lookup(wanted)
    if found is None:
        raise ConfigError(f"there is no code {code}", code="C-101", fix="list them: coppice explain")
    meaning, fix = found
    common.output.show({"code": wanted, "meaning": meaning, "fix": fix}, f"{wanted}: {meaning}\n{fix}")
