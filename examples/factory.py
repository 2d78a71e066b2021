"""Gateways of a factory train a failure model while machines come and go, and ask for fleet statistics.

    python -m examples.factory [--gateways 20] [--rounds 20]

Each gateway has the hourly readings of its machines: vibration, temperature, current, hours since service.
A machine fails within a day with odds that rise with vibration, heat and the hours since service; wear
differs between halls, so that no gateway alone sees the whole range. During the run two gateways are killed,
one of them comes back, and one that had no data yet joins the training: it goes on with whoever is there and
never starts again. Compared with logistic regression on all rows pooled.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from examples.sites import Floats, average_precision, give, mesh_of, pooled, write
from mesh.api.shapes import JobEvent
from mesh.runtime.demo.local_mesh import LocalMesh
from protocols.learning import models
from protocols.learning.models import ModelSpec

LABEL = "fails"
FEATURES = ("vibration", "temperature", "current", "hours")


@dataclass(slots=True)
class Outcome:
    """What came of it. `sites` are the contributors of each round."""

    gateways: int
    rows: int
    together: float
    pooled: float
    mean_vibration: float
    true_vibration: float
    seconds: float
    sites: list[int] = field(default_factory=list)


def readings(hall: int, rows: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Rows of one gateway; see the module docstring."""
    vibration = rng.gamma(2.0 + 0.15 * hall, 0.8, rows)
    temperature = rng.normal(58 + 0.6 * hall, 6, rows)
    current = rng.normal(11, 1.5, rows) + 0.6 * vibration
    hours = rng.uniform(0, 900, rows)
    score = 1.1 * (vibration - 3) + 0.12 * (temperature - 62) + 0.004 * (hours - 450) - 2.6
    fails = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(float)
    return dict(zip((*FEATURES, LABEL), (vibration, temperature, current, hours, fails), strict=True))


def plaintext(table: dict[str, Floats], test: dict[str, Floats]) -> float:
    """Area under the precision-recall curve of a model that saw all rows."""
    x = np.stack([table[name] for name in FEATURES], axis=1)
    means, scales = x.mean(0), x.std(0)
    spec = ModelSpec("logistic", "classification", len(FEATURES))
    weights = models.initial(spec, bytes(32))
    for _ in range(600):
        weights = weights - models.gradient(spec, weights, (x - means) / scales, table[LABEL])
    rows = (np.stack([test[name] for name in FEATURES], axis=1) - means) / scales
    return average_precision(test[LABEL], models.predict(spec, weights, rows))


def run(folder: Path, gateways: int = 20, rounds: int = 20, rows: int = 120, seed: int = 5) -> Outcome:
    """Start the gateways, train while some come and go, ask, compare."""
    rng = np.random.default_rng(seed)
    names = [f"gateway-{number:02}" for number in range(1, gateways + 1)]
    parts = {name: readings(number % 5, rows, rng) for number, name in enumerate(names)}
    test = pooled([readings(hall, 800, rng) for hall in range(5)])
    mesh = LocalMesh(folder, names)
    late, lost, returning = names[-1], names[-2], names[-3]
    for name in names:
        file = write(folder / "parts" / f"{name}.csv", parts[name])
        if name != late:
            give(mesh.peers[name], "machines", file)
    sites: list[int] = []
    acts: list[threading.Thread] = []

    def later(act: object, *arguments: object) -> None:
        thread = threading.Thread(target=act, args=arguments)  # type: ignore[arg-type]  # any callable
        thread.start()
        acts.append(thread)

    def watch(event: JobEvent) -> None:
        number = dict(event.data).get("round")
        if number is None:
            return
        if int(number) == rounds // 4:
            mesh.kill(lost)
            mesh.kill(returning)
            give(mesh.peers[late], "machines", folder / "parts" / f"{late}.csv")
        if int(number) == rounds // 2:
            later(mesh.restart, returning)

    with mesh:
        mesh.start(patience_s=90)
        mesh.wait_formed(patience_s=90)
        began = time.monotonic()
        factory = mesh_of(mesh)
        trained = factory.train.logistic(
            "machines", FEATURES, LABEL, rounds=rounds, min_sites=3, timeout_s=30, watch=watch
        )
        seconds = time.monotonic() - began
        for act in acts:
            act.join()
        answer = factory.mean("machines.vibration", min_sites=3).run()
        sites = [one.sites for one in trained.info.history]
    here = [name for name in names if name in answer.counted]
    return Outcome(
        gateways=gateways,
        rows=gateways * rows,
        together=average_precision(test[LABEL], trained.predict(test)),
        pooled=plaintext(pooled(list(parts.values())), test),
        mean_vibration=float(answer.value) if isinstance(answer.value, float) else float("nan"),
        true_vibration=float(pooled([parts[name] for name in here])["vibration"].mean()),
        seconds=seconds,
        sites=sites,
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="a factory's gateways train while some come and go")
    parser.add_argument("--gateways", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coppice-factory-") as folder:
        one = run(Path(folder), chosen.gateways, chosen.rounds)
    print(f"{one.gateways} gateways, {one.rows} rows · {one.seconds:.1f} s")
    print(f"area under precision-recall: together {one.together:.3f}, pooled {one.pooled:.3f}")
    print(f"sites of each round: {one.sites}")
    print(f"mean vibration of the fleet {one.mean_vibration:.4f}, plaintext {one.true_vibration:.4f}")


if __name__ == "__main__":
    main()
