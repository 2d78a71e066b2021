"""What a command printed and returned."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSV = "temp,age\n" + "".join(f"{row / 2},{row}\n" for row in range(20))


class Told:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        document = json.loads(self.out)
        assert document["schema_version"] == 1
        return document
