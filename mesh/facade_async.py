"""The facade for programs on asyncio or trio: the same calls, awaited.

    m = await Mesh.open()
    r = await m.mean("ward.age", min_sites=3).run(timeout=60)
    fit = await m.train.logistic("ward", x=["age"], y="ill")
    async for event in m.watch(await m.mean("ward.age").submit()): print(event.text)

The client is synchronous and cheap; here each of its calls runs in a thread of the caller's event loop (anyio
finds out which that is), so that the loop goes on. Cancelling a call leaves it: a job goes on in the node.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.api import shapes
from mesh.api.client import Client
from mesh.api.models import TrainedModel
from mesh.columns import Schema
from mesh.facade import Data, Mesh, Question, Train, Watcher

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What `function` returns, without stopping the caller's loop."""
    from anyio import to_thread

    call = functools.partial(function, *arguments, **options)
    return await to_thread.run_sync(call, abandon_on_cancel=True)


@dataclass(frozen=True, slots=True)
class AsyncQuestion:
    """A statistic that was not asked yet."""

    question: Question

    async def explain(self) -> shapes.PlanReport:
        """Who would take part, what it survives and costs, what is revealed to whom."""
        return await in_thread(self.question.explain)

    async def submit(self) -> str:
        """Ask, and return the job's id."""
        return await in_thread(self.question.submit)

    async def run(self, watch: Watcher | None = None, timeout: float | None = None) -> shapes.JobResult:
        """Ask and wait for the result. `watch` hears every event, in a thread."""
        return await in_thread(self.question.run, watch, timeout)


@dataclass(frozen=True, slots=True)
class AsyncData:
    """Data sets of this node."""

    data: Data

    async def add(
        self, name: str, path: str | Path, schema: Schema | str | Path | None = None
    ) -> shapes.DatasetInfo:
        """Register a CSV file; it stays where it is."""
        return await in_thread(self.data.add, name, path, schema)

    async def list(self) -> tuple[shapes.DatasetInfo, ...]:
        """All of them."""
        return await in_thread(self.data.list)

    async def allow(self, name: str, statistics: Sequence[str], **rules: Any) -> shapes.PolicyInfo:
        """Write the owner's policy."""
        return await in_thread(self.data.allow, name, statistics, **rules)


@dataclass(frozen=True, slots=True)
class AsyncTrain:
    """Training runs; see `facade.Train`. `watch` is called in a thread."""

    train: Train

    async def logistic(self, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """Logistic regression."""
        return await in_thread(self.train.logistic, dataset, x, y, **options)

    async def linear(self, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """Linear regression."""
        return await in_thread(self.train.linear, dataset, x, y, **options)

    async def mlp(self, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """A network of one or two hidden layers."""
        return await in_thread(self.train.mlp, dataset, x, y, **options)

    async def plugin(self, name: str, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """A model that the owners' own programs update."""
        return await in_thread(self.train.plugin, name, dataset, x, y, **options)


class AsyncMesh:
    """The mesh as this machine's node sees it; `Mesh.open` makes it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.data = AsyncData(mesh.data)
        self.train = AsyncTrain(mesh.train)

    async def __aenter__(self) -> AsyncMesh:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    @property
    def client(self) -> Client:
        """The synchronous client."""
        return self.mesh.client

    async def status(self) -> shapes.Status:
        """The node at a glance."""
        return await in_thread(self.mesh.status)

    async def models(self) -> tuple[shapes.ModelInfo, ...]:
        """Certified models on this node."""
        return await in_thread(self.mesh.models)

    async def model(self, name: str) -> TrainedModel:
        """One of them, by job or run."""
        return await in_thread(self.mesh.model, name)

    async def vector(self, result: shapes.JobResult, index: int = 0) -> npt.NDArray[np.float64]:
        """The long vector of a result's answer, (length,)."""
        return await in_thread(self.mesh.vector, result, index)

    async def result(self, job: str) -> shapes.JobResult:
        """The result of a job that has ended. Raises what it ended with."""
        return await in_thread(self.client.result, job)

    async def watch(self, job: str) -> AsyncIterator[shapes.JobEvent]:
        """Events of a job until it ends."""
        events = self.client.watch(job)
        while (event := await in_thread(next, events, None)) is not None:
            yield event

    def mean(self, target: str, **options: Any) -> AsyncQuestion:
        """Mean of "DATASET.COLUMN"."""
        return AsyncQuestion(self.mesh.mean(target, **options))

    def sum(self, target: str, **options: Any) -> AsyncQuestion:
        """Sum of a column."""
        return AsyncQuestion(self.mesh.sum(target, **options))

    def count(self, target: str, **options: Any) -> AsyncQuestion:
        """Number of values of a column."""
        return AsyncQuestion(self.mesh.count(target, **options))

    def variance(self, target: str, **options: Any) -> AsyncQuestion:
        """Sample variance of a column."""
        return AsyncQuestion(self.mesh.variance(target, **options))

    def stddev(self, target: str, **options: Any) -> AsyncQuestion:
        """Standard deviation of a column."""
        return AsyncQuestion(self.mesh.stddev(target, **options))

    def histogram(self, target: str, bins: Sequence[float], **options: Any) -> AsyncQuestion:
        """Values of a column in each bin."""
        return AsyncQuestion(self.mesh.histogram(target, bins, **options))

    def ask(
        self, statistic: str, target: str, parameters: tuple[float, ...] = (), **options: Any
    ) -> AsyncQuestion:
        """Any statistic."""
        return AsyncQuestion(self.mesh.ask(statistic, target, parameters, **options))
