"""Linear regression in one session: the sums of Z'Z over all sites, Z = [1, x, y], and its exact solution.

Each site adds up its own rows in float64 and rounds the sums once to a grid that no sum can leave: with
values cut to |z| <= clip, at most `max_rows` rows a site and 2^12 sites, every entry stays below
clip^2 max_rows 2^12, which is set to 2^59 < (p-1)/2 steps. For clip 64 and 2^20 rows a step is 2^-15; the
relative error of an entry over n rows of unit variance is then 2^-16 sites / n.

Symbols: d features, Z (m, d + 2), G = Z'Z, beta = (intercept, coefficients), ridge lambda >= 0:
minimise |y - X beta|^2 / n + lambda |coefficients|^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.arithmetic import field
from protocols.arithmetic.field import Elements
from protocols.errors import ConfigError, UnattributableFault
from protocols.learning.faults import ROWS, bad_model
from protocols.learning.models import Floats

SITES = 1 << 12
STEPS = 2.0**59


@dataclass(frozen=True, slots=True)
class Fit:
    """What the solution is and how good: `loss` is half the mean squared error, r2 may be None."""

    intercept: float
    coefficients: Floats
    rows: int
    loss: float
    r2: float | None


def length(features: int) -> int:
    """Entries of the upper triangle of G."""
    return (features + 2) * (features + 3) // 2


def unit(clip: float, max_rows: int) -> float:
    """Real value of one step."""
    return clip * clip * max_rows * SITES / STEPS


def encode(inputs: Floats, labels: Floats, clip: float, max_rows: int) -> tuple[Elements, int]:
    """(length,) uint64 of a site's rows (m, d) and (m,), and how many values were cut to the clip.

    Raises ConfigError C-642 for more rows than `max_rows`.
    """
    if not 1 <= len(inputs) <= max_rows:
        raise ConfigError(
            f"this site has no rows or more than {max_rows}", code=ROWS, fix="ask for larger sites"
        )
    rows = np.column_stack((np.ones(len(inputs)), inputs, labels))
    clipped = int(np.count_nonzero(np.abs(rows[:, 1:]) > clip))
    rows[:, 1:] = np.clip(rows[:, 1:], -clip, clip)
    gram = rows.T @ rows
    upper = gram[np.triu_indices(len(gram))]
    steps = np.rint(upper / unit(clip, max_rows)).astype(np.int64)
    steps[0] = len(inputs)  # the number of rows is sent as it is
    return field.from_signed(steps), clipped


def decode(total: Elements, features: int, clip: float, max_rows: int) -> tuple[int, Floats]:
    """Rows n, and G (d + 2, d + 2). Raises UnattributableFault C-633 for sums that no rows have."""
    if total.shape != (length(features),):
        raise bad_model(f"{total.size} sums where {features} features have {length(features)}")
    signed = field.to_signed(total)
    n = int(signed[0])
    if not 1 <= n <= max_rows * SITES:
        raise UnattributableFault("the total counts an impossible number of rows", code="C-633")
    gram = np.zeros((features + 2, features + 2))
    gram[np.triu_indices(features + 2)] = signed * unit(clip, max_rows)
    gram[0, 0] = n
    gram = gram + np.triu(gram, 1).T
    if (np.diag(gram) < -SITES * unit(clip, max_rows)).any():
        raise UnattributableFault("a sum of squares is negative", code="C-633")
    return n, gram


def solve(n: int, gram: Floats, ridge: float = 0.0) -> Fit:
    """The regression; of all solutions the shortest one where columns depend on each other.

    The columns are centred first, which keeps the ridge from the intercept.
    """
    means = gram[0, 1:] / n
    centred = gram[1:, 1:] / n - np.outer(means, means)
    moments, cross, spread = centred[:-1, :-1], centred[:-1, -1], float(centred[-1, -1])
    matrix = moments + ridge * np.eye(len(moments))
    coefficients = np.asarray(np.linalg.lstsq(matrix, cross, rcond=1e-10)[0], dtype=np.float64)
    residual = spread - 2 * float(coefficients @ cross) + float(coefficients @ moments @ coefficients)
    intercept = float(means[-1] - means[:-1] @ coefficients)
    r2 = 1.0 - residual / spread if spread > 0 else None
    return Fit(intercept, coefficients, n, max(0.0, residual / 2), r2)
