"""Statistics of a model over all sites' rows: the weighted mean of updates, loss, accuracy, sums of products.

They are about the model in the job's one public input (`learning.rounds.Round`) and read all its columns. A
query names the label, and for an update the numbers that fix length, grid and noise, so that parties without
the blob can check the plan's length and owners see what they add: they must be those of the blob.

    update    weight n, then floor(n x / step + u) (+ noise): see masking.quantise and privacy.skellam
    loss      n, exact sum of the rows' losses; accuracy: n, rows that are right
    ranking   rows of each class by their score: see ranking.py
    gram      Z'Z of Z = [1, x, y]: see learning.least_squares

Values beyond the clip are cut and counted for the owner; NaN and infinity are refused; nothing wraps: a total
is at most 2^12 (2^23 + |noise|) < 2^60 in magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from protocols.arithmetic import field as numbers
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import ConfigError, UnattributableFault
from protocols.learning import least_squares, models, rounds
from protocols.learning.faults import INPUT, PLUGIN, bad_model
from protocols.learning.rounds import LocalUpdate, Round
from protocols.masking.quantise import Quantiser
from protocols.privacy import skellam
from protocols.statistics import ranking
from protocols.statistics.counts import read_count
from protocols.statistics.moments import Mean
from protocols.statistics.statistic import Answer, Floats

if TYPE_CHECKING:
    from protocols.sessions.plan import Job, Query


BLOCK = 1 << 16
"""Values worked on at once, so that a long vector needs no copies of its own length on the way."""


def no_plugin(name: str) -> LocalUpdate:
    """A site on which the owner installed none. Raises ConfigError C-645."""
    raise ConfigError(
        f"there is no plug-in {name!r} here",
        code=PLUGIN,
        fix=f"its owner may install it: coppice plugins add {name} MODULE:FUNCTION",
    )


@dataclass(slots=True)
class Site:
    """What a site brings besides rows: public inputs, its owner's plug-ins, and words for the owner."""

    blobs: tuple[bytes, ...] = ()
    plugin: Callable[[str], LocalUpdate] = no_plugin
    notes: list[str] = field(default_factory=list)


def round_of(job: Job, blobs: tuple[bytes, ...]) -> Round:
    """The model that a job is about, after checking that it is the one the job names and fits its queries.

    Raises ConfigError C-640, C-646.
    """
    if len(job.inputs) != 1 or len(blobs) != 1 or rounds.blob_name(blobs[0]) != job.inputs[0]:
        raise ConfigError(
            "the job's model is not here", code=INPUT, fix="a job about a model names one public input"
        )
    current = rounds.decode(blobs[0])
    for query in job.queries:
        check(query, current)
    return current


def check(query: Query, current: Round) -> None:
    """Raise ConfigError C-640 unless `query` is about this model."""
    recipe = current.recipe
    if query.column != recipe.label:
        raise bad_model(f"the job asks about {query.column!r}, the model's label is {recipe.label!r}")
    if query.statistic == "update" and query.parameters != recipe.parameters:
        raise bad_model("length, clip, grid or noise of the job are not the model's")
    if query.statistic == "accuracy" and recipe.model.task != "classification":
        raise bad_model("only a classifier has an accuracy")
    if query.statistic == "ranking" and (recipe.model.task, recipe.model.outputs) != ("classification", 1):
        raise bad_model("only a classifier of two classes has a precision-recall curve")
    if query.statistic in ("loss", "accuracy", "ranking") and recipe.model.kind == "plugin":
        raise bad_model("only the owner's program knows the loss of a plug-in's model")
    if query.statistic == "gram" and (recipe.model.kind, query.parameters) != ("linear", gram_of(current)):
        raise bad_model("sums of products are for a linear model with this clip and weight")


def gram_of(current: Round) -> tuple[float, ...]:
    """Parameters of the `gram` query of a model."""
    recipe = current.recipe
    return (float(len(recipe.features)), recipe.clip, float(recipe.max_weight))


def encode(
    query: Query, current: Round, columns: Mapping[str, Floats], xof: Xof, seed: bytes, site: Site
) -> Elements:
    """One query's vector, (names.length,) uint64. Raises ConfigError C-640 … C-645."""
    recipe = current.recipe
    inputs, labels = rounds.rows_of(recipe, columns)
    if query.statistic == "update":
        site.notes.extend(rounds.warnings_of(recipe, labels))
        plugin = site.plugin(recipe.plugin) if recipe.plugin else None
        return _update(current, *rounds.local_update(current, inputs, labels, seed, plugin), xof, site)
    if query.statistic == "gram":
        vector, clipped = least_squares.encode(inputs, labels, recipe.clip, recipe.max_weight)
        _note_clipped(site, clipped, labels.size * (len(recipe.features) + 1), recipe.clip)
        return vector
    if query.statistic == "accuracy":
        right = models.correct(recipe.model, current.weights, inputs, labels)
        return np.array([len(labels), right], dtype=np.uint64)
    if query.statistic == "ranking":
        scores = models.scores(recipe.model, current.weights, inputs)[:, 0]
        return ranking.encode(scores, labels, int(query.parameters[0]))
    return Mean().encode(query, models.losses(recipe.model, current.weights, inputs, labels), xof)


def _update(current: Round, vector: Floats, weight: int, xof: Xof, site: Site) -> Elements:
    recipe = current.recipe
    if weight > recipe.max_weight:
        raise ConfigError(
            f"this site has more rows than the round's limit of {recipe.max_weight}",
            code="C-642",
            fix="whoever trains sets a larger --max-rows",
        )
    quantised = quantiser(recipe.parameters).quantise(vector, weight, xof)
    _note_clipped(site, quantised.clipped, vector.size, recipe.clip)
    elements = np.empty(vector.size + 1, dtype=np.uint64)
    elements[0] = weight
    for start in range(0, vector.size, BLOCK):
        steps = quantised.values[start : start + BLOCK].astype(np.int64)
        if recipe.noise:
            steps += skellam.sample(recipe.noise, xof, steps.size)
        elements[start + 1 : start + 1 + steps.size] = numbers.from_signed(steps)
    return elements


def _note_clipped(site: Site, clipped: int, size: int, clip: float) -> None:
    if clipped:
        site.notes.append(f"{clipped} of {size} values were cut to the clip {clip:g}")


def quantiser(parameters: tuple[float, ...]) -> Quantiser:
    """The grid of an update query. Raises LocalMisuse for one that cannot be."""
    _, clip, bits, max_weight, _ = parameters
    return Quantiser(clip, int(bits), int(max_weight))


def width(parameters: tuple[float, ...]) -> int:
    """Bits that each value of an update may need with its noise; what a mask must hold."""
    _, _, bits, _, noise = parameters
    return _largest(bits, noise).bit_length() + 1 if noise else int(bits)


def _largest(bits: float, noise: float) -> int:
    """No value's magnitude is beyond: 16 standard deviations of a Skellam variable are never reached."""
    return (1 << (int(bits) - 1)) + 16 * (int(noise**0.5) + 5)


def mean_update(query: Query, total: Elements, sites: int) -> tuple[Floats, int]:
    """Weighted mean (d,) of the updates and the sum of the weights.

    Raises UnattributableFault C-633 for a total that no honest sites make.
    """
    _, _, bits, max_weight, noise = query.parameters
    weight = int(total[0])
    if not 1 <= weight <= sites * int(max_weight):
        raise UnattributableFault(f"a total weight of {weight} is not that of {sites} sites", code="C-633")
    largest, grid = sites * _largest(bits, noise), quantiser(query.parameters)
    mean = np.empty(total.size - 1)
    for start in range(0, mean.size, BLOCK):
        steps = numbers.to_signed(total[start + 1 : start + 1 + BLOCK])
        if int(np.abs(steps).max()) > largest:
            raise UnattributableFault("the total is outside what honest updates can add up to", code="C-633")
        mean[start : start + steps.size] = grid.mean(steps, weight)
    return mean, weight


class Update:
    """Weighted mean of the sites' updates."""

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Value is the mean vector (d,), n the sum of the weights."""
        mean, weight = mean_update(query, total, sites)
        return Answer(query.statistic, query.column, mean, weight, sites)


class Loss(Mean):
    """Mean loss of the rows; a mean like any other once the losses are there."""


class Accuracy:
    """Share of the rows that the model gets right."""

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Right over all."""
        n, right = read_count(total[0], sites), read_count(total[1], sites)
        if right > n:
            raise UnattributableFault("more rows are right than there are", code="C-633")
        return Answer(query.statistic, query.column, right / n if n else None, n, sites)


class Gram:
    """Sums of products; `least_squares.solve` turns them into a regression."""

    def decode(self, query: Query, total: Elements, sites: int) -> Answer:
        """Value is the upper triangle of Z'Z."""
        features, clip, max_rows = query.parameters
        n, gram = least_squares.decode(total, int(features), clip, int(max_rows))
        upper = gram[np.triu_indices(len(gram))]
        return Answer(query.statistic, query.column, tuple(upper.tolist()), n, sites)
