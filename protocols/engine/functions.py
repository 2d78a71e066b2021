"""Functions of numbers with stated errors: exp, reciprocal, roots, log, sigmoid, tanh, softmax.

Internally numbers near one are held at scale INNER = 30 or more, so rounding stays far below the method
errors named here (tested against exact arithmetic over random and edge inputs).

 exp, x <= 0      (1 + z + z^2/2 + z^3/6)^(2^s), z = x / 2^s: error x^4 e^x / (24 2^3s) <= 7.5e-7 at s = 6.
                  x > 0 by shifting with the public upper end of its range: error relative to e^high.
 normalise        x in (low, high], compared with every top / 4^j at once, x' = 4^e x / top in [1/4, 1).
 reciprocal       y0 = (125 - 100 x') / 32 has 1 - x' y0 = e, |e| <= 0.221 (Chebyshev, nearly); 1 / x' =
                  y0 (1 + e)(1 + e^2)(1 + e^4)(1 + e^8), remainder e^16 < 4e-11.
 roots            Goldschmidt: g -> sqrt, h -> 1/(2 sqrt), r = 1/2 - g h; from y0 = (34 - 19 x') / 16, off by
                  at most 9.5 %, three rounds of e -> 1.5 e^2 leave 2e-7.
 log              polynomial of degree 9 on [1/4, 1] plus e ln 4: error 1e-5.
 sigmoid          1 / (1 + e^-|x|) for |x| <= 16, 0 or 1 outside (off by 1.2e-7); ratio 2 needs no
                  normalisation. tanh x = 2 sigmoid(2x) - 1.

Zero divisor. reciprocal, division, rsqrt and log of a number below its declared low end do not fail,
which would reveal it: they return a finite number of no meaning (for x = 0, 58.5 / low at most).

Symbols: x argument, z reduced argument, s squarings, e exponent or residual, y, g, h iterates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from protocols.engine.multiply import largest_bits
from protocols.engine.numbers import Calculator, Number
from protocols.engine.ordering import maximum_and_position
from protocols.errors import LocalMisuse

INNER = 30
SQUARINGS = 6
CUTOFF = 16.0
"""|x| beyond which sigmoid is taken as 0 or 1."""


@dataclass(frozen=True, slots=True)
class Normal:
    """x' = x 4^e / top in [1/4, 1), and the bits b_j = (x < top / 4^j), j = 1.., whose sum is e."""

    mantissa: Number
    bits: tuple[Number, ...]
    top: float


def powers(c: Calculator, x: Number, degree: int) -> list[Number]:
    """x, x^2, ..., x^degree for |x| <= 1 in ceil(log2 degree) rounds."""
    out = {1: x}
    while max(out) < degree:
        known = max(out)
        for power in range(known + 1, min(degree, 2 * known) + 1):
            out[power] = c.mul(out[known], out[power - known], INNER)
    return [out[power] for power in range(1, degree + 1)]


def polynomial(c: Calculator, x: Number, coefficients: list[float]) -> Number:
    """sum_k c_k x^k for |x| <= 1, lowest first."""
    terms = powers(c, x, len(coefficients) - 1)
    total: Number | None = None
    for power, coefficient in zip(terms, coefficients[1:], strict=True):
        term = c.times_public(power, float(coefficient), 22)
        total = term if total is None else c.add(total, term)
    assert total is not None
    return c.affine(total, 1, coefficients[0])


def exp(c: Calculator, x: Number, squarings: int = SQUARINGS) -> Number:
    """e^x, within 1e-6 e^high + 2^-15; high at most 16."""
    high = max(x.high, 0.0)
    if high > 16.0:
        raise LocalMisuse(f"exp of up to {high:g} leaves the range", fix="clamp the argument to 16")
    shifted = c.affine(x, 1, -high) if high > 0.0 else x
    if shifted.low < -128.0:
        shifted = maximum(c, shifted, -100.0)
    z = c.rescaled(c.claim(shifted, -128.0, 0.0), squarings)
    square = c.mul(z, c.times_public(z, 1.0 / 6.0), INNER + 1)
    cubic = c.mul(square, c.affine(z, 1, 3.0), INNER + 1)  # z^3 / 6 + z^2 / 2
    value = c.claim(c.affine(c.add(cubic, z), 1, 1.0), -1.0, 1.0)
    for _ in range(squarings):
        value = c.mul(value, value, INNER + 1, within=(0.0, 1.0))
    value = c.claim(value, -1e-6, 1.0 + 1e-6)
    return c.times_public(value, math.exp(high), 16) if high > 0.0 else value


def maximum(c: Calculator, x: Number, floor: float) -> Number:
    """max(x, floor) for a public floor."""
    above = c.affine(x, 1, -floor)
    negative = c.negative(above)
    return c.claim(c.affine(c.add(above, c.mul(negative, above), -1), 1, floor), floor, max(floor, x.high))


def clamp(c: Calculator, x: Number, low: float, high: float) -> Number:
    """x moved into [low, high], both sides in one comparison's rounds; one beyond x.s range is free."""
    if not low <= high:
        raise LocalMisuse(f"[{low}, {high}] is no range", fix="give low <= high")
    if x.high <= high and low <= x.high:
        return c.claim(maximum(c, x, low), low, x.high) if x.low < low else x
    over = c.concatenate([c.reshape(v, (x.count,)) for v in (c.affine(x, 1, -low), c.affine(x, -1, high))])
    excess = c.reshape(c.mul(c.negative(over), over), (2, x.count))
    below, above = (c.reshape(c.take(excess, row), x.shape) for row in np.arange(2 * x.count).reshape(2, -1))
    return c.claim(c.add(c.add(x, below, -1), above), low, high)


def normalise(c: Calculator, x: Number, low: float, high: float) -> Normal:
    """Bring x in [low, high], 0 < low, into [1/4, 1); numbers below low stay below 1/4."""
    if not 0.0 < low <= high:
        raise LocalMisuse(
            f"a divisor in [{low:g}, {high:g}] has no sign",
            fix="declare a positive range for it, clamp() it, or use divide(), which flags zeros",
        )
    exponent = 2 * math.ceil(math.log2(high * (1 + 2.0**-20)) / 2)
    top = 2.0**exponent
    steps = max(1, math.ceil(math.log2(top / low) / 2))
    bits: tuple[Number, ...] = ()
    if steps > 1:
        levels = top / 4.0 ** np.arange(1, steps)
        wide = c.broadcast(c.reshape(x, (1, x.count)), (steps - 1, x.count))
        below = c.negative(c.affine(wide, 1, -levels[:, None]))
        rows = np.arange(below.count).reshape(below.shape)
        bits = tuple(c.reshape(c.take(below, row), x.shape) for row in rows)
    power = _power(c, bits, 4)
    if power is None:
        full = c.truncated(x, INNER - exponent)
    else:
        full = c.mul(x, power, min(x.scale, INNER - exponent), within=(min(0.0, x.low), top))
    return Normal(c.claim(_divided(c, full, exponent), 0.0, 1.0), bits, top)


def _power(c: Calculator, bits: tuple[Number, ...], base: int) -> Number | None:
    """base^e = 1 + sum_j b_j (base^j - base^(j-1)), an integer; None when there are no bits."""
    total: Number | None = None
    for j, bit in enumerate(bits, start=1):
        term = c.times_public(bit, base**j - base ** (j - 1))
        total = term if total is None else c.add(total, term)
    return None if total is None else c.claim(c.affine(total, 1, 1.0), 1.0, float(base) ** len(bits))


def reciprocal(c: Calculator, x: Number, low: float | None = None) -> Number:
    """1 / x for x in [low, x.high], low > 0 (default x.low): relative error 1e-8 plus 2^-SCALE at 1 / low."""
    least = x.low if low is None else low
    normal = normalise(c, x, least, x.high)
    m = normal.mantissa
    y = c.rescaled(c.affine(m, -100, 125.0), 5)
    e = c.claim(c.affine(c.mul(m, y, INNER, within=(0.0, 1.3)), -1, 1.0), -0.25, 1.0)
    y = _scaled_start(c, y, normal, least)
    for _ in range(3):
        y, e = _refined(c, y, e, least), c.mul(e, e, INNER, within=(0.0, 1.0))
    return _refined(c, y, e, least)


def _scaled_start(c: Calculator, y: Number, normal: Normal, low: float) -> Number:
    """y 4^e / top, so that the iteration ends at 1 / x itself."""
    exponent = round(math.log2(normal.top))
    power = _power(c, normal.bits, 4)
    room = largest_bits(c.committee) - INNER - 7 - max(0, math.ceil(-math.log2(low)))
    if power is None:
        return c.truncated(_divided(c, y, exponent), min(INNER, room))
    return c.mul(_divided(c, y, exponent), power, min(INNER, room), within=(0.0, 4.0 / low))


def _divided(c: Calculator, x: Number, exponent: int) -> Number:
    return c.rescaled(x, exponent) if exponent >= 0 else c.affine(x, 1 << -exponent)


def _refined(c: Calculator, y: Number, e: Number, low: float) -> Number:
    return c.mul(y, c.affine(e, 1, 1.0), y.scale, within=(0.0, max(64.0 / low, y.high)))


def roots(c: Calculator, x: Number, low: float | None = None) -> tuple[Number, Number]:
    """(sqrt x, 1 / sqrt x) for x in [low, x.high], low > 0: relative error 1e-6 plus rounding."""
    normal = normalise(c, x, x.low if low is None else low, x.high)
    m = normal.mantissa
    y = c.rescaled(c.affine(m, -19, 34.0), 4)
    g, h = c.mul(m, y, INNER), c.rescaled(y, 1)
    for _ in range(3):
        r = c.affine(c.mul(g, h, INNER, within=(-2.0, 2.0)), -1, 0.5)
        g, h = (c.add(v, c.mul(v, r, INNER, within=(-2.0, 2.0))) for v in (g, h))
        g, h = c.claim(g, -2.0, 2.0), c.claim(h, -2.0, 2.0)
    half = round(math.log2(normal.top) / 2)
    steps = len(normal.bits)
    down = _down(c, normal.bits)
    root = _divided(c, g if down is None else c.mul(g, down, INNER), -half)
    up = _power(c, normal.bits, 2)
    spread = 2.0**steps
    other = h if up is None else c.mul(h, up, INNER, within=(-2.0 * spread, 2.0 * spread))
    return root, _divided(c, other, half - 1)


def _down(c: Calculator, bits: tuple[Number, ...]) -> Number | None:
    """2^-e = 1 - sum_j b_j 2^-j, exact."""
    steps = len(bits)
    total: Number | None = None
    for j, bit in enumerate(bits, start=1):
        term = c.times_public(bit, -(1 << (steps - j)))
        total = term if total is None else c.add(total, term)
    if total is None:
        return None
    return c.claim(c.affine(c.rescaled(total, steps), 1, 1.0), 2.0**-steps, 1.0)


def log(c: Calculator, x: Number, low: float | None = None) -> Number:
    """ln x for x in [low, x.high], low > 0: error 1e-5."""
    normal = normalise(c, x, x.low if low is None else low, x.high)
    u = c.rescaled(c.affine(normal.mantissa, 8, -5.0), 2)
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(
        lambda t: np.log((4 * t + 5) / 8), 9, domain=[-0.75, 0.75]
    )
    value = polynomial(c, u, list(fit.convert(kind=np.polynomial.Polynomial).coef))
    value = c.affine(value, 1, math.log(normal.top))
    for bit in normal.bits:
        value = c.add(value, c.times_public(bit, math.log(4.0), INNER), -1)
    return value


def sigmoid(c: Calculator, x: Number) -> Number:
    """1 / (1 + e^-x) for any x: error 1e-5 plus 2^-15."""
    wide = c.broadcast(c.reshape(x, (1, x.count)), (3, x.count))
    edges = np.array([0.0, -CUTOFF, CUTOFF])[:, None]
    signs = c.negative(c.affine(wide, 1, -edges))  # x < 0, x < -cutoff, x < cutoff
    parts = c.mul(signs, wide)
    rows = np.arange(parts.count).reshape(parts.shape)
    minus, far_minus, not_far = (c.reshape(c.take(parts, row), x.shape) for row in rows)
    inside = c.add(not_far, far_minus, -1)  # x where |x| < cutoff, else 0
    size = c.add(c.affine(c.add(minus, far_minus, -1), 2), inside, -1)  # -|x| there
    e = exp(c, c.claim(size, -CUTOFF, 0.0), SQUARINGS - 1)
    upper = _reciprocal_of_one_plus(c, e)
    is_minus, is_far_minus, is_not_far = (c.reshape(c.take(signs, row), x.shape) for row in rows)
    value = c.add(upper, c.mul(is_minus, c.affine(upper, -2, 1.0)))
    ends = c.affine(c.add(is_not_far, is_far_minus), -1, 1.0)  # 1 above, -1 below, 0 inside
    return c.claim(c.add(value, c.rescaled(ends, 1)), -1e-4, 1.0 + 1e-4)


def _reciprocal_of_one_plus(c: Calculator, e: Number) -> Number:
    """1 / (1 + e) for e in [0, 1]: m = (1 + e) / 2 in [1/2, 1], start (45 - 30 m) / 16, residual 1/16."""
    m = c.claim(c.rescaled(c.affine(e, 1, 1.0), 1), 0.49, 1.01)
    y = c.rescaled(c.affine(m, -30, 45.0), 4)
    r = c.affine(c.mul(m, y, INNER, within=(0.0, 2.0)), -1, 1.0)
    r = c.claim(r, -0.1, 0.1)
    y = c.claim(y, 0.5, 2.5)
    for _ in range(2):
        y, r = c.mul(y, c.affine(r, 1, 1.0), INNER), c.mul(r, r, INNER)
    y = c.mul(y, c.affine(r, 1, 1.0), INNER)
    return c.claim(c.rescaled(y, 1), 0.0, 1.1)


def tanh(c: Calculator, x: Number) -> Number:
    """2 sigmoid(2x) - 1: error 2e-5 plus 2^-14."""
    return c.affine(sigmoid(c, c.affine(x, 2)), 2, -1.0)


def softmax(c: Calculator, x: Number) -> Number:
    """e^x / sum e^x along the last axis of (rows, m): error 1e-5 plus 2^-15."""
    rows, m = x.shape
    top, _ = maximum_and_position(c, x, position=False)
    spread = c.add(x, c.broadcast(c.reshape(top, (rows, 1)), x.shape), -1)
    powers = exp(c, c.claim(spread, x.low - x.high, 0.0))
    powers = c.claim(powers, 0.0, 1.0)
    total = c.claim(c.sum(powers, 1), 0.99, float(m) + 0.01)
    inverse = c.broadcast(c.reshape(reciprocal(c, c.claim(total, 0.99, m + 0.01)), (rows, 1)), x.shape)
    return c.claim(c.mul(powers, inverse, 16), -1e-3, 1.001)
