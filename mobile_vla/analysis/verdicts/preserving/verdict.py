"""Does the context hold what the next actions depend on, beyond progress, instruction and session?

In: vectors of a sample, and its true action chunks. Out: a `Verdict` on the R^2 of `chunk_fit`, with a permutation test
for yes and transplanted codes for no.

What stands between the numbers and an answer: a yes needs texts that several episodes share, and actions that do not
drift with the order of recording; a no needs stored pixels that do tell the actions, since a context cannot hold what
the images do not show.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.discriminative.recording_order import find_drift
from mobile_vla.analysis.verdicts.folds import can_permute
from mobile_vla.analysis.verdicts.preserving.baseline import Baseline, make_baseline, say_left_out
from mobile_vla.analysis.verdicts.preserving.chunk_fit import MOST_EPISODES, Fit, fit
from mobile_vla.analysis.verdicts.preserving.chunk_transplant import Sensitivity
from mobile_vla.analysis.verdicts.preserving.chunks import TARGET, Chunks, anything_left, make_chunks, previous_chunks
from mobile_vla.analysis.verdicts.rigour import SPIKE_SD, Rigour
from mobile_vla.analysis.verdicts.verdict import (
    FEWEST,
    Answers,
    Verdict,
    conclude,
    count_needed,
    say_needed,
    say_p,
    undecided,
)
from mobile_vla.contexts.vectors import spread
from mobile_vla.core.levels import ALPHA
from mobile_vla.core.plural import plural

MARGIN = 0.10
MEASURE = "R2 beyond progress and instruction"
CEILING = "pixels"  # the tap that says what the images themselves tell
CALIBRATED = 40  # episodes: with fewer the interval's ends are not where they should be
LIGHT = 199  # permutations of the pixels' test


def judge_preserving(
    sample: Sample,
    vectors: Float[np.ndarray, "N D"],
    rigour: Rigour,
    images: Mapping[str, Float[np.ndarray, "N d"]] | None = None,
    others: Mapping[str, Float[np.ndarray, "N d"]] | None = None,
) -> tuple[Verdict, Fit | None]:
    """images: vectors of what the model sees. `pixels` alone decide whether the images tell the actions at all; the
    rest are comparisons. others: of what else is compared, an untrained backbone's contexts."""
    if sample.actions is None:
        why = "the store holds no actions; probe a run, or import annotations with `action`"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why), None
    given = [dict(one or {}) for one in (images, others)]
    baseline = make_baseline(sample)
    left_out = say_left_out(baseline)
    if not baseline.kept.all():
        sample, vectors, given = _keep(sample, np.flatnonzero(baseline.kept), vectors, given)
    if sample.num_episodes > MOST_EPISODES:
        sample, vectors, given = _keep(sample, spread(sample.num_episodes, MOST_EPISODES), vectors, given)
    baseline = make_baseline(sample)
    if sample.num_episodes < FEWEST:
        why = f"{plural(sample.num_episodes, 'episode')}; at least {FEWEST} are needed"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why, FEWEST), None
    if not can_permute(baseline.blocks, np.arange(sample.num_episodes)):
        why = (
            "hardly two episodes of one session have the same instruction: there is nothing to permute, and no p-value"
        )
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why), None
    chunks = make_chunks(sample, baseline)
    if not anything_left(sample, chunks, baseline):
        why = f"after {baseline.beyond} no variance of these chunks is left that a context could explain"
        return undecided(TARGET, MEASURE, MARGIN, sample.num_episodes, why), None
    return _Judge(sample, vectors, chunks, baseline, rigour, left_out, *given).conclude()


def _keep(sample: Sample, kept: np.ndarray, vectors: np.ndarray, given: list[dict[str, np.ndarray]]):
    inside = np.isin(sample.episode, kept)
    thinned = [{name: one[inside] for name, one in named.items()} for named in given]
    return sample.keep(kept), vectors[inside], thinned


class _Judge:
    """Of a sample in which there is something to find."""

    def __init__(
        self,
        sample: Sample,
        vectors: Float[np.ndarray, "N D"],
        chunks: Chunks,
        baseline: Baseline,
        rigour: Rigour,
        left_out: str,
        images: Mapping[str, np.ndarray],
        others: Mapping[str, np.ndarray],
    ):
        self.sample, self.chunks, self.baseline, self.rigour = sample, chunks, baseline, rigour
        self.left_out, self.images = left_out, images
        self.found = fit(sample, vectors, chunks, rigour, baseline=baseline, margin=MARGIN)
        compared = {**{name: one for name, one in images.items() if name != CEILING}, **others}
        previous = previous_chunks(sample)
        if previous is not None:
            compared["previous action"] = previous
        self.compared = {name: self._fit(one, permute=False).r2 for name, one in compared.items()}
        self.pixels: Fit | None = None

    def conclude(self) -> tuple[Verdict, Fit]:
        sample, found, baseline = self.sample, self.found, self.baseline
        answers = _answer(found)
        no_yes = self._doubt_yes()
        no_no = self._doubt_no("no" in answers)
        if no_yes:
            answers = Answers(*("undecided" if one == "yes" else one for one in answers))
        if no_no or not baseline.exact:
            answers = answers.never_no()
        needed = count_needed(found.spread, MARGIN)
        why, can_say = self._explain(answers.verdict, needed, no_yes, no_no)
        if answers.verdict == "undecided" and not can_say:
            why = f"{why}; more episodes need not decide it"
        number = {"pixels": None if self.pixels is None else self.pixels.r2} if CEILING in self.images else {}
        sensitivity = found.sensitivity
        verdict = Verdict(
            verdict=answers.verdict,
            at_half=answers.at_half,
            at_double=answers.at_double,
            target=TARGET,
            measure=f"R2 beyond {baseline.beyond}",
            statistic=found.r2,
            ci=found.ci,
            margin=MARGIN,
            p_yes=found.p_yes,
            p_no=None if sensitivity is None else sensitivity.p_no,
            n=sample.num_episodes,
            n_needed=max(needed, sample.num_episodes + 1) if answers.verdict == "undecided" and can_say else None,
            why=why,
            baselines={baseline.beyond: 0.0, **number, **self.compared},
            notes=tuple(self._note(no_no)),
            details={
                "by_component": [_known(value) for value in found.by_component],
                "by_step": [_known(value) for value in found.by_step],
                "null": _known(found.null),
                "deals": found.deals,
                "images_p": {} if self.pixels is None else {CEILING: self.pixels.p_yes},
                "sensitivity": None if sensitivity is None else sensitivity._asdict(),
            },
            overturned=f"new episodes on which the same fit does no better than {baseline.beyond}"
            if answers.verdict == "yes"
            else "a fit from the same contexts that explains more than the margin on held-out episodes",
        )
        return verdict, found

    def _fit(self, vectors: np.ndarray, *, permute: bool) -> Fit:
        light = Rigour(
            permutations=min(self.rigour.permutations, LIGHT),
            spikes=60,
            seed=self.rigour.seed,
            deals=self.rigour.deals,
        )
        return fit(self.sample, vectors, self.chunks, light, permute=permute, baseline=self.baseline)

    def _doubt_yes(self) -> str:
        """Why these data cannot support a yes; empty where they can."""
        if not self.baseline.exact:
            return (
                "exploratory: hardly any two episodes have the same instruction text, so what the text alone tells "
                "cannot be removed"
            )
        if not self.sample.sessions_known:
            self.drift = find_drift(self.sample, self.chunks.leading, self.baseline.text, self.rigour.seed)
            if self.drift is not None and self.drift <= ALPHA:
                return (
                    "not separable from the recording order: no session is known, and episodes recorded one after "
                    f"the other have similar actions ({say_p(self.drift)})"
                )
        return ""

    def _doubt_no(self, wanted: bool) -> str:
        """Why these data cannot support a no; the pixels are only tested where one is wanted."""
        if CEILING not in self.images:
            return (
                "whether the images show what the actions depend on is not known, because the store has no pixels; "
                "probe again (pixels are stored by default)"
            )
        self.pixels = self._fit(self.images[CEILING], permute=wanted)
        if wanted and self.pixels.p_yes > ALPHA:
            return (
                f"the pixels themselves are not shown to tell more than {self.baseline.beyond} by these "
                f"{self.sample.num_episodes} episodes (R2 {self.pixels.r2:z.2f}, {say_p(self.pixels.p_yes)}): "
                "these images may not show what the actions depend on"
            )
        return ""

    def _note(self, no_no: str) -> list[str]:
        sample, baseline = self.sample, self.baseline
        found = [self.left_out] if self.left_out else []
        if no_no:
            found.append(no_no)
        if baseline.unknown:
            found.append(f"{baseline.unknown}: what an instruction alone tells of the actions is not removed")
        if not sample.sessions_known and baseline.exact:
            order = (
                "the order of recording is not known either"
                if sample.order is None
                else f"neighbours in the order of recording were compared instead ({say_p(self.drift)})"
            )
            found.append(f"recording sessions are not known, so they are not removed; {order}")
        if sample.num_episodes < CALIBRATED:
            found.append(
                f"with fewer than {CALIBRATED} episodes the interval is not calibrated: its ends lie on the wrong side "
                "of the truth more often than in 5 % of cases"
            )
        return found

    def _explain(self, answer: str, needed: int, no_yes: str, no_no: str) -> tuple[str, bool]:
        """In a sentence; and whether more episodes would decide."""
        found, n, baseline = self.found, self.sample.num_episodes, self.baseline
        ci = found.ci
        leave = "leave" if " and " in baseline.beyond else "leaves"
        unknown = f" ({baseline.unknown})" if baseline.unknown else ""
        reached = (
            f"the context explains {found.r2:z.2f} [{ci[0]:z.2f}, {ci[1]:z.2f}] (90 % interval) of what "
            f"{baseline.beyond} {leave}{unknown}"
        )
        if answer == "yes":
            return f"{reached}, above {MARGIN:.2f} ({say_p(found.p_yes)})", False
        if answer == "no":
            if found.sensitivity is None:
                return (
                    f"{reached}, below {MARGIN:.2f}: after {baseline.beyond} no variance of these contexts is left",
                    False,
                )
            return f"{reached}, below {MARGIN:.2f}; {_say_no(found.sensitivity, n)}", False
        if no_yes and (ci[0] > MARGIN or not baseline.exact):
            return f"{reached}, but this is {no_yes}", False
        if ci[0] <= MARGIN <= ci[1]:
            return f"{reached}: the interval holds the margin {MARGIN:.2f}; {say_needed(needed, n)}", True
        if ci[0] > MARGIN:
            return f"{reached}, but not shown to be more than permuted episodes give ({say_p(found.p_yes)})", False
        if found.sensitivity is not None and found.sensitivity.p_no > ALPHA:
            return (
                f"{reached}, but planted codes that a probe on {n} episodes finds at the margin often score as low "
                f"({say_p(found.sensitivity.p_no)})"
            ), False
        return f"{reached}, but {no_no}", False


def _answer(found: Fit) -> Answers:
    """Each margin with codes planted at that margin."""
    of = found.sensitivity
    p_no = (None, None, None) if of is None else (of.p_no, of.half, of.double)
    one, half, double = (conclude(found.ci, MARGIN, found.p_yes, p) for p in p_no)
    return Answers(one.verdict, half.at_half, double.at_double)


def _say_no(of: Sensitivity, n: int) -> str:
    """What a no is about: a probe at this number of episodes, and directions that are wide enough."""
    said = (
        f"contexts in which a linear probe on {n} episodes finds {MARGIN:.2f} on average would have shown more "
        f"({say_p(of.p_no)})"
    )
    if of.share is not None:
        said += f", such as those whose average direction is {of.share:.0%} actions"
    if of.smallest is None:
        return f"{said}; codes of {SPIKE_SD:g} standard deviations are not excluded along any direction"
    return (
        f"{said}; no linear code of {SPIKE_SD:g} standard deviations along any direction whose spread is at least "
        f"{of.smallest:.1%} of the contexts' norm is shown by these episodes, weaker directions could hide one"
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
