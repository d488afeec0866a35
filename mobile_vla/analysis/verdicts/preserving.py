"""Does the context hold what the next actions depend on, beyond progress and instruction?

In: vectors of a sample, and its true action chunks. Out: a `Verdict` on the R^2 of `chunk_fit`, with a permutation test
for yes and a spike test for no.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.baseline import meanings_of
from mobile_vla.analysis.verdicts.chunk_fit import MOST_EPISODES, Fit, fit
from mobile_vla.analysis.verdicts.chunks import TARGET, anything_left, make_chunks, previous_chunks
from mobile_vla.analysis.verdicts.folds import can_permute, codes_of
from mobile_vla.analysis.verdicts.rigour import SPIKE_SD, Rigour
from mobile_vla.analysis.verdicts.verdict import ALPHA, FEWEST, Verdict, conclude, count_needed, say_needed, undecided
from mobile_vla.contexts.vectors import spread
from mobile_vla.plural import plural

MARGIN = 0.10
MEASURE = "R2 beyond progress and instruction"


def judge_preserving(
    sample: Sample,
    vectors: Float[np.ndarray, "N D"],
    rigour: Rigour,
    images: Mapping[str, Float[np.ndarray, "N d"]] | None = None,
    others: Mapping[str, Float[np.ndarray, "N d"]] | None = None,
) -> tuple[Verdict, Fit | None]:
    """images: vectors of what the model sees (pixels, image tokens): where they cannot beat the baseline either, a
    context that does not is no fault of it. others: of what else is compared, an untrained backbone's contexts."""
    if sample.actions is None:
        why = "the store holds no actions; probe a run, or import annotations with `action`"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why), None
    chunks = make_chunks(sample)
    if sample.num_episodes < FEWEST:
        why = f"{plural(sample.num_episodes, 'episode')}; at least {FEWEST} are needed"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why, FEWEST), None
    if not can_permute(codes_of(sample.session, meanings_of(sample)), np.arange(sample.num_episodes)):
        why = "hardly two episodes of one session were asked for the same: there is nothing to permute, and no p-value"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why), None
    if not anything_left(sample, chunks):
        why = "the actions follow from progress and instruction: nothing is left for the context to hold"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why), None
    if sample.num_episodes > MOST_EPISODES:
        kept = spread(sample.num_episodes, MOST_EPISODES)
        inside = np.isin(sample.episode, kept)
        thinned = [{name: one[inside] for name, one in (given or {}).items()} for given in (images, others)]
        return judge_preserving(sample.keep(kept), vectors[inside], rigour, *thinned)
    found = fit(sample, vectors, chunks, rigour, spikes_below=2 * MARGIN)  # a no at double the margin needs them too
    light = Rigour(permutations=min(rigour.permutations, 199), spikes=60, seed=rigour.seed)
    seen = {name: fit(sample, known, chunks, light) for name, known in (images or {}).items()}
    other = {name: fit(sample, known, chunks, light, permute=False) for name, known in (others or {}).items()}
    previous = previous_chunks(sample)
    if previous is not None:
        other["previous action"] = fit(sample, previous, chunks, light, permute=False)
    ci = found.ci
    answers = conclude(ci, MARGIN, found.p_yes, found.p_no)
    testable = [name for name, one in seen.items() if one.p_yes <= ALPHA]
    notes, blind = [], ""
    if not seen:
        notes.append("neither pixels nor image tokens are stored: whether the images tell the actions is not known")
    elif not testable and "no" in answers:
        answers = answers.never_no()
        blind = f"{' and '.join(seen)} cannot beat progress and instruction either: these images may not tell"
        notes.append(blind)
    needed = count_needed(found.spread, MARGIN)
    verdict = Verdict(
        verdict=answers.verdict,
        at_half=answers.at_half,
        at_double=answers.at_double,
        target=TARGET,
        measure=MEASURE,
        statistic=found.r2,
        ci=ci,
        margin=MARGIN,
        p_yes=found.p_yes,
        p_no=found.p_no,
        n=sample.num_episodes,
        n_needed=None if answers.verdict != "undecided" else max(needed, sample.num_episodes + 1),
        why=_explain(answers.verdict, found, ci, sample.num_episodes, needed, blind),
        baselines={"progress and instruction": 0.0, **{name: one.r2 for name, one in (seen | other).items()}},
        notes=tuple(notes),
        details={
            "by_component": [_known(value) for value in found.by_component],
            "by_step": [_known(value) for value in found.by_step],
            "null": found.null,
            "images_p": {name: one.p_yes for name, one in seen.items()},
        },
        overturned="new episodes on which the same fit does no better than progress and instruction"
        if answers.verdict == "yes"
        else "a fit from the same contexts that explains more than the margin on held-out episodes",
    )
    return verdict, found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _explain(answer: str, found: Fit, ci: tuple[float, float], n: int, needed: int, blind: str) -> str:
    share = f"{found.r2:z.2f} [{ci[0]:z.2f}, {ci[1]:z.2f}]"
    reached = f"the context explains {share} of what progress and instruction leave"
    if answer == "yes":
        return f"{reached}, above {MARGIN:.2f} (p = {found.p_yes:.3f})"
    if answer == "no":
        return (
            f"{reached}, below {MARGIN:.2f}; actions at {SPIKE_SD:g} standard deviations would have been seen "
            f"(p = {found.p_no:.3f}): no linear code this strong, with these {n} episodes"
        )
    if ci[0] <= MARGIN <= ci[1]:
        return f"{reached}: the interval holds the margin {MARGIN:.2f}; {say_needed(needed, n)}"
    if ci[0] > MARGIN:
        return f"{reached}, but permuted episodes do as well (p = {found.p_yes:.3f})"
    if blind:
        return f"{reached}, but {blind}"
    return (
        f"{reached}, but actions at {SPIKE_SD:g} standard deviations could have gone unseen (p = {found.p_no:.3f}) "
        f"with {n} episodes"
    )
