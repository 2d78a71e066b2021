"""Reading an owner's CSV file: every cell that is used is checked, every complaint names row and column.

One pass over the file gives the columns asked for, the number of rows and the digest of exactly the
bytes that were parsed, so that a file cannot change between the check and the reading. Strict UTF-8 (a
byte order mark is fine), comma separated (RFC 4180), a header, the same number of cells in each row;
blank lines are passed over.

Rows are counted from 1 after the header; the line of the file is given as well, because a quoted cell
may span several. Invariant: no message contains the content of a cell.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NoReturn

from mesh.data import cells
from mesh.data.cells import BadCell
from mesh.data.errors import DataError
from mesh.data.schema import ColumnSchema, Schema

MAX_FILE_BYTES = 256 << 20
"""Formula: parsing takes about 10 times the bytes of the columns in use, and 5 s per 100 MB. Larger
files want an extract: a device of 1 GB must survive a wrong path."""

MAX_COLUMNS = 4096
CHUNK_ROWS = 4096
ANY_COLUMN = "*"
"""As a query's column: the rows themselves, whatever they hold. Only `count` is of use on it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one reading gave; a column lacks the values that its schema says may be missing."""

    rows: int
    size_bytes: int
    digest: bytes
    header: tuple[str, ...]
    columns: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class _Texts:
    header: tuple[str, ...]
    columns: dict[str, list[str]]
    rows: int


class _Hashing(io.RawIOBase):
    """A file that hashes what is read from it and stops at the size limit."""

    def __init__(self, file: BinaryIO, name: str, limit: int) -> None:
        self._file, self._name, self._limit, self.seen = file, name, limit, 0
        self._state = hashlib.blake2b(digest_size=32, person=b"dataset")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.seen += len(data)
        if self.seen > self._limit:
            raise DataError(
                f"{self._name}: larger than {self._limit >> 20} MiB",
                code="C-609",
                fix="add an extract with the columns that are needed, or fewer rows",
            )
        self._state.update(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io always passes a memoryview
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def digest(self) -> bytes:
        """Of all bytes up to the end of the file."""
        while self.read(1 << 20):
            pass
        return self._state.digest()


def read(
    path: Path, schema: Schema, wanted: tuple[str, ...] | None = None, *, limit: int = MAX_FILE_BYTES
) -> Contents:
    """Columns `wanted` of the file as floats in row order (None: every column that holds numbers).

    Raises DataError C-601 … C-610 naming the file and, where there is one, the row and column.
    """
    with _opened(path) as file:
        source = _Hashing(file, path.name, limit)
        with io.TextIOWrapper(io.BufferedReader(source, 1 << 18), encoding="utf-8-sig", newline="") as text:
            texts = _split(path, text, wanted, schema)
            digest = source.digest()
    columns: dict[str, list[float]] = {}
    for name, column in texts.columns.items():
        if wanted is not None or name in schema.columns or cells.mostly_numbers(column):
            columns[name] = _numbers(path, name, column, schema.columns.get(name, ColumnSchema()))
    if wanted is not None and ANY_COLUMN in wanted:
        columns[ANY_COLUMN] = [0.0] * texts.rows
    return Contents(texts.rows, source.seen, digest, texts.header, columns)


def digest_of(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """The digest that `read` gives, without parsing. Raises DataError C-601, C-609."""
    with _opened(path) as file:
        return _Hashing(file, path.name, limit).digest()


def no_column(name: str, column: str, known: tuple[str, ...]) -> DataError:
    """The error for a column that is not there."""
    return DataError(
        f"{name}: there is no column {column!r}", code="C-610", fix=f"its columns are {', '.join(known)}"
    )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}", code="C-601", fix="name a file that this user can read"
        ) from None


def _split(path: Path, text: io.TextIOWrapper, wanted: tuple[str, ...] | None, schema: Schema) -> _Texts:
    """Cells of the wanted columns. Raises DataError C-602 … C-605, C-610."""
    reader = csv.reader(text, strict=True)
    try:
        header = _header(path, next(reader, []))
        names = header if wanted is None else tuple(dict.fromkeys(wanted))
        for name in (*names, *schema.columns):
            if name not in header and name != ANY_COLUMN:
                raise no_column(path.name, name, header)
        places = {name: header.index(name) for name in names if name != ANY_COLUMN}
        columns: dict[str, list[str]] = {name: [] for name in places}
        rows = 0
        while chunk := list(islice(reader, CHUNK_ROWS)):
            if set(map(len, chunk)) != {len(header)}:
                chunk = _same_width(path, chunk, rows, len(header))
            rows += len(chunk)
            for name, at in places.items():
                columns[name].extend(map(itemgetter(at), chunk))
    except UnicodeDecodeError:
        _wrong_encoding(path)
    except csv.Error as error:
        raise DataError(
            f"{path.name}: line {reader.line_num}: {error}",
            code="C-604",
            fix="close the quote, or save as plain CSV",
        ) from None
    if rows == 0:
        raise DataError(f"{path.name}: has a header but no row", code="C-602", fix="add a file with data")
    return _Texts(header, columns, rows)


def _header(path: Path, row: list[str]) -> tuple[str, ...]:
    """Column names. Raises DataError C-602, C-605."""
    header = tuple(name.strip() for name in row)
    if not any(header):
        raise DataError(f"{path.name}: is empty", code="C-602", fix="add a file with a header and data")
    fix = "give each column a name of its own in the first line"
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path.name}: more than {MAX_COLUMNS} columns", code="C-605", fix="add an extract")
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise DataError(f"{path.name}: not separated by commas", code="C-605", fix="save it with commas")
    if all(cells.is_number(name) for name in header):
        raise DataError(f"{path.name}: the first line holds numbers, not column names", code="C-605", fix=fix)
    for at, name in enumerate(header):
        if not name:
            raise DataError(f"{path.name}: column {at + 1} has no name", code="C-605", fix=fix)
        if name in header[:at]:
            first = header.index(name)
            raise DataError(
                f"{path.name}: columns {first + 1} and {at + 1} are both named {name!r}",
                code="C-605",
                fix=fix,
            )
    return header


def _numbers(path: Path, name: str, texts: list[str], column: ColumnSchema) -> list[float]:
    """Values of a column. Raises DataError C-606 … C-608 naming the row."""
    try:
        return cells.values(texts, column)
    except BadCell as bad:
        line = _line_of(path, bad.row)
        raise DataError(
            f"{path.name}: row {bad.row} (line {line}), column {name!r}: {bad.what}",
            code=bad.code,
            fix=bad.fix,
        ) from None


def _same_width(path: Path, chunk: list[list[str]], before: int, width: int) -> list[list[str]]:
    """The rows without blank lines. Raises DataError C-604 for the first with too many or too few cells."""
    filled = [row for row in chunk if row]
    for row, found in enumerate(filled, start=before + 1):
        if len(found) != width:
            line = _line_of(path, row)
            raise DataError(
                f"{path.name}: row {row} (line {line}) has {len(found)} cells, the header has {width}",
                code="C-604",
                fix="give each row one cell per column; quote a cell that holds a comma",
            )
    return filled


def _line_of(path: Path, row: int) -> int:
    """Line on which the row ends; the same file was just parsed, so failures only mean that it is gone."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            next(reader)
            for _ in range(row):
                while not next(reader):
                    pass
            return reader.line_num
    except (OSError, ValueError, csv.Error, StopIteration):
        return row + 1


def _wrong_encoding(path: Path) -> NoReturn:
    """Find the first line that is not UTF-8 and the column of its bad byte."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                cell = line[: error.start].count(b",") + 1
                raise DataError(
                    f"{path.name}: row {number - 1} (line {number}), column {cell}: not UTF-8 text",
                    code="C-603",
                    fix="save the file as UTF-8",
                ) from None
    raise DataError(f"{path.name}: not UTF-8 text", code="C-603", fix="save the file as UTF-8")
