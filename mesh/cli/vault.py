"""`data share|shared|unshare`: data that outlives its device, as shares in the mesh."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.cli.jobs import job_spec
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table
from protocols.errors import ConfigError

_ALLOW = "count,sum,mean,variance,stddev"


def share(
    file: Annotated[Path, Parameter(help="A CSV file with a header. It is read once, encoded and dealt.")],
    *,
    holders: Annotated[int, Parameter(help="How many gateways hold a fragment (N).")] = 4,
    threshold: Annotated[int, Parameter(help="How many of them together learn nothing (T); N >= 3T+1.")] = 1,
    name: Annotated[str | None, Parameter(help="Name of the vault [file name].")] = None,
    at: Annotated[str, Parameter(help="Holders by name, with commas, instead of by rank.")] = "",
    columns: Annotated[str, Parameter(help="Columns to share [all numeric ones].")] = "",
    allow: Annotated[str, Parameter(help="Statistics that may be asked, with commas.")] = _ALLOW,
    requesters: Annotated[str, Parameter(help="any-member, or names and party ids.")] = "any-member",
    min_sites: Annotated[
        int, Parameter(help="Fewest owners in one answer, besides who asks; 1: no limit.")
    ] = 1,
    min_rows: Annotated[int, Parameter(help="Fewest values in a column.")] = 10,
    max_uses: Annotated[int, Parameter(help="Most different answers in all; 0 is no limit.")] = 0,
    expires: Annotated[str | None, Parameter(help="Date after which holders erase it.")] = None,
    bins: Annotated[
        tuple[str, ...],
        Parameter(help="COLUMN=START:STOP:STEP, for histograms; may be repeated.", negative=""),
    ] = (),
    schema: Annotated[Path | None, Parameter(help="TOML file: types, ranges, missing values.")] = None,
    common: Common = COMMON,
) -> None:
    """Put a file into the mesh as shares: computable while this device is off, until you unshare it."""
    spec = shapes.ShareSpec(
        path=str(file.expanduser().absolute()),
        name=name or file.stem,
        holders=holders,
        threshold=threshold,
        at=_words(at),
        columns=_words(columns),
        allow=_words(allow),
        requesters=_words(requesters),
        min_sites=min_sites,
        min_rows=min_rows,
        max_uses=max_uses,
        expires=expires,
        bins=tuple(_bins(text) for text in bins),
        schema_path=None if schema is None else str(schema.expanduser().absolute()),
    )
    answer = common.client.share(spec)
    column = answer.columns[0] if answer.columns else "*"
    alone = "about these rows alone" if min_sites == 1 else f"over at least {min_sites} owners"
    common.output.show(
        answer,
        f"✓ {answer.name}: {len(answer.holders)} holders ({', '.join(one.name for one in answer.holders)}), "
        f"{threshold} of them together learn nothing, {threshold + 1} could read it\n"
        f"  answers {allow} to {requesters}, {alone}\n"
        + "".join(f"  ! {warning}\n" for warning in answer.warnings)
        + f"Next: coppice jobs submit mean vault:{answer.name}.{column} --watch",
    )


def shared(
    *,
    erased: Annotated[
        bool,
        Parameter(
            help="Those that every holder erased, and when; their signatures with --json.", negative=""
        ),
    ] = False,
    common: Common = COMMON,
) -> None:
    """List the vaults of this node and those it holds fragments of."""
    if erased:
        gone = common.client.erased()
        lines = [
            (item.name, item.vault[:8], one.name, _when(one.erased_at))
            for item in gone
            for one in item.holders
        ]
        common.output.show_all("vaults", gone, table(("NAME", "VAULT", "CONFIRMED BY", "ERASED"), lines))
        return
    answer = common.client.shared()
    rows = [
        (
            item.name,
            item.role,
            item.owner,
            item.state,
            tuple(_holder(one) for one in item.holders),
            item.generation,
            _when(item.renewed_at),
            item.uses,
        )
        for item in answer
    ]
    heads = ("NAME", "ROLE", "OWNER", "STATE", "HOLDERS", "GENERATION", "RENEWED", "USES")
    common.output.show_all("vaults", answer, table(heads, rows))


def unshare(name: str, *, common: Common = COMMON) -> None:
    """Have every holder erase its fragment of a vault, and show who confirmed."""
    answer = common.client.unshare(name)
    done = [one.name for one in answer.holders if one.state == "erased"]
    left = [one.name for one in answer.holders if one.state != "erased"]
    text = f"✓ {answer.name}: erased and confirmed by {', '.join(done) or 'nobody yet'}"
    if left:
        text += f"\n  not yet by {', '.join(left)}: they erase it when they are back (coppice data shared)"
    common.output.show(answer, text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _bins(text: str) -> shapes.BinsSpec:
    column, equals, edges = text.partition("=")
    if not (column and equals and edges):
        raise ConfigError(
            f"--bins {text}: names no column", code="C-101", fix="for example --bins age=0:120:10"
        )
    asked = job_spec("histogram", f"vault.{column}", None, edges, None, "")
    return shapes.BinsSpec(column, asked.queries[0].parameters)


def _holder(one: shapes.HolderInfo) -> str:
    return one.name if one.state == "holds" else f"{one.name} ({one.state})"


def _when(at: float | None) -> str | None:
    return None if at is None else datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")
