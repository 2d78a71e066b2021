"""Data sets and the policies of their owners. Values of rows never pass this API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataSpec:
    """A file of this machine to register; absolute paths."""

    path: str
    name: str
    schema_path: str | None = None


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column of a data set."""

    name: str
    type: str
    minimum: float | None = None
    maximum: float | None = None
    missing: str = "error"
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A registered data set. Its values never pass this API."""

    name: str
    path: str
    rows: int
    columns: tuple[ColumnInfo, ...]
    digest: str = ""
    added: str = ""
    policy: bool = False


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Rules an owner sets. Empty `columns` or `requesters` means all of the data set, any member."""

    allow: tuple[str, ...]
    min_sites: int = 3
    min_rows: int = 1
    columns: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    expires: str | None = None
    max_uses: int | None = None


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A data set's policy as it stands: TOML text and where it lies."""

    dataset: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of `policy test`: the sentence names the deciding rule."""

    allowed: bool
    rule: str
    sentence: str
