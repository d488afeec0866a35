"""Does the policy act on what it is shown? Another episode's picture, measured along what the scene there calls for.

In: a sample of a store with `donor` rows. Out: a `Verdict` on F of `shown`.

Undecided where the judged tap's contexts do not predict how drivers act from scene to scene: there is no direction then
along which following could be seen. A no asks for more of this prediction than a yes does (p <= .025): where scenes
make no difference it passes by chance in 7 % of stores, and a policy that rightly ignores them would be a no.
"""

from dataclasses import replace

import numpy as np

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.actionable.following import Intervened
from mobile_vla.analysis.verdicts.actionable.part import (
    MARGIN,
    MARGINS,
    MEASURE,
    find_unwired,
    say_no,
    say_ratio,
    with_unwired,
)
from mobile_vla.analysis.verdicts.actionable.shown import NOT_STORED, Shown, measure_image
from mobile_vla.analysis.verdicts.rigour import Rigour
from mobile_vla.analysis.verdicts.verdict import FEWEST, Answer, Verdict, count_needed, say_needed, say_p, undecided
from mobile_vla.core.levels import ALPHA
from mobile_vla.core.plural import plural

UNIT = "pairs of episodes"
SCENE_ALPHA = ALPHA / 2  # that contexts predict how scenes differ, for a no


def judge_image(sample: Sample, found: Intervened, tap: str, rigour: Rigour) -> Verdict:
    unwired = find_unwired(sample.store, found, tap)
    notes = [unwired] if unwired else []

    def unknown(why: str, n: int = 0, needed: int | None = None) -> Verdict:
        verdict = undecided("image", MEASURE, MARGIN, n, why, needed)
        return replace(verdict, unit=UNIT, notes=tuple(notes))

    if not any(name is not None for name in sample.store.column("shown_episode")[found.changed]):
        return unknown(
            "the rows do not say whose picture was shown (`shown_episode` and `shown_frame` are not known): probe "
            "again with probe.variants=[donor], or store both columns"
        )
    if sample.actions is None:
        return unknown("the store holds no recorded actions: what an expert would do is not known")
    if tap not in sample.store.taps:
        return unknown(f"the store has no tap {tap}: what a scene calls for is predicted from it")
    shown = measure_image(sample, found, tap, rigour)
    n = len(shown.units)
    notes += [f"{plural(count, 'row')} {reason} left out" for reason, count in shown.dropped.items()]
    if shown.ratio is None:
        why = f"{n} {UNIT} lent each other their pictures; at least {FEWEST} are needed"
        if NOT_STORED in shown.dropped:
            why += "; store the donors' own rows too (probe whole pairs of episodes)"
        return unknown(why, n, FEWEST)
    if not shown.ratio.measurable:
        return unknown(with_unwired(_explain_unpredicted(shown, tap), unwired), n)
    return _conclude(shown, unwired, notes)


def _explain_unpredicted(shown: Shown, tap: str) -> str:
    return (
        f"that {tap} predicts how drivers act from one scene to another is not shown by these {len(shown.units)} "
        f"{UNIT} (share predicted {shown.explained:z.2f}, {say_p(shown.p_scene)}): following could not be seen along "
        "it; more episodes would help, or scenes that call for more distinct actions"
    )


def _conclude(shown: Shown, unwired: str | None, notes: list[str]) -> Verdict:
    ratio, n = shown.ratio, len(shown.units)
    assert ratio is not None
    answers: dict[str, Answer] = {at: _answer(shown, margin) for at, margin in MARGINS.items()}
    answer = answers["verdict"]
    below = ratio.ci[1] < MARGIN
    needed = None
    if answer == "undecided" and not below:
        needed = max(count_needed(ratio.error * np.sqrt(n), MARGIN), n + 1)
    reached = f"{say_ratio(ratio)} (90 % interval)"
    if answer == "yes":
        why = f"{reached}: shown another scene, the policy goes where an expert's actions would"
    elif answer == "no":
        why = f"shown another scene, {say_no(ratio)}"
    elif below:
        why = (
            f"{reached} lies below {MARGIN:.2f}, but how the scene changes an expert's actions is predicted too poorly "
            f"for a no (share predicted {shown.explained:z.2f}, {say_p(shown.p_scene)}; p of at most {SCENE_ALPHA} is "
            "needed); more episodes would help"
        )
    else:
        why = f"{reached}: the interval holds the margin {MARGIN:.2f}; {say_needed(needed or n + 1, n, UNIT)}"
    return Verdict(
        **answers,
        target="image",
        measure=MEASURE,
        statistic=ratio.estimate,
        ci=ratio.ci,
        margin=MARGIN,
        p_yes=ratio.p_above(0.0),
        p_no=ratio.p_below(MARGIN),
        unit=UNIT,
        n=n,
        n_needed=needed,
        why=why if answer == "yes" else with_unwired(why, unwired),
        notes=tuple(notes),
        details={"share_predicted": round(shown.explained or 0.0, 4), "p_predicted": round(shown.p_scene, 4)},
        overturned="episodes on which the predicted chunk stays where it was"
        if answer == "yes"
        else "episodes on which the predicted chunk goes where an expert's would",
    )


def _answer(shown: Shown, margin: float) -> Answer:
    ratio = shown.ratio
    assert ratio is not None
    if ratio.ci[0] > margin and ratio.p_above(0.0) <= ALPHA:
        return "yes"
    return "no" if ratio.ci[1] < margin and shown.p_scene <= SCENE_ALPHA else "undecided"
