"""The mesh from a script or notebook, through the node that runs on this machine.

    from mesh import Col, Mesh, Schema
    with Mesh.connect() as m:
        m.data.add("ward", "rows.csv", schema=Schema(age=Col(int, 0, 120)))
        print(m.mean("ward.age", min_sites=3).run(timeout=60).value)
        fit = m.train.logistic("ward", x=["age", "bmi"], y="ill", rounds=20)
        fit.save("model.npz"); fit.predict({"age": [50], "bmi": [22]})

Every call blocks until the node answered; nothing happens before `run`, `submit` or a train call. Programs
on asyncio or trio take the twin, `await Mesh.open()`, of which every call is awaited (facade_async.py).
Errors are MeshError with a code and a fix. Importing this module imports neither numpy nor the node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.api import shapes
from mesh.api.client import Client
from mesh.api.models import TrainedModel
from mesh.columns import Schema
from mesh.runtime.home import Home
from protocols.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mesh.facade_async import AsyncMesh

Watcher = Callable[[shapes.JobEvent], None]
GRACE_S = 15.0
"""How much longer than a job may take we listen for its end."""


@dataclass(frozen=True, slots=True)
class Question:
    """A statistic that was not asked yet."""

    client: Client
    spec: shapes.JobSpec

    def explain(self) -> shapes.PlanReport:
        """Who would take part, what it survives and costs, what is revealed to whom."""
        return self.client.plan(self.spec)

    def submit(self) -> str:
        """Ask, and return the job's id at once."""
        return self.client.submit(self.spec)

    def run(self, watch: Watcher | None = None, timeout: float | None = None) -> shapes.JobResult:
        """Ask and wait for the result, at most `timeout` seconds. `watch` hears every event."""
        question = self if timeout is None else replace(self, spec=replace(self.spec, timeout_s=timeout))
        limit = question.spec.timeout_s
        return finished(self.client, question.submit(), watch, limit)


@dataclass(frozen=True, slots=True)
class Data:
    """Data sets of this node."""

    client: Client

    def add(
        self, name: str, path: str | Path, schema: Schema | str | Path | None = None
    ) -> shapes.DatasetInfo:
        """Register a CSV file; it stays where it is. `schema`: what the columns may hold, or a TOML file."""
        file = Path(path).expanduser().absolute()
        if isinstance(schema, Schema):
            with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as described:
                described.write(schema.toml())
                described.flush()
                return self.client.data_add(shapes.DataSpec(str(file), name, described.name))
        known = None if schema is None else str(Path(schema).expanduser().absolute())
        return self.client.data_add(shapes.DataSpec(str(file), name, known))

    def list(self) -> tuple[shapes.DatasetInfo, ...]:
        """All of them."""
        return self.client.data_list()

    def allow(self, name: str, statistics: Sequence[str], **rules: Any) -> shapes.PolicyInfo:
        """Write the owner's policy: which statistics may be computed. `rules` are those of PolicySpec."""
        return self.client.policy_init(name, shapes.PolicySpec(allow=tuple(statistics), **rules))


@dataclass(frozen=True, slots=True)
class Train:
    """Training runs. Keyword arguments are the fields of TrainSpec; `watch` hears every event."""

    client: Client

    def logistic(self, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """Logistic regression, of two classes or `classes`."""
        return self._run("logistic", dataset, x, y, options)

    def linear(self, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """Linear regression: exactly, in one session, unless a `method` or a privacy budget is given."""
        private = options.get("dp_epsilon") is not None
        return self._run("linear", dataset, x, y, {"method": "gradient" if private else "exact", **options})

    def mlp(self, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """A network of one or two `hidden` layers."""
        return self._run("mlp", dataset, x, y, options)

    def plugin(self, name: str, dataset: str, x: Sequence[str], y: str, **options: Any) -> TrainedModel:
        """A model of `weights` numbers that the owners' own programs update."""
        return self._run("plugin", dataset, x, y, {"plugin": name, **options})

    def _run(
        self, kind: str, dataset: str, x: Sequence[str], y: str, options: dict[str, Any]
    ) -> TrainedModel:
        watch = options.pop("watch", None)
        try:
            spec = shapes.TrainSpec(dataset, kind, tuple(x), y, **options)
        except TypeError as error:
            raise ConfigError(str(error), code="C-649", fix="see the fields of TrainSpec") from None
        job = self.client.train(spec)
        finished(self.client, job, watch)
        return TrainedModel.fetch(self.client, job)


class Mesh:
    """The mesh as this machine's node sees it. A context manager for symmetry: there is nothing to close."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.data = Data(client)
        self.train = Train(client)

    @classmethod
    def connect(cls, home: str | Path | None = None) -> Mesh:
        """The node of a state folder. Raises NodeUnreachable if none runs."""
        client = Client(Home.locate(None if home is None else Path(home)))
        client.status()
        return cls(client)

    @classmethod
    async def open(cls, home: str | Path | None = None) -> AsyncMesh:
        """The same for programs on asyncio or trio: every call of what is returned is awaited."""
        from mesh.facade_async import AsyncMesh, in_thread

        return AsyncMesh(await in_thread(cls.connect, home))

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def status(self) -> shapes.Status:
        """The node at a glance."""
        return self.client.status()

    def models(self) -> tuple[shapes.ModelInfo, ...]:
        """Certified models on this node."""
        return self.client.models()

    def model(self, name: str) -> TrainedModel:
        """One of them, by job or run."""
        return TrainedModel.fetch(self.client, name)

    def vector(self, result: shapes.JobResult, index: int = 0) -> npt.NDArray[np.float64]:
        """The long vector of a result's answer, (length,), which the result itself does not hold."""
        import io

        import numpy as np

        found = io.BytesIO()
        self.client.vector(result.job, index, found.write)
        found.seek(0)
        return np.asarray(np.load(found, allow_pickle=False), dtype=np.float64)

    def mean(self, target: str, **options: Any) -> Question:
        """Mean of "DATASET.COLUMN". Options: min_sites, timeout_s, purpose."""
        return self.ask("mean", target, **options)

    def sum(self, target: str, **options: Any) -> Question:
        """Sum of a column."""
        return self.ask("sum", target, **options)

    def count(self, target: str, **options: Any) -> Question:
        """Number of values of a column."""
        return self.ask("count", target, **options)

    def variance(self, target: str, **options: Any) -> Question:
        """Sample variance of a column."""
        return self.ask("variance", target, **options)

    def stddev(self, target: str, **options: Any) -> Question:
        """Standard deviation of a column."""
        return self.ask("stddev", target, **options)

    def histogram(self, target: str, bins: Sequence[float], **options: Any) -> Question:
        """Values of a column in each bin; `bins` are the edges."""
        return self.ask("histogram", target, tuple(bins), **options)

    def ask(
        self, statistic: str, target: str, parameters: tuple[float, ...] = (), **options: Any
    ) -> Question:
        """Any statistic. Raises ConfigError C-101 for a target that is not DATASET.COLUMN."""
        dataset, dot, column = target.partition(".")
        if not (dataset and dot and column):
            raise ConfigError(f"{target!r} names no column", code="C-101", fix="write DATASET.COLUMN")
        query = shapes.QuerySpec(statistic, column, tuple(map(float, parameters)))
        try:
            return Question(self.client, shapes.JobSpec(dataset, (query,), **options))
        except TypeError as error:
            raise ConfigError(str(error), code="C-101", fix="see the fields of JobSpec") from None


def finished(
    client: Client, job: str, watch: Watcher | None, timeout_s: float | None = None
) -> shapes.JobResult:
    """The result of a job once it has ended. Raises what it ended with, AnswerTimeout."""
    for event in client.watch(job, None if timeout_s is None else timeout_s + GRACE_S):
        if watch is not None:
            watch(event)
    return client.result(job)
