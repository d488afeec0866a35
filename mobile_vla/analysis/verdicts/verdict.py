"""What may be concluded from a statistic: yes, no, or undecided, with all that one needs to doubt it.

In: an estimate with its spread between episodes, two p-values, a margin. Out: a `Verdict`. The rules:

    yes        the effect is not chance (p_yes <= .05), and the interval lies above the margin
    no         the interval lies below the margin, and so strong an effect would have been seen (p_no <= .05)
    undecided  everything else, with the number of episodes that would decide

Intervals are 90 %: two one-sided tests at 5 %.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from scipy import stats

from mobile_vla.core.levels import ALPHA, VERDICTS

FEWEST = 8  # episodes (of each class): below, nothing is concluded
NADEAU_BENGIO = 1.5  # on standard errors of 5-fold statistics: sqrt((1/5 + 1/4) / (1/5)), Nadeau and Bengio 2003
POWER = 0.8  # that `n_needed` promises

Answer = Literal["yes", "no", "undecided"]


class Answers(NamedTuple):
    """At the margin, at half and at double of it."""

    verdict: Answer
    at_half: Answer
    at_double: Answer

    def never_no(self) -> "Answers":
        """Where something speaks against a no that the statistic cannot see."""
        return Answers(*map(_or_undecided, self))

    def never_yes(self) -> "Answers":
        """Where what the statistic measures has another explanation."""
        return Answers(*("undecided" if answer == "yes" else answer for answer in self))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """verdict    the answer, at `margin`;  at_half, at_double  the answer with half and with double the margin
    target       what was asked about
    statistic    the estimate, called `measure`;  ci  its 90 % interval;  margin  what it is held against
    p_yes        of no effect at all (Holm-adjusted over the primary targets);  p_no  of an effect that would be seen
    unit, n      what is counted, and how many;  n_needed  how many would decide for this margin
    why          one sentence
    baselines    the same measure for what knows less, by name
    notes        what else a reader must know;  parts  verdicts that this one is made of
    overturned   what would overturn it; of an undecided one, what would decide it
    """

    verdict: Answer
    target: str
    measure: str
    statistic: float | None
    ci: tuple[float, float] | None
    margin: float
    p_yes: float | None
    p_no: float | None
    unit: str = "episodes"
    n: int
    n_needed: int | None
    why: str
    at_half: Answer = "undecided"
    at_double: Answer = "undecided"
    baselines: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    overturned: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, "Verdict"] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """For json."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain |= {
            "ci": None if self.ci is None else list(self.ci),
            "level": VERDICTS,
            "baselines": dict(self.baselines),
            "notes": list(self.notes),
            "details": dict(self.details),
            "parts": {name: part.to_plain() for name, part in self.parts.items()},
        }
        return plain


def conclude(
    ci: tuple[float, float], margin: float, p_yes: float | None, p_no: float | None, null: float = 0.0
) -> Answers:
    """The answers that an interval and two p-values allow.

    margin  is halved and doubled in its height above `null`, where no effect is
    p_yes   None: the interval alone decides;  p_no  likewise
    """

    def answer(factor: float) -> Answer:
        at = null + (margin - null) * factor
        if ci[0] > at and (p_yes is None or p_yes <= ALPHA):
            return "yes"
        if ci[1] < at and (p_no is None or p_no <= ALPHA):
            return "no"
        return "undecided"

    return Answers(verdict=answer(1.0), at_half=answer(0.5), at_double=answer(2.0))


def _or_undecided(answer: Answer) -> Answer:
    return "undecided" if answer == "no" else answer


def interval(estimate: float, error: float, freedom: float) -> tuple[float, float]:
    """Student's t, 90 %: both ends at 5 %."""
    reach = float(stats.t.ppf((1 + VERDICTS) / 2, max(freedom, 1))) * error
    return float(estimate - reach), float(estimate + reach)


def count_needed(spread: float, height: float) -> int:
    """Episodes that decide for this margin in 80 % of cases, be the truth no effect or one of twice the margin.

    spread  standard deviation between episodes, so that the standard error is spread / sqrt(n)
    height  of the margin above no effect
    """
    if not spread > 0:
        return FEWEST
    quantiles = stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(POWER)
    return max(FEWEST, math.ceil((quantiles * spread / height) ** 2))


def add_note(verdict: Verdict, note: str) -> Verdict:
    return replace(verdict, notes=(*verdict.notes, note))


def say_briefly(verdict: Verdict) -> str:
    """The answer with its number."""
    if verdict.statistic is None or verdict.ci is None:
        return verdict.verdict
    low, high = verdict.ci
    return f"{verdict.verdict}, {verdict.measure} {verdict.statistic:z.2f} [{low:z.2f}, {high:z.2f}]"


def say_p(p: float) -> str:
    """In a sentence. No p-value is 0."""
    return "p < .001" if p < 0.0005 else f"p = {p:.3f}"


def say_needed(needed: int, n: int, unit: str = "episodes") -> str:
    """What would decide where the interval holds the margin."""
    if needed > n:
        return f"about {needed} {unit} are needed"
    return f"so near to it that more than these {n} {unit} are needed to tell on which side"


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted for asking several questions (Holm 1979): the smallest times their number, and so on, never falling."""
    adjusted, highest = {}, 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(p_values) - place)))
        adjusted[name] = highest
    return adjusted


def undecided(target: str, measure: str, margin: float, n: int, why: str, n_needed: int | None = None) -> Verdict:
    """Where nothing could be measured."""
    return Verdict(
        verdict="undecided",
        target=target,
        measure=measure,
        statistic=None,
        ci=None,
        margin=margin,
        p_yes=None,
        p_no=None,
        n=n,
        n_needed=n_needed,
        why=why,
        overturned="rows or episodes that hold what is missing, as said above",
    )
