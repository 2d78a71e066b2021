"""The control API's client: stdlib only, synchronous, cheap to import; what the command line is made of.

One connection a call. Invariant: what comes back is a shape of mesh/api/shapes.py, or a MeshError is
raised: NodeUnreachable (nobody listens), AnswerTimeout (no answer in time), RemoteError (the node's own).
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from mesh.api.jsonshape import Json, decode, encode
from mesh.api.outcome import AnswerTimeout, Exit, NodeUnreachable, RemoteError
from mesh.api.shapes import (
    AnswerSpec,
    DatasetInfo,
    DataSpec,
    Done,
    Invitation,
    InviteSpec,
    JobAccepted,
    JobEvent,
    JobInfo,
    JobResult,
    JobSpec,
    JoinSpec,
    JoinStatus,
    Metrics,
    PeerInfo,
    PlanReport,
    PolicyInfo,
    PolicySpec,
    RequestInfo,
    Status,
    Tree,
    Verdict,
)
from mesh.runtime.home import Home, socket_address
from protocols.errors import MeshError

MAX_ANSWER_BYTES = 64 * 1024 * 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Client:
    """Calls to the node of `home`. `timeout_s` bounds each call, not a job."""

    home: Home
    timeout_s: float = 30.0

    def status(self) -> Status:
        """The node at a glance."""
        return self._get(Status, "/v1/status")

    def peers(self) -> tuple[PeerInfo, ...]:
        """All members known."""
        return self._list(PeerInfo, "/v1/peers", "peers")

    def tree(self) -> Tree:
        """Clusters and committees."""
        return self._get(Tree, "/v1/tree")

    def metrics(self) -> Metrics:
        """Counters and gauges."""
        return self._get(Metrics, "/v1/metrics")

    def invite(self, spec: InviteSpec) -> Invitation:
        """A new ticket."""
        return self._post(Invitation, "/v1/invite", spec)

    def join(self, spec: JoinSpec) -> JoinStatus:
        """Start joining."""
        return self._post(JoinStatus, "/v1/join", spec)

    def join_status(self) -> JoinStatus:
        """How far joining got."""
        return self._get(JoinStatus, "/v1/join")

    def requests(self) -> tuple[RequestInfo, ...]:
        """What waits for this person."""
        return self._list(RequestInfo, "/v1/requests", "requests")

    def answer(self, request: str, spec: AnswerSpec) -> RequestInfo:
        """Accept, approve or deny."""
        return self._post(RequestInfo, f"/v1/requests/{quote(request, safe='')}", spec)

    def data_add(self, spec: DataSpec) -> DatasetInfo:
        """Register a file."""
        return self._post(DatasetInfo, "/v1/data", spec)

    def data_list(self) -> tuple[DatasetInfo, ...]:
        """All data sets."""
        return self._list(DatasetInfo, "/v1/data", "data")

    def data_show(self, name: str) -> DatasetInfo:
        """One data set."""
        return self._get(DatasetInfo, f"/v1/data/{quote(name, safe='')}")

    def data_remove(self, name: str) -> None:
        """Forget a data set."""
        decode(Done, self.call("DELETE", f"/v1/data/{quote(name, safe='')}"))

    def policy_init(self, dataset: str, spec: PolicySpec) -> PolicyInfo:
        """Write a policy."""
        return self._post(PolicyInfo, f"/v1/data/{quote(dataset, safe='')}/policy", spec)

    def policy_show(self, dataset: str) -> PolicyInfo:
        """The policy as it stands."""
        return self._get(PolicyInfo, f"/v1/data/{quote(dataset, safe='')}/policy")

    def policy_test(self, dataset: str, spec: JobSpec) -> Verdict:
        """Would this job be allowed."""
        return self._post(Verdict, f"/v1/data/{quote(dataset, safe='')}/policy/test", spec)

    def plan(self, spec: JobSpec) -> PlanReport:
        """Dry run."""
        return self._post(PlanReport, "/v1/plan", spec)

    def submit(self, spec: JobSpec) -> str:
        """Queue a job; its id."""
        return self._post(JobAccepted, "/v1/jobs", spec).job

    def jobs(self) -> tuple[JobInfo, ...]:
        """Jobs, newest first."""
        return self._list(JobInfo, "/v1/jobs", "jobs")

    def job(self, job: str) -> JobInfo:
        """One job."""
        return self._get(JobInfo, f"/v1/jobs/{quote(job, safe='')}")

    def result(self, job: str) -> JobResult:
        """The result of a job that is done."""
        return self._get(JobResult, f"/v1/jobs/{quote(job, safe='')}/result")

    def cancel(self, job: str) -> JobInfo:
        """Stop a job."""
        return decode(JobInfo, self.call("POST", f"/v1/jobs/{quote(job, safe='')}/cancel"))

    def shutdown(self) -> None:
        """Stop the node."""
        decode(Done, self.call("POST", "/v1/shutdown"))

    def watch(self, job: str, timeout_s: float | None = None) -> Iterator[JobEvent]:
        """Events of a job until it ends. Raises AnswerTimeout after a silence of `timeout_s`."""
        connection = self._connect(timeout_s if timeout_s is not None else 3600.0)
        try:
            response = _send(connection, "GET", f"/v1/jobs/{quote(job, safe='')}/events")
            if response.status != 200:
                raise _error(response.status, _document(response.read(MAX_ANSWER_BYTES)))
            for kind, document in _events(response):
                if kind == "end":
                    return
                if kind == "error":
                    raise _error(500, document)
                yield decode(JobEvent, document)
            raise NodeUnreachable("the node went away while the job was watched", fix="run: coppice up")
        except TimeoutError:
            raise AnswerTimeout(
                "the job said nothing in time", definite=False, fix=f"see: coppice jobs watch {job}"
            ) from None
        finally:
            connection.close()

    def call(self, method: str, path: str, shape: object | None = None) -> Json:
        """One request, one JSON object. Raises NodeUnreachable, AnswerTimeout, RemoteError."""
        connection = self._connect(self.timeout_s)
        try:
            response = _send(connection, method, path, shape)
            content = response.read(MAX_ANSWER_BYTES)
        except TimeoutError:
            raise AnswerTimeout(
                f"the node did not answer {method} {path} within {self.timeout_s:g} s",
                definite=False,
                fix="it may be overloaded; see its log",
            ) from None
        except (http.client.HTTPException, OSError) as error:
            raise NodeUnreachable(
                f"the node broke off while it was asked: {type(error).__name__}", fix="run: coppice status"
            ) from None
        finally:
            connection.close()
        document = _document(content)
        if response.status != 200:
            raise _error(response.status, document)
        return document

    def _get(self, cls: type[T], path: str) -> T:
        return decode(cls, self.call("GET", path))

    def _post(self, cls: type[T], path: str, shape: object) -> T:
        return decode(cls, self.call("POST", path, shape))

    def _list(self, cls: type[T], path: str, name: str) -> tuple[T, ...]:
        return tuple(decode(cls, item) for item in self.call("GET", path)[name])

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(timeout_s)
        try:
            with socket_address(self.home.socket) as address:
                raw.connect(address)
        except OSError as error:
            raw.close()
            if isinstance(error, PermissionError):
                what, fix = f"you may not open {self.home.socket}", "run as the user that started the node"
            else:
                what, fix = (
                    f"no node answers at {self.home.root}",
                    f"start it: coppice up --detach --home {self.home.root}",
                )
            raise NodeUnreachable(what, fix=fix) from None
        connection = http.client.HTTPConnection("coppice", timeout=timeout_s)
        connection.sock = raw
        return connection


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, shape: object | None = None
) -> http.client.HTTPResponse:
    body = None if shape is None else json.dumps(encode(shape))
    headers = {"Content-Type": "application/json", "Connection": "close"} if body else {"Connection": "close"}
    connection.request(method, path, body=body, headers=headers)
    return connection.getresponse()


def _document(content: bytes) -> Json:
    try:
        document: Any = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NodeUnreachable("what answers on the control socket is not a node", fix="see: coppice doctor")
    return document


def _error(status: int, document: Json) -> MeshError:
    described = document.get("error", {})
    return RemoteError(
        str(described.get("what", f"the node answered {status}")),
        code=str(described.get("code", "C-503")),
        fix=str(described.get("fix", "")),
        http=status,
        exit=Exit(described.get("exit", Exit.BUG)),
    )


def _events(response: http.client.HTTPResponse) -> Iterator[tuple[str, Json]]:
    """Parse the stream: `event:` and `data:` lines, an event ends at an empty line, `:` is a comment."""
    kind, data = "message", ""
    while content := response.readline(1024 * 1024):
        text = content.decode().rstrip("\r\n")
        if text.startswith("event: "):
            kind = text.removeprefix("event: ")
        elif text.startswith("data: "):
            data += text.removeprefix("data: ")
        elif not text and data:
            yield kind, _document(data.encode())
            kind, data = "message", ""
