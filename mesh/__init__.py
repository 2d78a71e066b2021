"""Coppice for programs: `from mesh import Mesh, Schema, Col`.

Loaded on first use, so that the rooms below, which share this name, cost nothing more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.columns import Col as Col
    from mesh.columns import Schema as Schema
    from mesh.facade import Mesh as Mesh

_MODULE_OF = {"Mesh": "mesh.facade", "Schema": "mesh.columns", "Col": "mesh.columns"}


def __getattr__(name: str) -> Any:
    """`Mesh`, `Schema` or `Col`."""
    if name not in _MODULE_OF:
        raise AttributeError(f"mesh has no {name}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
