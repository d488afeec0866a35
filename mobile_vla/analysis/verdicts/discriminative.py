"""Does the context tell situations apart? A ridge classifier on episode means, and what it would take to say no.

In: episode means of vectors, and a target. Out: a `Verdict` on the balanced accuracy over held-out episodes, with a
permutation test for yes, a spike test for no, and a quadratic kernel for what a linear classifier misses.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from mobile_vla.analysis.sample import BINS, Sample
from mobile_vla.analysis.verdicts.decoding import Decoding, decode
from mobile_vla.analysis.verdicts.folds import codes_of
from mobile_vla.analysis.verdicts.ridge import standardise
from mobile_vla.analysis.verdicts.rigour import SPIKE_SD, Rigour
from mobile_vla.analysis.verdicts.targets import Target
from mobile_vla.analysis.verdicts.verdict import (
    ALPHA,
    FEWEST,
    NADEAU_BENGIO,
    Verdict,
    conclude,
    count_needed,
    say_needed,
    undecided,
)

MEASURE = "balanced accuracy"
MISSED = "a linear probe misses it"


def judge_discriminative(
    sample: Sample,
    vectors: Float[np.ndarray, "N D"],
    target: Target,
    rigour: Rigour,
    others: Mapping[str, Float[np.ndarray, "N d"]] | None = None,
) -> tuple[Verdict, Decoding | None]:
    """others: vectors that know less (pixels, an untrained backbone), decoded for comparison."""
    asked = len(target.asked)
    if target.why_not is not None:
        return undecided(target.name, MEASURE, target.margin, asked, target.why_not, _count_lacking(target)), None
    found = decode(sample.means(vectors), sample, target, rigour)
    baselines = {
        "majority": target.chance,
        "instruction": _accuracy_of(_text_columns(sample), sample, target, rigour),
        "progress": _accuracy_of(_progress_columns(sample), sample, target, rigour),
        **{name: _accuracy_of(known, sample, target, rigour) for name, known in (others or {}).items()},
    }
    ci = score_interval(found.accuracy, np.array(list(target.counts.values())))
    answers = conclude(ci, target.margin, found.p_yes, found.p_no, null=target.chance)
    needed = count_needed(NADEAU_BENGIO * found.spread, target.margin - target.chance)
    notes = []
    details = {"by_class": dict(found.of_class), "counts": target.counts, "null": found.null}
    missed = ""
    if answers.verdict != "yes":
        quadratic = decode(sample.means(vectors), sample, target, rigour, quadratic=True)
        details["quadratic"] = {"accuracy": quadratic.accuracy, "p": quadratic.p_yes}
        if quadratic.p_yes <= ALPHA and (found.p_yes > ALPHA or quadratic.accuracy > ci[1]):
            answers = answers.never_no()
            missed = (
                f"{MISSED}: a quadratic kernel tells {target.name} apart (balanced accuracy "
                f"{quadratic.accuracy:z.2f}, p = {quadratic.p_yes:.3f})"
            )
            notes.append(missed)
    if target.given_away:
        notes.append(f"the instruction tells {target.name}: it is asked for among episodes of equal instruction only")
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
        n=asked,
        n_needed=None if answers.verdict != "undecided" else max(needed, asked + 1),
        why=_explain(answers.verdict, found, target, ci, asked, needed, missed),
        baselines=baselines,
        notes=tuple(notes),
        details=details,
        overturned="episodes of new sessions on which the same classifier is at chance"
        if answers.verdict == "yes"
        else "a probe that reads the label from the same contexts on held-out episodes",
    )
    return verdict, found


def _count_lacking(target: Target) -> int | None:
    """How many episodes there must be until each class has enough; None where it is not episodes that lack."""
    if len(target.classes) < 2 or target.fewest >= FEWEST:
        return None
    return sum(max(count, FEWEST) for count in target.counts.values())


def _accuracy_of(known: Float[np.ndarray, "N d"], sample: Sample, target: Target, rigour: Rigour) -> float:
    """Of what knows less, without tests; chance where it is the same in all episodes."""
    means = sample.means(known)
    if not standardise(means[target.asked]).any():
        return target.chance
    return decode(means, sample, target, rigour, tests=False).accuracy


def _text_columns(sample: Sample) -> Float[np.ndarray, "N I"]:
    """The instruction of each row, one column a text."""
    codes = codes_of(sample.instruction)
    return np.eye(codes.max() + 1)[codes][sample.episode]


def _progress_columns(sample: Sample) -> Float[np.ndarray, "N B"]:
    """How far each row is: its bin, and its progress."""
    return np.column_stack([np.eye(BINS)[sample.bin], sample.progress])


def score_interval(accuracy: float, counts: Int[np.ndarray, " C"]) -> tuple[float, float]:
    """90 % of a balanced accuracy over so many episodes of each class, by inverting the score test (Wilson 1927).

    Its variance is that of the accuracy tested, not of the one seen, which is too small where a store had luck: with 40
    episodes a yes came in 10 % of stores whose accuracy is at the margin."""
    num = len(counts) ** 2 / (1 / counts).sum() / NADEAU_BENGIO**2  # episodes that count
    reach = float(stats.t.ppf(1 - ALPHA, counts.sum() - len(counts))) ** 2 / num
    middle = (accuracy + reach / 2) / (1 + reach)
    half = np.sqrt(reach * (accuracy * (1 - accuracy) + reach / 4)) / (1 + reach)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _explain(
    answer: str, found: Decoding, target: Target, ci: tuple[float, float], n: int, needed: int, missed: str
) -> str:
    reached = f"{target.name} is told with balanced accuracy {found.accuracy:z.2f} [{ci[0]:z.2f}, {ci[1]:z.2f}]"
    if answer == "yes":
        return f"{reached} on held-out episodes, above {target.margin:.2f} (p = {found.p_yes:.3f})"
    if answer == "no":
        return (
            f"{reached}, below {target.margin:.2f}; a code at {SPIKE_SD:g} standard deviations would have been seen "
            f"(p = {found.p_no:.3f}): no linear code this strong, with these {n} episodes"
        )
    if missed:
        return f"{reached}, but {missed}"
    if ci[0] <= target.margin <= ci[1]:
        return f"{reached}: the interval holds the margin {target.margin:.2f}; {say_needed(needed, n)}"
    if ci[0] > target.margin:
        return f"{reached}, but permuted episodes do as well (p = {found.p_yes:.3f})"
    return (
        f"{reached}, but a code at {SPIKE_SD:g} standard deviations could have gone unseen (p = {found.p_no:.3f}) "
        f"with {n} episodes"
    )
