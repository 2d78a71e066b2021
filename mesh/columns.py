"""What the columns of a data set may hold, written in Python: `Schema(age=Col(int, 0, 120))`.

A schema turns silent mistakes (a temperature of 9999) into errors before anything is contributed, and bounds
every contribution. It is handed to the node in its file format, of which mesh/data/schema.py is the judge.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from protocols.errors import ConfigError

_KINDS = {float: "float", int: "int"}


@dataclass(frozen=True, slots=True)
class Col:
    """One column: numbers of a `kind` from `low` to `high`, or a category whose `values` become 0, 1, …

    `missing`: "error" refuses a file with empty cells, "skip" leaves these rows out.
    """

    kind: type = float
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    missing: str = "error"
    unit: str = ""

    def lines(self) -> list[str]:
        """Of the column's table in the file. Raises ConfigError C-611 for a kind that there is not."""
        if not self.values and self.kind not in _KINDS:
            raise ConfigError(f"a column of {self.kind!r}", code="C-611", fix="use float, int or values=(…)")
        kind = "category" if self.values else _KINDS[self.kind]
        settings: dict[str, object] = {"type": kind, "missing": self.missing}
        settings |= {"values": list(self.values)} if self.values else {}
        settings |= {"min": float(self.low)} if self.low is not None else {}
        settings |= {"max": float(self.high)} if self.high is not None else {}
        settings |= {"unit": self.unit} if self.unit else {}
        return [f"{name} = {json.dumps(value)}" for name, value in settings.items()]


class Schema:
    """Columns by name; one that is called like no Python name goes in `columns`."""

    def __init__(self, columns: dict[str, Col] | None = None, /, **named: Col) -> None:
        self.columns = {**(columns or {}), **named}

    def toml(self) -> str:
        """The file."""
        tables = [[f"[columns.{json.dumps(name)}]", *col.lines(), ""] for name, col in self.columns.items()]
        return "\n".join(line for table in tables for line in table)
