"""A job's events as a server-sent event stream (WHATWG HTML, section 9.2).

    event: job    one JobEvent             event: end    the job has ended
    event: error  watching failed          : comment     nothing to say for a while

Invariant: the service's iterator is never cancelled between two of its steps, except to end the whole
stream, and it is closed in the task that ran it. A watcher that goes away ends the stream at once.
"""

from __future__ import annotations

import json
from contextlib import aclosing

import structlog
import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mesh.api.jsonshape import Json, encode
from mesh.api.outcome import bug_description, describe
from mesh.api.service import NodeService
from mesh.api.shapes import SCHEMA_VERSION, JobEvent
from protocols.errors import MeshError

SILENCE_S = 15.0
"""A comment is sent when a job says nothing for so long, so that a dead connection is noticed."""

log = structlog.get_logger("coppice.api")


class EventStream(Response):
    """Answers with the events of one job until it ends or the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, service: NodeService, job: str) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._service = service
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI: headers, then one body part per event."""
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with trio.open_nursery() as nursery:
            listening = trio.CancelScope()
            nursery.start_soon(_leave, receive, listening, nursery.cancel_scope)
            sender, receiver = trio.open_memory_channel[JobEvent](0)
            failure: list[dict[str, object]] = []
            nursery.start_soon(self._pump, sender, failure)
            await _relay(receiver, send)
            # The last part makes the server report a disconnect, which must not cancel its own closing.
            listening.cancel()
            closing = line("error", {"error": failure[0]}) if failure else line("end", {})
            await send({"type": "http.response.body", "body": closing, "more_body": False})

    async def _pump(self, sender: trio.MemorySendChannel[JobEvent], failure: list[dict[str, object]]) -> None:
        """Move events from the service into the channel; the stream's only broad `except`."""
        async with sender:
            try:
                async with aclosing(self._service.watch(self._job)) as events:
                    async for event in events:
                        await sender.send(event)
            except MeshError as error:
                failure.append(describe(error))
            except Exception:
                log.exception("bug while watching a job", job=self._job)
                failure.append(bug_description())


def line(kind: str, document: Json) -> bytes:
    """One event of the stream."""
    content = json.dumps({"schema_version": SCHEMA_VERSION} | document)
    return f"event: {kind}\ndata: {content}\n\n".encode()


async def _relay(receiver: trio.MemoryReceiveChannel[JobEvent], send: Send) -> None:
    while True:
        part = b": still here\n\n"
        with trio.move_on_after(SILENCE_S):
            try:
                part = line("job", encode(await receiver.receive()))
            except trio.EndOfChannel:
                return
        await send({"type": "http.response.body", "body": part, "more_body": True})


async def _leave(receive: Receive, listening: trio.CancelScope, stream: trio.CancelScope) -> None:
    """Cancel `stream` when the client leaves, for as long as `listening` is not cancelled."""
    with listening:
        while (await receive())["type"] != "http.disconnect":
            pass
        stream.cancel()
