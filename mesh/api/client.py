"""The control API's client: stdlib only, synchronous, cheap to import; what the command line is made of.

One connection a call. Invariant: what comes back is a shape of mesh/api/shapes, or a MeshError is
raised: NodeUnreachable (nobody listens), AnswerTimeout (no answer in time), RemoteError (the node's own).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from mesh.api import shapes
from mesh.api.exchange import Answer, exchange
from mesh.api.jsonshape import Json, decode, encode
from mesh.api.outcome import AnswerTimeout, Exit, NodeUnreachable, RemoteError
from mesh.runtime.home import Home
from protocols.errors import MeshError

MAX_EVENT_BYTES = 1024 * 1024
SILENCE_S = 60.0
"""Longest wait for the next byte of a watched job; the server says something four times as often."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Client:
    """Calls to the node of `home`. `timeout_s` bounds each call, not a job."""

    home: Home
    timeout_s: float = 30.0

    def status(self) -> shapes.Status:
        """The node at a glance."""
        return self._get(shapes.Status, "/v1/status")

    def peers(self) -> tuple[shapes.PeerInfo, ...]:
        """All members known."""
        return self._list(shapes.PeerInfo, "/v1/peers", "peers")

    def tree(self) -> shapes.Tree:
        """Clusters and committees."""
        return self._get(shapes.Tree, "/v1/tree")

    def metrics(self) -> shapes.Metrics:
        """Counters and gauges."""
        return self._get(shapes.Metrics, "/v1/metrics")

    def invite(self, spec: shapes.InviteSpec) -> shapes.Invitation:
        """A new ticket."""
        return self._post(shapes.Invitation, "/v1/invite", spec)

    def join(self, spec: shapes.JoinSpec) -> shapes.JoinStatus:
        """Start joining."""
        return self._post(shapes.JoinStatus, "/v1/join", spec)

    def join_status(self) -> shapes.JoinStatus:
        """How far joining got."""
        return self._get(shapes.JoinStatus, "/v1/join")

    def requests(self) -> tuple[shapes.RequestInfo, ...]:
        """What waits for this person."""
        return self._list(shapes.RequestInfo, "/v1/requests", "requests")

    def answer(self, request: str, spec: shapes.AnswerSpec) -> shapes.RequestInfo:
        """Accept, approve or deny."""
        return self._post(shapes.RequestInfo, f"/v1/requests/{quote(request, safe='')}", spec)

    def data_add(self, spec: shapes.DataSpec) -> shapes.DatasetInfo:
        """Register a file."""
        return self._post(shapes.DatasetInfo, "/v1/data", spec)

    def data_list(self) -> tuple[shapes.DatasetInfo, ...]:
        """All data sets."""
        return self._list(shapes.DatasetInfo, "/v1/data", "data")

    def data_show(self, name: str) -> shapes.DatasetInfo:
        """One data set."""
        return self._get(shapes.DatasetInfo, f"/v1/data/{quote(name, safe='')}")

    def data_remove(self, name: str) -> None:
        """Forget a data set."""
        decode(shapes.Done, self.call("DELETE", f"/v1/data/{quote(name, safe='')}"))

    def policy_init(self, dataset: str, spec: shapes.PolicySpec) -> shapes.PolicyInfo:
        """Write a policy."""
        return self._post(shapes.PolicyInfo, f"/v1/data/{quote(dataset, safe='')}/policy", spec)

    def policy_show(self, dataset: str) -> shapes.PolicyInfo:
        """The policy as it stands."""
        return self._get(shapes.PolicyInfo, f"/v1/data/{quote(dataset, safe='')}/policy")

    def policy_test(self, spec: shapes.JobFile) -> shapes.Verdict:
        """Would the job of this file be allowed."""
        return self._post(shapes.Verdict, "/v1/policy/test", spec)

    def plan(self, spec: shapes.JobSpec) -> shapes.PlanReport:
        """Dry run."""
        return self._post(shapes.PlanReport, "/v1/plan", spec)

    def submit(self, spec: shapes.JobSpec) -> str:
        """Queue a job; its id."""
        return self._post(shapes.JobAccepted, "/v1/jobs", spec).job

    def train(self, spec: shapes.TrainSpec) -> str:
        """Start a training run; its job's id."""
        return self._post(shapes.JobAccepted, "/v1/train", spec).job

    def infer(self, spec: shapes.InferenceSpec) -> str:
        """Evaluate a model file on secret rows; its job's id."""
        return self._post(shapes.JobAccepted, "/v1/inference", spec).job

    def plan_inference(self, spec: shapes.InferenceSpec) -> shapes.PlanReport:
        """Dry run of that."""
        return self._post(shapes.PlanReport, "/v1/inference/plan", spec)

    def programs(self) -> tuple[shapes.ProgramAsked, ...]:
        """Programs that others asked to run over data of this node."""
        return self._list(shapes.ProgramAsked, "/v1/programs", "programs")

    def program(self, digest: str) -> shapes.ProgramInfo:
        """What a program computes."""
        return self._get(shapes.ProgramInfo, f"/v1/programs/{quote(digest, safe='')}")

    def models(self) -> tuple[shapes.ModelInfo, ...]:
        """Certified models, newest first, without weights."""
        return self._list(shapes.ModelInfo, "/v1/models", "models")

    def model(self, name: str) -> shapes.ModelInfo:
        """One model, by its job or run."""
        return self._get(shapes.ModelInfo, f"/v1/models/{quote(name, safe='')}")

    def weights(self, name: str) -> bytes:
        """Weights of a model, little-endian float64."""
        found = bytearray()
        self.fetch(f"/v1/models/{quote(name, safe='')}/weights", found.extend)
        return bytes(found)

    def share(self, spec: shapes.ShareSpec) -> shapes.VaultInfo:
        """Put a file into the mesh as shares."""
        return self._post(shapes.VaultInfo, "/v1/vaults", spec)

    def shared(self) -> tuple[shapes.VaultInfo, ...]:
        """Vaults of this node, and those it holds shares of."""
        return self._list(shapes.VaultInfo, "/v1/vaults", "vaults")

    def erased(self) -> tuple[shapes.VaultInfo, ...]:
        """Vaults of this node that every holder erased, each with its signed word."""
        return self._list(shapes.VaultInfo, "/v1/vaults/erased", "vaults")

    def unshare(self, name: str) -> shapes.VaultInfo:
        """Have a vault erased."""
        return decode(shapes.VaultInfo, self.call("DELETE", f"/v1/vaults/{quote(name, safe='')}"))

    def jobs(self) -> tuple[shapes.JobInfo, ...]:
        """Jobs, newest first."""
        return self._list(shapes.JobInfo, "/v1/jobs", "jobs")

    def job(self, job: str) -> shapes.JobInfo:
        """One job."""
        return self._get(shapes.JobInfo, f"/v1/jobs/{quote(job, safe='')}")

    def result(self, job: str) -> shapes.JobResult:
        """The result of a job that is done."""
        return self._get(shapes.JobResult, f"/v1/jobs/{quote(job, safe='')}/result")

    def vector(self, job: str, index: int, sink: Callable[[bytes], object]) -> None:
        """Give `sink` the NPY file of a long vector, answer `index` of a job, piece by piece."""
        self.fetch(f"/v1/jobs/{quote(job, safe='')}/vectors/{index}", sink)

    def events(self, job: str) -> tuple[shapes.JobEvent, ...]:
        """What happened to a job so far."""
        return self._list(shapes.JobEvent, f"/v1/jobs/{quote(job, safe='')}/log", "events")

    def cancel(self, job: str) -> shapes.JobInfo:
        """Stop a job."""
        return decode(shapes.JobInfo, self.call("POST", f"/v1/jobs/{quote(job, safe='')}/cancel"))

    def shutdown(self) -> None:
        """Stop the node."""
        decode(shapes.Done, self.call("POST", "/v1/shutdown"))

    def watch(self, job: str, timeout_s: float | None = None) -> Iterator[shapes.JobEvent]:
        """Events of a job until it ends.

        Raises AnswerTimeout after `timeout_s` in all, or when the node gives no sign of life for SILENCE_S.
        """
        path = f"/v1/jobs/{quote(job, safe='')}/events"
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        try:
            with exchange(self.home, "GET", path, b"", SILENCE_S) as answer:
                if answer.status != 200:
                    raise _error(answer.status, _document(answer.read()))
                for kind, document in _events(answer, deadline):
                    if kind == "end":
                        return
                    if kind == "error":
                        raise _error(500, document)
                    yield decode(shapes.JobEvent, document)
        except TimeoutError:
            raise AnswerTimeout(
                "the job did not end in time; it goes on",
                definite=False,
                fix=f"see: coppice jobs watch {job}",
            ) from None
        raise NodeUnreachable("the node went away while the job was watched", fix="run: coppice up")

    def call(self, method: str, path: str, shape: object | None = None) -> Json:
        """One request, one JSON object. Raises NodeUnreachable, AnswerTimeout, RemoteError."""
        body = b"" if shape is None else json.dumps(encode(shape)).encode()
        try:
            with exchange(self.home, method, path, body, self.timeout_s) as answer:
                status, content = answer.status, answer.read()
        except TimeoutError:
            raise AnswerTimeout(
                f"the node did not answer {method} {path} within {self.timeout_s:g} s",
                definite=False,
                fix="it may be overloaded; see its log",
            ) from None
        document = _document(content)
        if status != 200:
            raise _error(status, document)
        return document

    def fetch(self, path: str, sink: Callable[[bytes], object]) -> None:
        """A binary answer, piece by piece. Raises as `call`, NodeUnreachable if it breaks off."""
        try:
            with exchange(self.home, "GET", path, b"", self.timeout_s) as answer:
                if answer.status != 200:
                    raise _error(answer.status, _document(answer.read()))
                for piece in answer.pieces():
                    sink(piece)
        except TimeoutError:
            raise AnswerTimeout(
                f"the node did not go on answering GET {path}", definite=False, fix="see its log"
            ) from None

    def _get(self, cls: type[T], path: str) -> T:
        return decode(cls, self.call("GET", path))

    def _post(self, cls: type[T], path: str, shape: object) -> T:
        return decode(cls, self.call("POST", path, shape))

    def _list(self, cls: type[T], path: str, name: str) -> tuple[T, ...]:
        return tuple(decode(cls, item) for item in self.call("GET", path)[name])


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
        code=str(described.get("code", "C-512")),
        fix=str(described.get("fix", "")),
        http=status,
        exit=Exit(described.get("exit", Exit.BUG)),
    )


def _events(answer: Answer, deadline: float) -> Iterator[tuple[str, Json]]:
    """Parse the stream: `event:` and `data:` lines, an event ends at an empty line, `:` is a comment.

    Raises TimeoutError at `deadline` (monotonic), however lively the stream is.
    """
    kind, data = "message", ""
    while True:
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        answer.connection.settimeout(min(SILENCE_S, remaining_s))
        content = answer.stream.readline(MAX_EVENT_BYTES)
        if not content:
            return
        text = content.decode().rstrip("\r\n")
        if text.startswith("event: "):
            kind = text.removeprefix("event: ")
        elif text.startswith("data: "):
            data += text.removeprefix("data: ")
        elif not text and data:
            yield kind, _document(data.encode())
            kind, data = "message", ""
