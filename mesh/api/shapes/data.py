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
class DatasetInfo:
    """A registered data set; `columns` maps each numeric column to the number of its values."""

    name: str
    path: str
    digest: str
    size_bytes: int
    rows: int
    columns: tuple[tuple[str, int], ...]
    units: tuple[tuple[str, str], ...] = ()
    added: float = 0.0
    has_schema: bool = False
    has_policy: bool = False
    description: str = ""
    notes: tuple[str, ...] = ()
    """What training found in the rows that their owner should know, each once, the latest last."""


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Rules an owner sets; None takes the strict default. `expires` is a date such as 2030-01-01."""

    allow: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    min_sites: int | None = None
    min_rows: int | None = None
    requesters: tuple[str, ...] | None = None
    expires: str | None = None
    max_uses: int | None = None
    replace: bool = False
    dp_epsilon_budget: float | None = None
    dp_delta: float | None = None
    programs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A data set's policy as it stands; `text` is its TOML. `dp_spent`: epsilon so far, given a budget."""

    dataset: str
    path: str
    text: str
    dp_spent: float | None = None


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job written down in a TOML file of this machine, to be judged; absolute path."""

    path: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of `policy test`: the sentence names the deciding rule."""

    allowed: bool
    rule: str
    sentence: str
    warnings: tuple[str, ...] = ()
