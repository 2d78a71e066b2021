"""What a program needs at the very least, told from its shapes: before work is put into compiling it.

`circuits.cost` is exact, but lays out every step first; for a graph that somebody wants us to choke on that
is the harm itself. Here each node is looked at once. Invariant: a bound is a lower bound, so no program that
`within_limits` takes is refused, but for its number of operations: MOST_UNITS of them take a minute to lay
out, and programs that repeat themselves that often have other means (arrays, several jobs). A sorting
network is written down comparator by comparator, which takes a node more memory than its values: LAID_BYTES
of each count as memory, from LAID_FREE on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from protocols.circuits.graph import Graph, Node
from protocols.errors import LocalMisuse
from protocols.programs.plan import Limits

SHARE_BYTES = 16
"""Of one shared number in memory: a word in each residue."""
COMPARED_BYTES = 8
"""That a member sends for each comparison, at the very least."""
SORTED_BYTES = 64
"""The same for a comparator of a sorting network, which exchanges two values too; measured 140 and more."""
LAID_BYTES = 256
"""Of memory for one comparator while a network is laid out, measured (310 at 40,000 values)."""
LAID_FREE = 1 << 26
"""Up to here laying out is nobody's harm, whatever the plan allows for the values."""
MOST_UNITS = 1 << 14
"""Operations that are protocols of their own, about 2 ms of laying out each."""

_COMPARES = ("less", "equal", "relu", "abs", "floor", "clamp")
_FUNCTIONS = ("exp", "log", "reciprocal", "sqrt", "rsqrt", "sigmoid", "tanh", "softmax")
_STEP = "ask for less at once or for a plan with a higher limit"


def check_sizes(graph: Graph, limits: Sequence[Limits]) -> None:
    """Raise LocalMisuse naming the node, or what all of them need, when it is beyond one of the limits."""
    memory = min(each.memory_bytes for each in limits)
    sent = min(each.sent_bytes for each in limits)
    least = units = 0
    for at, node in enumerate(graph.nodes):
        needed = SHARE_BYTES * math.prod(node.shape)
        if needed > memory:
            raise LocalMisuse(
                f"node {at} ({node.operation}) holds {needed:,} bytes, the plan allows {memory:,} in memory",
                fix=_STEP,
            )
        more, number = _compared(node, [graph.nodes[operand] for operand in node.inputs])
        each = SORTED_BYTES if node.operation == "sort" else COMPARED_BYTES
        least, units = least + each * more, units + number
        if node.operation == "sort" and LAID_BYTES * more > max(memory, LAID_FREE):
            width = graph.nodes[node.inputs[0]].shape[-1]
            raise LocalMisuse(
                f"node {at} (sort) of {width:,} values takes {LAID_BYTES * more:,} bytes to lay out,"
                f" the plan allows {memory:,} in memory",
                fix="ask over fewer rows, or ask for counts instead: at_least, or a histogram",
            )
    if least > sent:
        raise LocalMisuse(
            f"the program needs {least:,} bytes of one member and more, the plan allows {sent:,}",
            fix=_STEP,
        )
    if units > MOST_UNITS:
        raise LocalMisuse(
            f"the program has {units:,} operations that are protocols of their own, {MOST_UNITS:,} are taken",
            fix="apply each to an array, or ask in several jobs",
        )


def check_rows(rows: Sequence[int], columns: int, limits: Sequence[Limits]) -> None:
    """Raise LocalMisuse when the owners' values alone are beyond one of the limits."""
    needed = SHARE_BYTES * columns * sum(rows)
    memory = min(each.memory_bytes for each in limits)
    if needed > memory:
        raise LocalMisuse(
            f"the sites' {sum(rows):,} rows hold {needed:,} bytes, the plan allows {memory:,} in memory",
            fix=_STEP,
        )


def _compared(node: Node, operands: Sequence[Node]) -> tuple[int, int]:
    """Comparisons of a node, and how many protocols it is laid out as."""
    if node.operation in _COMPARES:
        return math.prod(node.shape), 1
    if node.operation in _FUNCTIONS:
        return 0, 2
    if node.operation not in ("sort", "max", "argmax") or not operands or len(operands[0].shape) != 2:
        return 0, 0
    rows, width = operands[0].shape
    depth = max(0, width - 1).bit_length()
    if node.operation != "sort":
        return rows * max(0, width - 1), depth
    least = (width // 2) * depth * (depth + 1) // 4  # Batcher's network has more
    return rows * least, depth * (depth + 1) // 2
