"""A hash tree over a list of digests whose length is known, and why a path shows one thing only.

Neighbours are hashed in pairs, level on level; one that has no neighbour moves up as it is (as in RFC 6962,
section 2.1). The shape follows from the length alone, so a position has one path, of at most ceil(log2
size) siblings. Whoever names a root names the length beside it, and what stands at a leaf is hashed under a
label of its own: then, if the hash has no collisions, a path proves one digest for one position, and nobody
can take an inner node for a leaf.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest
from protocols.wire.digest import digest

NOTHING = Digest(bytes(32))
"""Root over an empty list."""


def root(leaves: Sequence[Digest]) -> Digest:
    """Over all `leaves`, in order."""
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0] if level else NOTHING


def path(leaves: Sequence[Digest], position: int) -> tuple[Digest, ...]:
    """The siblings from `leaves[position]` up to the root. Raises IndexError for none of them."""
    if not 0 <= position < len(leaves):
        raise IndexError(f"no leaf {position} of {len(leaves)}")
    level, steps = list(leaves), []
    while len(level) > 1:
        if position ^ 1 < len(level):
            steps.append(level[position ^ 1])
        level, position = _above(level), position >> 1
    return tuple(steps)


def root_of(leaf: Digest, position: int, size: int, steps: Sequence[Digest]) -> Digest:
    """The root over `size` leaves that has `leaf` at `position`, by its path.

    Raises MalformedMessage if there is no such position, or the path has another length than its own.
    """
    if not 0 <= position < size:
        raise MalformedMessage(f"a path from leaf {position} of {size}")
    made, left = leaf, list(steps)
    while size > 1:
        if position ^ 1 < size:
            if not left:
                raise MalformedMessage("a path that ends below the root")
            beside = left.pop(0)
            made = _node(beside, made) if position & 1 else _node(made, beside)
        position, size = position >> 1, (size + 1) >> 1
    if left:
        raise MalformedMessage("a path that goes on above the root")
    return made


def _above(level: Sequence[Digest]) -> list[Digest]:
    made = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return [*made, level[-1]] if len(level) & 1 else made


def _node(left: Digest, right: Digest) -> Digest:
    return digest("merkle node", left, right)
