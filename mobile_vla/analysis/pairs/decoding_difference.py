"""From which of two stores can more be decoded? The paired difference, episode by episode.

In: how well each store's probe did on the same held-out episodes, averaged over the same deals of folds. Out: a
`Difference`, the first store less the second. That one store passes a test and the other does not says nothing about
their difference; this does.

    left better, right better   so large a difference is no chance: p <= .05, after adjusting for the declared questions
    alike                       the whole interval lies within the margin, either side; so does a sure small difference
    undecided                   everything else, with the number of episodes that would decide

p and the interval are Student's t of one standard error, that of the episodes' differences x 1.5: the folds share their
training episodes (Nadeau and Bengio 2003), however often they are dealt. Exchanging the two stores' errors of random
episodes instead takes errors of one training set for independent ones: of two equal models 13 to 19 % were told apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from mobile_vla.analysis.pairs.matching import NAMES
from mobile_vla.analysis.pairs.swap_test import NOT_DONE, SwapTest
from mobile_vla.analysis.verdicts.verdict import FEWEST, NADEAU_BENGIO, count_needed, interval, say_p
from mobile_vla.core.levels import ALPHA, VERDICTS
from mobile_vla.core.plural import plural

MARGIN_R2, MARGIN_ACCURACY = 0.05, 0.10  # differences of less do not matter

Answer = Literal["left better", "right better", "alike", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """value  of `measure`, the first store's less the second's;  ci  its 90 % interval;  error  its standard error
    p      adjusted for all declared questions;  p_raw  of this one alone (equal before the adjustment)
    left, right  each one's own;  names  what the two are called in sentences
    apart  (n,) what each episode adds to the difference, beyond the mean;  used  (n,) indices of these episodes
    needs  why `n_needed` is None
    exploratory  not among the declared questions: described, and never decided
    swap_test  a second test of the same difference, always exploratory: it changes no verdict
    """

    verdict: Answer
    measure: str
    value: float | None
    ci: tuple[float, float] | None
    error: float | None = None
    freedom: float | None = None
    margin: float
    p: float | None
    p_raw: float | None
    n: int
    n_needed: int | None
    needs: str | None = None
    left: float | None
    right: float | None
    why: str
    names: tuple[str, str] = NAMES
    unit: str = "episodes"
    questions: int = 1
    exploratory: bool = False
    swap_test: SwapTest = NOT_DONE
    apart: Float[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    used: Int[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, int), repr=False, compare=False)

    @property
    def words(self) -> str:
        """The verdict with the stores' names."""
        better = {"left better": self.names[0], "right better": self.names[1]}
        told = f"{better[self.verdict]} better" if self.verdict in better else str(self.verdict)
        return f"{told} (exploratory)" if self.exploratory else told

    def decide(self, p: float, questions: int) -> "Difference":
        """With the p-value adjusted for so many declared questions."""
        if self.value is None or self.ci is None:
            return replace(self, questions=questions)
        verdict, why = _answer(self.ci, self.margin, p, self.p_raw, questions, self.names, self.n)
        return self._with_count(replace(self, verdict=verdict, why=why, p=p, questions=questions))

    def turn(self) -> "Difference":
        """The second store less the first."""
        turned = replace(
            self,
            left=self.right,
            right=self.left,
            names=self.names[::-1],
            apart=-self.apart,
            swap_test=self.swap_test.turn(),
        )
        if self.value is None or self.ci is None or self.p is None:
            return turned
        return replace(turned, value=-self.value, ci=(-self.ci[1], -self.ci[0])).decide(self.p, self.questions)

    def explore(self) -> "Difference":
        """Among questions that were not declared: the interval is told, and nothing is decided."""
        if self.value is None or self.ci is None:
            return replace(self, exploratory=True)
        told = (
            f"{_tell(self.ci)} (90 % interval), {say_p(self.p_raw)} before any adjustment; this pair was not declared "
            "beforehand"
        )
        return self._with_count(replace(self, verdict="undecided", why=told, exploratory=True))

    def to_plain(self) -> dict[str, Any]:
        """For json. A difference has no ceiling; its floor is what equal models give."""
        hidden = ("apart", "used", "names", "freedom")
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in hidden}
        floor = None
        if self.error is not None:
            floor = {
                "value": 0.0,
                "p95": float(stats.t.ppf(1 - ALPHA / 2, self.freedom)) * self.error,
                "how": "of equal models: what 95 % of the differences stay below, either side, by Student's t",
            }
        return plain | {
            "swap_test": self.swap_test.to_plain(),
            "ci": self.ci and list(self.ci),
            "level": VERDICTS,
            "words": self.words,
            "ceiling": None,
            "floor": floor,
        }

    @staticmethod
    def _with_count(found: "Difference") -> "Difference":
        if found.verdict != "undecided":
            return replace(found, n_needed=None, needs="decided by these episodes")
        assert found.error is not None
        needed = count_needed(found.error * math.sqrt(found.n), found.margin)
        return replace(found, n_needed=max(needed, found.n + 1), needs=None)


def compare_r2(
    left: Float[np.ndarray, " E"],
    right: Float[np.ndarray, " E"],
    left_baseline: Float[np.ndarray, " E"],
    right_baseline: Float[np.ndarray, " E"],
    *,
    margin: float = MARGIN_R2,
    names: tuple[str, str] = NAMES,
) -> Difference:
    """Of the action chunk beyond the baseline: R^2 = 1 - squared errors with the context / without it.

    left, right  (E,) squared errors of each held-out episode with the context;  *_baseline  without it. NaN in any:
    the episode is left out. An episode with errors a and baseline b adds (b - a) / mean(b); t is of the differences of
    these. (Linearising the ratios, (b - a - R^2 b) / mean(b), fits their denominators to the few episodes as well: with
    20 of them, 9 % of equal models were told apart instead of 4 %.)
    """
    sums = np.stack([left, left_baseline, right, right_baseline])
    used = np.flatnonzero(np.isfinite(sums).all(axis=0))
    sums = sums[:, used]
    measure = "R^2 beyond the baseline"
    count = len(used)
    if count < FEWEST:
        return _too_few(measure, margin, count, names)
    errors, base = sums[0::2], sums[1::2]
    both = 1 - errors.sum(axis=1) / base.sum(axis=1)
    adds = (base - errors) / base.mean(axis=1, keepdims=True)
    apart = adds[0] - adds[1]
    error = NADEAU_BENGIO * float(apart.std(ddof=1)) / math.sqrt(count)
    return _conclude(measure, both, error, count - 1, margin, names, apart, used)


def compare_accuracy(
    left: Float[np.ndarray, " E"],
    right: Float[np.ndarray, " E"],
    target: Int[np.ndarray, " E"],
    *,
    margin: float = MARGIN_ACCURACY,
    names: tuple[str, str] = NAMES,
) -> Difference:
    """Of a classifier: (E,) 0 to 1, in what share of the deals each held-out episode was put into its class; NaN in
    either: left out.

    target  (E,) class of each episode. Balanced: the mean over the classes of their mean differences; the degrees of
    freedom are Satterthwaite's, of a sum of one variance a class.
    """
    used = np.flatnonzero(np.isfinite(left) & np.isfinite(right))
    left, right, target = left[used], right[used], np.unique(target[used], return_inverse=True)[1]
    counts = np.bincount(target)
    measure = "balanced accuracy"
    if not len(counts) or counts.min() < FEWEST:
        return _too_few(measure, margin, len(target), names, of_class=int(counts.min()) if len(counts) else 0)
    weights = (1 / (counts * len(counts)))[target]
    apart = left - right
    means = np.bincount(target, weights=apart) / counts
    squares = np.bincount(target, weights=(apart - means[target]) ** 2)
    # Two episodes that differ, one each way, are added to every class (after Agresti and Min 2005): twenty episodes
    # without a difference are not proof that there is none.
    variances = (squares + 1) / (counts + 1) / counts / len(counts) ** 2
    error = NADEAU_BENGIO * math.sqrt(float(variances.sum()))
    freedom = float(variances.sum() ** 2 / (variances**2 / (counts - 1)).sum())
    both = np.array([weights @ left, weights @ right])
    beyond = (apart - means[target]) * weights * len(target)
    return _conclude(measure, both, error, freedom, margin, names, beyond, used)


def summarize(differences: Mapping[str, Difference]) -> dict[str, Any] | None:
    """For json: the first one's numbers, as it is the primary target, and all of them as `parts`."""
    if not differences:
        return None
    target, first = next(iter(differences.items()))
    return {"target": target, **first.to_plain(), "parts": {name: one.to_plain() for name, one in differences.items()}}


def _conclude(
    measure: str,
    both: Float[np.ndarray, "2"],
    error: float,
    freedom: float,
    margin: float,
    names: tuple[str, str],
    apart: Float[np.ndarray, " n"],
    used: Int[np.ndarray, " n"],
) -> Difference:
    """both: the first store's value and the second's."""
    value = float(both[0] - both[1])
    tiny = np.finfo(float).tiny  # where no two episodes differ in their difference
    p = float(2 * stats.t.sf(abs(value) / max(error, tiny), freedom))
    found = Difference(
        verdict="undecided",
        measure=measure,
        value=value,
        ci=interval(value, error, freedom),
        error=error,
        freedom=freedom,
        margin=margin,
        p=p,
        p_raw=p,
        n=len(used),
        n_needed=None,
        left=float(both[0]),
        right=float(both[1]),
        why="",
        names=names,
        apart=apart,
        used=used,
    )
    return found.decide(p, 1)


def _tell(ci: tuple[float, float]) -> str:
    return f"[{ci[0]:+.3f}, {ci[1]:+.3f}]".replace("-", "−")


def _answer(
    ci: tuple[float, float],
    margin: float,
    p: float,
    p_raw: float | None,
    questions: int,
    names: tuple[str, str],
    n: int,
) -> tuple[Answer, str]:
    low, high = ci
    told = f"difference ({names[0]} - {names[1]}): {_tell(ci)} (90 % interval)"
    by_chance = f"{say_p(p)}"
    if questions > 1:
        by_chance += f", adjusted for {questions} declared questions"
    if -margin < low and high < margin:
        return "alike", f"{told}, within {margin:g} either side"
    if p <= ALPHA:
        return ("left better" if low > 0 else "right better"), f"{told}, {by_chance}"
    shown = f"a difference is not shown by these {n} episodes ({by_chance})"
    if p_raw is not None and p_raw <= ALPHA:
        shown = f"not enough for {questions} declared questions: {say_p(p_raw)}, adjusted {p:.3f}"
    return "undecided", f"{told}; {shown}, nor is one of more than {margin:g} excluded"


def _too_few(
    measure: str, margin: float, count: int, names: tuple[str, str], of_class: int | None = None
) -> Difference:
    rarest = count if of_class is None else of_class
    there = plural(rarest, "episode") + ("" if of_class is None else " of the rarest class")
    needed = math.ceil(count * FEWEST / rarest) if rarest else None
    return Difference(
        verdict="undecided",
        measure=measure,
        value=None,
        ci=None,
        margin=margin,
        p=None,
        p_raw=None,
        n=count,
        n_needed=None if needed is None else max(needed, count + 1),
        needs=None if needed is not None else "a class without episodes does not come with more of the others",
        left=None,
        right=None,
        why=f"both probes were scored on {there}; at least {FEWEST} are needed",
        names=names,
    )
