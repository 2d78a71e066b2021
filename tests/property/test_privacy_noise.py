"""Skellam noise and its accountant: against the law's own moments, exact divergences and the usual tool."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.arithmetic.xof import Xof
from protocols.errors import ConfigError, LocalMisuse
from protocols.privacy import accountant, skellam
from protocols.privacy.accountant import Release


def law(variance: int) -> np.ndarray:
    """Probabilities of -m … m from the sampler's own table."""
    table = skellam.cumulative_table(variance).astype(np.float64) / 2**63
    centre, tails = table[0], np.diff(table) / 2
    return np.concatenate((tails[::-1], [centre], tails))


def difference_of_poissons(variance: int) -> np.ndarray:
    """The law from its definition; every probability to float64's relative accuracy."""
    mean = variance / 2
    counts = np.arange(0, int(mean + 20 * math.sqrt(mean) + 60))
    poisson = np.exp(counts * math.log(mean) - mean - np.array([math.lgamma(k + 1) for k in counts]))
    return np.convolve(poisson, poisson[::-1])


@pytest.mark.parametrize("variance", [1, 2, 7, 400])
def test_table_is_the_difference_of_two_poisson_variables(variance: int) -> None:
    expected = difference_of_poissons(variance)
    found = law(variance)
    middle = len(expected) // 2
    reach = min(middle, len(found) // 2)
    assert np.allclose(
        found[len(found) // 2 - reach : len(found) // 2 + reach + 1],
        expected[middle - reach : middle + reach + 1],
        atol=1e-12,
    )
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_shares_of_noise_have_the_variance_that_is_accounted() -> None:
    drawn = sum(skellam.sample(900, Xof(bytes([site]) * 32, "noise"), 40_000) for site in range(3))
    assert abs(drawn.mean()) < 5 * math.sqrt(2700 / 40_000)
    assert drawn.var() == pytest.approx(2700, rel=0.05)
    assert (drawn == sum(skellam.sample(900, Xof(bytes([s]) * 32, "noise"), 40_000) for s in range(3))).all()


def test_variances_that_there_are_no_tables_for() -> None:
    for variance in (0, -1, skellam.MAX_VARIANCE + 1):
        with pytest.raises(LocalMisuse):
            skellam.cumulative_table(variance)


@pytest.mark.parametrize(("variance", "shift"), [(40, 1), (40, 3), (400, 5), (2500, 20)])
def test_exact_divergence_stays_below_the_bound(variance: int, shift: int) -> None:
    p = difference_of_poissons(variance)
    middle, reach = len(p) // 2, 14 * math.isqrt(variance)
    p = p[middle - reach : middle + reach]
    for order in (2, 3, 8, 16):
        one, other = p[shift:], p[:-shift]
        exact = math.log(np.sum(one * (one / other) ** (order - 1))) / (order - 1)
        assert exact <= accountant.skellam_rdp(order, shift, shift, variance) + 1e-9


def test_epsilon_grows_with_rounds_and_falls_with_noise() -> None:
    one = Release(100, 1.0, 16, 256, 1 << 20, 4)
    costs = [accountant.epsilon((one,) * rounds, 1e-5) for rounds in (0, 1, 10, 100)]
    assert costs[0] == 0
    assert costs == sorted(costs)
    louder = Release(100, 1.0, 16, 256, 1 << 22, 4)
    assert accountant.epsilon((louder,) * 10, 1e-5) < costs[2]
    more = Release(100, 1.0, 16, 256, 1 << 20, 8)
    assert accountant.epsilon((more,) * 10, 1e-5) < costs[2]


def test_a_sum_without_noise_has_no_epsilon() -> None:
    noised, bare = Release(10, 1.0, 16, 256, 1 << 20, 3), Release(10, 1.0, 16, 256, 0, 3)
    assert accountant.epsilon((noised, bare), 1e-5) == math.inf


@pytest.mark.parametrize("target", [0.5, 3.0, 10.0])
@pytest.mark.parametrize("size", [31, 2000])
def test_calibration_meets_its_target_and_does_not_waste(target: float, size: int) -> None:
    release = accountant.calibrate(target, 1e-5, 20, size, 1.0, 256, 4)
    assert 0.99 * target < accountant.epsilon((release,) * 20, 1e-5) <= target


def test_near_the_gaussian_mechanism_where_the_grid_is_fine() -> None:
    """With a fine grid the Skellam mechanism costs hardly more than Gaussian noise of the same variance."""
    release = accountant.calibrate(2.0, 1e-5, 1, 31, 1.0, 256, 3)
    sigma = release.step * math.sqrt(release.noise * 2) / 2.0  # in units of the change 2 clip
    gaussian = min(accountant.convert(a, a / (2 * sigma**2), 1e-5) for a in accountant.ORDERS)
    assert gaussian <= 2.0 <= gaussian * 1.1


def test_budgets_that_cannot_be_met() -> None:
    for arguments in ((0.0, 1e-5, 20), (1.0, 0.0, 20), (1.0, 1e-5, 0), (1e-9, 1e-5, 1000)):
        with pytest.raises(ConfigError) as caught:
            accountant.calibrate(*arguments, 31, 1.0, 256, 3)
        assert caught.value.code == "C-649"


def test_conversion_is_that_of_dp_accounting() -> None:
    tool = pytest.importorskip("dp_accounting.rdp.rdp_privacy_accountant")
    orders = list(accountant.ORDERS)
    rdp = [order * 0.01 for order in orders]
    theirs, _ = tool.compute_epsilon(orders, rdp, 1e-5)
    ours = min(accountant.convert(order, one, 1e-5) for order, one in zip(orders, rdp, strict=True))
    assert ours == pytest.approx(theirs)
