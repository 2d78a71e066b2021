"""Programs that somebody wants a member to choke on: refused from their shapes, before they are laid out."""

from __future__ import annotations

import time

import pytest

from protocols.circuits.builder import fixed, integers, maximum, relu, sort, trace
from protocols.circuits.cost import cost
from protocols.circuits.graph import Graph
from protocols.circuits.lower import lower
from protocols.engine.committee import Committee
from protocols.errors import LocalMisuse
from protocols.programs import questions, sizes
from protocols.programs.plan import Limits
from tests.scenarios.program_pump import job
from tests.scenarios.test_program_columns import own

LIMITS = (Limits(20_000, 4 << 30, 1 << 30),)
COMMITTEE = Committee(4, 1, (1, 2, 3, 4))


def named(write, shape) -> Graph:
    def body(**arrays):
        write(arrays["0:x"]).reveal_to(name="o")

    return trace(body, **{"0:x": fixed(shape, 0.5, 8.0)})


def refusal(graph: Graph) -> str:
    with pytest.raises(LocalMisuse) as caught:
        questions.compiled(own(graph, 1), questions.Roster((0,), (0,)), COMMITTEE, graph, LIMITS)
    return str(caught.value)


@pytest.mark.parametrize(
    ("write", "shape", "words"),
    [
        (sort, (1, 1 << 24), "16,777,216 values takes .* bytes to lay out"),
        (maximum, (1 << 12, 1 << 14), "bytes in memory|in memory"),
        (lambda x: x + 1.0, (1 << 26,), "1,073,741,824"),
    ],
)
def test_large_arrays_are_refused_in_no_time(write, shape, words: str) -> None:
    limits = (Limits(20_000, 1 << 30, (1 << 30) - 1),)
    graph = named(write, shape)
    began = time.process_time()
    with pytest.raises(LocalMisuse, match=words):
        questions.compiled(own(graph, 1), questions.Roster((0,), (0,)), COMMITTEE, graph, limits)
    assert time.process_time() - began < 1.0  # lowering takes minutes


def test_a_flood_of_small_operations_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sizes, "MOST_UNITS", 100)

    def many(x):
        total = x
        for _ in range(sizes.MOST_UNITS + 1):
            total = total + (x < 1.0)
        return total

    assert "protocols of their own" in refusal(named(many, (1,)))


def test_rows_alone_may_be_too_many() -> None:
    roster = questions.Roster((0, 1, 2), (1 << 26,) * 3)
    with pytest.raises(LocalMisuse, match="rows hold"):
        questions.compiled(job("median", "c"), roster, COMMITTEE, None, LIMITS)


@pytest.mark.parametrize("width", [2, 3, 8, 31, 100])
@pytest.mark.parametrize("write", [sort, maximum, lambda x: x < 1.0, relu])
def test_what_is_told_beforehand_is_a_lower_bound(write, width: int) -> None:
    graph = named(write, (2, width))
    found = cost(lower(graph, COMMITTEE), COMMITTEE)
    exactly = (Limits(found.rounds, found.busiest_bytes, found.memory_bytes),)
    sizes.check_sizes(graph, exactly)


def test_a_sort_is_refused_by_what_laying_it_out_takes_and_not_before() -> None:
    """A median over 600,000 rows took 10 GB in each node before its cost was known to be too high."""
    sizes.check_sizes(named(sort, (1, 1 << 16)), LIMITS)
    assert "600,000 values takes" in refusal(named(sort, (1, 600_000)))


def test_a_comparator_of_a_sort_sends_at_least_what_is_counted() -> None:
    graph = trace(
        lambda **arrays: sort(arrays["0:x"]).reveal_to(name="o"), **{"0:x": integers((1, 256), 0, 1)}
    )
    cheapest = Committee(3, 1, (1, 2, 3))
    counted = sum(sizes._compared(node, [graph.nodes[at] for at in node.inputs])[0] for node in graph.nodes)
    assert cost(lower(graph, cheapest), cheapest).busiest_bytes >= sizes.SORTED_BYTES * counted > 0
