"""`data add|list|show|remove`: through the node when it runs, on the home directly when it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.api.outcome import NodeUnreachable
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table

if TYPE_CHECKING:
    from mesh.api.client import Client
    from mesh.api.local_data import LocalData


def add(
    file: Annotated[Path, Parameter(help="A CSV file with a header; it stays where it is.")],
    *,
    name: Annotated[str | None, Parameter(name="--as", help="Name of the data set [file name].")] = None,
    schema: Annotated[Path | None, Parameter(help="TOML file: types, ranges, missing values.")] = None,
    common: Common = COMMON,
) -> None:
    """Register a file as a data set, after reading and checking all of it."""
    spec = shapes.DataSpec(
        str(file.expanduser().absolute()),
        name or file.stem,
        None if schema is None else str(schema.expanduser().absolute()),
    )
    with room(common) as data:
        answer = data.data_add(spec)
    hint = (
        "" if answer.has_policy else f"\nNext: coppice policy init {answer.name} --allow mean --min-sites 3"
    )
    common.output.show(answer, f"✓ {answer.name}: {answer.rows} rows, {len(answer.columns)} columns{hint}")


def list_(*, common: Common = COMMON) -> None:
    """List the data sets of this node."""
    with room(common) as data:
        answer = data.data_list()
    rows = [(item.name, item.rows, len(item.columns), item.has_policy, item.path) for item in answer]
    common.output.show_all("data", answer, table(("NAME", "ROWS", "COLUMNS", "POLICY", "FILE"), rows))


def show(name: str, *, common: Common = COMMON) -> None:
    """Show one data set and its columns; never its values."""
    with room(common) as data:
        answer = data.data_show(name)
    units = dict(answer.units)
    rows = [(column, count, units.get(column)) for column, count in answer.columns]
    policy = "has a policy" if answer.has_policy else "no policy: every job is denied"
    head = f"{answer.name} · {answer.rows} rows · {answer.path} · {policy}"
    notes = "".join(f"\n! {note}" for note in answer.notes)
    common.output.show(answer, head + "\n" + table(("COLUMN", "VALUES", "UNIT"), rows) + notes)


def remove(name: str, *, common: Common = COMMON) -> None:
    """Forget a data set and its policy; the file stays."""
    with room(common) as data:
        data.data_remove(name)
    common.output.show(shapes.Done(), f"✓ {name} removed; its file stays")


@contextlib.contextmanager
def room(common: Common) -> Iterator[Client | LocalData]:
    """Whoever can answer data calls: the running node, else the home itself, locked meanwhile."""
    home = common.folder
    home.require()
    client = common.client
    try:
        client.join_status()
    except NodeUnreachable:
        from mesh.api.local_data import LocalData

        with home.lock("data"):
            yield LocalData(home)
        return
    yield client
