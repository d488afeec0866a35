"""What came out of one simulated store: which events happened, and which intervals were given.

In: a judgement. Out: an `Outcome`, small enough to be sent between processes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mobile_vla.analysis.verdicts.verdict import Verdict
from mobile_vla.core.levels import ALPHA

P_SMALL, MISSES = "p <= .05", "says that a linear probe misses it"
YES, NO, UNDECIDED = "yes", "no", "undecided"
ANSWERS = (YES, NO, UNDECIDED, P_SMALL)  # that are counted of every verdict
_MISSES = "linear probe misses"


class Interval(NamedTuple):
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """events  that happened;  intervals  by name, where something was measured"""

    events: frozenset[str]
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    @classmethod
    def of(cls, verdict: Verdict, extra: Iterable[str] = ()) -> "Outcome":
        events = {verdict.verdict, *extra}
        if verdict.p_yes is not None and verdict.p_yes <= ALPHA:
            events.add(P_SMALL)
        if any(_MISSES in note for note in verdict.notes):
            events.add(MISSES)
        intervals = {}
        if verdict.statistic is not None and verdict.ci is not None:
            intervals["statistic"] = Interval(verdict.statistic, *verdict.ci)
        return cls(events=frozenset(events), intervals=intervals)


def happened(*events: str) -> Outcome:
    return Outcome(events=frozenset(events))
