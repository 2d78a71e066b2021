"""The control API: HTTP and JSON on a Unix socket that only this person's user can open.

    GET  /v1/status /v1/peers /v1/tree /v1/metrics /v1/requests /v1/data /v1/jobs /v1/join
    POST /v1/invite /v1/join /v1/requests/ID /v1/data /v1/plan /v1/jobs /v1/jobs/ID/cancel /v1/shutdown
    GET|DELETE /v1/data/NAME · GET|POST /v1/data/NAME/policy · POST /v1/policy/test
    POST /v1/inference /v1/inference/plan · GET /v1/programs /v1/programs/DIGEST
    POST /v1/train · GET /v1/models /v1/models/ID · /v1/models/ID/weights (octet-stream)
    GET|POST /v1/vaults · GET /v1/vaults/erased · DELETE /v1/vaults/NAME
    GET  /v1/jobs/ID /v1/jobs/ID/result /v1/jobs/ID/log · /v1/jobs/ID/events (text/event-stream)
    GET  /v1/jobs/ID/vectors/NUMBER (octet-stream: an NPY file)

Answers are one JSON object with `schema_version`; errors are {"error": {code, what, fix, exit}}.
Invariant: the socket exists, mode 0600 in a 0700 folder, exactly while `serve` runs; an unknown
exception is logged with its traceback and answered as C-900 without it. Idle, nothing here wakes up.
"""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve as hypercorn_serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mesh.api import shapes
from mesh.api.events import EventStream
from mesh.api.jsonshape import Json, decode, encode
from mesh.api.local_data import LocalData
from mesh.api.octets import Octets
from mesh.api.outcome import bug_description, describe, outcome
from mesh.api.service import NodeService
from mesh.runtime.home import Home, socket_address
from protocols.errors import LocalMisuse, MeshError, TransportError

if TYPE_CHECKING:
    from trio_typing import TaskStatus

MAX_BODY_BYTES = 256 * 1024
log = structlog.get_logger("coppice.api")
T = TypeVar("T")
Handler = Callable[[Any, Request], Awaitable[Response]]


async def serve(
    service: NodeService,
    home: Home,
    *,
    task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer clients until cancelled; `started()` once the socket listens.

    Raises ConfigError or OSError when the socket cannot be made. The caller holds the home's lock.
    """
    listener = _listen(home.socket)
    settings = HypercornConfig()
    settings.bind = [f"fd://{listener.detach()}"]
    settings.accesslog = settings.errorlog = None
    settings.graceful_timeout = 0.5
    settings.keep_alive_timeout = 30.0
    settings.h11_max_incomplete_size = 32 * 1024
    settings.include_server_header = False
    app: Any = application(service, LocalData(home))
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(hypercorn_serve, app, settings)
            task_status.started()
    finally:
        home.socket.unlink(missing_ok=True)


def application(service: NodeService, data: LocalData) -> Starlette:
    """The ASGI application over a service and the home's data."""
    tables = ((service, _NODE_ROUTES), (data, _DATA_ROUTES))
    return Starlette(
        routes=[
            Route(path, functools.partial(_guarded, handler, subject), methods=[method])
            for subject, table in tables
            for method, path, handler in table
        ]
    )


def _listen(path: Path) -> socket.socket:
    """Bind the socket with mode 0600 from its first moment; a left-over one is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        with socket_address(path) as address:
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise TransportError(
            f"the control socket {path} cannot be made: {error.strerror}",
            code="C-511",
            fix="free some space or repair the folder's permissions",
        ) from error
    finally:
        os.umask(previous)
    return listener


async def _guarded(handler: Handler, subject: object, request: Request) -> Response:
    """Turn what a handler raises into an answer. Broad, as only a watched job is, too (`events`)."""
    try:
        return await handler(subject, request)
    except MeshError as error:
        return _json({"error": describe(error)}, status=outcome(error).http)
    except Exception:
        log.exception("bug in a control call", path=request.url.path)
        return _json({"error": bug_description()}, status=500)


def _json(document: Json, status: int = 200) -> JSONResponse:
    return JSONResponse({"schema_version": shapes.SCHEMA_VERSION} | document, status_code=status)


def _shape(shape: object) -> JSONResponse:
    return _json(encode(shape))


async def _long_shape(shape: object) -> JSONResponse:
    """As `_shape`, in a thread: results and models may hold thousands of numbers."""
    return await _thread(_shape, shape)


def _shapes(name: str, shapes: Sequence[object]) -> JSONResponse:
    return _json({name: [encode(shape) for shape in shapes]})


async def _body(request: Request, cls: type[T]) -> T:
    """The request's JSON body as a shape. Raises LocalMisuse."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise LocalMisuse(
                f"the request is larger than {MAX_BODY_BYTES} bytes", code="C-402", fix="send less"
            )
    try:
        document = json.loads(content or b"{}")
    except ValueError as error:
        raise LocalMisuse(
            f"the request is not JSON: {error}", code="C-402", fix="correct the request"
        ) from None
    return decode(cls, document)


async def _thread(call: Callable[..., T], *arguments: object) -> T:
    """Files and SQLite block: not on the loop."""
    return await trio.to_thread.run_sync(call, *arguments)


async def _status(service: NodeService, _: Request) -> Response:
    return _shape(await service.status())


async def _peers(service: NodeService, _: Request) -> Response:
    return _shapes("peers", await service.peers())


async def _tree(service: NodeService, _: Request) -> Response:
    return _shape(await service.tree())


async def _metrics(service: NodeService, _: Request) -> Response:
    return _shape(await service.metrics())


async def _invite(service: NodeService, request: Request) -> Response:
    return _shape(await service.invite(await _body(request, shapes.InviteSpec)))


async def _join(service: NodeService, request: Request) -> Response:
    return _shape(await service.join(await _body(request, shapes.JoinSpec)))


async def _join_status(service: NodeService, _: Request) -> Response:
    return _shape(await service.join_status())


async def _requests(service: NodeService, _: Request) -> Response:
    return _shapes("requests", await service.requests())


async def _answer(service: NodeService, request: Request) -> Response:
    return _shape(await service.answer(request.path_params["id"], await _body(request, shapes.AnswerSpec)))


async def _data_add(data: LocalData, request: Request) -> Response:
    return _shape(await _thread(data.data_add, await _body(request, shapes.DataSpec)))


async def _data_list(data: LocalData, _: Request) -> Response:
    return _shapes("data", await _thread(data.data_list))


async def _data_show(data: LocalData, request: Request) -> Response:
    return _shape(await _thread(data.data_show, request.path_params["name"]))


async def _data_remove(data: LocalData, request: Request) -> Response:
    await _thread(data.data_remove, request.path_params["name"])
    return _shape(shapes.Done())


async def _policy_init(data: LocalData, request: Request) -> Response:
    spec = await _body(request, shapes.PolicySpec)
    return _shape(await _thread(data.policy_init, request.path_params["name"], spec))


async def _policy_show(data: LocalData, request: Request) -> Response:
    return _shape(await _thread(data.policy_show, request.path_params["name"]))


async def _policy_test(data: LocalData, request: Request) -> Response:
    return _shape(await _thread(data.policy_test, await _body(request, shapes.JobFile)))


async def _plan(service: NodeService, request: Request) -> Response:
    return _shape(await service.plan(await _body(request, shapes.JobSpec)))


async def _submit(service: NodeService, request: Request) -> Response:
    return _shape(shapes.JobAccepted(await service.submit(await _body(request, shapes.JobSpec))))


async def _train(service: NodeService, request: Request) -> Response:
    return _shape(shapes.JobAccepted(await service.train(await _body(request, shapes.TrainSpec))))


async def _infer(service: NodeService, request: Request) -> Response:
    return _shape(shapes.JobAccepted(await service.infer(await _body(request, shapes.InferenceSpec))))


async def _plan_inference(service: NodeService, request: Request) -> Response:
    return _shape(await service.plan_inference(await _body(request, shapes.InferenceSpec)))


async def _programs(service: NodeService, _: Request) -> Response:
    return _shapes("programs", await service.programs())


async def _program(service: NodeService, request: Request) -> Response:
    return await _long_shape(await service.program(request.path_params["digest"]))


async def _models(service: NodeService, _: Request) -> Response:
    return _shapes("models", await service.models())


async def _model(service: NodeService, request: Request) -> Response:
    return await _long_shape(await service.model(request.path_params["id"]))


async def _weights(service: NodeService, request: Request) -> Response:
    return Octets(await service.weights(request.path_params["id"]))


async def _share(service: NodeService, request: Request) -> Response:
    return _shape(await service.share(await _body(request, shapes.ShareSpec)))


async def _shared(service: NodeService, _: Request) -> Response:
    return _shapes("vaults", await service.shared())


async def _erased(service: NodeService, _: Request) -> Response:
    return await _thread(_shapes, "vaults", await service.erased())


async def _unshare(service: NodeService, request: Request) -> Response:
    return _shape(await service.unshare(request.path_params["name"]))


async def _jobs(service: NodeService, _: Request) -> Response:
    return await _thread(_shapes, "jobs", await service.jobs())


async def _job(service: NodeService, request: Request) -> Response:
    return _shape(await service.job(request.path_params["id"]))


async def _result(service: NodeService, request: Request) -> Response:
    return await _long_shape(await service.result(request.path_params["id"]))


async def _vector(service: NodeService, request: Request) -> Response:
    index = request.path_params["index"]
    return Octets(await service.vector(request.path_params["id"], int(index)))


async def _cancel(service: NodeService, request: Request) -> Response:
    return _shape(await service.cancel(request.path_params["id"]))


async def _shutdown(service: NodeService, _: Request) -> Response:
    await service.shutdown()
    return _shape(shapes.Done())


async def _log(service: NodeService, request: Request) -> Response:
    return _shapes("events", await service.events(request.path_params["id"]))


async def _events(service: NodeService, request: Request) -> Response:
    job = request.path_params["id"]
    await service.job(job)
    return EventStream(service, job)


_NODE_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1/status", _status),
    ("GET", "/v1/peers", _peers),
    ("GET", "/v1/tree", _tree),
    ("GET", "/v1/metrics", _metrics),
    ("POST", "/v1/invite", _invite),
    ("GET", "/v1/join", _join_status),
    ("POST", "/v1/join", _join),
    ("GET", "/v1/requests", _requests),
    ("POST", "/v1/requests/{id}", _answer),
    ("POST", "/v1/plan", _plan),
    ("POST", "/v1/train", _train),
    ("POST", "/v1/inference", _infer),
    ("POST", "/v1/inference/plan", _plan_inference),
    ("GET", "/v1/programs", _programs),
    ("GET", "/v1/programs/{digest}", _program),
    ("GET", "/v1/models", _models),
    ("GET", "/v1/models/{id}", _model),
    ("GET", "/v1/models/{id}/weights", _weights),
    ("GET", "/v1/vaults", _shared),
    ("GET", "/v1/vaults/erased", _erased),
    ("POST", "/v1/vaults", _share),
    ("DELETE", "/v1/vaults/{name}", _unshare),
    ("GET", "/v1/jobs", _jobs),
    ("POST", "/v1/jobs", _submit),
    ("GET", "/v1/jobs/{id}", _job),
    ("GET", "/v1/jobs/{id}/result", _result),
    ("GET", "/v1/jobs/{id}/vectors/{index:int}", _vector),
    ("POST", "/v1/jobs/{id}/cancel", _cancel),
    ("GET", "/v1/jobs/{id}/log", _log),
    ("GET", "/v1/jobs/{id}/events", _events),
    ("POST", "/v1/shutdown", _shutdown),
)

_DATA_ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1/data", _data_list),
    ("POST", "/v1/data", _data_add),
    ("GET", "/v1/data/{name}", _data_show),
    ("DELETE", "/v1/data/{name}", _data_remove),
    ("GET", "/v1/data/{name}/policy", _policy_show),
    ("POST", "/v1/data/{name}/policy", _policy_init),
    ("POST", "/v1/policy/test", _policy_test),
)
