"""The mesh from a script or notebook, through the node that runs on this machine.

    from mesh import Mesh
    m = Mesh.connect()
    m.data.add("rows.csv", name="ward")
    print(m.mean("ward.age").run().value)
    model = m.train.logistic("ward", x=["age", "bmi"], y="ill", rounds=20)
    model.save("model.npz"); model.predict({"age": [50], "bmi": [22]})

Every call blocks until the node answered; nothing happens before `run`, `submit` or a train call. Errors are
MeshError with a code and a fix. Importing this module imports neither numpy nor the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.api import shapes
from mesh.api.client import Client
from mesh.api.models import TrainedModel
from mesh.runtime.home import Home
from protocols.errors import ConfigError

Watcher = Callable[[shapes.JobEvent], None]


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

    def run(self, watch: Watcher | None = None) -> shapes.JobResult:
        """Ask and wait for the result. `watch` hears every event."""
        return _finished(self.client, self.submit(), watch)


@dataclass(frozen=True, slots=True)
class Data:
    """Data sets of this node."""

    client: Client

    def add(
        self, path: str | Path, name: str | None = None, schema: str | Path | None = None
    ) -> shapes.DatasetInfo:
        """Register a CSV file; it stays where it is."""
        file = Path(path).expanduser().absolute()
        described = None if schema is None else str(Path(schema).expanduser().absolute())
        return self.client.data_add(shapes.DataSpec(str(file), name or file.stem, described))

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
        _finished(self.client, job, watch)
        return TrainedModel(self.client.model(job))


class Mesh:
    """The mesh as this machine's node sees it."""

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

    def status(self) -> shapes.Status:
        """The node at a glance."""
        return self.client.status()

    def models(self) -> tuple[shapes.ModelInfo, ...]:
        """Certified models on this node."""
        return self.client.models()

    def model(self, name: str) -> TrainedModel:
        """One of them, by job or run."""
        return TrainedModel(self.client.model(name))

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

    def histogram(self, target: str, edges: Sequence[float], **options: Any) -> Question:
        """Values of a column in each bin."""
        return self.ask("histogram", target, tuple(edges), **options)

    def ask(
        self, statistic: str, target: str, parameters: tuple[float, ...] = (), **options: Any
    ) -> Question:
        """Any statistic. Raises ConfigError C-101 for a target that is not DATASET.COLUMN."""
        dataset, dot, column = target.partition(".")
        if not (dataset and dot and column):
            raise ConfigError(f"{target!r} names no column", code="C-101", fix="write DATASET.COLUMN")
        query = shapes.QuerySpec(statistic, column, tuple(map(float, parameters)))
        return Question(self.client, shapes.JobSpec(dataset, (query,), **options))


def _finished(client: Client, job: str, watch: Watcher | None) -> shapes.JobResult:
    for event in client.watch(job):
        if watch is not None:
            watch(event)
    return client.result(job)
