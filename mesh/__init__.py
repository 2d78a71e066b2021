"""Coppice for programs: `from mesh import Mesh`.

Loaded on first use, so that the rooms below, which share this name, cost nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.facade import Mesh as Mesh


def __getattr__(name: str) -> Any:
    """`Mesh`."""
    if name != "Mesh":
        raise AttributeError(f"mesh has no {name}")
    from mesh.facade import Mesh

    return Mesh
