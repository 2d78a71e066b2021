"""Which masked vectors an adder has: names only, the bytes are in the node's vector store."""

from __future__ import annotations

from protocols.identifiers import Digest
from protocols.sessions.messages import NO_VECTOR
from protocols.sessions.plan import Plan


class Vectors:
    """Names of the masked vectors this party knows: stored ones, and the sum of each child stage."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stored: set[Digest] = set()
        self.of_child: dict[int, Digest] = {}

    def has(self, name: Digest) -> bool:
        """Whether nothing more is needed for `name`: it is here, or there is none."""
        return name == NO_VECTOR or name in self.stored

    def child_name(self, child: int) -> Digest:
        """Name of a child stage's masked sum; NO_VECTOR if the session has none, or it is not here yet."""
        name = self.of_child.get(child, NO_VECTOR)
        return name if name in self.stored else NO_VECTOR

    def has_child(self, child: int) -> bool:
        """Whether a child's masked sum is here, or none is needed."""
        return self.plan.bulk is None or self.child_name(child) != NO_VECTOR
