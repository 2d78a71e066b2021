"""Programs that a site's owner installed to compute updates in its own way; nobody else can.

A plug-in is a name and a Python function on this machine, `local_update(weights, rows) -> (vector, weight)`:
weights (d,) float64, rows (m, features + 1) float64 with the label last. Jobs name plug-ins, never carry
them. The file is written by the owner's own command only; the function runs with the owner's rights.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.data.errors import DataError

if TYPE_CHECKING:
    from protocols.learning.rounds import LocalUpdate

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Plugins:
    """The plug-ins of one state folder."""

    def __init__(self, home: Path) -> None:
        self._path = home / "plugins.json"

    def all(self) -> dict[str, str]:
        """`module:function` by name. Raises DataError C-645 for a damaged file."""
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise _wrong(f"{self._path} cannot be read", "correct or remove the file") from None
        if not isinstance(found, dict) or not all(isinstance(target, str) for target in found.values()):
            raise _wrong(f"{self._path} is damaged", "correct or remove the file")
        return found

    def add(self, name: str, target: str) -> None:
        """Install after importing it once. Raises DataError C-645."""
        if not _NAME.fullmatch(name) or not _TARGET.fullmatch(target):
            raise _wrong(
                f"{name!r} or {target!r} is malformed", "write: coppice plugins add NAME MODULE:FUNCTION"
            )
        _load(name, target)
        self._store({**self.all(), name: target})

    def remove(self, name: str) -> None:
        """Forget it. Raises DataError C-645."""
        found = self.all()
        if name not in found:
            raise _wrong(f"there is no plug-in {name!r} here", f"here: {', '.join(found) or 'none'}")
        del found[name]
        self._store(found)

    def load(self, name: str) -> LocalUpdate:
        """The function. Raises DataError C-645."""
        target = self.all().get(name)
        if target is None:
            raise _wrong(f"there is no plug-in {name!r} here", f"coppice plugins add {name} MODULE:FUNCTION")
        return _load(name, target)

    def _store(self, found: dict[str, str]) -> None:
        new = self._path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1, sort_keys=True)
        new.replace(self._path)


def _load(name: str, target: str) -> LocalUpdate:
    module, _, function = target.partition(":")
    try:
        found: LocalUpdate = getattr(importlib.import_module(module), function)
    except Exception as error:  # importing an owner's own module may fail in any way
        raise _wrong(
            f"plug-in {name!r}: {target} cannot be imported ({type(error).__name__})",
            "install the module where this node's Python finds it",
        ) from error
    if not callable(found):
        raise _wrong(f"plug-in {name!r}: {target} is not a function", "name a function")
    return found


def _wrong(what: str, fix: str) -> DataError:
    return DataError(what, code="C-645", fix=fix)
