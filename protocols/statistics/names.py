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
MAX_DOMAIN = 1 << 20


@dataclass(frozen=True, slots=True)
class Form:
    """What people and policies know about a statistic."""

    name: str
    reveals: tuple[str, ...]
    family: frozenset[str]
    sentence: str


_ROWS = "number of rows"
_SITE_ROWS = "number of rows of each site"
_ALL_ROWS = "number of rows"

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
            "ranking",
            ("rows of each class in each bin of the model's scores",),
            frozenset({"ranking"}),
            "area under the precision-recall curve of the job's model; the parameter is the number of bins",
        ),
        Form(
            "gram",
            ("sums of products of any two columns of the model", _ROWS),
            frozenset({"sum", "squares"}),
            "what a linear regression needs, in one session",
        ),
        Form("beacon", (), frozenset(), "public randomness: no data is read"),
        Form("median", ("median", _SITE_ROWS), frozenset({"order"}), "middle value, by a committee program"),
        Form("quantiles", ("quantiles", _SITE_ROWS), frozenset({"order"}), "values at the given fractions"),
        Form("minimum", ("smallest value", _SITE_ROWS), frozenset({"order"}), "smallest value"),
        Form("maximum", ("largest value", _SITE_ROWS), frozenset({"order"}), "largest value"),
        Form("top", ("the k largest values", _SITE_ROWS), frozenset({"order"}), "the k largest values"),
        Form(
            "at_least",
            ("how many values reach each threshold", _SITE_ROWS),
            frozenset({"bins"}),
            "number of values at or above each threshold",
        ),
        Form(
            "group_by",
            ("rows and sum of each group with enough rows", _SITE_ROWS),
            frozenset({"groups", "sum"}),
            "rows and sum of a column for each value of another",
        ),
        Form(
            "overlap",
            ("how many items all sites have",),
            frozenset({"items"}),
            "size of the sites' private intersection",
        ),
        Form(
            "flagged",
            ("which items at least k sites have",),
            frozenset({"items"}),
            "items that at least k sites have, and nothing of the others",
        ),
        Form(
            "logistic",
            ("weights of the model", _ALL_ROWS),
            frozenset({"logistic"}),
            "logistic regression over columns that different sites hold",
        ),
        Form(
            "program",
            ("what the program's outputs say",),
            frozenset({"program"}),
            "a program of its own, approved by its digest",
        ),
    )
}

PROGRAMS = frozenset(
    {"median", "quantiles", "minimum", "maximum", "top", "at_least", "group_by", "overlap", "flagged",
     "logistic", "program"}
)  # fmt: skip
"""Answered by a committee program (`protocols.programs`), not by a sum. Their parameters begin with the range
that every value must be in and the number of decimals that count."""

OF_MODEL = frozenset({"update", "loss", "accuracy", "ranking", "gram"})
"""Statistics about a model, which is the job's public input; they read all columns that the model names."""

SPLIT = frozenset({"logistic", "program"})
"""Programs over columns that different sites hold: each is asked for those of them that it has."""

TRAINING = ("update", "loss", "accuracy", "mean", "variance")
"""What an owner allows so that models may be trained on the data; a linear regression needs `gram`."""

MAX_WEIGHTS = 1 << 25
MAX_GRAM_FEATURES = 120

NAMES = tuple(name for name in FORMS if name != "beacon")
"""Statistics of data, in the order in which they are shown."""


def is_program(statistic: str) -> bool:
    """Whether a committee program answers it."""
    return statistic in PROGRAMS


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
    elif statistic in PROGRAMS:
        _check_program(statistic, parameters)
    elif statistic == "update":
        _check_update(parameters)
    elif statistic == "gram":
        _check_gram(parameters)
    elif statistic == "ranking":
        if len(parameters) != 1 or parameters[0] not in range(2, 1025):
            raise ConfigError("a ranking takes 2 to 1024 bins", code="C-631", fix="for example 256")
    elif parameters:
        raise ConfigError(f"{statistic} takes no parameters", code="C-631", fix="leave them out")


def length(statistic: str, parameters: tuple[float, ...]) -> int:
    """Field elements in the vector of one query; none for a program's. Raises ConfigError C-630 or C-631."""
    check_parameters(statistic, parameters)
    if statistic in PROGRAMS:
        return 0
    if statistic == "histogram":
        return len(parameters) + 1
    if statistic == "update":
        return 1 + int(parameters[0])
    if statistic == "ranking":
        return 2 * int(parameters[0])
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


def _check_program(statistic: str, parameters: tuple[float, ...]) -> None:
    """Low, high, decimals, then what the statistic takes besides."""
    if statistic == "program":
        if parameters:
            raise ConfigError("a program of its own takes no parameters", code="C-631", fix="leave them out")
        return
    fix = "for example --range 0:120; see: coppice jobs submit --help"
    finite = all(math.isfinite(value) for value in parameters)
    if len(parameters) < 3 or not finite or not parameters[0] < parameters[1]:
        raise ConfigError(f"{statistic} takes a range, low below high", code="C-631", fix=fix)
    low, high, decimals, *rest = parameters
    if decimals not in range(10) or max(abs(low), abs(high)) * 10**decimals > 2.0**50:
        raise ConfigError(
            f"{statistic}: the range holds more than 2^50 steps of its decimals",
            code="C-631",
            fix="narrow --range or ask for fewer --decimals",
        )
    wanted, words, fine = _specific(statistic, low, high, rest)
    if not wanted or not fine:
        raise ConfigError(f"{statistic} takes {words}", code="C-631", fix=fix)


def _specific(statistic: str, low: float, high: float, rest: list[float]) -> tuple[bool, str, bool]:
    """(whether the number of further parameters is right, what they should be, whether they are)."""
    whole = all(value == int(value) for value in rest)
    if statistic == "quantiles":
        return 1 <= len(rest) <= 64, "1 to 64 fractions in [0, 1]", all(0 <= q <= 1 for q in rest)
    if statistic == "top":
        return len(rest) == 1, "how many", whole and all(1 <= k <= 1024 for k in rest)
    if statistic == "at_least":
        return 1 <= len(rest) <= 64, "1 to 64 thresholds in the range", all(low <= v <= high for v in rest)
    if statistic == "group_by":
        groups = rest[1:]
        fine = whole and bool(rest) and rest[0] >= 1 and len(set(groups)) == len(groups)
        return 2 <= len(rest) <= 257, "the fewest rows shown and 1 to 256 whole group values", fine
    if statistic in ("overlap", "flagged"):
        domain = low == int(low) and high == int(high) and high - low < MAX_DOMAIN
        right = not rest if statistic == "overlap" else len(rest) == 1 and whole and rest[0] >= 1
        return (
            right,
            f"whole numbers of a range of at most {MAX_DOMAIN:,}, and flagged a number of sites",
            domain,
        )
    if statistic == "logistic":
        fine = len(rest) == 2 and rest[0] == int(rest[0]) and 1 <= rest[0] <= 100 and 0 < rest[1] <= 100
        return len(rest) == 2, "1 to 100 iterations and a rate", fine
    return not rest, "nothing but a range and decimals", True
