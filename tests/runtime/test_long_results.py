"""Long vectors of a job or model: one file in the node, streamed to NPZ without numpy, gone with the job."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trio

from mesh import Col, Mesh, Schema
from mesh.api import shapes
from mesh.api.client import Client
from mesh.api.outcome import RemoteError
from mesh.api.result_files import write_result
from mesh.data import schema as schemas
from mesh.runtime.home import Home
from mesh.runtime.jobs.results import Results
from protocols.errors import ConfigError, LocalMisuse
from tests.runtime.scripted_node import RESULT, ScriptedNode
from tests.runtime.test_api_roundtrip import ask, served

ROOT = Path(__file__).resolve().parents[2]
LONG = shapes.AnswerInfo("update", "ill", None, 120, length=200_000)
BOTH = dataclasses.replace(
    RESULT,
    job="ok",
    answers=(LONG, RESULT.answers[0], shapes.AnswerInfo("histogram", "a", (3.0, 4.0), 7)),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "state")
    made.create()
    return made


@pytest.fixture
def node(tmp_path: Path) -> ScriptedNode:
    node = ScriptedNode()
    results = Results(tmp_path / "results")
    results.keep("ok", 0, np.arange(LONG.length) / 7)
    node.vector_file = results.path("ok", 0)
    return node


def test_results_are_private_whole_and_go_with_their_job(tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    for job in ("aa", "bb"):
        results.keep(job, 1, np.arange(5.0))
    path = results.path("aa", 1)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (np.load(path) == np.arange(5.0)).all()
    with pytest.raises(LocalMisuse, match="no long vector"):
        results.path("aa", 0)
    results.retain({"bb"})
    assert [file.name for file in path.parent.iterdir()] == ["bb-1.npy"]
    path.parent.chmod(0o500)
    try:
        if path.parent.stat().st_uid != 0:  # root may write anywhere
            with pytest.raises(ConfigError, match="cannot be written"):
                results.keep("cc", 0, np.arange(3.0))
    finally:
        path.parent.chmod(0o700)


async def test_a_long_vector_reaches_a_file_as_it_is(home: Home, node: ScriptedNode, tmp_path: Path) -> None:
    out = tmp_path / "result.npz"
    async with served(home, node) as client:
        await ask(write_result, client, "ok", BOTH, out)
        found = await ask(Mesh(client).vector, BOTH)
        with pytest.raises(RemoteError, match="no long vector"):
            await ask(client.vector, "ok", 1, lambda _: None)
        assert await ask(client.weights, "run") == bytes(range(256)) * 5000
    assert (found == np.arange(LONG.length) / 7).all()
    with np.load(out, allow_pickle=False) as stored:
        assert (stored["update_ill"] == found).all()
        assert stored["mean_temp"] == 21.5
        assert stored["histogram_a"].tolist() == [3.0, 4.0]
        facts = json.loads(stored["facts.json"])
    assert facts["receipt"] == RESULT.receipt
    assert facts["answers"][0]["length"] == LONG.length


async def test_what_cannot_be_written_is_said(home: Home, node: ScriptedNode, tmp_path: Path) -> None:
    async with served(home, node) as client:
        for path, words in (
            ("r.xls", "not written as that"),
            ("r.json", "as JSON"),
            ("no/r.npz", "cannot be"),
        ):
            with pytest.raises(ConfigError, match=words):
                await ask(write_result, client, "ok", BOTH, tmp_path / path)
        await ask(write_result, client, "ok", RESULT, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["n"] == RESULT.n
    assert not list(tmp_path.glob("*.part"))


def test_writing_a_result_needs_no_numpy() -> None:
    script = "import sys, mesh.api.result_files, mesh.facade; print('numpy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


async def test_the_async_facade_in_a_trio_program(home: Home, node: ScriptedNode) -> None:
    async with served(home, node), await Mesh.open(home.root) as m:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await trio.lowlevel.checkpoint()
                ticks += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            assert (await m.status()).name == "a"
            nursery.cancel_scope.cancel()
        assert ticks > 1  # the loop went on
        assert [event.kind async for event in m.watch("ok")][-1] == "ended"
        assert await m.result("ok") == RESULT


async def test_the_async_facade_in_an_asyncio_program(home: Home, node: ScriptedNode) -> None:
    async def program() -> tuple[str, str]:
        m = await Mesh.open(home.root)
        result = await m.mean("readings.temp", min_sites=3).run(timeout=5)
        return (await m.status()).name, result.receipt

    async with served(home, node):
        found = await trio.to_thread.run_sync(asyncio.run, program())
    assert found == ("a", RESULT.receipt)


def test_a_schema_in_python_is_the_one_of_a_file() -> None:
    made = Schema(
        {"body mass": Col(low=10, high=80.5, missing="skip", unit='kg/m²"')},
        age=Col(int, 0, 120),
        kind=Col(values=("well", "ill")),
    )
    read = schemas.parse(made.toml()).columns
    assert read["age"] == schemas.ColumnSchema("int", 0.0, 120.0)
    assert read["body mass"] == schemas.ColumnSchema("float", 10.0, 80.5, "skip", unit='kg/m²"')
    assert read["kind"].values == ("well", "ill")
    with pytest.raises(ConfigError, match="a column of"):
        Schema(a=Col(dict)).toml()


def test_a_question_with_a_wrong_option_is_refused(home: Home) -> None:
    with pytest.raises(ConfigError, match="unexpected"):
        Mesh(Client(home)).mean("rows.a", mini_sites=3)
