"""Maximum, position of the maximum, and sorting: tournaments and Batcher's merge exchange.

Comparisons of one stage run side by side; a comparison's bit multiplies values without waiting
(`assembler.Bit`), so a stage costs the rounds of one comparison. Which elements are compared depends on
their number alone. Equal elements keep their order in a tournament: the first maximum wins.

Source: K. Batcher 1968; D. Knuth, TAOCP 3, 5.2.2, algorithm M.
"""

from __future__ import annotations

import numpy as np

from protocols.engine.numbers import Calculator, Number
from protocols.errors import LocalMisuse


def less(c: Calculator, x: Number, y: Number) -> Number:
    """1 where x < y, else 0."""
    return c.negative(c.add(x, y, -1))


def equal(c: Calculator, x: Number, y: Number) -> Number:
    """1 where x = y, else 0."""
    return zero(c, c.add(x, y, -1))


def zero(c: Calculator, difference: Number) -> Number:
    """1 where the number is 0, else 0: neither below nor above, in the rounds of one comparison."""
    sides = c.negative(c.concatenate([difference, c.affine(difference, -1)]))
    halves = c.sum(c.reshape(sides, (2, difference.count)), 0)
    return c.claim(c.reshape(c.affine(halves, -1, 1.0), difference.shape), 0.0, 1.0)


def relu(c: Calculator, x: Number) -> Number:
    """max(x, 0)."""
    return c.claim(c.add(x, c.mul(c.negative(x), x), -1), 0.0, max(0.0, x.high))


def absolute(c: Calculator, x: Number) -> Number:
    """|x|."""
    twice = c.affine(c.mul(c.negative(x), x), 2)
    return c.claim(c.add(x, twice, -1), 0.0, max(abs(x.low), abs(x.high)))


def maximum_and_position(c: Calculator, x: Number, *, position: bool = True) -> tuple[Number, Number | None]:
    """Along the last axis of a 2-D number (rows, m): maxima (rows,) and positions of the first ones."""
    if len(x.shape) != 2 or x.shape[1] < 1:
        raise LocalMisuse(f"a tournament takes (rows, m >= 1), not {x.shape}", fix="reshape to 2-D")
    rows = x.shape[0]
    places = None
    if position:
        places = c.affine(c.times_public(x, 0), 1, np.arange(x.shape[1], dtype=np.float64)[None, :])
        places = Number(places.register, x.shape, x.scale, 0.0, float(x.shape[1]))
    while x.shape[1] > 1:
        m = x.shape[1]
        grid = np.arange(rows * m).reshape(rows, m)
        left, right, rest = grid[:, 0 : m - 1 : 2], grid[:, 1:m:2], grid[:, m - m % 2 :]
        bit = less(c, c.take(x, left), c.take(x, right))
        joined = [_winner(c, v, bit, left, right, rest) for v in (x, places) if v is not None]
        x, places = joined[0], joined[1] if position else None
    final = c.reshape(x, (rows,))
    return final, None if places is None else c.reshape(places, (rows,))


def _winner(
    c: Calculator,
    x: Number,
    bit: Number,
    left: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    right: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    rest: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> Number:
    """The right of each pair where the bit is set, else the left; an odd last column passes."""
    best = c.select(bit, c.take(x, right), c.take(x, left))
    if rest.size == 0:
        return best
    joined = c.concatenate([best, c.take(x, rest)])
    rows, pairs = left.shape
    order = np.concatenate(
        [np.arange(best.count).reshape(rows, pairs), best.count + np.arange(rest.size).reshape(rest.shape)],
        axis=1,
    )
    return c.take(joined, order)


def stages(m: int) -> list[list[tuple[int, int]]]:
    """Comparators of each stage of merge exchange for m elements."""
    out: list[list[tuple[int, int]]] = []
    top = 1 << max(0, (m - 1).bit_length() - 1)
    p = top if m > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        while True:
            out.append([(i, i + d) for i in range(m - d) if i & p == r])
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return out


def sort(c: Calculator, x: Number) -> Number:
    """Rows of a 2-D number (rows, m) in ascending order."""
    if len(x.shape) != 2:
        raise LocalMisuse(f"sort takes (rows, m), not {x.shape}", fix="reshape to 2-D")
    rows, m = x.shape
    grid = np.arange(rows * m).reshape(rows, m)
    for stage in stages(m):
        low, high = ([pair[side] for pair in stage] for side in (0, 1))
        a, b = c.take(x, grid[:, low]), c.take(x, grid[:, high])
        step = c.mul(less(c, b, a), c.add(b, a, -1))  # b - a where they stand wrong, else 0
        idle = np.setdiff1d(np.arange(m), [*low, *high]).tolist()
        joined = c.concatenate([c.add(a, step), c.add(b, step, -1), c.take(x, grid[:, idle])])
        order = np.empty((rows, m), dtype=np.int64)
        pairs = rows * len(low)
        order[:, low] = np.arange(pairs).reshape(rows, -1)
        order[:, high] = pairs + np.arange(pairs).reshape(rows, -1)
        order[:, idle] = 2 * pairs + np.arange(rows * len(idle)).reshape(rows, -1)
        x = c.claim(c.take(joined, order), x.low, x.high)
    return x
