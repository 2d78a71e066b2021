"""`policy init|show|test`: what the owner of a data set lets others compute on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.api.outcome import Exit
from mesh.cli.data import room
from mesh.cli.options import COMMON, Common


def init(
    dataset: str,
    *,
    allow: Annotated[str, Parameter(help="Statistics, separated by commas: mean,histogram.")],
    min_sites: Annotated[int | None, Parameter(help="Fewest sites in what is opened.")] = None,
    min_rows: Annotated[int | None, Parameter(help="Fewest values of ours that go into a sum.")] = None,
    columns: Annotated[str | None, Parameter(help="Columns, separated by commas [all].")] = None,
    requesters: Annotated[str | None, Parameter(help="Names or party ids [any member].")] = None,
    expires: Annotated[str | None, Parameter(help="Date such as 2030-01-01.")] = None,
    max_uses: Annotated[int | None, Parameter(help="Approved jobs in all; 0 is no limit.")] = None,
    replace: Annotated[bool, Parameter(help="Replace the policy there is.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Write the policy of a data set; what it does not allow is denied."""
    spec = shapes.PolicySpec(
        allow=_listed(allow) or (),
        columns=_listed(columns),
        min_sites=min_sites,
        min_rows=min_rows,
        requesters=_listed(requesters),
        expires=expires,
        max_uses=max_uses,
        replace=replace,
    )
    with room(common) as data:
        answer = data.policy_init(dataset, spec)
    common.output.show(answer, f"✓ policy of {dataset} · edit it: {answer.path}\n{answer.text}")


def show(dataset: str, *, common: Common = COMMON) -> None:
    """Show the policy of a data set."""
    with room(common) as data:
        answer = data.policy_show(dataset)
    common.output.show(answer, answer.text)


def judge(
    job: Annotated[Path, Parameter(help="TOML file: dataset, min_sites, [[queries]] statistic, column.")],
    *,
    common: Common = COMMON,
) -> int:
    """Say whether a job would be allowed here, and by which rule not. Exit code 4 for a denial."""
    with room(common) as data:
        answer = data.policy_test(shapes.JobFile(str(job.expanduser().absolute())))
    common.output.show(answer, answer.sentence)
    return int(Exit.OK if answer.allowed else Exit.DENIED)


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
