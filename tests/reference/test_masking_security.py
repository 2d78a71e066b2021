"""The security columns of the parameter table, recomputed with the primal uSVP attack."""

from __future__ import annotations

import math

import pytest

from protocols.arithmetic.gaussian import SIGMA
from protocols.masking.parameters import TABLE


def root_hermite(beta: int) -> float:
    """Chen's limit formula."""
    return ((beta / (2 * math.pi * math.e)) * (math.pi * beta) ** (1 / beta)) ** (1 / (2 * (beta - 1)))


def breaks(beta: int, dimension: int, log_volume: float, sigma: float) -> bool:
    """2016 estimate (Alkim et al.): sigma sqrt(beta) <= delta^(2 beta - D - 1) vol^(1/D)."""
    left = math.log(sigma) + math.log(beta) / 2
    return left <= (2 * beta - dimension - 1) * math.log(root_hermite(beta)) + log_volume / dimension


def cheapest(
    degree: int, log_q: int, secret: float, error: float, most: int | None = None
) -> tuple[int, int]:
    """(beta, dimension) of the cheapest attack over the number of samples, at most `most`."""
    best = (10**6, 0)
    for samples in range(degree // 2, (most or 2 * degree) + 1, 16):
        dimension = degree + samples + 1
        log_volume = samples * log_q * math.log(2) + degree * math.log(error / secret)
        low, high = 60, 4000
        while high - low > 1:
            middle = (low + high) // 2
            if breaks(middle, dimension, log_volume, error):
                high = middle
            else:
                low = middle
        best = min(best, (high, dimension))
    return best


def he_standard(beta: int, dimension: int) -> float:
    return 0.292 * beta + 16.4 + math.log2(8 * dimension)


@pytest.mark.parametrize("parameters", TABLE, ids=lambda parameters: parameters.name)
def test_columns_equal_the_recomputed_estimates(parameters):
    sigma = SIGMA / 2
    beta, dimension = cheapest(parameters.degree, parameters.modulus_bits, sigma, sigma)
    assert round(0.292 * beta) == parameters.core_svp
    assert abs(he_standard(beta, dimension) - parameters.he_standard) < 1


@pytest.mark.parametrize(("degree", "log_q"), [(1024, 27), (2048, 54), (4096, 109), (8192, 218)])
def test_method_reproduces_the_128_bit_row_of_the_standard(degree, log_q):
    """Homomorphic-encryption standard (2018), classical, ternary secret (deviation sqrt(2/3)), error 3.2."""
    estimate = he_standard(*cheapest(degree, log_q, math.sqrt(2 / 3), 3.2))
    assert 127.5 < estimate < 132


def test_method_is_close_to_a_run_of_the_lattice_estimator():
    """Its documentation (schemes, HESv11 error): n = 1024, q = 2^27, both widths 3.0, 1024 samples; its best
    primal attack (bounded-distance decoding) has beta = 374. Plain uSVP costs up to 3 % more block size."""
    beta, _ = cheapest(1024, 27, 3.0, 3.0, most=1024)
    assert 374 <= beta <= 1.03 * 374
