"""How often something happened, what that says of how often it happens, and whether a bound is kept.

In: counts over many stores. Out: `Rate`s with Wilson intervals. A bound is

    kept         only if the far end of the interval keeps it: so many stores were simulated, and it still holds
    broken       if even the near end does not keep it
    not refuted  everything between: too few stores to say

"at most 8 %" is the bound of a test whose true size is 5 %: with 2,000 stores, a size of 5 % reads 4.1 to 6.0 %.
"""

from dataclasses import dataclass
from typing import Literal

from scipy import stats

from mobile_vla.core.levels import DESCRIPTIONS

ENOUGH = 75  # stores: where something happened in none of so many, it happens in at most 5 % (Wilson)

Status = Literal["kept", "not refuted", "broken"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What a rate has to be.

    most, least  of the far end of the interval;  one of the two
    of           counts of (at most) so many in so many stores, in place of an interval
    """

    most: float | None = None
    least: float | None = None
    of: tuple[int, int] | None = None

    def __post_init__(self):
        assert sum(value is not None for value in (self.most, self.least, self.of)) == 1

    def __str__(self) -> str:
        if self.of is not None:
            return f"at most {self.of[0]} of {self.of[1]}"
        if self.most is not None:
            return "never" if self.most == 0 else f"at most {100 * self.most:g} %"
        return "always" if self.least == 1 else f"at least {100 * (self.least or 0):g} %"

    def status(self, count: int, total: int, interval: tuple[float, float]) -> Status:
        """Of `count` in `total` stores, whose rate lies in the interval."""
        low, high = interval
        if self.of is not None:
            most, stores = self.of
            if count > most * max(total / stores, 1):
                return "broken"
            return "kept" if total >= stores else "not refuted"
        if self.most == 0 or self.least == 1:  # structure, no chance: a single counterexample breaks it
            if count != (0 if self.most == 0 else total):
                return "broken"
            return "kept" if total >= ENOUGH else "not refuted"
        if self.most is not None:
            return "kept" if high <= self.most else "broken" if low > self.most else "not refuted"
        assert self.least is not None
        return "kept" if low >= self.least else "broken" if high < self.least else "not refuted"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """what  happened in `count` of `total` stores."""

    what: str
    count: int
    total: int
    bound: Bound | None = None

    @property
    def value(self) -> float:
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's (1927): it stays within 0 and 1, and does not collapse where nothing or everything happened."""
        found = stats.binomtest(self.count, self.total).proportion_ci(DESCRIPTIONS, method="wilson")
        return float(found.low), float(found.high)

    @property
    def status(self) -> Status | None:
        """None where there is no bound."""
        return None if self.bound is None else self.bound.status(self.count, self.total, self.interval)


def floor(quoted: float) -> Bound | None:
    """Of a power that was quoted: less 10 points. None where that leaves nothing to keep."""
    return Bound(least=round(quoted - 0.1, 4)) if quoted > 0.1 else None


SIZE = Bound(most=0.08)  # of a test whose true size is 5 %; of a wrong answer where the truth is the margin
NULL = Bound(of=(4, 200))  # false yes where there is nothing
STEADY = Bound(of=(10, 200))  # verdicts that another seed changes
HIGH_POWER = Bound(least=0.90)  # where an effect is far above the margin
COVERS = Bound(least=0.85)  # of a 90 % interval
NEVER = Bound(most=0.0)
ALWAYS = Bound(least=1.0)
