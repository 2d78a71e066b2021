"""Rewriting a graph without changing its results: repeated and dead nodes, sums of products.

Truncations need no pass: scales are lazy (`engine.numbers`). Independent gates need none either: the
engine runs every step in the earliest round and puts all steps of a round into one message.

Invariant: outputs, their order and the inputs' names and ranges stay as they were; inputs are never
dropped, because an owner's consent names them.
"""

from __future__ import annotations

from dataclasses import replace

from protocols.circuits.graph import Graph, Node, checked


def optimised(graph: Graph) -> Graph:
    """All passes, in an order in which each profits from those before."""
    return checked(without_dead(with_inner_products(without_repeats(graph))))


def without_repeats(graph: Graph) -> Graph:
    """Equal operations on equal operands are computed once."""
    seen: dict[tuple[object, ...], int] = {}
    moved: list[int] = []
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(moved[operand] for operand in node.inputs)
        if node.operation in ("add", "mul", "equal"):
            inputs = tuple(sorted(inputs))
        plain = (node.operation, inputs, node.shape, node.name, node.axis, node.low, node.high)
        key = (*plain, node.indices.tobytes(), node.reals.tobytes())
        if key not in seen:
            seen[key] = len(nodes)
            nodes.append(replace(node, inputs=inputs))
        moved.append(seen[key])
    return Graph(tuple(nodes), tuple(replace(o, node=moved[o.node]) for o in graph.outputs))


def with_inner_products(graph: Graph) -> Graph:
    """A product used only by a sum over its last axis is opened after the sum, not before."""
    uses = [0] * len(graph.nodes)
    for node in graph.nodes:
        for operand in node.inputs:
            uses[operand] += 1
    for output in graph.outputs:
        uses[output.node] += 1
    nodes = []
    for node in graph.nodes:
        product = graph.nodes[node.inputs[0]] if node.operation == "sum" else None
        if (
            product is not None
            and product.operation == "mul"
            and uses[node.inputs[0]] == 1
            and node.axis == len(product.shape) - 1
            and all(graph.nodes[i].kind in ("fixed", "integer") for i in product.inputs)
        ):
            node = replace(node, operation="inner", inputs=product.inputs, axis=0)
        nodes.append(node)
    return Graph(tuple(nodes), graph.outputs)


def without_dead(graph: Graph) -> Graph:
    """Nodes no output needs are dropped."""
    needed = {output.node for output in graph.outputs}
    for at in range(len(graph.nodes) - 1, -1, -1):
        if at in needed or graph.nodes[at].operation == "input":
            needed |= {at, *graph.nodes[at].inputs}
    moved = {at: place for place, at in enumerate(sorted(needed))}
    nodes = tuple(
        replace(graph.nodes[at], inputs=tuple(moved[i] for i in graph.nodes[at].inputs))
        for at in sorted(needed)
    )
    return Graph(nodes, tuple(replace(o, node=moved[o.node]) for o in graph.outputs))
