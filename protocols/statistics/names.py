"""Which statistics exist, what each reveals and how long its vector is; importable without numpy.

The policy of a data's owner, the command line and the planner need these facts before any value is read.
Invariant: `length` depends on the statistic and its parameters alone, never on data, so that every
party can check a plan's length. What a vector's total reveals is more than its name says (a variance
needs the sum and the sum of squares): `reveals` is the whole list, and is what people are shown.

`family` names what two queries must share for one minus the other to isolate the sites by which
their rosters differ: mean and sum of one column give away the same sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from protocols.errors import ConfigError

SUM_LIMBS = 24
"""A site's sum on the 2^-96 grid, as 8-bit limbs; see exact.py and limbs.py."""
SQUARE_LIMBS = 44
"""A site's sum of squares on the 2^-192 grid."""
BEACON_LENGTH = 4
MAX_EDGES = 1025


@dataclass(frozen=True, slots=True)
class Form:
    """What people and policies know about a statistic."""

    name: str
    reveals: tuple[str, ...]
    family: frozenset[str]
    sentence: str


_ROWS = "number of rows"

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form("count", (_ROWS,), frozenset({"rows"}), "number of values present"),
        Form("sum", ("sum", _ROWS), frozenset({"sum"}), "sum of the values"),
        Form("mean", ("sum", _ROWS), frozenset({"sum"}), "sum divided by the number of values"),
        Form(
            "variance",
            ("sum", "sum of squares", _ROWS),
            frozenset({"sum", "squares"}),
            "sample variance, divisor n-1; parameter 0 asks for the population's, divisor n",
        ),
        Form(
            "stddev",
            ("sum", "sum of squares", _ROWS),
            frozenset({"sum", "squares"}),
            "square root of the variance, same parameter",
        ),
        Form(
            "histogram",
            ("count of each bin, below the first and above the last edge",),
            frozenset({"bins"}),
            "values per bin; the parameters are the edges, the last bin includes its upper edge",
        ),
        Form(
            "update",
            ("weighted mean of the sites' model updates", "sum of the weights (rows)"),
            frozenset({"update"}),
            "mean of what each site's rows would change in the job's model",
        ),
        Form(
            "loss", ("sum of the model's losses", _ROWS), frozenset({"loss"}), "mean loss of the job's model"
        ),
        Form(
            "accuracy",
            ("rows that the model gets right", _ROWS),
            frozenset({"accuracy"}),
            "share of the rows that the job's model gets right",
        ),
        Form(
            "gram",
            ("sums of products of any two columns of the model", _ROWS),
            frozenset({"sum", "squares"}),
            "what a linear regression needs, in one session",
        ),
        Form("beacon", (), frozenset(), "public randomness: no data is read"),
    )
}

OF_MODEL = frozenset({"update", "loss", "accuracy", "gram"})
"""Statistics about a model, which is the job's public input; they read all columns that the model names."""

TRAINING = ("update", "loss", "accuracy", "mean", "variance")
"""What an owner allows so that models may be trained on the data; a linear regression needs `gram`."""

MAX_WEIGHTS = 1 << 25
MAX_GRAM_FEATURES = 120

NAMES = tuple(name for name in FORMS if name != "beacon")
"""Statistics of data, in the order in which they are shown."""


def form(statistic: str) -> Form:
    """Facts about `statistic`. Raises ConfigError C-630 if there is none of that name."""
    known = FORMS.get(statistic)
    if known is None:
        raise ConfigError(
            f"there is no statistic {statistic!r}", code="C-630", fix=f"choose one of {', '.join(NAMES)}"
        )
    return known


def reveals(statistic: str, column: str) -> tuple[str, ...]:
    """What the total of one query gives away, in words for people. Raises ConfigError C-630."""
    return tuple(f"{item} of {column}" for item in form(statistic).reveals)


def check_parameters(statistic: str, parameters: tuple[float, ...]) -> None:
    """Refuse parameters that `statistic` does not take. Raises ConfigError C-630 or C-631."""
    form(statistic)
    if statistic == "histogram":
        _check_edges(parameters)
    elif statistic in ("variance", "stddev"):
        if parameters not in ((), (0.0,), (1.0,)):
            raise ConfigError(
                f"{statistic} takes no parameter, or 1 (sample, divisor n-1), or 0 (population, divisor n)",
                code="C-631",
                fix="leave the parameter out for the sample's",
            )
    elif statistic == "update":
        _check_update(parameters)
    elif statistic == "gram":
        _check_gram(parameters)
    elif parameters:
        raise ConfigError(f"{statistic} takes no parameters", code="C-631", fix="leave them out")


def length(statistic: str, parameters: tuple[float, ...]) -> int:
    """Field elements in the vector of one query. Raises ConfigError C-630 or C-631."""
    check_parameters(statistic, parameters)
    if statistic == "histogram":
        return len(parameters) + 1
    if statistic == "update":
        return 1 + int(parameters[0])
    if statistic == "gram":
        features = int(parameters[0])
        return (features + 2) * (features + 3) // 2
    return {
        "count": 1,
        "sum": 1 + SUM_LIMBS,
        "mean": 1 + SUM_LIMBS,
        "variance": 1 + SUM_LIMBS + SQUARE_LIMBS,
        "stddev": 1 + SUM_LIMBS + SQUARE_LIMBS,
        "loss": 1 + SUM_LIMBS,
        "accuracy": 2,
        "beacon": BEACON_LENGTH,
    }[statistic]


def _check_edges(edges: tuple[float, ...]) -> None:
    fix = "give the edges in rising order, for example 0,10,20,30"
    if not 2 <= len(edges) <= MAX_EDGES:
        raise ConfigError(
            f"a histogram takes 2 to {MAX_EDGES} edges, not {len(edges)}", code="C-631", fix=fix
        )
    if not all(math.isfinite(edge) for edge in edges):
        raise ConfigError("a histogram's edges must be finite numbers", code="C-631", fix=fix)
    for low, high in pairwise(edges):
        if not low < high:
            raise ConfigError(
                f"a histogram's edges must rise: {low:g} is followed by {high:g}", code="C-631", fix=fix
            )


def _check_update(parameters: tuple[float, ...]) -> None:
    """Length, clip, bits, largest weight, variance of a site's noise."""
    limits = ((1, MAX_WEIGHTS), (2.0**-40, 2.0**40), (2, 24), (1, 2**40), (0, 2**24))
    whole = all(value == math.floor(value) for value in (parameters[:1] + parameters[2:]) if value == value)
    if len(parameters) != len(limits) or not whole or not _within(parameters, limits):
        raise ConfigError(
            "an update has a length, a clip, 2 to 24 bits, a largest weight and a noise",
            code="C-631",
            fix="let coppice train make the job",
        )


def _check_gram(parameters: tuple[float, ...]) -> None:
    """Features, clip, most rows of a site."""
    limits = ((1, MAX_GRAM_FEATURES), (2.0**-40, 2.0**40), (1, 2**40))
    if len(parameters) != 3 or not _within(parameters, limits) or parameters[0] != int(parameters[0]):
        raise ConfigError(
            f"sums of products take 1 to {MAX_GRAM_FEATURES} features, a clip and a number of rows",
            code="C-631",
            fix="let coppice train linear make the job",
        )


def _within(values: tuple[float, ...], limits: tuple[tuple[float, float], ...]) -> bool:
    """False for NaN as well."""
    return all(low <= value <= high for value, (low, high) in zip(values, limits, strict=False))
