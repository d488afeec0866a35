"""A ratio's interval: against the set of values that a t-test does not reject, and where the denominator is unknown."""

import numpy as np
import pytest
from scipy import stats

from mobile_vla.analysis.verdicts.actionable.fieller import Ratio, ratio_of, root_of


def ratio(above=2.0, below=4.0, top=0.3, both=0.2, bottom=0.5) -> Ratio:
    return Ratio(above, below, np.array([[top, both], [both, bottom]]), 12.0)


def test_the_interval_ends_where_the_one_sided_p_is_5_percent():
    one = ratio()
    low, high = one.ci
    assert low < one.estimate < high
    assert one.p_above(low) == pytest.approx(0.05)
    assert one.p_below(high) == pytest.approx(0.05)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).standard_normal((10, 2)) + 3
    whole = values.mean(axis=0)
    without = (values.sum(axis=0) - values) / 9
    found = ratio_of(whole, without, 2.0, 9)
    np.testing.assert_allclose(found.covariance, 4 * np.cov(values.T) / 10)


def test_an_unknown_denominator_gives_no_interval():
    one = ratio(below=0.5)
    assert not one.measurable
    assert one.ci == (-np.inf, np.inf)
    assert not root_of(ratio(below=-0.5)).measurable


def test_noise_of_the_length_alone_leaves_the_rooted_numerator():
    """N = F b (1 + u), b (1 + 2 u): both are off by the same u, which must not blur F at all above the root."""
    share = 0.1
    top, both, bottom = (0.8 * share) ** 2, 0.8 * share * 2 * share, (2 * share) ** 2
    rooted = root_of(Ratio(0.8, 1.0, np.array([[top, both], [both, bottom]]), 30.0))
    np.testing.assert_allclose(rooted.covariance, [[0, 0], [0, share**2]], atol=1e-12)
    assert rooted.estimate == pytest.approx(0.8)


def test_fieller_covers_where_the_denominator_is_noisy():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        values = np.array([1.0, 2.0]) + rng.standard_normal((15, 2)) @ [[2.0, 1.0], [0.0, 2.0]]
        found = ratio_of(values.mean(axis=0), (values.sum(axis=0) - values) / 14, 1.0, 14)
        covered.append(found.p_above(0.5) > 0.05)
    assert stats.binomtest(int(np.sum(covered)), 400, 0.95).pvalue > 0.001
