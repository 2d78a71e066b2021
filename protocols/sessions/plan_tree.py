"""How a large plan is bound to its session's id: a hash tree along its own stages, and a map of its dealers.

A plan with `fan_in` > 0 has a canonical shape, so that a party which sees a part of it knows where that
part stands: leaves first, then level on level, each stage of a level over the next `fan_in` of the level
below, in order. Index, level, parent and children of a stage follow from the number of leaves alone.

    node(i)  = H(i, stage, proofs of its adders, below(i))
    below(i) = Merkle root over node(c) of its children c, in order; their number follows from the shape
    map      = a binary trie over the bits of H(dealer), one node for each dealer: H(key, its leaf's index)

The id is the digest of the header, which holds node(root), the map's root and both counts. What follows, if
H has no collisions:

  - A stage is shown by the stages on its path to the root, and at each by O(log fan-in) hashes that lead from
    it to the `below` of its parent: it has one place and one content in one session.
  - A dealer's place in the map is fixed by its own key, and a path down the trie ends at the first leaf: so
    one session has at most one leaf stage for a dealer, whoever is shown which part. That is what makes
    counts of different leaves add up without a list of all dealers.

Symbols: H BLAKE2b-256 under a label for each use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions import merkle
from protocols.wire.digest import digest

MAX_TRIE_DEPTH = 64
"""Of the dealers' map: keys are hashes, so 64 equal bits of two of them would be a found near-collision."""
NOTHING = merkle.NOTHING


@dataclass(frozen=True)
class Shape:
    """The canonical tree over `leaves` leaves, `fan_in` (at least 2) children a stage."""

    leaves: int
    fan_in: int

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Stages of each level, leaves first, the root's 1 last."""
        widths = [self.leaves]
        while widths[-1] > 1:
            widths.append(-(-widths[-1] // self.fan_in))
        return tuple(widths)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Index of the first stage of each level, and the number of all stages."""
        return (0, *accumulate(self.widths))

    @property
    def size(self) -> int:
        """Number of stages."""
        return self.firsts[-1]

    @property
    def depth(self) -> int:
        """Stages on each path from a leaf to the root."""
        return len(self.widths)

    def level(self, stage: int) -> int:
        """0 for a leaf. Raises MalformedMessage outside the tree."""
        if not 0 <= stage < self.size:
            raise MalformedMessage(f"stage {stage} is none of {self.size}")
        return next(level for level in range(self.depth) if stage < self.firsts[level + 1])

    def parent(self, stage: int) -> int | None:
        """Index of the stage above, None for the root."""
        level = self.level(stage)
        if level + 1 == self.depth:
            return None
        return self.firsts[level + 1] + (stage - self.firsts[level]) // self.fan_in

    def children(self, stage: int) -> tuple[int, ...]:
        """Indices of the stages below."""
        level = self.level(stage)
        if level == 0:
            return ()
        first = self.firsts[level - 1] + (stage - self.firsts[level]) * self.fan_in
        return tuple(range(first, min(first + self.fan_in, self.firsts[level])))


def canonical(children: Sequence[tuple[int, ...]], fan_in: int) -> Shape:
    """The shape of a tree whose stages have these children. Raises MalformedMessage for another tree."""
    leaves = sum(not below for below in children)
    if fan_in < 2 or not leaves:
        raise MalformedMessage("a plan by role wants leaves, and two children a stage or more")
    shape = Shape(leaves, fan_in)
    if shape.size != len(children):
        raise MalformedMessage(f"{len(children)} stages where the canonical tree has {shape.size}")
    for stage, below in enumerate(children):
        if below != shape.children(stage):
            raise MalformedMessage(f"stage {stage} is not where the canonical tree has it")
    return shape


def node(stage: int, content: bytes, below: Digest) -> Digest:
    """Of one stage: its index, the encoding of what it is, and `below` its children."""
    return digest("plan stage", stage.to_bytes(4, "big"), content, below)


def check_child(shape: Shape, stage: int, made: Digest, steps: Sequence[Digest], named: Digest) -> None:
    """Raise MalformedMessage unless `made` is the node of `stage` among its siblings under `named`."""
    parent = shape.parent(stage)
    siblings = (stage,) if parent is None else shape.children(parent)
    if merkle.root_of(made, stage - siblings[0], len(siblings), steps) != named:
        raise MalformedMessage(f"stage {stage} is not that of this session")


def tree_nodes(shape: Shape, contents: Sequence[bytes]) -> tuple[Digest, ...]:
    """Node of every stage, from the encodings of all."""
    nodes: list[Digest] = []
    for stage, content in enumerate(contents):
        nodes.append(node(stage, content, merkle.root([nodes[child] for child in shape.children(stage)])))
    return tuple(nodes)


# -- the map of the dealers ---------------------------------------------------------------------------


class DealerMap:
    """The trie, with everybody in it; `root` commits to it."""

    def __init__(self, places: Iterable[tuple[PartyId, int]]) -> None:
        """`places`: each dealer once, with its leaf's index. Raises MalformedMessage for a dealer twice."""
        self._nodes: dict[tuple[int, int], Digest] = {}
        ordered = sorted((_key(dealer), place) for dealer, place in places)
        self.root = self._build(ordered, 0, 0)

    def _build(self, part: Sequence[tuple[bytes, int]], depth: int, prefix: int) -> Digest:
        if depth > MAX_TRIE_DEPTH:
            raise MalformedMessage("a dealer appears twice in the plan")
        if not part:
            made = NOTHING
        elif len(part) == 1:
            made = _leaf(*part[0])
        else:
            low = _first_with_bit(part, depth)
            left = self._build(part[:low], depth + 1, prefix << 1)
            right = self._build(part[low:], depth + 1, prefix << 1 | 1)
            made = _inner(left, right)
            self._nodes[depth + 1, prefix << 1] = left
            self._nodes[depth + 1, prefix << 1 | 1] = right
        return made

    def proof(self, dealer: PartyId) -> tuple[Digest, ...]:
        """Siblings on the way from the root down to the dealer's node."""
        key, prefix, siblings = _key(dealer), 0, []
        for depth in range(MAX_TRIE_DEPTH):
            beside = self._nodes.get((depth + 1, prefix << 1 | 1 - _bit(key, depth)))
            if beside is None:
                break
            siblings.append(beside)
            prefix = prefix << 1 | _bit(key, depth)
        return tuple(siblings)


def check_place(root: Digest, dealer: PartyId, stage: int, proof: Sequence[Digest]) -> None:
    """Raise MalformedMessage unless the map under `root` has `dealer` at leaf `stage`."""
    if len(proof) > MAX_TRIE_DEPTH:
        raise MalformedMessage(f"a proof of {len(proof)} steps in the map of dealers")
    key = _key(dealer)
    made = _leaf(key, stage)
    for depth in reversed(range(len(proof))):
        pair = (proof[depth], made) if _bit(key, depth) else (made, proof[depth])
        made = _inner(*pair)
    if made != root:
        raise MalformedMessage(f"the plan's map of dealers does not have {dealer.short()} in stage {stage}")


def _key(dealer: PartyId) -> bytes:
    return digest("plan dealer", dealer)


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _first_with_bit(part: Sequence[tuple[bytes, int]], depth: int) -> int:
    """Position of the first key of a sorted part, equal up to `depth`, that has a one there."""
    low, high = 0, len(part)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _bit(part[middle][0], depth) else (middle + 1, high)
    return low


def _leaf(key: bytes, stage: int) -> Digest:
    return digest("map dealer", key, stage.to_bytes(4, "big"))


def _inner(left: Digest, right: Digest) -> Digest:
    return digest("map node", left, right)
