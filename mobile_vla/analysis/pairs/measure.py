"""A number that compares two stores, and what makes it readable: its interval, its floor and its ceiling.

In: an estimate and how it changes without each episode. Out: a `Measure`. The floor is the same measure of stores whose
episodes do not belong together; the ceiling is that of one store with another view of itself. Neither is a bound.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.verdicts.verdict import interval
from mobile_vla.core.levels import VERDICTS


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """value  with its 90 % interval `ci` and standard `error`, of n episodes;  details  what was found on the way"""

    value: float
    ci: tuple[float, float]
    error: float
    n: int
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Floor:
    """value  mean over the permutations;  p95  what one in twenty of them exceeds"""

    value: float
    p95: float
    how: str


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """value  the lower one of the two stores';  parts  of each store"""

    value: float
    how: str
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """An estimate between its floor and its ceiling; None where no view of a store shows one."""

    estimate: Estimate
    floor: Floor | None
    ceiling: Ceiling | None
    unit: str = "episodes"

    @property
    def value(self) -> float:
        return self.estimate.value

    @property
    def ci(self) -> tuple[float, float]:
        return self.estimate.ci

    @property
    def above_chance(self) -> bool:
        """The whole interval lies above what chance gives in 19 of 20 cases."""
        return self.floor is not None and self.ci[0] > self.floor.p95

    def to_plain(self) -> dict[str, Any]:
        """For json."""
        floor, ceiling = self.floor, self.ceiling
        return {
            "value": self.value,
            "ci": list(self.ci),
            "level": VERDICTS,
            "floor": floor and {"value": floor.value, "p95": floor.p95, "how": floor.how},
            "ceiling": ceiling and {"value": ceiling.value, "how": ceiling.how, "parts": dict(ceiling.parts)},
            "unit": self.unit,
            "n": self.estimate.n,
            "details": dict(self.estimate.details),
        }


def jackknife(
    value: float,
    left_out: Float[np.ndarray, " E"],
    *,
    factor: float = 1.0,
    highest: float = math.inf,
    details: Mapping[str, Any] | None = None,
) -> Estimate:
    """left_out  the value without each episode in turn;  factor  on the standard error;  highest  possible value

    Delete-one jackknife with Student's t of E - 1 (Tukey 1958). A bootstrap of episodes holds some of them twice, and a
    measure of similarity takes a copy for agreement.
    """
    count = len(left_out)
    error = factor * math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    low, high = interval(value, error, count - 1)
    return Estimate(value=value, ci=(low, min(high, highest)), error=error, n=count, details=details or {})
