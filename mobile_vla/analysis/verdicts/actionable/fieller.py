"""A ratio of two estimates, with an interval that stays honest where the denominator is hardly known.

In: numerator and denominator, and what each of them is without one unit (or group of units). Out: a `Ratio`.
F > f means numerator - f denominator > 0 where the denominator is positive, and that difference has a plain standard
error: the interval is all f that its t-test does not reject (Fieller 1954, "Some problems in interval estimation").
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from mobile_vla.core.levels import ALPHA


class Ratio(NamedTuple):
    """above, below  numerator and denominator
    covariance  (2, 2) of the two, in this order
    freedom     of Student's t
    """

    above: float
    below: float
    covariance: Float[np.ndarray, "2 2"]
    freedom: float

    @property
    def estimate(self) -> float:
        return self.above / self.below if self.below else float("nan")

    @property
    def below_ci(self) -> tuple[float, float]:
        """90 %, of the denominator."""
        reach = self._quantile * float(np.sqrt(self.covariance[1, 1]))
        return self.below - reach, self.below + reach

    @property
    def measurable(self) -> bool:
        """Whether the denominator's lower bound is above 0. Else the interval of the ratio has no end."""
        return bool(self.below_ci[0] > 0)

    @property
    def error(self) -> float:
        """Standard error of the ratio, to first order."""
        return self._error(self.estimate) / abs(self.below) if self.below else float("inf")

    @property
    def ci(self) -> tuple[float, float]:
        """90 %; from -inf to inf where the ratio is not measurable."""
        if not self.measurable:
            return -np.inf, np.inf
        t2, ((top, both), (_, bottom)) = self._quantile**2, self.covariance.tolist()
        a, b, c = self.below**2 - t2 * bottom, self.above * self.below - t2 * both, self.above**2 - t2 * top
        reach = float(np.sqrt(max(b * b - a * c, 0.0)))
        return (b - reach) / a, (b + reach) / a

    def p_above(self, value: float) -> float:
        """One-sided, of a true ratio of `value` or less."""
        return self._p(self.above - value * self.below, self._error(value))

    def p_below(self, value: float) -> float:
        """One-sided, of a true ratio of `value` or more."""
        return self._p(value * self.below - self.above, self._error(value))

    @property
    def _quantile(self) -> float:
        return float(stats.t.ppf(1 - ALPHA, self.freedom))

    def _error(self, value: float) -> float:
        """Standard error of numerator - value denominator."""
        weights = np.array([1.0, -value])
        return float(np.sqrt(max(weights @ self.covariance @ weights, 0.0)))

    def _p(self, difference: float, error: float) -> float:
        if error == 0:
            return 0.0 if difference > 0 else 1.0
        return float(stats.t.sf(difference / error, self.freedom))


def root_of(ratio: Ratio) -> Ratio:
    """The same ratio F = N / b as (N / sqrt b) / sqrt b, for a denominator that is a squared length.

    Where the length is off by a share u, N = F b is off by u and b by 2 u, and N / sqrt b by nothing: the noise of the
    length, which both have in common, leaves the numerator. The test of F = m then has the standard error of
    N - (F + m) / 2 b in place of Fieller's N - m b. A negative estimate of the squared length is not measurable.
    """
    if ratio.below <= 0:
        return ratio
    root = float(np.sqrt(ratio.below))
    change = np.array([[1 / root, -ratio.above / (2 * root**3)], [0.0, 1 / (2 * root)]])
    return Ratio(ratio.above / root, root, change @ ratio.covariance @ change.T, ratio.freedom)


def ratio_of(whole: Float[np.ndarray, " 2"], without: Float[np.ndarray, "J 2"], factor: float, freedom: float) -> Ratio:
    """By the jackknife (Tukey 1958).

    whole    numerator and denominator;  without  the same, without one unit or group of units each
    factor   on standard errors, where simulation shows that the jackknife's are too small
    """
    num = len(without)
    away = without - without.mean(axis=0)
    covariance = factor**2 * (num - 1) / num * (away.T @ away)
    return Ratio(float(whole[0]), float(whole[1]), covariance, max(freedom, 1.0))
