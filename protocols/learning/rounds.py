"""Rounds of federated training: what a site computes on its rows, and how a certified mean moves the weights.

    FedSGD  a site sends the mean gradient over its rows; the server rule is descent with momentum
    FedAvg  a site runs some epochs of descent on its own rows and sends start minus end (McMahan et al.,
            AISTATS 2017); the mean of these is the server rule's gradient, with rate 1

    velocity' = momentum velocity + mean;   weights' = weights - rate (velocity' + penalty weights)

A `Round` is everything that a site must know, as one public blob: named by its digest in the job, so that
an owner approves exactly it. `advance` is a function of a round and a certified total alone, made of
element-wise float64 operations which IEEE 754 fixes to the bit: every device that took part makes the next
round itself and need not trust whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt

from protocols.arithmetic.xof import Xof
from protocols.errors import ConfigError, MalformedMessage
from protocols.identifiers import Digest
from protocols.learning import models
from protocols.learning.faults import LABELS, PLUGIN, ROWS, VALUES, bad_model, bad_recipe
from protocols.learning.models import MAX_WEIGHTS, Floats, ModelSpec
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Exactly
from protocols.wire.digest import digest

METHODS = ("gradient", "local")
UNITS = ("none", "row", "site")
MAX_FEATURES = 4096
MAX_ROUNDS = 100_000
START = Digest(bytes(32))
"""`session` of a run's first round."""

Vector = Annotated[npt.NDArray[np.float64], AtMost(MAX_WEIGHTS)]
Numbers = Annotated[tuple[float, ...], AtMost(MAX_FEATURES)]
Name = Annotated[str, AtMost(128)]
LocalUpdate = Callable[[Floats, Floats], tuple[Floats, int]]
"""An owner's own program: weights (d,) and rows (m, features + 1), the label last -> vector (d,), weight."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained on which columns and how; the same in all rounds of a run.

    A feature x enters as (x - mean) / scale. `clip` bounds each value of a site's vector; with a privacy
    `unit` it bounds the L2 length of what one row (or one site) adds, and `noise` is the variance, in
    steps of the grid, of each site's share of the noise.
    """

    model: ModelSpec
    features: Annotated[tuple[Name, ...], AtMost(MAX_FEATURES)]
    label: Name
    means: Numbers
    scales: Numbers
    label_mean: float = 0.0
    label_scale: float = 1.0
    method: Annotated[str, AtMost(16)] = "gradient"
    plugin: Annotated[str, AtMost(64)] = ""
    epochs: Annotated[int, Between(1, 1000)] = 1
    batch: Annotated[int, Between(0, 2**31)] = 0
    local_rate: float = 0.1
    rate: float = 1.0
    momentum: float = 0.0
    penalty: float = 0.0
    clip: float = 8.0
    value_bits: Annotated[int, Between(2, 24)] = 24
    max_weight: Annotated[int, Between(1, 2**40)] = 1 << 20
    unit: Annotated[str, AtMost(8)] = "none"
    noise: Annotated[int, Between(0, 2**40)] = 0

    @property
    def parameters(self) -> tuple[float, ...]:
        """What a job's `update` query says of this recipe: length, clip, bits, max weight, noise."""
        return (float(models.size(self.model)), self.clip, float(self.value_bits), float(self.max_weight),
                float(self.noise))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """State of a run: `weights` after `number` certified rounds, of which `session` was the last."""

    run: Annotated[bytes, Exactly(16)]
    recipe: Recipe
    number: Annotated[int, Between(0, MAX_ROUNDS)]
    session: Digest
    weights: Vector
    velocity: Vector

    def encoded(self) -> bytes:
        """The public blob."""
        return codec.encode(self)

    def name(self) -> Digest:
        """Digest of the blob, by which jobs name it."""
        return blob_name(self.encoded())


def blob_name(blob: bytes) -> Digest:
    """Name of a public input."""
    return digest("public input", blob)


def decode(blob: bytes) -> Round:
    """The round in a blob. Raises ConfigError C-640 for anything else."""
    try:
        found = codec.decode(Round, blob)
    except MalformedMessage as error:
        raise bad_model(str(error)) from None
    check_recipe(found.recipe)
    for vector in (found.weights, found.velocity):
        if vector.size != models.size(found.recipe.model):
            raise bad_model(f"{vector.size} numbers where it has {models.size(found.recipe.model)} weights")
        if not np.isfinite(vector).all():
            raise bad_model("some weights are not finite")
    return found


def check_recipe(recipe: Recipe) -> None:
    """Raise ConfigError C-640 or C-649 unless the recipe is complete and its numbers make sense."""
    models.check(recipe.model)
    count = len(recipe.features)
    if count == 0 or len(set(recipe.features)) != count or recipe.label in recipe.features:
        raise bad_recipe("name each feature once, and another column as label")
    if count != recipe.model.inputs or len(recipe.means) != count or len(recipe.scales) != count:
        raise bad_model(
            f"{count} columns, a model of {recipe.model.inputs} inputs, {len(recipe.means)} means"
        )
    if recipe.method not in METHODS or recipe.unit not in UNITS:
        raise bad_recipe(f"there is no method {recipe.method!r} with privacy of a {recipe.unit!r}")
    if (recipe.model.kind == "plugin") != bool(recipe.plugin):
        raise bad_model("a plug-in model names the plug-in, and no other does")
    positive = (*recipe.scales, recipe.label_scale, recipe.local_rate, recipe.rate, recipe.clip)
    others = (*recipe.means, recipe.label_mean, recipe.momentum, recipe.penalty)
    if not all(np.isfinite(positive)) or not all(np.isfinite(others)) or min(positive) <= 0:
        raise bad_recipe("rates, scales and clip must be positive numbers, all others finite")
    if not 0 <= recipe.momentum < 1 or recipe.penalty < 0:
        raise bad_recipe("momentum must be from 0 to below 1, the penalty not negative")
    if (recipe.unit == "none") != (recipe.noise == 0):
        raise bad_recipe("a privacy unit and noise come together or not at all")
    if recipe.unit == "row" and recipe.method != "gradient":
        raise bad_recipe("rows are protected by single gradients; local epochs protect whole sites")
    if recipe.unit == "site" and recipe.max_weight != 1:
        raise bad_recipe("where whole sites are protected, each has weight 1")
    if recipe.unit == "row" and recipe.model.kind == "plugin":
        raise bad_recipe("a plug-in's rows cannot be clipped here; protect whole sites")


def first(recipe: Recipe, run: bytes, weights: Floats) -> Round:
    """The round that a run starts from. Raises ConfigError C-640 if the weights are of another model."""
    check_recipe(recipe)
    models_size = models.size(recipe.model)
    if weights.shape != (models_size,) or not np.isfinite(weights).all():
        raise bad_model(f"it has {models_size} weights; give as many finite numbers, not {weights.size}")
    return Round(run, recipe, 0, START, weights.astype(np.float64), np.zeros(models_size))


def advance(current: Round, session: Digest, mean: Floats) -> Round:
    """The next round: `mean` (d,) is what the certified total of `session` decodes to.

    Raises ConfigError C-644 if the weights are not finite any more.
    """
    recipe = current.recipe
    velocity = recipe.momentum * current.velocity + mean
    weights = current.weights - recipe.rate * (velocity + recipe.penalty * current.weights)
    if not np.isfinite(weights).all():
        raise ConfigError(
            f"the weights diverged in round {current.number + 1}", code=VALUES, fix="use a smaller rate"
        )
    return replace(current, number=current.number + 1, session=session, weights=weights, velocity=velocity)


def rows_of(recipe: Recipe, columns: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Standardised inputs (m, features) and labels (m,) from a site's columns.

    Raises ConfigError C-642 (no rows, columns of different length), C-643 (labels that are no classes).
    """
    found = [columns[name] for name in (*recipe.features, recipe.label)]
    lengths = {len(column) for column in found}
    if lengths == {0}:
        raise ConfigError("this site has no rows", code=ROWS, fix="a site without rows takes no part")
    if len(lengths) > 1:
        raise ConfigError(
            "some columns lack values that others have, so that rows cannot be put together",
            code=ROWS,
            fix="fill in or leave out the rows with missing values",
        )
    table = np.stack(found[:-1], axis=1).astype(np.float64)
    if recipe.model.kind != "plugin":
        table = (table - np.array(recipe.means)) / np.array(recipe.scales)
    labels = np.asarray(found[-1], dtype=np.float64)
    bad = np.count_nonzero(~np.isfinite(table).all(axis=1) | ~np.isfinite(labels))
    if bad:
        raise ConfigError(
            f"{bad} rows hold NaN or infinity", code=ROWS, fix="correct or leave out these rows"
        )
    if recipe.model.task == "regression":
        return table, (labels - recipe.label_mean) / recipe.label_scale
    classes = max(2, recipe.model.outputs) if recipe.model.kind != "plugin" else 1 << 31
    wrong = np.count_nonzero((labels != np.floor(labels)) | (labels < 0) | (labels >= classes))
    if wrong:
        raise ConfigError(
            f"{wrong} values of {recipe.label!r} are not one of the classes 0 to {classes - 1}",
            code=LABELS,
            fix="number the classes from 0, or say in the schema which category is which",
        )
    return table, labels


def warnings_of(recipe: Recipe, labels: Floats) -> tuple[str, ...]:
    """What the owner should know of its labels (m,) though training goes on."""
    if recipe.model.task == "classification" and len(np.unique(labels)) == 1:
        return (f"all {len(labels)} rows here have the same {recipe.label}: this site adds one class only",)
    return ()


def local_update(
    current: Round, inputs: Floats, labels: Floats, seed: bytes, plugin: LocalUpdate | None = None
) -> tuple[Floats, int]:
    """What one site gives to a round: vector (d,) and weight (its rows, or 1 where sites are protected).

    Raises ConfigError C-642 for no rows, C-644 for a vector that is not finite, C-645 for a bad plug-in.
    """
    recipe = current.recipe
    if len(inputs) == 0:
        raise ConfigError("this site has no rows", code=ROWS, fix="a site without rows takes no part")
    weight = len(inputs)
    if recipe.model.kind == "plugin":
        vector, weight = _plugged(current, inputs, labels, plugin)
    elif recipe.method == "gradient":
        norm = recipe.clip if recipe.unit == "row" else None
        vector = models.gradient(recipe.model, current.weights, inputs, labels, norm)
    else:
        vector = current.weights - _descend(current, inputs, labels, seed)
    count = int(np.count_nonzero(~np.isfinite(vector)))
    if count:
        raise ConfigError(
            f"{count} of {vector.size} values of the update are NaN or infinite",
            code=VALUES,
            fix="a smaller rate keeps a model from diverging; standardise the columns",
        )
    if recipe.unit == "site":
        length = float(np.sqrt((vector**2).sum()))
        return vector * min(1.0, recipe.clip / max(length, 1e-300)), 1
    return vector, weight


def _plugged(
    current: Round, inputs: Floats, labels: Floats, plugin: LocalUpdate | None
) -> tuple[Floats, int]:
    name = current.recipe.plugin
    if plugin is None:
        raise ConfigError(
            f"there is no plug-in {name!r} here",
            code=PLUGIN,
            fix=f"coppice plugins add {name} MODULE:FUNCTION",
        )
    try:
        vector, weight = plugin(current.weights.copy(), np.column_stack((inputs, labels)))
        vector = np.asarray(vector, dtype=np.float64)
    except Exception as error:  # the owner's own program may fail in any way; its words stay here
        raise ConfigError(
            f"the plug-in {name!r} failed: {type(error).__name__}", code=PLUGIN, fix="see the node's log"
        ) from error
    whole = isinstance(weight, int | np.integer) and weight >= 1
    if vector.shape != current.weights.shape or not whole:
        raise ConfigError(
            f"the plug-in {name!r} gave a vector of shape {vector.shape} and weight {weight}",
            code=PLUGIN,
            fix=f"it must give {current.weights.size} numbers and a whole weight of at least 1",
        )
    return vector, int(weight)


def _descend(current: Round, inputs: Floats, labels: Floats, seed: bytes) -> Floats:
    """Weights (d,) after the recipe's epochs of mini-batch descent on these rows."""
    recipe, weights = current.recipe, current.weights.copy()
    batch = recipe.batch or len(inputs)
    for epoch in range(recipe.epochs):
        order = np.argsort(Xof(seed, "order of rows", epoch.to_bytes(4, "big")).uint64(len(inputs)))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            slope = models.gradient(recipe.model, weights, inputs[rows], labels[rows])
            weights -= recipe.local_rate * (slope + recipe.penalty * weights)
    return weights
