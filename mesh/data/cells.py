"""From the text of one column's cells to its numbers, under the column's schema.

The common case, all cells plain numbers, is one pass of `float`; the careful walk that finds the row to
complain about runs only when something is out of the ordinary.
"""

from __future__ import annotations

import math
from itertools import islice

from mesh.data.schema import ColumnSchema

MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
EXACT_INTEGER = 2**53
JUDGED_CELLS = 1000


class BadCell(Exception):
    """Row (from 1), what is wrong with its cell, the error code and the fix. Never the cell's content."""

    def __init__(self, row: int, what: str, code: str, fix: str) -> None:
        super().__init__(what)
        self.row, self.what, self.code, self.fix = row, what, code, fix


def is_number(text: str) -> bool:
    """Whether the cell is a finite decimal number."""
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def is_missing(text: str) -> bool:
    """Whether the cell says that there is no value."""
    return text.strip().lower() in MISSING_WORDS


def mostly_numbers(texts: list[str]) -> bool:
    """Whether a column without a schema is meant as numbers: half of its first cells present are, or more."""
    present = list(islice((text for text in texts if not is_missing(text)), JUDGED_CELLS))
    return bool(present) and 2 * sum(map(is_number, present)) >= len(present)


def values(texts: list[str], column: ColumnSchema) -> list[float]:
    """Numbers of the cells present. Raises BadCell."""
    if column.kind == "category":
        return _categories(texts, column)
    numbers = _plain(texts)
    if numbers is None:
        numbers = _careful(texts, column)
        if not numbers:
            raise BadCell(1, "no row has a value", "C-607", "leave the column out")
    if _within(numbers, column):
        return numbers
    for row, text in enumerate(texts, start=1):
        if not is_missing(text) and not _within([float(text)], column):
            raise BadCell(row, _limits(column), "C-608", "correct the cell, or the limits in the schema")
    raise AssertionError("a number was outside the limits but no cell is")


def _plain(texts: list[str]) -> list[float] | None:
    """All cells as numbers, or None if any is not plainly one."""
    try:
        numbers = list(map(float, texts))
    except ValueError:
        return None
    if not all(map(math.isfinite, numbers)) or any("_" in text for text in texts):
        return None
    return numbers


def _careful(texts: list[str], column: ColumnSchema) -> list[float]:
    numbers: list[float] = []
    for row, text in enumerate(texts, start=1):
        if is_missing(text):
            _missing(row, column)
        elif is_number(text):
            numbers.append(float(text))
        elif text.strip().lstrip("+-").lower() in ("inf", "infinity"):
            raise BadCell(row, "infinity is not a value", "C-608", "correct the cell")
        elif is_number(text.replace(",", ".")):
            raise BadCell(row, "decimal comma instead of a point", "C-606", "write 3.14, not 3,14")
        else:
            raise BadCell(
                row,
                "text in a numeric column",
                "C-606",
                "correct the cell, or name the column a category in a schema",
            )
    return numbers


def _categories(texts: list[str], column: ColumnSchema) -> list[float]:
    places = {value: float(at) for at, value in enumerate(column.values)}
    numbers: list[float] = []
    for row, text in enumerate(texts, start=1):
        place = places.get(text.strip())
        if place is not None:
            numbers.append(place)
        elif is_missing(text):
            _missing(row, column)
        else:
            fix = "correct the cell, or add the value to the schema"
            raise BadCell(row, "not one of the values that the schema lists", "C-608", fix)
    return numbers


def _missing(row: int, column: ColumnSchema) -> None:
    if column.missing != "skip":
        fix = 'fill the cell, or set missing = "skip" for the column in the schema'
        raise BadCell(row, "no value", "C-607", fix)


def _within(numbers: list[float], column: ColumnSchema) -> bool:
    if not numbers:
        return True
    low, high = min(numbers), max(numbers)
    if column.low is not None and low < column.low:
        return False
    if column.high is not None and high > column.high:
        return False
    if column.kind == "int":
        return low >= -EXACT_INTEGER and high <= EXACT_INTEGER and all(map(float.is_integer, numbers))
    return True


def _limits(column: ColumnSchema) -> str:
    low = "-∞" if column.low is None else f"{column.low:g}"
    high = "∞" if column.high is None else f"{column.high:g}"
    kind = "whole number" if column.kind == "int" else "number"
    return f"outside the schema: a {kind} from {low} to {high} is expected"
