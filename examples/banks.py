"""Three banks train a fraud model on generated card payments, of which about 1 in 100 is fraud.

    python -m examples.banks [--rounds 12] [--rows 24000]

The generator (`payments`), documented because nobody's payments are public: amounts are log-normal, the hour
has a day's rhythm, distance from home is exponential, and merchants have a risk. Fraud is drawn from a
logistic law of amount at night, distance, a new merchant and recent payments, with an interaction (night x
amount) that a linear model sees only through its own column. Banks differ: one is small and rural (larger
distances), one has twice the odds of fraud. Reported: area under the precision-recall curve on held-out rows,
which a coin scores with the base rate, for each bank alone, all together in private (FedAvg: three epochs at
each bank a round), and pooled; and the same area over the training rows, of the private model by secure
counts of its scores at the banks, of the pooled one in the clear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.sites import Floats, average_precision, give, mesh_of, pooled, take, write
from mesh.runtime.demo.local_mesh import LocalMesh
from protocols.learning import models
from protocols.learning.models import ModelSpec

LABEL = "fraud"
FEATURES = ("log_amount", "night", "distance", "merchant_risk", "recent", "new_merchant", "night_amount")
BANKS = (("metro", 0.55, 1.0, 1.0), ("coast", 0.35, 1.2, 2.0), ("rural", 0.10, 3.0, 1.0))
"""Name, share of the rows, scale of distances, factor on the odds of fraud."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Areas under the precision-recall curve on held-out rows."""

    rows: int
    frauds: int
    base_rate: float
    together: float
    pooled: float
    counted: float
    counted_pooled: float
    alone: dict[str, float]
    seconds: float


def payments(rows: int, distance: float, odds: float, rng: np.random.Generator) -> dict[str, Floats]:
    """Rows of one bank; see the module docstring."""
    amount = rng.normal(3.5, 1.0, rows)
    hour = (rng.normal(14, 5, rows) + 24 * (rng.random(rows) < 0.1)) % 24
    night = ((hour < 6) | (hour > 22)).astype(float)
    away = np.log1p(rng.exponential(8.0 * distance, rows))
    risk = rng.beta(2, 8, rows)
    recent = rng.poisson(1.5, rows).astype(float)
    new = (rng.random(rows) < 0.15).astype(float)
    score = 0.8 * (amount - 3.5) + 1.2 * night * (amount - 3.5) + 0.5 * (away - np.log1p(8.0))
    score = 1.7 * (score + 6.0 * risk + 0.35 * recent + 1.0 * new) - 10.3 + np.log(odds)
    fraud = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(float)
    values = (amount, night, away, risk, recent, new, night * (amount - 3.5), fraud)
    return dict(zip((*FEATURES, LABEL), values, strict=True))


def plaintext(table: dict[str, Floats], steps: int = 400) -> tuple[ModelSpec, Floats, Floats, Floats]:
    """Logistic regression on rows in the clear: model, weights, means and scales."""
    x = np.stack([table[name] for name in FEATURES], axis=1)
    means, scales = x.mean(0), np.maximum(x.std(0), 1e-9)
    spec = ModelSpec("logistic", "classification", len(FEATURES))
    weights = models.initial(spec, bytes(32))
    velocity = np.zeros_like(weights)
    for _ in range(steps):
        velocity = 0.8 * velocity + models.gradient(spec, weights, (x - means) / scales, table[LABEL])
        weights = weights - velocity
    return spec, weights, means, scales


def area(fitted: tuple[ModelSpec, Floats, Floats, Floats], table: dict[str, Floats]) -> float:
    """Of a plaintext model on `table`."""
    spec, weights, means, scales = fitted
    x = (np.stack([table[name] for name in FEATURES], axis=1) - means) / scales
    return average_precision(table[LABEL], models.predict(spec, weights, x))


def run(folder: Path, rounds: int = 12, rows: int = 24_000, seed: int = 3) -> Outcome:
    """Start the banks, train, compare."""
    rng = np.random.default_rng(seed)
    banks = {name: payments(int(rows * share), far, odds, rng) for name, share, far, odds in BANKS}
    held = {name: take(bank, np.arange(len(bank[LABEL]) // 3)) for name, bank in banks.items()}
    train = {
        name: take(bank, np.arange(len(bank[LABEL]) // 3, len(bank[LABEL]))) for name, bank in banks.items()
    }
    test = pooled(list(held.values()))
    mesh = LocalMesh(folder, list(banks))
    for name, part in train.items():
        give(mesh.peers[name], "payments", write(folder / "parts" / f"{name}.csv", part))
    with mesh:
        mesh.start()
        mesh.wait_formed()
        began = time.monotonic()
        trained = mesh_of(mesh).train.logistic(
            "payments",
            FEATURES,
            LABEL,
            rounds=rounds,
            method="local",
            local_epochs=3,
            batch=128,
            local_rate=0.3,
            min_sites=3,
            ranking=512,
        )
        seconds = time.monotonic() - began
    every = pooled(list(train.values()))
    best = plaintext(every)
    return Outcome(
        rows=sum(len(part[LABEL]) for part in train.values()),
        frauds=int(sum(part[LABEL].sum() for part in train.values())),
        base_rate=float(test[LABEL].mean()),
        together=average_precision(test[LABEL], trained.predict(test)),
        pooled=area(best, test),
        counted=trained.info.history[-1].area or 0.0,
        counted_pooled=area(best, every),
        alone={name: area(plaintext(part), test) for name, part in train.items()},
        seconds=seconds,
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="three banks train a fraud model together")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rows", type=int, default=24_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coppice-banks-") as folder:
        one = run(Path(folder), chosen.rounds, chosen.rows)
    alone = ", ".join(f"{name} {value:.3f}" for name, value in one.alone.items())
    print(
        f"{one.rows} payments, {one.frauds} frauds · area under precision-recall (luck: {one.base_rate:.3f})"
    )
    print(f"on training rows {one.counted:.3f} by secure counts · pooled {one.counted_pooled:.3f}")
    print(f"together {one.together:.3f} · pooled {one.pooled:.3f} · alone: {alone} · {one.seconds:.1f} s")


if __name__ == "__main__":
    main()
