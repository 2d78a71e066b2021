"""Reading of the owner's TOML files so that every mistake is reported at once, each with its line.

Invariant: a key that is not known is a mistake, never ignored; a misspelt limit must not be no limit.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mesh.data.errors import DataError

Table: TypeAlias = Mapping[str, object]


@dataclass(slots=True)
class Reader:
    """Takes values out of one TOML text and collects what is wrong with it.

    `name` is the file's name for messages; `code` the error code of its kind.
    """

    name: str
    text: str
    code: str
    mistakes: list[str] = field(default_factory=list)

    def load(self) -> Table:
        """Parse. Raises DataError at once when the text is not TOML."""
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise DataError(
                f"{self.name}: not TOML: {error}", code=self.code, fix="correct that line"
            ) from None

    def wrong(self, key: str, what: str) -> None:
        """Note a mistake at `key` (dotted)."""
        line = self._line_of(key)
        place = f"{self.name}:{line}" if line else self.name
        self.mistakes.append(f"{place}: {key}: {what}")

    def known(self, table: Table, keys: tuple[str, ...], within: str = "") -> None:
        """Note every key of `table` that is not in `keys`."""
        for key in table:
            if key not in keys:
                self.wrong(f"{within}{key}", f"unknown key; known are {', '.join(keys)}")

    def text_of(self, table: Table, key: str, default: str = "", within: str = "", limit: int = 256) -> str:
        """A string."""
        value = table.get(key, default)
        if not isinstance(value, str) or len(value.encode()) > limit:
            self.wrong(within + key, f"must be text of at most {limit} bytes")
            return default
        return value

    def choice(self, table: Table, key: str, choices: tuple[str, ...], default: str, within: str = "") -> str:
        """One of `choices`."""
        value = table.get(key, default)
        if not isinstance(value, str) or value not in choices:
            self.wrong(within + key, f"must be one of {', '.join(choices)}")
            return default
        return value

    def whole(self, table: Table, key: str, default: int, low: int, high: int, within: str = "") -> int:
        """An integer from `low` to `high`."""
        value = table.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.wrong(within + key, f"must be a whole number from {low} to {high}")
            return default
        return value

    def number(self, table: Table, key: str, within: str = "") -> float | None:
        """A finite number, or None if it is not given."""
        value = table.get(key)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            self.wrong(within + key, "must be a finite number")
            return None
        return float(value)

    def texts(
        self, table: Table, key: str, default: tuple[str, ...] = (), within: str = ""
    ) -> tuple[str, ...]:
        """A list of strings."""
        value = table.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(within + key, 'must be a list of texts, for example ["a", "b"]')
            return default
        return tuple(value)

    def table(self, table: Table, key: str, within: str = "") -> Table:
        """A sub-table; empty if it is not given."""
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.wrong(within + key, "must be a table")
            return {}
        return value

    def finish(self) -> None:
        """Raise DataError with all mistakes, if there are any."""
        if self.mistakes:
            raise DataError("; ".join(self.mistakes), code=self.code, fix=f"correct {self.name}")

    def _line_of(self, dotted: str) -> int:
        """Line that sets `dotted`, else that of its table's header, else 0."""
        *tables, key = dotted.split(".")
        lines = self.text.splitlines()
        first, header = 0, 0
        if tables:
            path = r"\s*\.\s*".join(f"[\"']?{re.escape(table)}[\"']?" for table in tables)
            of_table = re.compile(r"\s*\[{1,2}\s*" + path + r"\s*\]")
            found = next((at for at, line in enumerate(lines) if of_table.match(line)), None)
            first, header = (0, 0) if found is None else (found + 1, found + 1)
        setting = re.compile(r"\s*[\"']?" + re.escape(key) + r"[\"']?\s*[.=]")
        for at, line in enumerate(lines[first:], start=first):
            if setting.match(line):
                return at + 1
            if header and line.lstrip().startswith("["):
                break
        return header
