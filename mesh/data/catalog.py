"""Which data sets this node has: name, file, digest, schema, policy. The rows stay in the owner's file.

Layout under the state folder's `data/`: `catalog.json`, and `NAME.schema.toml`, `NAME.policy.toml`.
Every file is written beside its place and renamed into it, so that a crash leaves the old or the new
one; changes are made under a lock, because the command line may run beside the daemon.

Invariant: a data set is used only while its file has the digest that it had when the owner added it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mesh.data import schema
from mesh.data.errors import DataError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
FORMAT = 1
MAX_DATASETS = 256


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What is known of a data set without reading it.

    `columns` maps each numeric column to its number of values, `units` to the unit its schema gives.
    """

    name: str
    path: str
    digest: str
    size_bytes: int
    rows: int
    columns: dict[str, int]
    units: dict[str, str]
    added: float
    has_schema: bool
    has_policy: bool = False
    description: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


class Catalog:
    """The catalogue in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def schema_text(self, name: str, given: Path | None) -> str | None:
        """The schema file given, else the one kept, if any. Raises DataError C-611."""
        if given is not None:
            return schema.read_text(given.expanduser(), "C-611")
        kept = self.schema_path(name)
        return schema.read_text(kept, "C-611") if kept.exists() else None

    def schema_of(self, info: DatasetInfo) -> schema.Schema:
        """The schema of a data set; one without rules if it has none. Raises DataError C-611."""
        return schema.load(self.schema_path(info.name)) if info.has_schema else schema.Schema()

    def schema_path(self, name: str) -> Path:
        """Where the copy of the schema is."""
        return self._folder / f"{name}.schema.toml"

    def policy_path(self, name: str) -> Path:
        """Where the policy is."""
        return self._folder / f"{name}.policy.toml"

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock for a change of several files. Raises DataError C-615."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def all(self) -> dict[str, DatasetInfo]:
        """Every data set by name. Raises DataError C-615 for a damaged catalogue."""
        try:
            text = (self._folder / "catalog.json").read_text("utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from None
        try:
            stored = json.loads(text)
            if stored["schema_version"] != FORMAT:
                raise self._broken(f"has format {stored['schema_version']}, not {FORMAT}")
            found = [DatasetInfo(**values) for values in stored["datasets"]]
        except (ValueError, TypeError, KeyError):
            raise self._broken("is damaged") from None
        return {info.name: self._with_policy(info) for info in found}

    def get(self, name: str) -> DatasetInfo:
        """One data set. Raises DataError C-612."""
        found = self.all()
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise DataError(
                f"there is no data set {name!r} here",
                code="C-612",
                fix=f"here: {known}; add it by: coppice data add FILE --as {name}",
            )
        return found[name]

    def put(self, info: DatasetInfo, schema: str | None) -> None:
        """Store `info` and its schema. Call while holding `changing`. Raises DataError C-615."""
        found = self.all()
        found[info.name] = info
        if len(found) > MAX_DATASETS:
            raise DataError(f"more than {MAX_DATASETS} data sets", code="C-613", fix="remove some first")
        if schema is not None:
            self.write(self.schema_path(info.name), schema)
        else:
            self.schema_path(info.name).unlink(missing_ok=True)
        self._store(found)

    def remove(self, name: str) -> None:
        """Forget a data set, its schema and its policy; the owner's file stays. Raises DataError C-612."""
        self.get(name)
        found = self.all()
        del found[name]
        self._store(found)
        self.schema_path(name).unlink(missing_ok=True)
        self.policy_path(name).unlink(missing_ok=True)

    def write(self, path: Path, text: str) -> None:
        """Replace a file of the catalogue as a whole, mode 0600, durably. Raises DataError C-615."""
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._broken(error.strerror or str(error)) from None

    def _store(self, found: dict[str, DatasetInfo]) -> None:
        listed = [asdict(found[name]) | {"has_policy": False} for name in sorted(found)]
        text = json.dumps({"schema_version": FORMAT, "datasets": listed}, indent=1, ensure_ascii=False)
        self.write(self._folder / "catalog.json", text + "\n")

    def _with_policy(self, info: DatasetInfo) -> DatasetInfo:
        values = asdict(info) | {"has_policy": self.policy_path(info.name).exists()}
        return DatasetInfo(**values)

    def _broken(self, what: str) -> DataError:
        return DataError(
            f"catalogue {self._folder / 'catalog.json'}: {what}",
            code="C-615",
            fix="check the disk and the folder's permissions, or restore the file",
        )


def check_name(name: str) -> None:
    """Raises DataError C-613 for a name that cannot be written as NAME.COLUMN."""
    if not NAME.fullmatch(name):
        raise DataError(
            f"{name!r} cannot name a data set",
            code="C-613",
            fix="use 1 to 64 of a-z, 0-9, _ and -, starting with a letter or digit",
        )


def check_unchanged(info: DatasetInfo, found: bytes) -> None:
    """Raises DataError C-614 unless the file's digest is that of the data set."""
    if found.hex() != info.digest:
        raise DataError(
            f"{info.path} changed since it was added as {info.name!r}",
            code="C-614",
            fix=f"check it, then add it again: coppice data add {info.path} --as {info.name}",
        )
