"""Does the policy act on what it is told? Another instruction, measured along what drivers did who were given that one.

In: a sample of a store with `swap` rows, best with `paraphrase` rows too. Out: a `Verdict`.

    yes        F is above the margin from the own instruction to the swapped one and from a paraphrase to it, and above
               0 towards each meaning (p <= .01): a policy that turns left into right but not right into left has not
               been shown to follow, nor has one that a mere rewording moves
    no         one of the two F is below the margin
    undecided  everything else
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.actionable.contrast import FEWEST_KNOWN
from mobile_vla.analysis.verdicts.actionable.experts import Experts, find_dependence
from mobile_vla.analysis.verdicts.actionable.fieller import Ratio
from mobile_vla.analysis.verdicts.actionable.following import (
    PARAPHRASE,
    Intervened,
    Told,
    match_variant,
    measure_instruction,
)
from mobile_vla.analysis.verdicts.actionable.part import (
    MARGIN,
    MARGINS,
    MEASURE,
    find_unwired,
    never_yes,
    plain_ratio,
    say_no,
    say_ratio,
    with_unwired,
)
from mobile_vla.analysis.verdicts.verdict import FEWEST, Answer, Verdict, count_needed, say_needed, say_p, undecided
from mobile_vla.core.levels import ALPHA
from mobile_vla.core.plural import plural

WAY_ALPHA = 0.01  # of no following towards one meaning: at .02, a policy that turns one way only is a yes in 5 of 200
MOST_SAID = 4  # meanings in a sentence
FEWEST_TOWARDS = 4  # episodes told one meaning instead of their own: with fewer this way is not tested by itself
OWN_TO_SWAP, REWORDED_TO_SWAP = "own instruction to swap", "paraphrase to swap"
NO_PARAPHRASE = (
    f"fewer than {FEWEST} episodes have a paraphrase stored: that other words of the same meaning change less than the "
    f"swap is not tested; store `{PARAPHRASE}` rows too (probe.variants=[swap,paraphrase])"
)


def judge_instruction(sample: Sample, found: Intervened, tap: str) -> Verdict:
    total = sample.num_episodes

    def unknown(why: str, needed: int | None = None) -> Verdict:
        return undecided("instruction", MEASURE, MARGIN, total, why, needed)

    if total < FEWEST:
        return unknown(f"{plural(total, 'episode')}; at least {FEWEST} are needed", FEWEST)
    dependence = find_dependence(sample)
    if not (dependence.can_tell and dependence.depends):
        return unknown(f"following the instruction cannot be measured: {dependence.sentence}")
    experts = Experts.of(sample)
    own = measure_instruction(sample, experts, found.own, found.changed, found.own)
    unwired = find_unwired(sample.store, found, tap)
    notes = [unwired] if unwired else []
    if own is None or own.episodes < FEWEST:
        count = own.episodes if own else 0
        why = (
            f"{plural(count, 'episode')} with predicted chunks told what at least {FEWEST_KNOWN} others were told from "
            f"the start; at least {FEWEST} are needed"
        )
        return replace(unknown(why, FEWEST), n=count, notes=tuple(notes))
    told = {OWN_TO_SWAP: own}
    reworded = _measure_reworded(sample, experts, found)
    if reworded is None:
        notes.append(NO_PARAPHRASE)
    else:
        told[REWORDED_TO_SWAP] = reworded
    return _conclude(told, unwired, notes)


def _measure_reworded(sample: Sample, experts: Experts, found: Intervened) -> Told | None:
    """F from the paraphrase to the swap, of rows that have both."""
    control = match_variant(sample, PARAPHRASE)
    before = dict(zip(control.own.tolist(), control.changed.tolist(), strict=True))
    both = np.array([row in before for row in found.own.tolist()], bool)
    own, swapped = found.own[both], found.changed[both]
    if len(set(sample.store.column("episode")[own].tolist())) < FEWEST:
        return None
    reworded = np.array([before[row] for row in own.tolist()], int)
    told = measure_instruction(sample, experts, own, swapped, reworded)
    return told if told is not None and told.episodes >= FEWEST else None


def _conclude(told: Mapping[str, Told], unwired: str | None, notes: list[str]) -> Verdict:
    own = told[OWN_TO_SWAP]
    n = own.episodes
    ratios = {name: one.ratio for name, one in told.items()}
    details = {"F": {name: plain_ratio(ratio) for name, ratio in ratios.items() if ratio.below > 0}}
    if not all(ratio.measurable for ratio in ratios.values()):
        why = (
            f"how differently drivers act when told something else is not known well enough from these {n} episodes: "
            "the 90 % interval of that difference reaches 0, and F divides by it; more episodes of each instruction "
            "would help, or instructions that call for more distinct actions"
        )
        verdict = undecided("instruction", MEASURE, MARGIN, n, with_unwired(why, unwired))
        return replace(verdict, notes=tuple(notes))
    tested = {
        meaning: (ratio, count)
        for meaning, (ratio, count) in own.towards.items()
        if count >= FEWEST_TOWARDS and ratio.below > 0
    }
    not_shown = [meaning for meaning, (ratio, _) in tested.items() if not ratio.p_above(0.0) <= WAY_ALPHA]
    untested = [meaning for meaning in own.towards if meaning not in tested]
    if untested:
        notes.append(f"too few episodes to test by itself how it follows towards {_quote(untested)}")
    details["towards"] = {
        meaning: plain_ratio(ratio) | {"episodes": count} for meaning, (ratio, count) in tested.items()
    }
    answers: dict[str, Answer] = {at: _answer(ratios, margin) for at, margin in MARGINS.items()}
    one_way = bool(not_shown) or len(tested) < 2
    if one_way:
        answers = never_yes(answers)
    decisive = _find_decisive(ratios, answers["verdict"])
    ratio = ratios[decisive]
    needed: int | None = max(count_needed(ratio.error * np.sqrt(n), MARGIN), n + 1)
    if answers["verdict"] != "undecided" or ratio.ci[0] > MARGIN:
        needed = None
    return Verdict(
        **answers,
        target="instruction",
        measure=MEASURE,
        statistic=ratio.estimate,
        ci=ratio.ci,
        margin=MARGIN,
        p_yes=max(one.p_above(0.0) for one in ratios.values()),
        p_no=ratio.p_below(MARGIN),
        n=n,
        n_needed=needed,
        why=with_unwired(
            _explain(answers["verdict"], decisive, ratios, own, not_shown, len(tested), needed),
            None if answers["verdict"] == "yes" else unwired,
        ),
        notes=tuple(notes),
        details=details,
        overturned="episodes on which the predicted chunk stays where it was, or a rewording moves it as far"
        if answers["verdict"] == "yes"
        else "episodes on which the predicted chunk goes where an expert's would, towards each instruction",
    )


def _answer(ratios: Mapping[str, Ratio], margin: float) -> Answer:
    if any(ratio.ci[1] < margin for ratio in ratios.values()):
        return "no"
    shown = all(ratio.ci[0] > margin and ratio.p_above(0.0) <= ALPHA for ratio in ratios.values())
    return "yes" if shown else "undecided"


def _find_decisive(ratios: Mapping[str, Ratio], answer: Answer) -> str:
    """The F that the answer hangs on: for a no the one that ends lowest, else the one that starts lowest."""
    return min(ratios, key=lambda name: ratios[name].ci[1 if answer == "no" else 0])


def _explain(
    answer: Answer,
    decisive: str,
    ratios: Mapping[str, Ratio],
    own: Told,
    not_shown: list[str],
    num_tested: int,
    needed: int | None,
) -> str:
    ratio = ratios[decisive]
    if answer == "no":
        return f"told something else ({decisive}), {say_no(ratio)}"
    reached = f"{say_ratio(ratio)} (90 % interval, {decisive})"
    towards = _say_towards(own)
    if answer == "yes":
        return f"{reached}: told something else, the policy goes where an expert's actions would{towards}"
    if needed is not None:
        return f"{reached}: the interval holds the margin {MARGIN:.2f}; {say_needed(needed, own.episodes)}"
    if num_tested < 2:
        return f"{reached}, but only one direction of the swap has {FEWEST_TOWARDS} episodes or more{towards}"
    lacking = "; ".join(f"told {meaning}, following is not shown ({_say_way(own, meaning)})" for meaning in not_shown)
    return (
        f"{reached} over all directions, but {lacking}; p of at most {WAY_ALPHA} is needed, and "
        f"how many episodes would show it cannot be said{towards}"
    )


def _say_towards(own: Told) -> str:
    """Of each meaning, where they are few enough for a sentence; the others are in the details."""
    if len(own.towards) > MOST_SAID:
        return ""
    return "; towards " + ", ".join(f"{meaning}: {say_ratio(ratio)}" for meaning, (ratio, _) in own.towards.items())


def _say_way(own: Told, meaning: str) -> str:
    ratio, count = own.towards[meaning]
    return f"{say_ratio(ratio)}, {say_p(ratio.p_above(0.0))}, {count} episodes that were told otherwise"


def _quote(names: list[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)
