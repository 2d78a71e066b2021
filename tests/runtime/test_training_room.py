"""An owner and a model: every column it reads is judged, budgets hold, notes are kept, plug-ins are local."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mesh.api.models import TrainedModel
from mesh.api.shapes import ModelInfo, TrainSpec
from mesh.data.errors import DataError
from mesh.data.plugins import Plugins
from mesh.data.policy import Policy
from mesh.data.room import DataRoom
from mesh.runtime.training import recipe as training_recipe
from mesh.runtime.training.recipe import Scaling
from protocols.errors import ConfigError
from protocols.identifiers import Digest, PartyId
from protocols.learning import models, rounds
from protocols.learning.models import ModelSpec
from protocols.learning.rounds import Recipe, Round
from protocols.privacy import accountant
from protocols.sessions.plan import Job, Plan, Query, Seat, Stage
from protocols.statistics import registry, update

PARTIES = tuple(PartyId(bytes([number]) * 32) for number in range(1, 9))
OWNER, OTHER = PARTIES[0], PARTIES[3]
SPEC = ModelSpec("logistic", "classification", 2)
RECIPE = Recipe(SPEC, ("a", "b"), "y", (0.0, 0.0), (1.0, 1.0), max_weight=64)
OPEN = Policy(allow=("update", "loss", "accuracy", "gram", "mean"), min_rows=2)


@pytest.fixture
def room(tmp_path: Path) -> DataRoom:
    rng = np.random.default_rng(0)
    rows = "".join(f"{a},{b},{i % 2},1\n" for i, (a, b) in enumerate(rng.normal(size=(20, 2))))
    file = tmp_path / "rows.csv"
    file.write_text("a,b,y,same\n" + rows)
    room = DataRoom(tmp_path / "home", clock=lambda: 1_700_000_000.0)
    room.add(file, "rows")
    room.init_policy("rows", OPEN)
    return room


def starting(recipe: Recipe = RECIPE, seed: int = 0) -> Round:
    weights = models.initial(recipe.model, bytes(32)) + seed
    return rounds.first(recipe, b"r" * 16, weights)


def plan_of(current: Round, *statistics: str, dealers: int = 4, nonce: bytes = b"") -> Plan:
    given = {"update": current.recipe.parameters, "gram": update.gram_of(current)}
    queries = tuple(Query(name, current.recipe.label, given.get(name, ())) for name in statistics)
    job = Job("rows", queries, 3, "train", (current.name(),))
    seats = tuple(Seat(party, bytes(32)) for party in PARTIES[:7])
    stage = Stage("root", seats, 2, (PARTIES[7],), (), PARTIES[:dealers], ())
    return Plan(
        Digest(bytes(32)), 1, nonce, OTHER, job, registry.job_length(job), 1, 1000, 2000, (stage,), ()
    )


def judge(room: DataRoom, plan: Plan, current: Round):
    return room.authorize(plan, OWNER, "x", (current.encoded(),))


def test_a_round_is_approved_contributed_and_noted(room: DataRoom) -> None:
    current = starting(dataclasses.replace(RECIPE, clip=1e-6))
    plan = plan_of(current, "update", "loss", "accuracy")
    assert judge(room, plan, current).allowed
    vector, rows = room.contribution(plan, b"s" * 32, (current.encoded(),))
    again, _ = room.contribution(plan, b"s" * 32, (current.encoded(),))
    assert rows == 20
    assert vector.shape == (plan.length,)
    assert (vector == again).all()
    kinds = [entry.kind for entry in room.history("rows")]
    assert kinds[-2:] == ["note", "note"]
    assert "cut to the clip" in str(room.history("rows")[-1].body)
    approved = next(entry for entry in room.history("rows") if entry.kind == "approved")
    assert approved.body["inputs"] == [current.name().hex()]
    assert {query[1] for query in approved.body["queries"]} == {"a", "b", "y"}
    room.verify()


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        ({"allow": ("mean",)}, "allow"),
        ({"columns": ("a", "y")}, "columns"),  # b is read by the model only
        ({"columns": ("a", "b")}, "columns"),
        ({"min_rows": 21}, "min_rows"),
        ({"min_sites": 5}, "min_sites"),
        ({"requesters": ("nobody",)}, "requesters"),
        ({"dp_epsilon_budget": 1.0}, "dp_budget"),
    ],
)
def test_what_owners_refuse(room: DataRoom, rules: dict[str, object], rule: str) -> None:
    room.init_policy("rows", dataclasses.replace(OPEN, **rules), replace=True)
    current = starting()
    plan = plan_of(current, "update")
    decision = judge(room, plan, current)
    assert (decision.allowed, decision.rule) == (False, rule)
    told = room.consider(plan.job, OTHER, "x", 4, 2, (current.encoded(),))
    assert (told.allowed, told.rule) == (False, rule)
    with pytest.raises(DataError) as caught:
        room.contribution(plan, b"s" * 32, (current.encoded(),))
    assert caught.value.code == "C-623"


def test_a_job_whose_model_is_missing_or_another(room: DataRoom) -> None:
    current = starting()
    plan = plan_of(current, "update")
    for blobs in ((), (starting(seed=1).encoded(),)):
        decision = room.authorize(plan, OWNER, "x", blobs)
        assert not decision.allowed
        assert "C-646" in decision.reason


def test_sites_may_come_and_go_between_models_but_not_under_one(room: DataRoom) -> None:
    first, second = starting(), starting(seed=1)
    assert judge(room, plan_of(first, "update", "loss"), first).allowed
    fewer = plan_of(first, "update", dealers=3, nonce=b"2")
    assert judge(room, fewer, first).rule == "overlap"
    assert judge(room, plan_of(second, "update", dealers=3, nonce=b"3"), second).allowed


def test_a_budget_is_reckoned_by_the_owner_and_given_back_with_the_use(room: DataRoom) -> None:
    release = accountant.calibrate(2.0, 1e-5, 4, 3, 1.0, 64, 3)
    recipe = dataclasses.replace(RECIPE, clip=1.0, unit="row", noise=release.noise, value_bits=release.bits)
    room.init_policy("rows", dataclasses.replace(OPEN, dp_epsilon_budget=2.0), replace=True)
    states = [starting(recipe, seed) for seed in range(6)]
    plans = [plan_of(state, "update", nonce=bytes([n])) for n, state in enumerate(states)]
    allowed = [judge(room, plan, state).allowed for plan, state in zip(plans, states, strict=True)]
    assert allowed == [True] * 4 + [False] * 2
    assert room.spent("rows") == pytest.approx(2.0, rel=0.02)
    room.record_use(plans[3], opened=False)
    assert room.spent("rows") < 1.9
    assert judge(room, plans[4], states[4]).allowed
    exact = starting(recipe, 9)
    assert judge(room, plan_of(exact, "loss", nonce=b"9"), exact).rule == "dp_budget"


def test_noise_hides_what_a_site_sends_and_averages_out() -> None:
    """Site-level: each vector is cut to the clip's length, weight is 1, noise has the variance told."""
    spec = TrainSpec("rows", "logistic", ("a", "b"), "y", rounds=3, method="local", dp_epsilon=4.0,
                     dp_unit="site", standardise=False)  # fmt: skip
    recipe = training_recipe.recipe(spec, Scaling({}, {}, None), 4)
    assert (recipe.unit, recipe.max_weight) == ("site", 1)
    current = starting(recipe)
    rng = np.random.default_rng(1)
    columns = {"a": rng.normal(size=30) * 50, "b": rng.normal(size=30), "y": rng.integers(0, 2, 30) * 1.0}
    job = Job("rows", (Query("update", "y", recipe.parameters),), 3, "", (current.name(),))
    sent = []
    for number in range(400):
        site = update.Site((current.encoded(),))
        vector = registry.encode_job(job, columns, number.to_bytes(32, "big"), site)
        mean, weight = update.mean_update(job.queries[0], vector, 1)
        assert weight == 1
        sent.append(mean)
    x, y = rounds.rows_of(recipe, columns)
    true, _ = rounds.local_update(current, x, y, bytes(32))
    assert np.linalg.norm(true) <= recipe.clip + 1e-9
    deviation = update.quantiser(recipe.parameters).unit * recipe.noise**0.5
    assert np.std(sent, axis=0) == pytest.approx(deviation, rel=0.2)
    assert np.abs(np.mean(sent, axis=0) - true).max() < 5 * deviation / 20


def test_plug_ins_are_installed_by_the_owner_only(tmp_path: Path) -> None:
    plugins = Plugins(tmp_path)
    assert plugins.all() == {}
    plugins.add("own", "numpy:linspace")
    assert Plugins(tmp_path).load("own") is np.linspace
    for name, target in (("Own", "numpy:sum"), ("x", "numpy"), ("x", "no_such_module:f"), ("x", "numpy:pi")):
        with pytest.raises(DataError) as caught:
            plugins.add(name, target)
        assert caught.value.code == "C-645"
    plugins.remove("own")
    for call in (plugins.load, plugins.remove):
        with pytest.raises(DataError) as caught:
            call("own")
        assert caught.value.code == "C-645"
    (tmp_path / "plugins.json").write_text("[1]")
    with pytest.raises(DataError) as caught:
        plugins.all()
    assert caught.value.code == "C-645"


# -- models outside -----------------------------------------------------------------------------------------


def info(kind: str = "mlp", **changes: object) -> ModelInfo:
    hidden = (3,) if kind == "mlp" else ()
    spec = ModelSpec(kind, "classification", 2, 1, hidden, "tanh")
    weights = np.random.default_rng(2).normal(size=models.size(spec)).astype("<f8")
    base = ModelInfo("ab" * 16, kind, "classification", "tanh", hidden, 1, ("a", "b"), "y", (1.0, 2.0),
                     (0.5, 2.0), 0.0, 1.0, 4, "cd" * 32, ("ef" * 32,),
                     weights=base64.b64encode(weights.tobytes()).decode())  # fmt: skip
    return dataclasses.replace(base, **changes)


def test_coefficients_are_in_the_columns_own_units() -> None:
    trained = TrainedModel(info("logistic"))
    rows = {"a": [0.3, 5.0], "b": [1.0, -2.0]}
    found = trained.coefficients
    raw = [found["a"] * a + found["b"] * b + found["intercept"] for a, b in zip(*rows.values(), strict=True)]
    assert np.allclose(trained.predict(rows), 1 / (1 + np.exp(-np.array(raw))))
    with pytest.raises(ConfigError) as caught:
        _ = TrainedModel(info()).coefficients
    assert caught.value.code == "C-648"
    with pytest.raises(ConfigError) as caught:
        trained.predict({"a": [1.0]})
    assert caught.value.code == "C-610"


def test_formats_that_there_are_not(tmp_path: Path) -> None:
    for path in (tmp_path / "m.pkl", tmp_path / "none" / "m.json"):
        with pytest.raises(ConfigError) as caught:
            TrainedModel(info()).save(path)
        assert caught.value.code == "C-648"


def fields(content: bytes) -> dict[int, list[object]]:
    """A protobuf message taken apart: numbers and byte strings by field."""
    found: dict[int, list[object]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = content[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(content):
        tag = varint()
        if tag & 7 == 0:
            found.setdefault(tag >> 3, []).append(varint())
            continue
        assert tag & 7 == 2
        size = varint()
        found.setdefault(tag >> 3, []).append(content[at : at + size])
        at += size
    assert at == len(content)
    return found


def test_an_onnx_file_needs_no_package_and_holds_the_weights(tmp_path: Path) -> None:
    trained, path = TrainedModel(info()), tmp_path / "m.onnx"
    trained.save(path)
    whole = fields(path.read_bytes())
    assert fields(whole[8][0])[2] == [17]
    graph = fields(whole[7][0])
    kinds = [fields(node)[4][0].decode() for node in graph[1]]
    assert kinds == ["Sub", "Div", "Gemm", "Tanh", "Gemm", "Sigmoid", "Identity"]
    tensors = {fields(one)[8][0].decode(): fields(one) for one in graph[5]}
    first = np.frombuffer(tensors["W0"][9][0], dtype="<f4").reshape(tensors["W0"][1])
    assert np.allclose(first, trained.layers[0][0])


@pytest.mark.parametrize(
    ("kind", "task", "outputs", "hidden", "activation"),
    [
        ("linear", "regression", 1, (), "relu"),
        ("logistic", "classification", 1, (), "relu"),
        ("logistic", "classification", 3, (), "relu"),
        ("mlp", "classification", 4, (6, 5), "relu"),
        ("mlp", "regression", 1, (3,), "tanh"),
    ],
)
def test_the_onnx_package_reads_the_same_model(
    tmp_path: Path, kind, task, outputs, hidden, activation
) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    spec = ModelSpec(kind, task, 2, outputs, hidden, activation)
    weights = np.random.default_rng(2).normal(size=models.size(spec)).astype("<f8")
    encoded = base64.b64encode(weights.tobytes()).decode()
    trained = TrainedModel(
        info(kind, task=task, outputs=outputs, hidden=hidden, activation=activation, weights=encoded)
    )
    path = tmp_path / "m.onnx"
    trained.save(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    rows = np.random.default_rng(3).normal(size=(50, 2)).astype(np.float32)
    (found,) = ReferenceEvaluator(str(path)).run(None, {"x": rows})
    expected = trained.predict({"a": rows[:, 0], "b": rows[:, 1]})
    assert found.shape == (50, outputs)
    assert np.allclose(found.reshape(expected.shape), expected, atol=1e-5)
