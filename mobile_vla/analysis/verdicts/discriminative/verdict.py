"""Does the context tell situations apart? A ridge classifier on episode means, and what it would take to say no.

In: episode means of vectors, and a target. Out: a `Verdict` on the balanced accuracy over held-out episodes. "Yes"
takes a permutation test, a lower bound above the margin, and a lead over everything that tells the label without any
context (`competitors`, `recording_order`); "no" takes planted codes that would have been found (`transplant`). A
quadratic kernel says what a linear classifier misses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.discriminative.competitors import READERS, Competitor, find_competitors
from mobile_vla.analysis.verdicts.discriminative.decoding import INFLATION, Asked, Decoding, decode
from mobile_vla.analysis.verdicts.discriminative.new_sessions import generalise
from mobile_vla.analysis.verdicts.discriminative.recording_order import find_places, p_of_order
from mobile_vla.analysis.verdicts.discriminative.targets import Target
from mobile_vla.analysis.verdicts.discriminative.transplant import Transplants
from mobile_vla.analysis.verdicts.preserving.ridge import standardise
from mobile_vla.analysis.verdicts.rigour import SPIKE_SD, Rigour
from mobile_vla.analysis.verdicts.verdict import FEWEST, Verdict, conclude, count_needed, say_needed, say_p, undecided
from mobile_vla.core.levels import ALPHA

MEASURE = "balanced accuracy"
MISSED = "a linear probe misses it"
INSEPARABLE = "not separable from the recording order; name the sessions that the episodes were recorded in"


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What speaks against a yes beside the statistic.

    competitors  all that has to be beaten;  order  p-value of neighbours in the recording order that share the label,
    None where sessions are known;  margin  of the verdict

    Words that decode the label above the margin speak against a yes even where the contexts do better: contexts hold
    the instruction, and a language model reads words that a classifier saw in three episodes (five synonyms a class,
    40 episodes: the words reach .89, the contexts 1.0, by the text alone).
    """

    competitors: tuple[Competitor, ...]
    order: float | None
    margin: float

    @property
    def unbeaten(self) -> list[Competitor]:
        return [competitor for competitor in self.competitors if not competitor.beaten]

    @property
    def readable(self) -> Competitor | None:
        """The best reader of the instruction, where it decodes the label above the margin."""
        best = max((one for one in self.competitors if one.name in READERS), key=lambda one: one.accuracy)
        return best if best.accuracy >= self.margin else None

    @property
    def follows_order(self) -> bool:
        return self.order is not None and self.order <= ALPHA

    def explain(self) -> str:
        """Empty where there is none."""
        if self.follows_order:
            return f"the label follows the order of recording ({say_p(self.order)}): {INSEPARABLE}"
        if self.readable:
            return (
                f"the instruction alone decodes it ({self.readable.name}, balanced accuracy "
                f"{self.readable.accuracy:.2f}), and the contexts hold the instruction: record each class under the "
                "same instruction"
            )
        if not self.unbeaten:
            return ""
        least = min(self.unbeaten, key=lambda one: one.bound)
        others = [one.name for one in self.unbeaten if one is not least]
        also = f"; nor are they shown to be better than {', '.join(others)}" if others else ""
        return (
            f"the contexts are not shown to be better than {least.name} alone, which reaches {least.accuracy:.2f} "
            f"(difference {least.difference:+.2f}, lower bound {least.bound:+.2f}){also}"
        )


def judge_discriminative(
    sample: Sample,
    vectors: Float[np.ndarray, "N D"],
    target: Target,
    rigour: Rigour,
    others: Mapping[str, Float[np.ndarray, "N d"]] | None = None,
) -> tuple[Verdict, Decoding | None]:
    """others: vectors of the same rows (pixels, an untrained backbone), decoded for comparison: whether they are stored
    changes no answer."""
    n = len(target.asked)
    if target.why_not is not None:
        return undecided(target.name, MEASURE, target.margin, n, target.why_not, _count_lacking(target)), None
    asked = Asked.of(sample, target, rigour)
    means = sample.means(vectors)
    found = decode(means, sample, target, rigour, asked=asked)
    several = sample.sessions_known and len(np.unique(sample.session[asked.chosen])) > 1
    doubts = Doubts(
        competitors=tuple(find_competitors(found.correct[asked.chosen], sample, asked, sessions=several)),
        order=None if several else p_of_order(asked.labels, find_places(sample)[asked.chosen], asked.cells),
        margin=target.margin,
    )
    baselines = {one.name: one.accuracy for one in doubts.competitors}
    baselines |= {name: _accuracy_of(known, sample, target, rigour, asked) for name, known in (others or {}).items()}
    ci = bound_accuracy(found.accuracy, asked.effective, asked.size - asked.num)
    answers = conclude(ci, target.margin, found.p_yes, found.p_no, null=target.chance)
    doubt = doubts.explain()
    if doubt:
        answers = answers.never_yes()
    assert found.planted is not None
    details = {
        "by_class": dict(found.of_class),
        "counts": target.counts,
        "null": found.null,
        "effective_episodes": found.effective,
        "competitors": {one.name: one.to_plain() for one in doubts.competitors},
        "recording_order_p": doubts.order,
        "planted": found.planted.to_plain(),
        "new_session": generalise(means, sample, asked) if several else None,
    }
    notes = [] if several else [_say_no_session(sample)]
    missed = ""
    if answers.verdict != "yes":
        quadratic = decode(means, sample, target, rigour, quadratic=True, asked=asked)
        details["quadratic"] = {"accuracy": quadratic.accuracy, "p": quadratic.p_yes}
        if quadratic.p_yes <= ALPHA and (found.p_yes > ALPHA or quadratic.accuracy > ci[1]):
            answers = answers.never_no()
            missed = (
                f"{MISSED}: a quadratic kernel decodes {target.name} (balanced accuracy "
                f"{quadratic.accuracy:z.2f}, {say_p(quadratic.p_yes)})"
            )
            notes.append(missed)
    if target.given_away:
        notes.append(
            f"the instruction gives {target.name} away: it is decoded among episodes of equal instruction only"
        )
    needed = count_needed(INFLATION * found.spread, target.margin - target.chance)
    blocked = bool(doubt) and ci[0] > target.margin and found.p_yes <= ALPHA
    verdict = Verdict(
        verdict=answers.verdict,
        at_half=answers.at_half,
        at_double=answers.at_double,
        target=target.name,
        measure=MEASURE,
        statistic=found.accuracy,
        ci=ci,
        margin=target.margin,
        p_yes=found.p_yes,
        p_no=found.p_no,
        n=n,
        n_needed=None if answers.verdict != "undecided" or blocked else max(needed, n + 1),
        why=_explain(answers.verdict, found, target, ci, n, needed, missed, doubt),
        baselines=baselines,
        notes=tuple(notes),
        details=details,
        overturned="episodes of new sessions on which the same classifier is at chance"
        if answers.verdict == "yes"
        else "a probe that decodes the label from the same contexts on held-out episodes",
    )
    return verdict, found


def _say_no_session(sample: Sample) -> str:
    if sample.sessions_known:
        return "all episodes are of one recording session: nothing is known about another day"
    return "no recording session is known: whatever differs between days may be part of what is decoded"


def _count_lacking(target: Target) -> int | None:
    """How many episodes there must be until each class has enough; None where it is not episodes that lack."""
    if len(target.classes) < 2 or target.fewest >= FEWEST:
        return None
    return sum(max(count, FEWEST) for count in target.counts.values())


def _accuracy_of(
    known: Float[np.ndarray, "N d"], sample: Sample, target: Target, rigour: Rigour, asked: Asked
) -> float:
    """Without tests; chance where it is the same in all episodes."""
    means = sample.means(known)
    if not standardise(means[target.asked]).any():
        return target.chance
    return decode(means, sample, target, rigour, tests=False, asked=asked).accuracy


def score_interval(accuracy: float, counts: Int[np.ndarray, " C"]) -> tuple[float, float]:
    """90 % of a balanced accuracy over so many episodes of each class of one session."""
    return bound_accuracy(accuracy, len(counts) ** 2 / float((1 / counts).sum()), float(counts.sum() - len(counts)))


def bound_accuracy(accuracy: float, effective: float, freedom: float) -> tuple[float, float]:
    """90 % of a balanced accuracy as precise as `effective` episodes make it, by inverting the score test (Wilson
    1927).

    Its variance is that of the accuracy tested, not of the one seen, which is too small where a store had luck: with 40
    episodes a yes came in 10 % of stores whose accuracy is at the margin."""
    num = effective / INFLATION**2
    reach = float(stats.t.ppf(1 - ALPHA, max(freedom, 1))) ** 2 / num
    middle = (accuracy + reach / 2) / (1 + reach)
    half = np.sqrt(reach * (accuracy * (1 - accuracy) + reach / 4)) / (1 + reach)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _explain(
    answer: str,
    found: Decoding,
    target: Target,
    ci: tuple[float, float],
    n: int,
    needed: int,
    missed: str,
    doubt: str,
) -> str:
    assert found.planted is not None
    reached = (
        f"{target.name} is decoded with balanced accuracy {found.accuracy:z.2f} [{ci[0]:z.2f}, {ci[1]:z.2f}] "
        "(90 % interval)"
    )
    if answer == "yes":
        return (
            f"{reached} on held-out episodes, above {target.margin:.2f} ({say_p(found.p_yes)}) and better than every "
            "baseline that sees no context"
        )
    if answer == "no":
        return f"{reached}, below {target.margin:.2f}; {_say_found(found.planted, n)}"
    if ci[0] > target.margin and found.p_yes <= ALPHA:
        return f"{reached}, above {target.margin:.2f}, but {doubt}; more episodes of the same kind need not decide it"
    if missed:
        return f"{reached}, but {missed}"
    if ci[0] <= target.margin <= ci[1]:
        return f"{reached}: the interval holds the margin {target.margin:.2f}; {say_needed(needed, n)}"
    if ci[0] > target.margin:
        return f"{reached}, but not shown to be better than permuted episodes ({say_p(found.p_yes)})"
    return (
        f"{reached}: not shown by these {n} episodes, but a code of {SPIKE_SD:g} standard deviations along a direction "
        f"of typical spread could have been missed ({say_p(found.p_no)})"
    )


def _say_found(planted: Transplants, n: int) -> str:
    """What a no says, and about which directions."""
    assert planted.sigma is not None
    return (
        f"not shown by these {n} episodes: no linear code of {SPIKE_SD:g} standard deviations along any direction "
        f"whose spread is at least {_percent(planted.sigma)} of the contexts' rms norm (a typical direction: "
        f"{_percent(planted.typical)}), which would have been found ({say_p(planted.p)}); weaker directions may hold "
        "one"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
