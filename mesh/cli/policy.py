"""`policy init|show|test`: what the owner of a data set lets others compute on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.api.outcome import Exit
from mesh.cli.data import room
from mesh.cli.options import COMMON, Common

_GROUPS = {"training": ("update", "loss", "accuracy", "gram", "mean", "variance")}
"""Sums of products (gram), from which a linear regression is solved in one session, tell what its gradients
over some rounds would."""


def init(
    dataset: str,
    *,
    allow: Annotated[str, Parameter(help="Statistics, with commas: mean,histogram; or training.")],
    min_sites: Annotated[int | None, Parameter(help="Fewest sites in what is opened.")] = None,
    min_rows: Annotated[int | None, Parameter(help="Fewest values of ours that go into a sum.")] = None,
    columns: Annotated[str | None, Parameter(help="Columns, separated by commas [all].")] = None,
    requesters: Annotated[str | None, Parameter(help="Names or party ids [any member].")] = None,
    expires: Annotated[str | None, Parameter(help="Date such as 2030-01-01.")] = None,
    max_uses: Annotated[int | None, Parameter(help="Approved jobs in all; 0 is no limit.")] = None,
    dp_epsilon_budget: Annotated[
        float | None, Parameter(help="Most epsilon that trained models may cost; then only with noise.")
    ] = None,
    dp_delta: Annotated[float | None, Parameter(help="Delta at which it is reckoned.")] = None,
    programs: Annotated[
        str | None, Parameter(help="Digests of programs that may run, with commas, or *: --allow program.")
    ] = None,
    replace: Annotated[bool, Parameter(help="Replace the policy there is.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Write the policy of a data set; what it does not allow is denied."""
    spec = shapes.PolicySpec(
        allow=tuple(one for name in _listed(allow) or () for one in _GROUPS.get(name, (name,))),
        columns=_listed(columns),
        min_sites=min_sites,
        min_rows=min_rows,
        requesters=_listed(requesters),
        expires=expires,
        max_uses=max_uses,
        dp_epsilon_budget=dp_epsilon_budget,
        dp_delta=dp_delta,
        programs=_listed(programs),
        replace=replace,
    )
    with room(common) as data:
        answer = data.policy_init(dataset, spec)
    common.output.show(answer, f"✓ policy of {dataset} · edit it: {answer.path}\n{answer.text}")


def show(dataset: str, *, common: Common = COMMON) -> None:
    """Show the policy of a data set."""
    with room(common) as data:
        answer = data.policy_show(dataset)
    spent = "" if answer.dp_spent is None else f"\n# Epsilon spent so far: {answer.dp_spent:.4g}"
    common.output.show(answer, answer.text + spent)


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
