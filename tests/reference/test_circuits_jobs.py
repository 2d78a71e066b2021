"""Jobs on secret values against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protocols.arithmetic import rns
from protocols.circuits import builder as b
from protocols.circuits import jobs
from protocols.circuits.cost import cost
from protocols.circuits.lower import encoded_input, lower
from protocols.circuits.passes import optimised
from protocols.engine.committee import whole
from protocols.errors import LocalMisuse
from tools.bench.engine_lockstep import deal, reconstruct, run, seats

RNG = np.random.default_rng(11)
COMMITTEE = whole(3, 1)


def evaluate(program: Callable[..., None], declared: dict[str, b.Declared], **values: np.ndarray):
    lowered = lower(optimised(b.trace(program, **declared)), COMMITTEE)
    inputs = {
        n.register: deal(encoded_input(n, values[name], name), COMMITTEE)
        for name, n in lowered.inputs.items()
    }
    done = run(lowered.program, seats(COMMITTEE), inputs)
    assert done.rounds == cost(lowered, COMMITTEE).rounds
    return {
        name: rns.decode(reconstruct({p: o[at] for p, o in done.outputs.items()}, 1), number.scale)
        for at, (name, _, number) in enumerate(lowered.outputs)
    }


def test_order_statistics_of_pooled_values() -> None:
    def program(a: b.Array, c: b.Array) -> None:
        values = jobs.pooled([a, c])
        jobs.quantiles(values, [0.0, 0.25, 0.9, 1.0]).reveal_to("analyst", name="quantiles")
        jobs.median(values).reveal_to("analyst", name="median")
        jobs.median(a).reveal_to("analyst", name="median_of_a")
        jobs.top(values, 3).reveal_to("analyst", name="top")
        jobs.count_at_least(values, 0.5).reveal_to("analyst", name="count")

    a, c = (np.rint(RNG.uniform(-5, 5, m) * 65536) / 65536 for m in (9, 11))
    done = evaluate(program, {"a": b.fixed((9,), -5, 5), "c": b.fixed((11,), -5, 5)}, a=a, c=c)
    line = np.sort(np.append(a, c))
    assert done["quantiles"].tolist() == [line[0], line[4], line[17], line[19]]
    assert abs(done["median"][0] - np.median(line)) < 1e-5
    assert done["median_of_a"].tolist() == [np.median(a)]
    assert done["top"].tolist() == line[:-4:-1].tolist()
    assert done["count"] == (line >= 0.5).sum()


def test_group_by_hides_small_groups() -> None:
    keys, values = np.array([1, 2, 1, 3, 1, 2]), np.array([1.5, 2, 3, 4, -1, 0.25])

    def program(keys: b.Array, values: b.Array) -> None:
        members, sums = jobs.group_by(keys, values, [1, 2, 3, 4], least=2)
        members.reveal_to(name="members")
        sums.reveal_to(name="sums")

    done = evaluate(
        program, {"keys": b.integers((6,), 0, 9), "values": b.fixed((6,), -9, 9)}, keys=keys, values=values
    )
    assert done["members"].tolist() == [3, 2, 0, 0]
    assert done["sums"].tolist() == [3.5, 2.25, 0, 0]


def test_accounts_flagged_by_at_least_two_banks() -> None:
    flags = RNG.integers(0, 2, (4, 30))

    def program(**banks: b.Array) -> None:
        jobs.over_threshold(list(banks.values()), 2).reveal_to("regulator", name="flagged")
        jobs.overlap_size(list(banks.values())).reveal_to("regulator", name="all")

    named = {f"bank{i}": row for i, row in enumerate(flags)}
    done = evaluate(program, {name: b.bits((30,)) for name in named}, **named)
    assert np.array_equal(done["flagged"], flags.sum(0) >= 2)
    assert done["all"] == (flags.sum(0) == 4).sum()


def test_logistic_regression_on_vertically_split_columns() -> None:
    x = np.rint(RNG.normal(0, 1, (40, 5)).clip(-4, 4) * 65536) / 65536
    y = (x @ [1, -2, 0.5, 0, 1] + RNG.normal(0, 0.5, 40) > 0).astype(int)

    def program(a: b.Array, c: b.Array, y: b.Array) -> None:
        jobs.logistic_regression([a, c], y, iterations=4, rate=2.0, ridge=0.01).reveal_to(name="weights")

    declared = {"a": b.fixed((40, 2), -4, 4), "c": b.fixed((40, 3), -4, 4), "y": b.bits((40,))}
    done = evaluate(program, declared, a=x[:, :2], c=x[:, 2:], y=y)["weights"]
    w, intercept = np.zeros(5), 0.0
    for step in range(4):
        error = 1 / (1 + np.exp(-(x @ w + intercept))) - y
        w = w * (1 - 0.02 * (step > 0)) - 2.0 / 40 * error @ x
        intercept -= 2.0 / 40 * error.sum()
    assert np.abs(done - np.append(w, intercept)).max() < 5e-4


def test_jobs_refuse_what_makes_no_sense() -> None:
    def traced(program: Callable[[b.Array], b.Array]) -> None:
        b.trace(lambda x: program(x).reveal_to(name="z"), x=b.bits((4,)))

    with pytest.raises(LocalMisuse, match="top 5"):
        traced(lambda x: jobs.top(x, 5))
    with pytest.raises(LocalMisuse, match="fractions"):
        traced(lambda x: jobs.quantiles(x, [1.5]))
    with pytest.raises(LocalMisuse, match="threshold of 2"):
        traced(lambda x: jobs.over_threshold([x], 2))
