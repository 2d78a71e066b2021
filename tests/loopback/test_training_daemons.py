"""Training over real daemons: a short run of the hospitals; who comes, goes, lies or is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import hospitals
from examples.sites import give, mesh_of, write
from mesh.api import models
from mesh.api.outcome import NodeUnreachable, RemoteError
from mesh.api.shapes import JobEvent, TrainSpec
from mesh.data.plugins import Plugins
from mesh.facade import Mesh
from mesh.runtime.demo.local_mesh import LocalMesh

ROOT = Path(__file__).resolve().parents[2]
FEATURES = ("a", "b")


def table(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(3, 2, rows), rng.normal(-1, 0.5, rows)
    ill = (a - 3 + 2 * (b + 1) + rng.normal(0, 0.5, rows) > 0).astype(float)
    return {"a": a, "b": b, "ill": ill, "value": 4 * a - 2 * b + 10}


def pooled(sites: int) -> dict[str, np.ndarray]:
    parts = [table(40 + 10 * k, k) for k in range(sites)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalMesh:
    """Four sites with rows and a policy, and one that has none yet."""
    folder = tmp_path_factory.mktemp("training")
    mesh = LocalMesh(folder, ["s1", "s2", "s3", "s4", "s5"])
    for number, peer in enumerate(mesh.peers.values()):
        file = write(folder / f"{peer.name}.csv", table(40 + 10 * number, number))
        if number < 4:
            give(peer, "rows", file)
    with mesh:
        mesh.start()
        mesh.wait_formed()
        yield mesh


def test_hospitals_in_short(tmp_path: Path) -> None:
    """Accuracy within half a point of the converged plaintext model; held out, within one row of 114."""
    for one in hospitals.run(tmp_path, rounds=20):
        assert one.all_rows >= one.all_rows_pooled - 0.005, one
        assert one.together >= one.pooled - 0.009, one


def test_linear_regression_in_one_session(local: LocalMesh) -> None:
    trained = mesh_of(local).train.linear("rows", FEATURES, "value", min_sites=4)
    rows = pooled(4)
    assert trained.coefficients == pytest.approx({"a": 4.0, "b": -2.0, "intercept": 10.0}, abs=1e-4)
    assert trained.info.r2 == pytest.approx(1.0)
    assert np.allclose(trained.predict(rows), rows["value"], atol=1e-3)
    assert len(trained.info.receipts) == 1


def test_a_run_goes_on_while_sites_come_and_go_and_each_keeps_the_same_model(
    local: LocalMesh, tmp_path: Path
) -> None:
    """s5 gets rows in round 2, s4 is killed in round 4: the run neither stops nor starts again."""
    sites: list[int] = []

    def watch(event: JobEvent) -> None:
        number = dict(event.data).get("round")
        if number is not None:
            sites.append(int(event.text.split(" sites")[0].rsplit(" ", 1)[1]))
        if number == "2":
            give(local.peers["s5"], "rows", local.folder / "s5.csv")
        if number == "5":
            local.kill("s4")

    trained = mesh_of(local).train.logistic("rows", FEATURES, "ill", rounds=8, min_sites=3, watch=watch)
    assert sites[0] == 4
    assert 5 in sites
    assert sites[-1] == 4
    assert [one.number for one in trained.info.history][:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    losses = [one.loss for one in trained.info.history]
    assert losses[-1] < 0.6 * losses[0]
    for name in ("s2", "s3", "s5"):  # each made it from the certified totals
        own = Mesh(local.peers[name].client).model(trained.info.run)
        assert own.info.weights == trained.info.weights
    for suffix in (".json", ".npz"):
        trained.save(tmp_path / f"model{suffix}")
    again = models.load(tmp_path / "model.json")
    assert (again.weights == trained.weights).all()
    with np.load(tmp_path / "model.npz", allow_pickle=False) as stored:
        assert (stored["weights"] == trained.weights).all()
        assert json.loads(str(stored["facts"]))["run"] == trained.info.run


def test_another_site_goes_on_from_the_certified_model(local: LocalMesh) -> None:
    """The requester's run is over; any device that took part has its last model and can resume."""
    other = Mesh(local.peers["s2"].client)
    last = max(other.models(), key=lambda info: info.rounds)
    resumed = other.train.logistic("rows", FEATURES, "ill", rounds=2, min_sites=3, resume=last.run)
    assert resumed.info.run == last.run
    assert resumed.info.rounds == last.rounds + 2


def test_a_plug_in_is_the_owners_and_sums_like_the_rest(local: LocalMesh, tmp_path: Path) -> None:
    with pytest.raises(RemoteError) as caught:
        mesh_of(local).train.plugin("ours", "rows", FEATURES, "ill", weights=2, rounds=1, min_sites=3)
    assert "C-645" in caught.value.args[0]
    for name in ("s1", "s2", "s3", "s5"):
        Plugins(local.peers[name].home.root).add("ours", "tests.loopback.plugin_program:local_update")
    trained = mesh_of(local).train.plugin("ours", "rows", FEATURES, "ill", weights=2, rounds=1, min_sites=3)
    parts = [table(40 + 10 * k, k) for k in (0, 1, 2, 4)]
    n = sum(len(part["a"]) for part in parts)
    expected = [sum(part[name].sum() for part in parts) / n for name in FEATURES]
    assert np.allclose(-trained.weights, expected, atol=1e-2)


def test_runs_that_make_no_sense_are_refused_at_once(local: LocalMesh) -> None:
    client = local.founder.client
    for change, code in (
        ({"rounds": 0}, "C-649"), ({"features": ("a", "a")}, "C-649"), ({"kind": "tree"}, "C-649"),
        ({"momentum": 2.0}, "C-649"), ({"kind": "mlp", "hidden": ()}, "C-640"), ({"rate": -1.0}, "C-649"),
        ({"dp_epsilon": 1.0, "patience": 2}, "C-649"),
    ):  # fmt: skip
        fields = {"dataset": "rows", "kind": "logistic", "features": FEATURES, "label": "ill", **change}
        with pytest.raises(RemoteError) as caught:
            client.train(TrainSpec(**fields))
        assert caught.value.code == code


def test_private_training_spends_the_owners_budget_and_stops_there(local: LocalMesh) -> None:
    for name in ("s1", "s2", "s3", "s5"):
        policy = local.peers[name].home.data / "rows.policy.toml"
        policy.write_text(policy.read_text().replace("dp_epsilon_budget = 0.0", "dp_epsilon_budget = 6.0"))
        for old in (local.peers[name].home.data).glob("ledger.db*"):
            old.unlink()
    options = {"rounds": 3, "min_sites": 3, "standardise": False, "dp_epsilon": 5.0}
    trained = mesh_of(local).train.logistic("rows", FEATURES, "ill", **options)
    assert trained.info.epsilon == pytest.approx(5.0, rel=0.05)
    assert local.founder.client.policy_show("rows").dp_spent == pytest.approx(5.0, rel=0.05)
    with pytest.raises(RemoteError) as caught:
        mesh_of(local).train.logistic("rows", FEATURES, "ill", **options)
    assert "dp_budget" in caught.value.args[0]
    with pytest.raises(RemoteError) as caught:  # an update without noise has no epsilon at all
        mesh_of(local).train.logistic("rows", FEATURES, "ill", rounds=1, min_sites=3, standardise=False)
    assert "dp_budget" in caught.value.args[0]


def test_the_command_line_trains_and_writes_a_file(local: LocalMesh, tmp_path: Path) -> None:
    for name in ("s1", "s2", "s3", "s5"):
        policy = local.peers[name].home.data / "rows.policy.toml"
        policy.write_text(policy.read_text().replace("dp_epsilon_budget = 6.0", "dp_epsilon_budget = 0.0"))
    home = str(local.founder.home.root)
    out = tmp_path / "m.json"
    ran = subprocess.run(
        [sys.executable, "node.py", "train", "logistic", "rows", "--x", "a,b", "--y", "ill", "--rounds", "2",
         "--min-sites", "3", "--json", "--out", str(out), "--home", home],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["model"] == json.loads(out.read_text())["run"]
    assert {item["statistic"] for item in answer["answers"]} == {"loss", "accuracy"}


def test_when_the_requester_is_killed_the_others_keep_its_last_certified_model(local: LocalMesh) -> None:
    local.restart("s4")
    local.wait_formed()

    def watch(event: JobEvent) -> None:
        if dict(event.data).get("round") == "3":
            local.kill("s3")

    with pytest.raises(NodeUnreachable):
        Mesh(local.peers["s3"].client).train.mlp(
            "rows", FEATURES, "ill", hidden=(3,), rounds=50, min_sites=3, watch=watch
        )
    other = Mesh(local.peers["s2"].client)
    local.wait_until("s2 has the model", lambda: other.models()[0].rounds >= 3, 10)
    last = other.models()[0]
    assert (last.kind, last.hidden) == ("mlp", (3,))
    resumed = other.train.mlp(
        "rows", FEATURES, "ill", hidden=(3,), rounds=1, min_sites=3, resume=last.run, timeout_s=20
    )
    assert resumed.info.rounds > last.rounds
