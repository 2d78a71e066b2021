"""Jobs that this node's person asked for: state, events, waiting. Bounded."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

import trio

from mesh.api.shapes import ErrorInfo, JobEvent, JobInfo, JobResult, JobSpec
from protocols.errors import LocalMisuse, MeshError, SessionAborted

MAX_EVENTS = 1000


class Job:
    """One job: what the API shows of it, its events, and a bell for those who watch."""

    def __init__(self, spec: JobSpec, info: JobInfo | None = None) -> None:
        """`info`: of a job that this node had before it was started again."""
        fresh = JobInfo(id=secrets.token_hex(4), state="queued", spec=spec, created_at=time.time())
        self.info = info or fresh
        self.events: list[JobEvent] = []
        told = self.info.error
        self.error: MeshError | None = MeshError(told.what, code=told.code, fix=told.fix) if told else None
        self.scope = trio.CancelScope()
        self._bell = trio.Event()

    def emit(self, kind: str, text: str, **data: str) -> None:
        """Tell the watchers."""
        if len(self.events) < MAX_EVENTS or kind == "ended":
            event = JobEvent(self.info.id, len(self.events) + 1, time.time(), kind, text, tuple(data.items()))
            self.events.append(event)
        bell, self._bell = self._bell, trio.Event()
        bell.set()

    def phase(self, phase: str, text: str, **data: str) -> None:
        """The job goes into a phase; `text` says why it waits there."""
        self.info = replace(self.info, state="running", phase=phase)
        self.emit("phase", text, phase=phase, **data)

    def refused(self, name: str, reason: str) -> None:
        """A party will not take part."""
        if (name, reason) in self.info.refusals:
            return
        self.info = replace(self.info, refusals=(*self.info.refusals, (name, reason)))
        self.emit("refused", f"{name}: {reason}", party=name)

    def finish(self, result: JobResult) -> None:
        """The job has its result."""
        self.info = replace(self.info, state="done", phase="", result=result)
        self.emit("ended", "done")

    def fail(self, error: MeshError, *, cancelled: bool = False) -> None:
        """The job has ended without a result."""
        self.error = error
        told = ErrorInfo(error.code, str(error.args[0]), error.fix)
        state = "cancelled" if cancelled else "failed"
        self.info = replace(self.info, state=state, phase="", error=told)
        self.emit("ended", error.sentence())

    async def changed(self) -> None:
        """Wait for the next event."""
        await self._bell.wait()


class Jobs:
    """All jobs of this node, oldest dropped first once they have ended."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: dict[str, Job] = {}

    def new(self, spec: JobSpec) -> Job:
        """A queued job. Raises LocalMisuse when too many are running."""
        ended = [name for name, job in self._jobs.items() if job.info.ended]
        while len(self._jobs) >= self._limit and ended:
            del self._jobs[ended.pop(0)]
        if len(self._jobs) >= self._limit:
            raise LocalMisuse(
                f"{self._limit} jobs are running", code="C-406", fix="wait for one to end, or cancel one"
            )
        job = Job(spec)
        self._jobs[job.info.id] = job
        return job

    def again(self, info: JobInfo) -> Job:
        """A job of before the restart."""
        job = self._jobs[info.id] = Job(info.spec, info)
        return job

    def get(self, name: str) -> Job:
        """The job. Raises LocalMisuse C-404."""
        job = self._jobs.get(name)
        if job is None:
            raise LocalMisuse(f"there is no job {name}", code="C-404", fix="see: coppice jobs list")
        return job

    def all(self) -> list[Job]:
        """Newest first."""
        return list(reversed(self._jobs.values()))

    @property
    def running(self) -> int:
        """Jobs that have not ended."""
        return sum(not job.info.ended for job in self._jobs.values())

    async def watch(self, name: str) -> AsyncGenerator[JobEvent, None]:
        """All events from the first; ends when the job has."""
        job = self.get(name)
        seen = 0
        while True:
            while seen < len(job.events):
                seen += 1
                yield job.events[seen - 1]
            if job.info.ended:
                return
            await job.changed()


def cancelled_by_person() -> SessionAborted:
    """What a cancelled job ends with."""
    return SessionAborted("the job was cancelled", definite=False)
