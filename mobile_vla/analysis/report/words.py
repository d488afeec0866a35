"""The report's words: what each claim asks, how a number is written, and how everything was done.

In: verdicts, settings. Out: text for the page and the terminal.
"""

from collections.abc import Mapping

from mobile_vla.analysis.verdicts.verdict import Verdict

QUESTIONS = {
    "discriminative": "Does it tell situations apart?",
    "preserving": "Does it hold what the next actions depend on?",
    "actionable: instruction": "Does the policy act on what it is told?",
    "actionable: image": "Does the policy act on what it is shown?",
}
SIGNS = {"yes": "●", "no": "○", "undecided": "◐"}
CLAIM_TITLES = {
    "discriminative": "discriminative",
    "preserving": "preserving",
    "actionable: instruction": "actionable by instruction",
    "actionable: image": "actionable by image",
}
MEASURE_TITLES = {
    "cka": "CKA",
    "cka_z": "CKA, z-scored",
    "mutual_knn": "mutual neighbours",
    "procrustes": "Procrustes R²",
    "drift": "drift",
}

METHODS = (
    (
        "Unit",
        "The episode. Frames of one episode are near copies of each other: counting frames, random labels pass "
        "tests in 45 % of cases. One row an episode and progress bin (0, 25, 50, 75, 100 %) is looked at; folds, "
        "permutations, intervals and every number of cases are of whole episodes.",
    ),
    (
        "Yes, no, undecided",
        "Yes: p ≤ .05 after Holm's adjustment over the primary targets, and the 90 % interval above the margin. "
        "No: the interval below the margin, and p ≤ .05 of an effect that would have been seen. Undecided: "
        "everything else. “Not significant” is not “no”. A 90 % interval is two one-sided tests at 5 %.",
    ),
    (
        "How often these are wrong",
        "Simulated on stores whose answers are known, 20 to 100 episodes (docs/validation.md). No effect at all: "
        "p ≤ .05 in 4 to 7 % of them, yes in none. An effect exactly at the margin: yes in at most 6 %. A code "
        "exactly at the spike: no in at most 4 %. That is what the rules bound. They do not bound a no where the "
        "effect is exactly at the margin: it comes in 15 % (preserving, 40 episodes), 5 to 10 % (actionable) or at "
        "most 3 % (discriminative). A no says that a strong effect would have been seen, not that there is none.",
    ),
    (
        "Discriminative",
        "A ridge classifier on episode means, five folds of whole episodes, balanced accuracy on held-out "
        "episodes. p of yes: episodes permuted (within sessions, and within instructions where the instruction "
        "gives the label away). p of no, the spike test: labels permuted and planted along random directions at "
        "two standard deviations; how often would such a code score as low as what was found? “No” therefore "
        "means: no linear code this strong, with this many episodes. Margin: .70 of two classes, of more as far "
        "on the way from chance to certainty. A quadratic kernel looks for what a linear probe misses.",
    ),
    (
        "Preserving",
        "Ridge regression of the recorded action chunk; R² = 1 − squared errors / those of the mean chunk of the "
        "same progress bin and instruction, on held-out episodes. Everything is fitted without them, the "
        "baseline's means too; the penalty by leave-one-episode-out. Interval: delete-one-episode jackknife. "
        "Margin .10.",
    ),
    (
        "Actionable",
        "F = ⟨Δ predicted, Δ expert⟩ / ‖Δ expert‖², where Δ is after another instruction or another episode's "
        "image: 0 ignores it, 1 follows as an expert would. The expert's direction comes from other episodes; "
        "what a paraphrase moves along it is subtracted. How far an action moves would be positive for any "
        "jitter; F is not. Margin .25. Images come in disjoint pairs of episodes at the same progress and "
        "instruction, so that each counts once; below 8 pairs the image part is undecided whatever the policy does, "
        "and so it always is with fewer than 16 episodes.",
    ),
    (
        "Intervals",
        "Standard errors of five-fold statistics × 1.5 (Nadeau and Bengio 2003), Student's t over episodes.",
    ),
    (
        "Which store holds more",
        "The same probe on the same episodes and the same deals of folds; the difference of each episode's held-out "
        "errors, averaged over the deals; Student's t, standard error × 1.5, for p and interval alike. p is adjusted "
        "(Holm) over all pairs and primary targets that were declared: of equal stores, at most 5 % of reports call "
        "any better. One run of each says something of these runs; of the recipes only several seeds of each do, "
        "whose spread is then part of the standard error (Satterthwaite's degrees of freedom).",
    ),
    (
        "Similarity of two stores",
        "CKA: linear, with the unbiased HSIC (Song et al. 2012; Kornblith et al. 2019), summed over progress bins "
        "before the ratio; raw and with every dimension z-scored. Mutual nearest neighbours: without rows of the same "
        "episode. Intervals of both: jackknife over episodes, neighbours sought anew. Procrustes: a rotation fitted on "
        "other episodes, R² beyond the bin's mean. Drift: only where both share a basis. Floor: whole episodes "
        "permuted within sessions. Ceiling: random halves of one store's own dimensions, or its rows under a "
        "paraphrase. Episodes far off in both stores, on which the resemblance would rest, are named, and the answer "
        "is without them. The words: the same up to a rotation, where CKA's interval lies above .95 and Procrustes' "
        "R² above .9; partly alike, where the "
        "interval of any measure lies above what 95 % of the permutations give; little or nothing in common, where "
        "none does and CKA's interval lies below .10 (CKA is about the square of the share of the variance that two "
        "models have in common: .1 is a quarter of it, .95 nine tenths). What two models share by both following "
        "progress is in none of them.",
    ),
    (
        "Description",
        "Effective rank: exp of the entropy of the normalised singular values (Roy and Vetterli 2007). "
        "Participation ratio: (Σλ)² / Σλ². Massive: more than 20 times the median magnitude (after Sun et al. "
        "2024). None of these says that a context is clear.",
    ),
    (
        "What this does not say",
        "One training run says nothing of a model: only several runs, with one row each, do. Without an untrained "
        "backbone's store among the baselines, nothing here shows that training made a difference. A probe reads "
        "what could be used; that the policy uses it is what “actionable” asks.",
    ),
)


def write_number(value: float | None, digits: int = 2) -> str:
    """With a true minus sign, so that columns align."""
    return "–" if value is None else f"{value:z.{digits}f}".replace("-", "−")


def write_interval(ci: tuple[float, float] | None) -> str:
    return "–" if ci is None else f"[{write_number(ci[0])}, {write_number(ci[1])}]"


def write_p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def headline(verdict: Verdict) -> str:
    """What a reader takes home of one claim."""
    if is_short_of_episodes(verdict):
        return f"{verdict.verdict}: {_count(verdict)}, about {verdict.n_needed} are needed for this margin"
    return f"{verdict.verdict}, with {_count(verdict)}"


def _count(verdict: Verdict) -> str:
    return f"{verdict.n} {verdict.unit.removesuffix('s') if verdict.n == 1 else verdict.unit}"


def is_short_of_episodes(verdict: Verdict) -> bool:
    """One more than there are is what a verdict says that lacks something else than episodes."""
    return verdict.n_needed is not None and verdict.n_needed > verdict.n + 1


def list_baselines(verdict: Verdict) -> Mapping[str, float]:
    """Those that could be measured."""
    return {name: value for name, value in verdict.baselines.items() if value is not None and value == value}
