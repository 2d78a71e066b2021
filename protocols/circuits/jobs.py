"""Questions people ask, as programs: order statistics, counts, group-by, overlap, logistic regression.

Each function takes secret arrays and returns the secret answer; the caller reveals it to whom the plan
names, and nothing else comes out. What order statistics and sorting compare depends on sizes alone.

Counting without a committee program is cheaper: sums over rows need only the secure sum.

Symbols: q quantile in [0, 1]; k threshold or how many; w weights, x features, y labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from protocols.circuits.builder import Array, absolute, concatenate, sigmoid, sort, where
from protocols.errors import LocalMisuse


def pooled(parts: Sequence[Array]) -> Array:
    """The values of several owners as one flat array."""
    return concatenate(list(parts)) if len(parts) > 1 else parts[0].reshape(-1)


def ordered(values: Array) -> Array:
    """All values in ascending order, flat."""
    flat = values.reshape(1, -1)
    return sort(flat).reshape(-1)


def quantiles(values: Array, fractions: Sequence[float]) -> Array:
    """The smallest values that at least a fraction q of all do not exceed, one for each q."""
    count = math.prod(values.shape)
    if count == 0 or any(not 0.0 <= q <= 1.0 for q in fractions):
        raise LocalMisuse("quantiles need values and fractions in [0, 1]")
    return ordered(values)[[max(0, math.ceil(q * count) - 1) for q in fractions]]


def median(values: Array) -> Array:
    """The middle value; of an even number the mean of the middle two, shape (1,)."""
    count = math.prod(values.shape)
    line = ordered(values)
    if count % 2:
        return line[[count // 2]]
    return (line[[count // 2 - 1]] + line[[count // 2]]) * 0.5


def top(values: Array, k: int) -> Array:
    """The k largest, largest first."""
    if not 1 <= k <= math.prod(values.shape):
        raise LocalMisuse(f"cannot take the top {k} of {math.prod(values.shape)} values")
    return ordered(values)[-1 : -k - 1 : -1]


def count_at_least(values: Array, threshold: float) -> Array:
    """How many values reach a public threshold."""
    return (values >= threshold).sum()


def group_by(keys: Array, values: Array, groups: Sequence[int], least: int = 1) -> tuple[Array, Array]:
    """(members, sums) of each public group; groups with fewer than `least` members show 0 and 0.

    keys (m,) secret integers, values (m,).
    """
    matches = keys.reshape(1, -1) == np.array(groups)[:, None]
    members = matches.sum(1)
    sums = (matches * values.reshape(1, -1)).sum(1)
    if least <= 1:
        return members, sums
    shown = members >= least
    return where(shown, members, 0), where(shown, sums, 0.0)


def over_threshold(flags: Sequence[Array], k: int) -> Array:
    """Which positions at least k owners flag, given each owner's secret bits over the same positions."""
    if not 1 <= k <= len(flags):
        raise LocalMisuse(f"a threshold of {k} makes no sense among {len(flags)} owners")
    total = flags[0] * 1
    for owner in flags[1:]:
        total = total + owner
    return total >= k


def overlap_size(flags: Sequence[Array]) -> Array:
    """How many positions all owners flag."""
    return over_threshold(flags, len(flags)).sum()


def distance(x: Array, y: Array) -> Array:
    """Sum of absolute differences."""
    return absolute(x - y).sum()


def logistic_regression(
    columns: Sequence[Array], labels: Array, *, iterations: int, rate: float = 1.0, ridge: float = 0.0
) -> Array:
    """Weights (features + 1,) by gradient descent from zero, the last one the intercept.

    columns: one array (rows, features) for each owner of columns, scaled to about one; labels (rows,) of
    zeros and ones, held by any owner. Nothing but the weights need be revealed.
    """
    rows = labels.shape[0]
    if any(c.shape[0] != rows for c in columns) or iterations < 1:
        raise LocalMisuse(f"every owner needs the same {rows} rows, aligned, and one iteration at least")
    widths = [c.shape[1] for c in columns]
    x = concatenate([c.T.reshape(-1) for c in columns]).reshape(sum(widths), rows)  # a feature a line
    y = labels.reshape(1, rows)
    weights: Array | None = None
    intercept: Array | None = None
    for _ in range(iterations):
        if weights is None or intercept is None:
            error = 0.5 - y
        else:
            error = sigmoid(weights @ x + intercept) - y
        slope = (error @ x.T) * (rate / rows)
        shift = error.sum(1).reshape(1, 1) * (rate / rows)
        weights = -slope if weights is None else weights * (1.0 - rate * ridge) - slope
        intercept = -shift if intercept is None else intercept - shift
    assert weights is not None
    assert intercept is not None
    return concatenate([weights, intercept])
