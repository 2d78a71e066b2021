"""Data sets and policies of a home, in the shapes of the control API.

The server answers the data calls with it (in a thread), and the command line uses it directly when no
node runs, so both give the same answers. Every call blocks. Imports neither numpy nor libp2p.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from mesh.api import shapes
from mesh.data import policy
from mesh.data.catalog import Catalog
from mesh.data.catalog import DatasetInfo as Registered
from mesh.data.room import DataRoom
from mesh.runtime.home import Home
from protocols.errors import LocalMisuse

MAX_NOTES = 20


class LocalData:
    """The data room of a home, asked by its owner."""

    def __init__(self, home: Home) -> None:
        self._room = DataRoom(home.root)
        self._catalog = Catalog(home.data)

    def data_add(self, spec: shapes.DataSpec) -> shapes.DatasetInfo:
        """Register a file. Raises DataError."""
        schema_path = Path(spec.schema_path) if spec.schema_path else None
        return _dataset(self._room.add(Path(spec.path), spec.name, schema_path))

    def data_list(self) -> tuple[shapes.DatasetInfo, ...]:
        """All data sets by name."""
        return tuple(_dataset(info) for info in self._room.list())

    def data_show(self, name: str) -> shapes.DatasetInfo:
        """One data set. Raises DataError C-612."""
        return replace(_dataset(self._room.show(name)), notes=self._notes(name))

    def _notes(self, name: str) -> tuple[str, ...]:
        """Of the ledger's entries on what was found in the rows, each once, the latest last."""
        found = [entry.body.get("notes") for entry in self._room.history(name) if entry.kind == "note"]
        words = [str(note) for notes in found if isinstance(notes, list) for note in notes]
        return tuple(reversed(list(dict.fromkeys(reversed(words)))))[-MAX_NOTES:]

    def data_remove(self, name: str) -> None:
        """Forget a data set; its file stays. Raises DataError C-612."""
        self._room.remove(name)

    def policy_init(self, dataset: str, spec: shapes.PolicySpec) -> shapes.PolicyInfo:
        """Write a policy; without `min_rows` a small data set gets its own size instead of the default.

        Raises DataError C-610, C-612, C-620.
        """
        given = {field.name: getattr(spec, field.name) for field in fields(spec)}
        anew, expires = bool(given.pop("replace")), given.pop("expires")
        chosen = {key: value for key, value in given.items() if value is not None}
        chosen.setdefault("min_rows", min(policy.Policy().min_rows, max(1, self._room.show(dataset).rows)))
        if expires is not None:
            chosen["expires"] = _date(expires)
        text = self._room.init_policy(dataset, policy.Policy(**chosen), replace=anew)
        return shapes.PolicyInfo(dataset, str(self._catalog.policy_path(dataset)), text)

    def policy_show(self, dataset: str) -> shapes.PolicyInfo:
        """The policy as it stands. Raises LocalMisuse C-404 when there is none."""
        rules = self._room.show_policy(dataset)
        if rules is None:
            raise LocalMisuse(
                f"{dataset} has no policy, so every job on it is denied",
                code="C-404",
                fix=f"coppice policy init {dataset} --allow mean,histogram --min-sites 3",
            )
        path = self._catalog.policy_path(dataset)
        spent = self._room.spent(dataset) if rules.dp_epsilon_budget else None
        return shapes.PolicyInfo(dataset, str(path), policy.render(rules, dataset), spent)

    def policy_test(self, spec: shapes.JobFile) -> shapes.Verdict:
        """Judge a job file. Raises DataError C-612, C-620."""
        decision = self._room.test_policy(Path(spec.path))
        return shapes.Verdict(decision.allowed, decision.rule, decision.sentence(), decision.warnings)


def _dataset(info: Registered) -> shapes.DatasetInfo:
    return shapes.DatasetInfo(
        name=info.name,
        path=info.path,
        digest=info.digest,
        size_bytes=info.size_bytes,
        rows=info.rows,
        columns=tuple(info.columns.items()),
        units=tuple(info.units.items()),
        added=info.added,
        has_schema=info.has_schema,
        has_policy=info.has_policy,
        description=info.description,
    )


def _date(text: str) -> float:
    """Seconds since 1970 of an ISO date or time, UTC unless it says otherwise. Raises LocalMisuse."""
    import datetime

    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise LocalMisuse(f"{text!r} is not a date", code="C-402", fix="write it as 2030-01-01") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
