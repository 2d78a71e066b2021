"""Programs over columns that different sites hold, and graphs of one's own."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.circuits.builder import clamp, fixed, reciprocal, trace
from protocols.errors import LocalMisuse
from protocols.learning.rounds import blob_name
from protocols.programs import answers, questions, split
from protocols.programs.recipient import ProgramOpened
from protocols.sessions import events
from protocols.sessions.plan import Job, Query
from protocols.statistics import names
from tests.scenarios.program_pump import Pump, job, keys_of

RNG = np.random.default_rng(5)
ROWS = 40
X = RNG.normal(size=(ROWS, 2)) * [3.0, 0.2] + [10.0, -1.0]
Y = (X[:, 0] * 0.4 + X[:, 1] * 5 + RNG.normal(size=ROWS) > -1.0).astype(float)


def plain(x, y, iterations: int, rate: float):
    z = (x - x.mean(0)) / x.std(0)
    w, b = np.zeros(z.shape[1]), 0.0
    for _ in range(iterations):
        error = 1 / (1 + np.exp(-(z @ w + b))) - y
        w, b = w - rate * z.T @ error / len(y), b - rate * error.mean()
    return np.append(w, b)


def test_logistic_regression_over_columns_of_different_sites() -> None:
    tables = [{"age": list(X[:, 0])}, {"dose": list(X[:, 1])}, {"event": list(Y)}]
    work = job("logistic", "age", "dose", "event", low=-8.0, high=8.0, decimals=6, rest=(3, 1.0))
    pump = Pump(work, tables)
    outcome = pump.run()
    assert isinstance(outcome, ProgramOpened), outcome
    found = answers.read(work, outcome.outputs, 3 * ROWS, 3)[0]
    assert np.abs(np.array(found.value) - plain(X, Y, 3, 1.0)).max() < 0.02
    assert found.n == ROWS


def test_sites_with_other_numbers_of_rows_are_told_so() -> None:
    tables = [{"age": list(X[:, 0])}, {"dose": list(X[:-1, 1])}, {"event": list(Y)}]
    work = job("logistic", "age", "dose", "event", low=-8.0, high=8.0, decimals=6, rest=(3, 1.0))
    outcome = Pump(work, tables).run()
    assert "columns of the same rows are needed" in outcome.reason


def test_a_label_that_is_no_bit_is_refused_at_its_owner() -> None:
    work = job("logistic", "age", "event", low=-8.0, high=8.0, decimals=6, rest=(3, 1.0))
    with pytest.raises(LocalMisuse, match="outside its declared range"):
        questions.encoded(work, {"event": np.array([0.0, 2.0])})


def own(graph, count: int) -> Job:
    return Job(
        "rows",
        tuple(Query("program", f"c{i}", ()) for i in range(count)),
        2,
        "",
        (blob_name(graph.encoded()),),
    )


def test_a_graph_of_ones_own_with_outputs_for_different_parties() -> None:
    parties = sorted(keys_of(i).party for i in range(4))
    asker = keys_of(0).party

    def program(**inputs) -> None:
        weights, data = (inputs[name] for name in sorted(inputs))
        (data @ weights).reveal_to(asker.hex(), name="score")
        data.sum().reveal_to("f" * 64, name="not ours")

    mine = parties.index(asker)
    theirs = parties.index(keys_of(1).party)
    low, high = sorted((mine, theirs))
    shapes = {f"{mine}:w": fixed((2, 1), -4, 4), f"{theirs}:a|b": fixed((3, 2), -10, 10)}
    weights, data = np.array([[0.5], [-2.0]]), np.array([[1.0, 2.0], [3.0, 4.0], [-5.0, 0.5]])
    if mine > theirs:
        shapes = dict(sorted(shapes.items()))

        def program(**inputs) -> None:  # the data's owner stands first
            data_, weights_ = (inputs[name] for name in sorted(inputs))
            (data_ @ weights_).reveal_to(asker.hex(), name="score")
            data_.sum().reveal_to("f" * 64, name="not ours")

    owners = sorted(parties.index(keys_of(i).party) for i in (0, 1))
    places = {old: new for new, old in enumerate(owners)}
    graph = trace(program, **{f"{places[int(n[0])]}{n[1:]}": d for n, d in shapes.items()})
    columns = split.columns_for(graph, places[theirs], {"a": data[:, 0], "b": data[:, 1]})
    values = {
        0: (split.encoded_program(graph, places[mine], {f"{places[mine]}:w": weights}), 0),
        1: (split.encoded_program(graph, places[theirs], columns), 0),
    }
    pump = Pump(own(graph, 2), [{"w": []}, {"a": []}], graph=graph, values=values)
    outcome = pump.run()
    assert isinstance(outcome, ProgramOpened), outcome
    assert set(outcome.outputs) == {"score"}
    assert np.abs(outcome.outputs["score"] - data @ weights).max() < 1e-3
    assert low < high


def test_a_required_owner_that_declines_ends_the_session_without_waiting_for_it() -> None:
    def program(**x) -> None:
        (x["0:a"] + x["1:a"]).reveal_to(name="sum")

    graph = trace(program, **{f"{place}:a": fixed((1,), 0, 1) for place in (0, 1)})
    owners = sorted(keys_of(i).party for i in (0, 1))
    place = owners.index(keys_of(0).party)
    values = {0: (split.encoded_program(graph, place, {f"{place}:a": np.array([0.5])}), 0), 1: None}
    pump = Pump(own(graph, 1), [{"a": []}, {"a": []}], graph=graph, values=values)
    outcome = pump.run()
    assert isinstance(outcome, events.Aborted), outcome
    assert (outcome.code, outcome.definite) == ("C-301", True)
    assert pump.now < pump.plan.collect_ms / 1000


def test_a_graph_that_was_not_approved_is_not_computed() -> None:
    graph = trace(lambda **x: x["0:a"].reveal_to(name="all"), **{"0:a": fixed((1,), 0, 1)})
    other = trace(lambda **x: (x["0:a"] * 2).reveal_to(name="all"), **{"0:a": fixed((1,), 0, 1)})
    with pytest.raises(LocalMisuse) as caught:
        questions.compiled(own(graph, 1), questions.Roster((0,), (0,)), whole(), other)
    assert caught.value.code == "C-673"


def whole():
    from protocols.engine.committee import whole as committee

    return committee(4, 1)


def test_values_out_of_the_declared_range_are_refused_at_the_owner_with_the_range() -> None:
    with pytest.raises(LocalMisuse, match=r"outside the declared range \[0, 5\]"):
        questions.encoded(job("median", "c", high=5.0), {"c": np.array([1.0, 6.0])})
    with pytest.raises(LocalMisuse, match="outside the declared range"):
        questions.encoded(job("median", "c", high=5.0), {"c": np.array([1.0, np.nan])})
    graph = trace(lambda **x: x["0:a"].reveal_to(name="all"), **{"0:a": fixed((1,), 0, 1)})
    with pytest.raises(LocalMisuse, match=r"outside its declared range \[0, 1\]"):
        split.encoded_program(graph, 0, {"0:a": np.array([1.5])})


def divided(least: float):
    def program(**x) -> None:
        divisor = x["0:d"]
        reciprocal(clamp(divisor, least, 8.0) if least else divisor).reveal_to(name="quotient")
        (divisor <= 0).reveal_to(name="flag")

    graph = trace(program, **{"0:d": fixed((2,), 0, 8)})
    values = {0: (split.encoded_program(graph, 0, {"0:d": np.array([0.0, 4.0])}), 0)}
    return Pump(own(graph, 1), [{"d": []}], graph=graph, values=values).run()


def test_a_secret_zero_as_divisor_counts_as_the_least_promised_and_is_flagged() -> None:
    outcome = divided(1 / 64)
    assert outcome.outputs["flag"].tolist() == [1.0, 0.0]
    assert outcome.outputs["quotient"] == pytest.approx([64.0, 0.25], rel=1e-3)


def test_a_divisor_that_is_not_promised_to_be_positive_is_refused_before_anything_runs() -> None:
    outcome = divided(0.0)
    assert isinstance(outcome, events.Aborted)
    assert outcome.definite
    assert "reciprocal" in outcome.reason


@pytest.mark.parametrize(
    ("statistic", "parameters"),
    [
        ("median", ()),
        ("median", (5.0, 1.0, 0.0)),
        ("median", (0.0, 1e9, 9.0)),
        ("quantiles", (0.0, 1.0, 0.0, 1.5)),
        ("top", (0.0, 1.0, 0.0, 0.5)),
        ("group_by", (0.0, 1.0, 0.0, 1.0)),
        ("group_by", (0.0, 1.0, 0.0, 1.0, 2.0, 2.0)),
        ("flagged", (0.0, 1.5, 0.0, 2.0)),
        ("overlap", (0.0, 1e7, 0.0)),
        ("logistic", (-8.0, 8.0, 6.0, 0.0, 1.0)),
        ("program", (1.0,)),
    ],
)
def test_wrong_parameters_are_refused(statistic: str, parameters: tuple[float, ...]) -> None:
    from protocols.errors import ConfigError

    with pytest.raises(ConfigError):
        names.check_parameters(statistic, parameters)
