"""Training: what is asked for, and the models that came of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """A training run. None takes a default that fits `kind`; `ranking`: bins of the precision-recall curve
    whose area is asked for at the end, 0 for none.

    `kind`: logistic, linear, mlp, plugin. `method`: gradient (one step a round) or local (`local_epochs` of
    descent at each site). `dp_unit`: row or site. `resume`: go on from a certified model that is here.
    """

    dataset: str
    kind: str
    features: tuple[str, ...]
    label: str
    rounds: int = 20
    method: str = "gradient"
    rate: float | None = None
    momentum: float | None = None
    penalty: float = 0.0
    local_epochs: int = 1
    batch: int = 0
    local_rate: float | None = None
    clip: float | None = None
    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"
    task: str = "classification"
    classes: int = 2
    plugin: str = ""
    weights: int = 0
    standardise: bool = True
    evaluate: bool = True
    patience: int = 0
    ranking: int = 0
    max_rows: int | None = None
    seed: int = 0
    dp_epsilon: float | None = None
    dp_delta: float = 1e-5
    dp_unit: str = "row"
    min_sites: int | None = None
    timeout_s: float | None = None
    purpose: str = ""
    resume: str = ""


@dataclass(frozen=True, slots=True)
class RoundInfo:
    """One certified round. `loss` and `accuracy` are of the weights the round started from."""

    number: int
    sites: int
    n: int | None
    receipt: str
    seconds: float
    loss: float | None = None
    accuracy: float | None = None
    area: float | None = None

    @property
    def round(self) -> int:
        """The number again, as people say it."""
        return self.number


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A certified model. `weights`: base64 of little-endian float64, empty in lists and for more than
    65,536 weights, which are fetched apart (`Client.weights`); `size` of them.

    A feature x enters as (x - mean) / scale; a regression's output y stands for y * label_scale + label_mean.
    """

    run: str
    kind: str
    task: str
    activation: str
    hidden: tuple[int, ...]
    outputs: int
    features: tuple[str, ...]
    label: str
    means: tuple[float, ...]
    scales: tuple[float, ...]
    label_mean: float
    label_scale: float
    rounds: int
    session: str
    receipts: tuple[str, ...]
    plugin: str = ""
    weights: str = ""
    history: tuple[RoundInfo, ...] = ()
    epsilon: float | None = None
    delta: float | None = None
    r2: float | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A program that this site's owner installed."""

    name: str
    target: str
