"""One row of the validation: a kind of store, how many of it, and the rates that it has to keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from validation.outcome import ANSWERS, Interval, Outcome
from validation.rates import Bound, Rate

QUICK_STORES = 8  # of a case in a quick run, at most


def covered(name: str) -> str:
    """The event that an interval holds what it is to cover."""
    return f"{name}: interval covers"


@dataclass(frozen=True, kw_only=True)
class Case:
    """simulate  seed -> outcome, may be sent to another process; with `at_margin` it also takes `strength`
    asks        event -> the bound that its rate has to keep, if any;  answers  events that are counted in any case
    seconds     about what one store takes: a quick run takes fewer of the slow ones
    episodes, strength  where the case is a point of a power curve
    at_margin   name of the calibration that gives the strength, see `validation/simulation.py`
    measured    name of an interval -> what it is to cover; None: the mean of its estimates over all stores
    detectable  what the strength is of, where the case is a point of a minimum detectable effect
    """

    name: str
    group: str
    simulate: Callable[..., Outcome]
    stores: int
    asks: Mapping[str, Bound | None] = field(default_factory=dict)
    answers: tuple[str, ...] = ANSWERS
    seconds: float = 0.5
    episodes: int | None = None
    strength: float | None = None
    at_margin: str | None = None
    measured: Mapping[str, float | None] = field(default_factory=dict)
    detectable: str | None = None

    @property
    def key(self) -> str:
        return f"{self.group}: {self.name}"

    def count(self, scale: float, quick: bool) -> int:
        """Stores to simulate."""
        if quick:
            return max(1, min(QUICK_STORES, self.stores, round(QUICK_STORES * 0.5 / self.seconds)))
        return max(round(self.stores * scale), 1)

    @property
    def adds_up(self) -> bool:
        """Whether the counts of two parts of the stores are those of both; not where the mean over all is covered."""
        return None not in self.measured.values()

    def place(self, strengths: Mapping[str, float]) -> Callable[[int], Outcome]:
        """What simulates one store, at the strength that was calibrated where the case asks for one."""
        if self.at_margin is None:
            return self.simulate
        return partial(self.simulate, strength=strengths[self.at_margin])

    def summarize(self, outcomes: Sequence[Outcome]) -> dict[str, tuple[int, int]]:
        """Event -> (stores in which it happened, stores). Coverage counts only stores that gave an interval."""
        names = dict.fromkeys((*self.answers, *self.asks))
        found = {name: (sum(name in one.events for one in outcomes), len(outcomes)) for name in names}
        for name, truth in self.measured.items():
            given = [one.intervals[name] for one in outcomes if name in one.intervals]
            found[covered(name)] = cover(given, truth)
        return found

    def rates(self, counts: Mapping[str, Sequence[int]]) -> list[Rate]:
        return [
            Rate(what=what, count=counts[what][0], total=counts[what][1], bound=self.asks.get(what))
            for what in dict.fromkeys((*self.answers, *self.asks, *map(covered, self.measured)))
            if what in counts and counts[what][1]
        ]


def cover(given: Sequence[Interval], truth: float | None) -> tuple[int, int]:
    """How many intervals hold the truth; by default the mean of their estimates, which is known to within
    1 / sqrt(stores) of an interval's own error."""
    if not given:
        return 0, 0
    middle = sum(one.estimate for one in given) / len(given) if truth is None else truth
    return sum(one.low <= middle <= one.high for one in given), len(given)
