"""Does the policy act on what it is told and shown? Interventions, measured along what an expert would do differently.

In: a store whose rows hold predicted chunks, as recorded and with an input replaced. Out: a `Verdict` with two parts,
`instruction` and `image`, each on F of `following`: 0 ignores the replacement, 1 follows it as an expert would.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.experts import Experts, find_dependence
from mobile_vla.analysis.verdicts.following import (
    IMAGE,
    INSTRUCTION,
    PARAPHRASE,
    Followed,
    Intervened,
    match_variant,
    measure_image,
    measure_instruction,
)
from mobile_vla.analysis.verdicts.verdict import (
    FEWEST,
    Answer,
    Verdict,
    conclude,
    count_needed,
    interval,
    say_needed,
    undecided,
)
from mobile_vla.contexts.reader import Store
from mobile_vla.contexts.vectors import spread
from mobile_vla.plural import plural

VARIANTS = {"image": IMAGE, "instruction": INSTRUCTION}  # of each part, the rows that it is found in
MARGIN = 0.25
MEASURE = "F (0 ignores, 1 follows)"
MOST_COMPARED = 200  # rows whose context is compared with the one as recorded


def judge_actionable(sample: Sample, tap: str = "context") -> Verdict:
    """Of the sample's episodes; the tap is looked at only for whether anything at all arrives in it."""
    store = sample.store
    if not np.isfinite(store.column("predicted")).any() or store.manifest.info.steps is None:
        why = "the store holds no predicted chunks: the head was never trained, or the rows come from elsewhere"
        parts = {name: undecided(name, MEASURE, MARGIN, sample.num_episodes, why) for name in VARIANTS}
        return replace(undecided("both", MEASURE, MARGIN, sample.num_episodes, why), parts=parts)
    found = {name: match_variant(sample, variant) for name, variant in VARIANTS.items()}
    stored = [name for name in VARIANTS if len(found[name].own)]
    judges = {"image": _judge_image, "instruction": _judge_instruction}
    parts = {
        name: judges[name](sample, found[name], tap) if name in stored else _missing(name, variant)
        for name, variant in VARIANTS.items()
    }
    return _combine(parts, stored or list(parts))


def _judge_instruction(sample: Sample, found: Intervened, tap: str) -> Verdict:
    dependence = find_dependence(sample)
    if sample.num_episodes < FEWEST:
        why = f"{plural(sample.num_episodes, 'episode')}; at least {FEWEST} are needed"
        return undecided("instruction", MEASURE, MARGIN, sample.num_episodes, why, FEWEST)
    if not dependence.can_tell:
        why = f"whether the recorded actions depend on the instruction cannot be told: {dependence.sentence}"
        return undecided("instruction", MEASURE, MARGIN, sample.num_episodes, why)
    if not dependence.depends:
        why = f"the recorded actions do not depend on the instruction: {dependence.sentence}; following cannot be seen"
        return undecided("instruction", MEASURE, MARGIN, sample.num_episodes, why)
    experts = Experts.of(sample)
    control = match_variant(sample, PARAPHRASE)
    reworded = dict(zip(control.own.tolist(), control.changed.tolist(), strict=True))
    both = np.array([row in reworded for row in found.own.tolist()])
    baselines: dict[str, float | None] = {}
    notes = []
    before, own, swapped = found.own, found.own, found.changed
    if len(set(sample.store.column("episode")[own[both]])) >= FEWEST:
        own, swapped = own[both], swapped[both]
        before = np.array([reworded[row] for row in own.tolist()])
        baselines["paraphrase"] = _ratio(measure_instruction(sample, experts, own, swapped, own, before))
    else:
        notes.append("hardly any paraphrase is stored: what other words of the same meaning do is not subtracted")
    followed = measure_instruction(sample, experts, own, swapped, before, swapped)
    unwired = _find_unwired(sample.store, found, tap)
    return _judge("instruction", followed, "episodes", baselines, notes, unwired)


def _judge_image(sample: Sample, found: Intervened, tap: str) -> Verdict:
    unwired = _find_unwired(sample.store, found, tap)
    if not any(name is not None for name in sample.store.column("shown_episode")[found.changed]):
        why = "the rows do not say whose image was shown: `shown_episode` and `shown_frame` are not known of them"
        return undecided("image", MEASURE, MARGIN, 0, why)
    return _judge("image", measure_image(sample, found), "pairs of episodes", {}, [], unwired)


def _judge(
    target: str,
    followed: Followed,
    unit: str,
    baselines: Mapping[str, float | None],
    notes: Sequence[str],
    unwired: str | None,
) -> Verdict:
    n = len(followed.units)
    notes = (*notes, *([unwired] if unwired else []))
    if n < FEWEST:
        why = f"{n} {unit} in which an expert would do something else; at least {FEWEST} are needed"
        return replace(undecided(target, MEASURE, MARGIN, n, why, FEWEST), unit=unit, notes=notes)
    values = followed.values
    mean, error = followed.estimate, followed.error
    ci = interval(mean, error, followed.freedom)
    p_yes, p_no = (_one_sided(away, error, followed.freedom) for away in (mean, MARGIN - mean))
    answers = conclude(ci, MARGIN, p_yes, p_no)
    needed = count_needed(error * np.sqrt(n), MARGIN)
    return Verdict(
        verdict=answers.verdict,
        at_half=answers.at_half,
        at_double=answers.at_double,
        target=target,
        measure=MEASURE,
        statistic=mean,
        ci=ci,
        margin=MARGIN,
        p_yes=p_yes,
        p_no=p_no,
        unit=unit,
        n=n,
        n_needed=None if answers.verdict != "undecided" else max(needed, n + 1),
        why=_explain(answers.verdict, target, mean, ci, say_needed(needed, n, unit), unwired),
        baselines=baselines,
        notes=notes,
        details={"values": [round(float(value), 4) for value in values]},
        overturned="episodes on which the predicted chunk stays where it was"
        if answers.verdict == "yes"
        else "episodes on which the predicted chunk goes where an expert's would",
    )


def _combine(parts: Mapping[str, Verdict], asked: Collection[str]) -> Verdict:
    """Yes where every part that is asked is, no where one is; the part that decides speaks for the whole."""
    order: tuple[Answer, ...] = ("no", "undecided", "yes")
    decisive = min((parts[name] for name in asked), key=lambda part: order.index(part.verdict))
    why = "; ".join(f"by {name} {parts[name].verdict}: {parts[name].why}" for name in asked)
    left = [f"by {name}: {part.why}" for name, part in parts.items() if name not in asked]
    return replace(decisive, why=why, parts=parts, notes=(*decisive.notes, *left))


def _ratio(followed: Followed) -> float | None:
    return float(followed.along.sum() / followed.length.sum()) if len(followed.units) else None


def _find_unwired(store: Store, found: Intervened, tap: str) -> str | None:
    """A sentence where not one number of the context changes: then it is not ignored, it cannot be read."""
    if tap not in store.taps:
        return None
    chosen = spread(len(found.own), MOST_COMPARED)
    vectors = store.vectors(tap)
    moved = vectors[found.changed[chosen]].astype(np.float64) - vectors[found.own[chosen]]
    if moved.any():
        return None
    return f"not a number of {tap} changes when it is replaced: it does not reach the context (not wired)"


def _missing(target: str, variant: str) -> Verdict:
    why = f"no rows of {variant} are stored; probe with probe.variants=[{INSTRUCTION},{PARAPHRASE},{IMAGE}]"
    return undecided(target, MEASURE, MARGIN, 0, why)


def _one_sided(mean: float, error: float, freedom: float) -> float:
    """Of a true mean of 0 or less."""
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stats.t.sf(mean / error, freedom))


def _explain(answer: str, target: str, mean: float, ci: tuple[float, float], lacking: str, unwired: str | None) -> str:
    reached = f"F = {mean:z.2f} [{ci[0]:z.2f}, {ci[1]:z.2f}]"
    if answer == "yes":
        return f"{reached}: with another {target} the actions go where an expert's would"
    if answer == "no":
        why = f"{reached}: with another {target} the actions do not go where an expert's would"
        return f"{why}; {unwired}" if unwired else why
    return f"{reached}: the interval holds the margin {MARGIN:.2f}; {lacking}"
