"""`version`, `completion`, `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mesh.api.outcome import NodeUnreachable
from mesh.cli.options import COMMON, Common
from mesh.version import STARTED, VERSION


def version(*, common: Common = COMMON) -> None:
    """Show the version of this program, and of the running node if there is one."""
    own = VERSION
    try:
        node = common.client.status().version
    except NodeUnreachable:
        node = ""
    text = f"coppice {own}" + (f" · node {node}" if node else " · no node runs here")
    common.output.show({"version": own, "node": node or None}, text)


def completion(shell: Literal["bash", "zsh", "fish"] = "bash", *, common: Common = COMMON) -> None:
    """Print a completion script: eval "$(coppice completion bash)"."""
    from mesh.cli.app import build

    script = build().generate_completion(shell=shell)
    common.output.show({"shell": shell, "script": script}, script)


def demo(
    *,
    peers: Annotated[int, Parameter(help="Peers on this machine.")] = 8,
    keep: Annotated[bool, Parameter(help="Leave the mesh running.", negative="")] = False,
    data: Annotated[Path | None, Parameter(help="Any CSV with numeric columns.")] = None,
    columns: Annotated[str | None, Parameter(help="Columns to use, separated by commas.")] = None,
    seed: Annotated[int, Parameter(help="Decides rows, kills and pauses.")] = 1,
    common: Common = COMMON,
) -> int:
    """Run a whole mesh on this machine: real peers, real rows, two killed on the way."""
    from mesh.runtime.demo import main

    chosen = tuple(part.strip() for part in columns.split(",") if part.strip()) if columns else ()
    return main(
        peers=peers, keep=keep, data=data, columns=chosen, seed=seed, as_json=common.json, started=STARTED
    )
