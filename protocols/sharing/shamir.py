"""Shamir sharing of vectors (A. Shamir, How to share a secret, CACM 1979).

A secret is the constant term of a random polynomial of degree t; party i holds the value at point i.
Any t+1 shares give the secret, t of them are independent of it.

Symbols: n parties at points 1..n, t threshold = degree, L secrets side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.field import Elements
from protocols.arithmetic.xof import Xof
from protocols.errors import LocalMisuse


def polynomials(secrets: Elements, t: int, xof: Xof) -> Elements:
    """Random polynomials with these constant terms: (L,) -> (t+1, L)."""
    if t < 0:
        raise LocalMisuse(f"a threshold of {t} is below 0")
    return np.concatenate([secrets[None, :], xof.elements((t, secrets.shape[0]))])


def shares(coefficients: Elements, n: int) -> Elements:
    """Values at points 1..n: (t+1, L) -> (n, L). Raises LocalMisuse when n parties could not open."""
    if n < coefficients.shape[0]:
        raise LocalMisuse(f"{n} parties cannot open a sharing of degree {coefficients.shape[0] - 1}")
    return polynomial.evaluate_first(coefficients, n)


def shares_through(values: Elements, n: int) -> Elements:
    """Values at points 1..n of the polynomials with these values at points 0..t: (t+1, L) -> (n, L).

    For a dealer that draws t shares first: with the secrets they fix the polynomials, which are as uniform as
    polynomials with random coefficients. Raises LocalMisuse as `shares`.
    """
    known = values.shape[0]
    if n < known:
        raise LocalMisuse(f"{n} parties cannot open a sharing of degree {known - 1}")
    rest = [field.combine(polynomial.lagrange(range(known), at=x), values) for x in range(known, n + 1)]
    return np.concatenate([values[1:], np.stack(rest)])


def deal(secrets: Elements, n: int, t: int, xof: Xof) -> Elements:
    """Shares of fresh random polynomials: (L,) -> (n, L), row i for point i+1."""
    return shares(polynomials(secrets, t, xof), n)


def reconstruct(points: Sequence[int] | Elements, values: Elements, t: int) -> Elements:
    """The secrets (L,) from the first t+1 of the shares (m, L) at `points`; corrects nothing.

    Raises LocalMisuse for fewer than t+1 shares or repeated points.
    """
    if len(points) != values.shape[0] or len(points) <= t:
        raise LocalMisuse(f"{values.shape[0]} shares at {len(points)} points cannot open degree {t}")
    return field.combine(polynomial.lagrange(points[: t + 1]), values[: t + 1])
