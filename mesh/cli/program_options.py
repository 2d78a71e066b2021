"""Options of jobs that a committee program answers: ranges, fractions, thresholds, groups.

Importable without numpy: what a statistic takes is checked against `protocols.statistics.names` by the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from protocols.errors import ConfigError

DEFAULT_RANGE = (-1_000_000.0, 1_000_000.0)
STANDARD_RANGE = (-8.0, 8.0)
"""Of standardised columns: further out is cut off."""
DEFAULT_DECIMALS = 6
ITEMS = ("overlap", "flagged")
PROGRAMS = (
    "median", "quantiles", "minimum", "maximum", "top", "at_least", "group_by", *ITEMS, "logistic",
)  # fmt: skip


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ProgramOptions:
    """Of median, quantiles, minimum, maximum, top, at_least, group_by, overlap, flagged, logistic."""

    range: Annotated[
        str | None, Parameter(help="LOW:HIGH that every value must be in; narrower is cheaper.")
    ] = None
    decimals: Annotated[
        int | None, Parameter(help="Decimals of a value that count; 0 for whole numbers.")
    ] = None
    at: Annotated[str | None, Parameter(help="quantiles: fractions; at_least: thresholds.")] = None
    k: Annotated[int | None, Parameter(help="top: how many; flagged: by how many sites at least.")] = None
    groups: Annotated[str | None, Parameter(help="group_by: whole key values, or FROM:TO.")] = None
    least: Annotated[int, Parameter(help="group_by: groups of fewer rows are shown as empty.")] = 1
    mode: Annotated[
        str, Parameter(help="P: members follow the program; A: one that does not stops it unanswered.")
    ] = "P"
    iterations: Annotated[int, Parameter(help="logistic: steps of gradient descent.")] = 8
    rate: Annotated[float, Parameter(help="logistic: length of a step.")] = 1.0

    def given(self) -> bool:
        """Whether any of them was set."""
        return self != ProgramOptions()


def parameters(statistic: str, options: ProgramOptions) -> tuple[float, ...]:
    """A query's parameters: low, high, decimals, and what the statistic takes besides. Raises ConfigError."""
    whole = statistic in ITEMS
    usual = (0.0, 1023.0) if whole else STANDARD_RANGE if statistic == "logistic" else DEFAULT_RANGE
    low, high = _range(options.range, usual)
    decimals = options.decimals if options.decimals is not None else (0 if whole else DEFAULT_DECIMALS)
    return (low, high, float(decimals), *_specific(statistic, options))


def _specific(statistic: str, options: ProgramOptions) -> tuple[float, ...]:
    if statistic in ("quantiles", "at_least"):
        return _numbers(statistic, "--at", options.at, "0.25,0.5,0.75")
    if statistic in ("top", "flagged"):
        if options.k is None:
            raise _missing(statistic, "--k", "3")
        return (float(options.k),)
    if statistic == "group_by":
        return (float(options.least), *_groups(options.groups))
    if statistic == "logistic":
        return (float(options.iterations), options.rate)
    return ()


def _groups(text: str | None) -> tuple[float, ...]:
    if text is not None and ":" in text:
        low, high = _range(text, (0.0, 0.0))
        if high - low < 256:
            return tuple(float(value) for value in range(int(low), int(high) + 1))
    return _numbers("group_by", "--groups", text, "1,2,3")


def _range(text: str | None, default: tuple[float, float]) -> tuple[float, float]:
    if text is None:
        return default
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise ConfigError(
            f"{text!r} is no range", code="C-101", fix="write LOW:HIGH, for example --range 0:120"
        ) from None
    return low, high


def _numbers(statistic: str, option: str, text: str | None, example: str) -> tuple[float, ...]:
    if text is None:
        raise _missing(statistic, option, example)
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{option} {text}: not numbers with commas", code="C-101", fix=f"for example {option} {example}"
        ) from None


def _missing(statistic: str, option: str, example: str) -> ConfigError:
    return ConfigError(f"{statistic} needs {option}", code="C-101", fix=f"for example {option} {example}")
