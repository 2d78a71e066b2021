"""The schema of a data set: what its owner says the columns hold.

A schema is optional. It turns silent mistakes (a temperature of 9999) into errors before anything is
contributed and bounds every contribution. Format:

    description = "living-room sensor"

    [columns.temp]
    type = "float"            # float, int or category
    min = -40.0
    max = 85.0
    missing = "skip"          # rows without a value are left out; "error" (default) refuses the file
    unit = "°C"

    [columns.diagnosis]
    type = "category"
    values = ["benign", "malignant"]    # become 0 and 1

Invariant: a column that the schema names must be in the file; a column that it does not name is read
as numbers if most of its cells are numbers and is not available otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mesh.data.errors import DataError
from mesh.data.tables import Reader, Table

MAX_SCHEMA_BYTES = 1 << 20
KINDS = ("float", "int", "category")
MISSING = ("error", "skip")


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    """What one column may hold; None means no limit."""

    kind: str = "float"
    low: float | None = None
    high: float | None = None
    missing: str = "error"
    values: tuple[str, ...] = ()
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file may hold."""

    description: str = ""
    columns: dict[str, ColumnSchema] = field(default_factory=dict)


def parse(text: str, name: str = "schema") -> Schema:
    """Schema of a TOML text. Raises DataError C-611 with every mistake and its line."""
    reader = Reader(name, text, "C-611")
    table = reader.load()
    reader.known(table, ("description", "columns"))
    columns = {
        column: _column(reader, column, settings)
        for column, settings in reader.table(table, "columns").items()
    }
    description = reader.text_of(table, "description", limit=1024)
    reader.finish()
    return Schema(description, columns)


def load(path: Path) -> Schema:
    """Schema of a file. Raises DataError C-611."""
    return parse(read_text(path, "C-611"), path.name)


def read_text(path: Path, code: str) -> str:
    """A small UTF-8 file of the owner's. Raises DataError with `code`."""
    try:
        if path.stat().st_size > MAX_SCHEMA_BYTES:
            raise DataError(
                f"{path}: larger than {MAX_SCHEMA_BYTES} bytes", code=code, fix="name the right file"
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", code=code, fix="name a file that can be read") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text", code=code, fix="save the file as UTF-8") from None


def _column(reader: Reader, column: str, settings: object) -> ColumnSchema:
    within = f"columns.{column}."
    if not isinstance(settings, dict):
        reader.wrong(f"columns.{column}", 'must be a table, for example { type = "float", min = 0 }')
        return ColumnSchema()
    table: Table = settings
    reader.known(table, ("type", "min", "max", "missing", "values", "unit", "description"), within)
    kind = reader.choice(table, "type", KINDS, "float", within)
    low, high = reader.number(table, "min", within), reader.number(table, "max", within)
    if low is not None and high is not None and low > high:
        reader.wrong(within + "min", "is above max")
    values = reader.texts(table, "values", (), within)
    if kind == "category":
        if not values or len(set(values)) != len(values):
            reader.wrong(within + "values", "a category lists its values, each once")
        if low is not None or high is not None:
            reader.wrong(within + "min", "a category has values, not min and max")
    elif values:
        reader.wrong(within + "values", "only a category has values")
    return ColumnSchema(
        kind,
        low,
        high,
        reader.choice(table, "missing", MISSING, "error", within),
        values,
        reader.text_of(table, "unit", within=within, limit=32),
        reader.text_of(table, "description", within=within),
    )
