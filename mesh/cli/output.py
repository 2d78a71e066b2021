"""What a verb prints: one answer on stdout (text, or one JSON object), chatter on stderr.

Invariant: with --json exactly one JSON object with `schema_version` reaches stdout, also when the verb fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh.api.jsonshape import encode
from mesh.api.outcome import bug_description, describe
from mesh.api.shapes import SCHEMA_VERSION
from protocols.errors import MeshError


@dataclass(frozen=True, slots=True)
class Output:
    """Prints answers, as JSON or as text."""

    as_json: bool

    def show(self, answer: object, text: str) -> None:
        """Print the answer: a shape or a mapping, and how people read it."""
        if self.as_json:
            document = dict(answer) if isinstance(answer, Mapping) else encode(answer)
            self._object(document)
        else:
            print(text, flush=True)

    def show_all(self, name: str, answers: Sequence[object], text: str) -> None:
        """Print a list of shapes under one key."""
        self.show({name: [encode(answer) for answer in answers]}, text)

    def say(self, text: str) -> None:
        """Chatter: to stderr."""
        print(text, file=sys.stderr, flush=True)

    def progress(self, event: object, text: str) -> None:
        """A step of something long: a line for people on a terminal, a JSON line for programs otherwise."""
        self.say(text if sys.stderr.isatty() else json.dumps(encode(event)))

    def fail(self, error: MeshError) -> None:
        """Print an error: a sentence on stderr, and the object on stdout with --json."""
        self.say(error.sentence())
        if self.as_json:
            self._object({"error": describe(error)})

    def bug(self, log: str) -> None:
        """Print that we met a bug of our own, and where its traceback is."""
        described = bug_description() | {"fix": f"the traceback is in {log}; report it"}
        self.say(f"{described['code']}: a bug of ours stopped this command · {described['fix']}")
        if self.as_json:
            self._object({"error": described})

    def _object(self, document: Mapping[str, object]) -> None:
        print(json.dumps({"schema_version": SCHEMA_VERSION, **document}), flush=True)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "none") -> str:
    """Columns aligned by spaces: the same in a terminal, a pipe and a mail."""
    if not rows:
        return empty
    cells = [list(headings)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value) or "-"
