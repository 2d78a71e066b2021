"""From what a person asks for to a recipe: defaults, standardisation from a secure sum, calibrated noise.

Step 0 of a run asks for mean and variance of every column by ordinary secure sums, so that all sites scale by
the same numbers. They are exact sums: where a privacy budget is set, these statistics are outside of it, and
whoever does not want that trains with `standardise` off on columns that are scaled already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mesh.api.shapes import AnswerInfo, TrainSpec
from protocols.learning.faults import bad_model, bad_recipe
from protocols.learning.models import ModelSpec, size
from protocols.learning.rounds import Recipe, check_recipe
from protocols.privacy import accountant
from protocols.sessions.plan import Query

VALUE_BITS = 24
COLUMNS = 32
"""Columns scaled in one session: two queries each of the 64 that a job may have."""

GRAM_CLIP = 64.0
ROWS_IF_UNKNOWN = 1 << 16


@dataclass(frozen=True, slots=True)
class Scaling:
    """What step 0 found of each column; `rows` over all sites, None if it was not asked."""

    means: Mapping[str, float]
    scales: Mapping[str, float]
    rows: int | None


def check(spec: TrainSpec) -> None:
    """Raise ConfigError C-649 for a run that makes no sense, before anybody is asked."""
    if spec.kind not in ("linear", "logistic", "mlp", "plugin"):
        raise bad_recipe(f"there is no model {spec.kind!r}", "train logistic, linear, mlp or a plugin")
    if not 1 <= spec.rounds <= 100_000:
        raise bad_recipe(f"{spec.rounds} rounds; 1 to 100000 are possible")
    if spec.dp_epsilon is not None and not (0 < spec.dp_epsilon < math.inf and 0 < spec.dp_delta < 1):
        raise bad_recipe("a privacy budget is an epsilon above 0 and a delta between 0 and 1")
    if spec.dp_epsilon is not None and spec.patience:
        raise bad_recipe("an early stop needs exact losses, which a privacy budget does not allow")
    if (spec.kind == "plugin") != bool(spec.plugin) or (spec.kind == "plugin" and spec.weights < 1):
        raise bad_recipe("a plug-in has a name and a number of weights, other models have neither")
    exactly = spec.evaluate and spec.dp_epsilon is None
    if spec.ranking and not (exactly and 2 <= spec.ranking <= 1024):
        raise bad_recipe("a precision-recall curve has 2 to 1024 bins, and is evaluated exactly")
    if spec.patience and not spec.evaluate:
        raise bad_recipe("an early stop needs the loss to be evaluated")
    if exact(spec) and spec.dp_epsilon is not None:
        raise bad_recipe("the one-session regression adds no noise", "use --method local or gradient")
    check_recipe(recipe(spec, Scaling({}, {}, None), 2, calibrated=False))


def check_resumed(spec: TrainSpec, kept: Recipe) -> None:
    """Raise ConfigError C-640 unless a certified model is the one that is asked for."""
    wanted = model(spec)
    pairs = (
        ("columns", spec.features, kept.features),
        ("label", spec.label, kept.label),
        ("kind", wanted.kind, kept.model.kind),
        ("hidden layers", wanted.hidden, kept.model.hidden),
        ("outputs", wanted.outputs, kept.model.outputs),
        ("task", wanted.task, kept.model.task),
        ("plug-in", spec.plugin, kept.plugin),
    )
    for what, asked, found in pairs:
        if asked != found:
            raise bad_model(f"its {what}: {_words(found)}; asked for: {_words(asked)}")


def _words(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) or "none"


def exact(spec: TrainSpec) -> bool:
    """Whether the run is the linear regression in one session."""
    return bool(spec.kind == "linear" and spec.method == "exact")


def model(spec: TrainSpec) -> ModelSpec:
    """The function to be trained."""
    if spec.kind == "plugin":
        return ModelSpec("plugin", spec.task, len(spec.features), spec.weights)
    task = {"linear": "regression", "logistic": "classification"}.get(spec.kind, spec.task)
    outputs = spec.classes if task == "classification" and spec.classes > 2 else 1
    hidden = spec.hidden if spec.kind == "mlp" else ()
    return ModelSpec(spec.kind, task, len(spec.features), outputs, hidden, spec.activation)


def columns_to_scale(spec: TrainSpec) -> tuple[str, ...]:
    """Columns of step 0: the features, and the label of a regression."""
    if not spec.standardise or spec.kind == "plugin":
        return ()
    label = (spec.label,) if model(spec).task == "regression" else ()
    return (*spec.features, *label)


def scaling_queries(columns: Sequence[str]) -> Iterator[tuple[Query, ...]]:
    """Mean and variance of the columns, as many in a session as its job and its vector hold."""
    for start in range(0, len(columns), COLUMNS):
        yield tuple(
            query
            for column in columns[start : start + COLUMNS]
            for query in (Query("mean", column, ()), Query("variance", column, (0.0,)))
        )


def scaling(answers: Sequence[AnswerInfo]) -> Scaling:
    """Means and scales; a constant column keeps scale 1."""
    means = _values(answers, "mean")
    variances = _values(answers, "variance")
    scales = {column: math.sqrt(value) if value > 0 else 1.0 for column, value in variances.items()}
    return Scaling(means, scales, max((answer.n or 0 for answer in answers), default=None))


def recipe(spec: TrainSpec, found: Scaling, min_sites: int, *, calibrated: bool = True) -> Recipe:
    """Everything the sites must know. Raises ConfigError C-649 where no noise meets the budget."""
    local = spec.method == "local" or spec.kind == "plugin"
    chosen = model(spec)
    private = spec.dp_epsilon is not None
    clip = spec.clip if spec.clip is not None else (1.0 if private else GRAM_CLIP if exact(spec) else 8.0)
    rows = spec.max_rows or (1 << max(1, (found.rows or ROWS_IF_UNKNOWN) - 1).bit_length())
    max_weight = 1 if private and spec.dp_unit == "site" else rows
    made = Recipe(
        model=chosen,
        features=spec.features,
        label=spec.label,
        means=tuple(found.means.get(name, 0.0) for name in spec.features),
        scales=tuple(found.scales.get(name, 1.0) for name in spec.features),
        label_mean=found.means.get(spec.label, 0.0),
        label_scale=found.scales.get(spec.label, 1.0),
        method="local" if local else "gradient",
        plugin=spec.plugin,
        epochs=spec.local_epochs,
        batch=spec.batch,
        local_rate=spec.local_rate or (0.5 if spec.kind == "logistic" else 0.1),
        rate=spec.rate or (1.0 if local or spec.kind == "logistic" else 0.3),
        momentum=spec.momentum if spec.momentum is not None else (0.0 if local else 0.8),
        penalty=spec.penalty,
        clip=clip,
        value_bits=VALUE_BITS,
        max_weight=max_weight,
    )
    if not private or not calibrated:
        return made
    target = spec.dp_epsilon or 0.0
    release = accountant.calibrate(
        target, spec.dp_delta, spec.rounds, size(chosen), clip, max_weight, min_sites
    )
    return replace(made, value_bits=release.bits, noise=release.noise, unit=spec.dp_unit)


def _values(answers: Sequence[AnswerInfo], statistic: str) -> dict[str, float]:
    """By column; undefined ones are left out."""
    found = {a.column: a.value for a in answers if a.statistic == statistic}
    return {column: float(value) for column, value in found.items() if isinstance(value, int | float)}
