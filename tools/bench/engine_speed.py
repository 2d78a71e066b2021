"""Speed of the engine alone, all members in one process: no network, no journal.

    python -m tools.bench.engine_speed [n t]

Prints for each workload: CPU of all members together, operations a second when the members share two
cores, rounds and the busiest member's payload bytes an operation. Take ratios, not absolutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from protocols.arithmetic import rns
from protocols.engine import functions, ordering
from protocols.engine.committee import Committee, whole
from protocols.engine.numbers import Calculator, Number
from tools.bench.engine_lockstep import deal, run, seats

CORES = 2
Program = Callable[..., Number]

Workload = tuple[str, Program, list[tuple[int, ...]], float, float, int]
WORKLOADS: list[Workload] = [
    ("fixed-point multiplication 1e6", lambda c, x, y: c.mul(x, y), [(10**6,), (10**6,)], -1000, 1000, 10**6),
    ("integer multiplication 1e6", lambda c, x, y: c.mul(x, y, 32), [(10**6,), (10**6,)], -1000, 1000, 10**6),
    ("comparison 1e5, 40 bits", lambda c, x: c.negative(x), [(10**5,)], -(2.0**23), 2.0**23, 10**5),
    ("matmul 128x128", lambda c, x, y: c.dot(x, y), [(128, 128), (128, 128)], -100, 100, 1),
    ("1000x30 @ 30x1", lambda c, x, y: c.dot(x, y), [(1000, 30), (30, 1)], -100, 100, 1),
    (
        "division 1e3",
        lambda c, x, y: c.mul(x, functions.reciprocal(c, y)),
        [(1000,), (1000,)],
        0.01,
        1000,
        1000,
    ),
    ("exp 1e3", functions.exp, [(1000,)], -16, 0, 1000),
    ("sigmoid 1e4", functions.sigmoid, [(10**4,)], -100, 100, 10**4),
    ("relu 1e5", ordering.relu, [(10**5,)], -100, 100, 10**5),
    ("sort 16 rows of 64", ordering.sort, [(16, 64)], -100, 100, 1),
]


def measure(committee: Committee, workload: Workload) -> str:
    """One line of the table: the better of two runs."""
    name, program, shapes, low, high, operations = workload
    rng = np.random.default_rng(1)
    c = Calculator(committee)
    numbers = [c.given(shape, low, high) for shape in shapes]
    built = c.program(program(c, *numbers).register)
    inputs = {
        number.register: deal(rns.encode(rng.uniform(low, high, number.shape), 16), committee)
        for number in numbers
    }
    runs = [run(built, seats(committee), inputs) for _ in range(2)]
    cpu = min(sum(done.cpu_s.values()) for done in runs)
    sent = max(runs[0].sent_bytes.values()) / operations
    rate = operations * CORES / cpu
    return f"{name:32s} {cpu:8.3f} s CPU {rate:14,.0f} /s {runs[0].rounds:4d} rounds {sent:12,.0f} B"


def main() -> None:
    """Run all workloads for one committee."""
    n, t = (int(word) for word in sys.argv[1:3]) if len(sys.argv) > 2 else (3, 1)
    print(f"({n}, {t}), all {n} members in one process, rates for {CORES} cores")
    for workload in WORKLOADS:
        print(measure(whole(n, t), workload), flush=True)


if __name__ == "__main__":
    main()
