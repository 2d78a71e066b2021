"""Every way in which an owner's CSV or schema can be wrong gives its own sentence with row and column."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from mesh.data import cells, schema, sources
from mesh.data.errors import CODES, DataError

NO_SCHEMA = schema.Schema()
TEMP = schema.parse('[columns.temp]\nmin = -40\nmax = 85\nunit = "°C"\n')


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "readings.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_reads_columns_in_row_order(tmp_path: Path) -> None:
    path = write(tmp_path, "id,temp,note\na,1.5,x\nb,-2,y\nc,3e2,\n")
    contents = sources.read(path, NO_SCHEMA, ("temp",))
    assert contents.columns == {"temp": [1.5, -2.0, 300.0]}
    assert contents.rows == 3
    assert contents.header == ("id", "temp", "note")
    assert sources.read(path, NO_SCHEMA).columns.keys() == {"temp"}
    assert sources.read(path, NO_SCHEMA, ("*",)).columns == {"*": [0.0, 0.0, 0.0]}
    assert contents.digest == sources.digest_of(path) == sources.read(path, NO_SCHEMA, ("*",)).digest


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"temp\n1\n2\n",
        b"temp\r\n1\r\n2\r\n",
        b"temp\n1\n\n2\n\n",
        b" temp \n 1\n2 \n",
        b'"temp"\n"1"\n"2"',
    ],
)
def test_harmless_forms_are_read_alike(tmp_path: Path, content: bytes) -> None:
    assert sources.read(write(tmp_path, content), NO_SCHEMA).columns == {"temp": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("", "C-602", "is empty"),
        ("\n", "C-602", "is empty"),
        ("temp\n", "C-602", "no row"),
        ("temp,b\n1,2\n3\n", "C-604", r"row 2 \(line 3\) has 1 cells, the header has 2"),
        ("temp,b\n1,2,3\n", "C-604", r"row 1 \(line 2\) has 3 cells"),
        ('temp,b\n1,"2\n', "C-604", "line 2"),
        ("temp,temp\n1,2\n", "C-605", "columns 1 and 2 are both named 'temp'"),
        (",temp\n1,2\n", "C-605", "column 1 has no name"),
        ("1,2\n3,4\n", "C-605", "not column names"),
        ("temp;b\n1;2\n", "C-605", "not separated by commas"),
        (",".join(f"c{n}" for n in range(4097)) + "\n", "C-605", "more than 4096"),
        ("temp\n1\nwarm\n3\n", "C-606", r"row 2 \(line 3\), column 'temp': text"),
        ('note,temp\n"two\nlines",1\nx,warm\n', "C-606", r"row 2 \(line 4\), column 'temp'"),
        ('temp\n1\n"2,5"\n', "C-606", "decimal comma"),
        ("temp\n1\n1_000\n", "C-606", "row 2"),
        ("temp,b\n1,2\n,3\n", "C-607", r"row 2 \(line 3\), column 'temp': no value"),
        ("temp\n1\nNA\n", "C-607", "row 2"),
        ("temp\n1\nnan\n", "C-607", "row 2"),
        ("temp\n1\ninf\n2\n", "C-608", "infinity"),
        ("temp\n1\n1e999\n", "C-606", "row 2"),
        ("temp\n1\n85.01\n", "C-608", r"row 2 \(line 3\), column 'temp': outside the schema: .* -40 to 85"),
        ("other\n1\n", "C-610", "no column 'temp'"),
        ("temp\n1\n2\n".encode("utf-16"), "C-603", r"row 0 \(line 1\), column 1"),
        ("note,temp\nok,1\ncafé,2\n".encode("latin-1"), "C-603", r"row 2 \(line 3\), column 1"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str | bytes, code: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        sources.read(write(tmp_path, content), TEMP, ("temp",))
    assert caught.value.code == code
    assert caught.value.fix
    assert code in CODES
    for secret in ("warm", "1_000", "85.01", "café", "2,5"):
        assert secret not in caught.value.sentence()


def test_a_late_encoding_error_in_a_large_file_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, b"temp,note\n" + b"1,x\n" * 200_000 + b"2,\xff\n")
    with pytest.raises(DataError, match=r"row 200001 \(line 200002\), column 2") as caught:
        sources.read(path, NO_SCHEMA, ("temp",))
    assert caught.value.code == "C-603"


def test_unreadable_files(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DataError) as caught:
            sources.read(path, NO_SCHEMA)
        assert caught.value.code == "C-601"


def test_the_size_limit_stops_reading_at_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path, "temp\n" + "1\n" * 1000)
    with pytest.raises(DataError) as caught:
        sources.read(path, NO_SCHEMA, limit=1000)
    assert caught.value.code == "C-609"
    with pytest.raises(DataError) as caught:
        sources.read(Path("/dev/zero"), NO_SCHEMA, limit=1 << 20)
    assert caught.value.code == "C-609"


def test_missing_values_are_left_out_where_the_schema_says_so(tmp_path: Path) -> None:
    rules = schema.parse('[columns.temp]\nmissing = "skip"\nmax = 9\n')
    path = write(tmp_path, "temp,b\n1,1\n,2\nn/a,3\n?,4\n5,5\n")
    contents = sources.read(path, rules)
    assert contents.columns == {"temp": [1.0, 5.0], "b": [1.0, 2.0, 3.0, 4.0, 5.0]}
    with pytest.raises(DataError, match="row 3") as caught:
        sources.read(write(tmp_path, "temp,b\n1,1\n,2\n10,3\n"), rules)
    assert caught.value.code == "C-608"
    with pytest.raises(DataError, match="no row has a value"):
        sources.read(write(tmp_path, "temp,b\n,1\n,2\n"), rules)


def test_types_of_the_schema(tmp_path: Path) -> None:
    rules = schema.parse(
        '[columns.age]\ntype = "int"\nmin = 0\n[columns.kind]\ntype = "category"\nvalues = ["B", "M"]\n'
    )
    assert sources.read(write(tmp_path, "age,kind\n3,M\n4,B\n"), rules).columns == {
        "age": [3.0, 4.0],
        "kind": [1.0, 0.0],
    }
    for content, words in (
        ("age,kind\n3,M\n4.5,B\n", "row 2.*'age'.*whole number from 0 to ∞"),
        ("age,kind\n3,M\n-4,B\n", "row 2.*'age'"),
        ("age,kind\n9007199254740994,M\n", "row 1.*'age'"),
        ("age,kind\n3,M\n4,X\n", "row 2.*'kind': not one of"),
        ("age,kind\n3,M\n4,\n", "row 2.*'kind': no value"),
    ):
        with pytest.raises(DataError, match=words):
            sources.read(write(tmp_path, content), rules)


def test_text_columns_are_passed_over_but_a_stray_word_is_not(tmp_path: Path) -> None:
    assert cells.mostly_numbers(["1", "x"])
    assert not cells.mostly_numbers(["1", "x", "y"])
    assert not cells.mostly_numbers(["", "NA"])
    with pytest.raises(DataError, match="row 4"):
        sources.read(write(tmp_path, "temp\n1\n2\n3\nwarm\n"), NO_SCHEMA)


def test_all_mistakes_of_a_schema_at_once() -> None:
    text = """
title = "x"
[columns.temp]
type = "real"
min = 5
max = 4
[columns.kind]
type = "category"
missing = "ignore"
[columns.n]
low = 3
min = inf
"""
    with pytest.raises(DataError) as caught:
        schema.parse(text, "s.toml")
    message = caught.value.args[0]
    assert caught.value.code == "C-611"
    for part in (
        "s.toml:2: title: unknown key",
        "s.toml:4: columns.temp.type: must be one of float, int, category",
        "s.toml:5: columns.temp.min: is above max",
        "columns.kind.values: a category lists its values",
        "s.toml:9: columns.kind.missing: must be one of error, skip",
        "s.toml:11: columns.n.low: unknown key",
        "s.toml:12: columns.n.min: must be a finite number",
    ):
        assert part in message


@pytest.mark.parametrize(
    "text", ["[columns", "columns = 3", "[columns]\ntemp = 3", "[columns.t]\nvalues = 3"]
)
def test_malformed_schemas(text: str) -> None:
    with pytest.raises(DataError) as caught:
        schema.parse(text)
    assert caught.value.code == "C-611"


def test_schema_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'description = "\xff"')
    for name in ("absent.toml", "latin.toml"):
        with pytest.raises(DataError) as caught:
            schema.load(tmp_path / name)
        assert caught.value.code == "C-611"
