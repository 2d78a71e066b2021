"""The control API over a real Unix socket, with a scripted node behind it."""

from __future__ import annotations

import dataclasses
import json
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from mesh.api import client as client_module
from mesh.api import events, shapes
from mesh.api.client import Client
from mesh.api.jsonshape import decode, encode
from mesh.api.outcome import AnswerTimeout, Exit, NodeUnreachable, RemoteError
from mesh.api.server import MAX_BODY_BYTES, serve
from mesh.runtime.home import MAX_SOCKET_PATH_BYTES, Home, socket_address
from protocols.errors import LocalMisuse
from tests.runtime.scripted_node import RESULT, ScriptedNode

SPEC = shapes.JobSpec("readings", (shapes.QuerySpec("histogram", "temp", (0.0, 1.0)),), 3, 5.0, "ok")
ROOMY = 20.0


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "state")
    made.create()
    return made


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


@asynccontextmanager
async def served(home: Home, node: ScriptedNode | None = None) -> AsyncIterator[Client]:
    with trio.fail_after(ROOMY):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, node or ScriptedNode(), home)
            yield Client(home, timeout_s=5.0)
            nursery.cancel_scope.cancel()


async def ask(call: Callable[..., Any], *arguments: Any) -> Any:
    return await trio.to_thread.run_sync(call, *arguments)


async def remote_error(call: Callable[..., Any], *arguments: Any) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        await ask(call, *arguments)
    return caught.value


async def raw(home: Home, request: bytes) -> bytes:
    """Bytes in, everything until the server closes out."""
    with socket_address(home.socket) as address:
        stream = await trio.open_unix_socket(address)
    async with stream:
        await stream.send_all(request)
        return b"".join([part async for part in stream])


async def test_every_call_round_trips(home: Home) -> None:
    node = ScriptedNode()
    async with served(home, node) as client:
        assert await ask(client.status) == await node.status()
        assert await ask(client.peers) == tuple(await node.peers())
        assert await ask(client.tree) == await node.tree()
        assert await ask(client.metrics) == await node.metrics()
        assert await ask(client.join_status) == shapes.JoinStatus("none")
        assert (await ask(client.join, shapes.JoinSpec("coppice1:x"))).state == "asked"
        assert (await ask(client.invite, shapes.InviteSpec(90.0, True))).expires_s == 90.0
        assert await ask(client.requests) == tuple(await node.requests())
        assert (await ask(client.answer, "r1", shapes.AnswerSpec("deny", "no"))).state == "deny"
        assert (await ask(client.plan, SPEC)) == await node.plan(SPEC)
        assert await ask(client.submit, SPEC) == "ok"
        assert await ask(client.jobs) == tuple(await node.jobs())
        assert await ask(client.job, "ok") == await node.job("ok")
        assert await ask(client.events, "ok") == tuple(await node.events("ok"))
        assert await ask(client.result, "ok") == RESULT
        assert (await ask(client.cancel, "ok")).state == "cancelled"
        await ask(client.shutdown)
    assert node.stopped.is_set()
    assert ("submit", SPEC) in node.asked
    assert ("join", shapes.JoinSpec("coppice1:x")) in node.asked


async def test_data_and_policy_round_trip_through_the_home(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "readings.csv"
    file.write_text("temp,age\n" + "".join(f"{row},{row}\n" for row in range(20)))
    async with served(home) as client:
        assert (await remote_error(client.data_show, "readings")).code == "C-612"
        added = await ask(client.data_add, shapes.DataSpec(str(file), "readings"))
        assert (added.rows, dict(added.columns)) == (20, {"temp": 20, "age": 20})
        assert await ask(client.data_list) == (added,)
        assert (await remote_error(client.policy_show, "readings")).http == 404
        policy = await ask(client.policy_init, "readings", shapes.PolicySpec(("mean",), min_sites=4))
        assert "min_sites = 4" in policy.text
        assert await ask(client.policy_show, "readings") == policy
        job = tmp_path / "job.toml"
        job.write_text('dataset="readings"\nmin_sites=3\n[[queries]]\nstatistic="mean"\ncolumn="temp"\n')
        verdict = await ask(client.policy_test, shapes.JobFile(str(job)))
        assert (verdict.allowed, verdict.sentence) == (False, "DENY by rule min_sites: 3 < 4")
        await ask(client.data_remove, "readings")
        assert await ask(client.data_list) == ()


async def test_a_small_data_set_gets_a_policy_it_can_pass(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    file.write_text("temp\n1\n2\n")
    async with served(home) as client:
        await ask(client.data_add, shapes.DataSpec(str(file), "few"))
        assert "min_rows = 2" in (await ask(client.policy_init, "few", shapes.PolicySpec(("mean",)))).text
        replaced = shapes.PolicySpec(("mean",), min_rows=7, replace=True)
        assert "min_rows = 7" in (await ask(client.policy_init, "few", replaced)).text


async def test_events_arrive_in_order_and_end(home: Home) -> None:
    node = ScriptedNode()
    async with served(home, node) as client:
        seen = await ask(lambda: list(client.watch("ok", 5.0)))
        assert [event.kind for event in seen] == ["planned", "ended"]
        assert (await remote_error(lambda: list(client.watch("unknown", 5.0)))).code == "C-404"
    assert node.watchers_closed == 1


async def test_a_watcher_that_leaves_closes_the_service_side(home: Home) -> None:
    node = ScriptedNode()
    async with served(home, node):
        with socket_address(home.socket) as address:
            stream = await trio.open_unix_socket(address)
        async with stream:
            await stream.send_all(b"GET /v1/jobs/held/events HTTP/1.1\r\nHost: x\r\n\r\n")
            while b"planned" not in await stream.receive_some():
                pass
        while not node.watchers_closed:
            await trio.sleep(0.001)


async def test_a_silent_job_is_kept_alive_by_comments(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_S", 0.01)
    node = ScriptedNode()
    async with served(home, node) as client:
        with socket_address(home.socket) as address:
            stream = await trio.open_unix_socket(address)
        async with stream:
            await stream.send_all(b"GET /v1/jobs/held/events HTTP/1.0\r\n\r\n")
            heard = b""
            while heard.count(b": still here") < 2:
                heard += await stream.receive_some()
            node.hold.set()
            heard += b"".join([part async for part in stream])
        assert b"event: end" in heard
        assert [event.seq for event in await ask(lambda: list(client.watch("held", 5.0)))] == [1, 2]


async def test_a_client_gives_up_on_a_silent_job(home: Home) -> None:
    async with served(home) as client:
        with pytest.raises(AnswerTimeout) as caught:
            await ask(lambda: list(client.watch("held", 0.05)))
        assert caught.value.code == "C-306"


async def test_signs_of_life_do_not_put_off_the_deadline(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_S", 0.01)
    async with served(home) as client:
        with pytest.raises(AnswerTimeout):
            await ask(lambda: list(client.watch("held", 0.2)))


async def test_a_frozen_node_is_noticed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.05)
    async with served(home) as client:
        with pytest.raises(AnswerTimeout):
            await ask(lambda: list(client.watch("held")))


@pytest.mark.parametrize(
    ("job", "code", "http", "exit_code"),
    [
        ("refused", "C-305", 403, Exit.DENIED),
        ("late", "C-303", 504, Exit.TIMEOUT),
        ("few", "C-301", 409, Exit.BELOW_THRESHOLD),
        ("bug", "C-900", 500, Exit.BUG),
    ],
)
async def test_errors_keep_code_status_exit_and_words(
    home: Home, job: str, code: str, http: int, exit_code: Exit, logged: list[dict[str, Any]]
) -> None:
    async with served(home) as client:
        error = await remote_error(client.result, job)
    assert (error.code, error.http, error.exit) == (code, http, exit_code)
    assert "secret detail" not in error.sentence()
    assert bool(logged) == (job == "bug")


async def test_a_bug_while_watching_is_answered_and_logged(home: Home, logged: list[dict[str, Any]]) -> None:
    async with served(home) as client:
        error = await remote_error(lambda: list(client.watch("bug", 5.0)))
    assert error.code == "C-900"
    assert logged


async def test_a_refusal_names_who_and_why(home: Home) -> None:
    async with served(home):
        answer = await raw(home, b"GET /v1/jobs/refused/result HTTP/1.0\r\n\r\n")
    described = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert list(described["reasons"].values()) == ["no policy"]
    assert described["definite"] is True


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "wants a JSON object"),
        (b"{}", "is missing"),
        (b'{"dataset": 1, "queries": []}', "dataset wants text"),
        (
            b'{"dataset": "d", "queries": [{"statistic": "mean", "colum": "x"}]}',
            "queries[0].colum is unknown",
        ),
        (b'{"dataset": "d", "queries": [], "min_sites": true}', "min_sites wants a whole number"),
        (b" " * (MAX_BODY_BYTES + 1), "larger than"),
    ],
)
async def test_requests_that_are_wrong_say_where(home: Home, body: bytes, says: str) -> None:
    head = b"POST /v1/plan HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with served(home):
        answer = await raw(home, head + body)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert says in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["what"]


async def test_garbage_does_not_stop_the_server(home: Home) -> None:
    async with served(home) as client:
        for request in (
            b"\x00\xff\x16\x03\r\n\r\n",
            b"GET /v1/nothing HTTP/1.0\r\n\r\n",
            b"PUT /v1/status HTTP/1.0\r\n\r\n",
        ):
            await raw(home, request)
        assert (await ask(client.status)).name == "a"


async def test_the_socket_is_private_and_goes_away(home: Home) -> None:
    async with served(home):
        assert stat.S_IMODE(home.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert not home.socket.exists()


async def test_a_socket_left_by_a_killed_node_is_replaced(home: Home) -> None:
    left = socket.socket(socket.AF_UNIX)
    with socket_address(home.socket) as address:
        left.bind(address)
    left.close()
    assert home.socket.exists()
    with pytest.raises(NodeUnreachable):
        await ask(Client(home).status)
    async with served(home) as client:
        assert (await ask(client.status)).name == "a"


async def test_a_home_too_deep_for_a_socket_address_works(tmp_path: Path) -> None:
    home = Home(tmp_path / ("d" * 120) / ("e" * 120))
    home.create()
    assert len(str(home.socket)) > MAX_SOCKET_PATH_BYTES
    async with served(home) as client:
        assert (await ask(client.status)).name == "a"
        assert home.socket.exists()
    assert not home.socket.exists()


async def test_many_clients_at_once(home: Home) -> None:
    names: list[str] = []

    async def one(client: Client) -> None:
        names.append((await ask(client.status)).name)

    async with served(home) as client, trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(one, client)
    assert names == ["a"] * 40


def test_nobody_there(home: Home) -> None:
    with pytest.raises(NodeUnreachable) as caught:
        Client(home).status()
    assert caught.value.code == "C-510"
    assert "coppice up" in caught.value.fix


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\nnot json",
    ],
)
async def test_something_else_on_the_socket_is_not_a_node(home: Home, answer: bytes) -> None:
    with socket_address(home.socket) as address:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()

    def fake() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, fake)
        with pytest.raises(NodeUnreachable):
            await ask(Client(home).status)
    listener.close()


EXAMPLES = (
    RESULT,
    SPEC,
    shapes.DatasetInfo("d", "/p", "ab", 1, 2, (("temp", 3),), (("temp", "°C"),)),
    shapes.JobInfo("j", "failed", SPEC, 1.0, refusals=(("b", "no"),), error=shapes.ErrorInfo("C-301", "few")),
    shapes.AnswerInfo("histogram", "x", (1.0, 2.0), 3, (0.0, 1.0, 2.0)),
    shapes.AnswerInfo("count", "x", 4),
    shapes.Metrics((("a", 1.0),)),
    shapes.InviteSpec(),
)


@pytest.mark.parametrize("shape", EXAMPLES, ids=lambda shape: type(shape).__name__)
def test_shapes_survive_json(shape: object) -> None:
    document = json.loads(json.dumps(encode(shape)))
    assert decode(type(shape), document) == shape
    assert decode(type(shape), document | {"schema_version": 1}) == shape


def test_every_shape_is_frozen_and_reachable() -> None:
    for name in shapes._MODULE_OF:
        shape = getattr(shapes, name)
        if name != "Value":
            assert dataclasses.is_dataclass(shape)
            assert shape.__dataclass_params__.frozen
    with pytest.raises(AttributeError):
        shapes.Nothing  # noqa: B018


def test_a_field_of_the_wrong_type_is_named_with_its_path() -> None:
    document = encode(shapes.JobInfo("j", "done", SPEC, 1.0, result=RESULT))
    document["result"]["answers"][0]["n"] = "many"
    with pytest.raises(LocalMisuse, match=r"result\.answers\[0\]\.n wants a whole number"):
        decode(shapes.JobInfo, document)
