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
        "The episode. Frames of one episode are near copies of each other, so one row per episode and progress bin "
        "(0, 25, 50, 75, 100 %) is used; folds, permutations, intervals and every count are of whole episodes. A "
        "recording that is stored several times, also with noise, begun later or cut short, counts once.",
    ),
    (
        "Yes, no, undecided",
        "Yes: the 90 % interval lies above the margin, and p ≤ .05 that it is chance (adjusted for the number of "
        "primary targets, Holm 1979). No: the interval lies below the margin, and (discriminative, preserving) a "
        "planted effect would have been seen. Undecided: everything else, with the number of episodes needed for this "
        "margin, or why more need not help. “Not shown” is not “no”. Primary targets are declared, or chosen from "
        "labels and recorded actions alone, before any vector is looked at; everything else is exploratory.",
    ),
    (
        "Intervals",
        "90 % for all that is measured here: two one-sided tests at 5 %. (Intervals of losses and success rates, in "
        "other commands, are 95 %.) Student's t over episodes, wider where held-out scores share training episodes.",
    ),
    (
        "How often these are wrong",
        "Simulated on stores whose answers are known: docs/validation.md holds every rate with its interval, for no "
        "effect, for effects exactly at the margin, and for several sources of bias. `make validate-quick` repeats a "
        "small part of it. One generator's rates are that generator's.",
    ),
    (
        "Folds",
        "Five folds of whole episodes, stratified by class or text, and by session, dealt anew many times; every "
        "statistic is the mean over the deals, so that another seed seldom changes a verdict. All that is fitted is "
        "fitted without the held-out episodes.",
    ),
    (
        "Sessions and order of recording",
        "The day or session of each episode is read from names, attributes and labels. Where it is known, episodes "
        "are compared and permuted within a session only, and what a session has in common is removed. Where it is "
        "not, the card says so; a yes then becomes undecided if episodes recorded one after the other share the "
        "label, or act alike, more often than permuted ones (p ≤ .05).",
    ),
    (
        "Discriminative",
        "A ridge classifier on episode means; balanced accuracy on held-out episodes, within sessions, and within "
        "equal instructions where the instruction gives the label away. Margin: .70 for two classes; for more, as far "
        "on the way from chance to certainty. A yes also has to beat each baseline that sees no context (majority, "
        "progress, instruction, key words, recording order, session): the lower bound of every paired difference is "
        "above 0. A no rests on transplanted codes: one direction of the contexts is replaced by a label code of 2 "
        "standard deviations, along directions of smaller and smaller spread, until it could be missed. It reads: no "
        "linear code this strong along any direction of at least the named spread; weaker directions may hold one. A "
        "quadratic kernel looks for what a linear probe misses.",
    ),
    (
        "Preserving",
        "Ridge regression of the recorded action chunk, on held-out episodes; R² relative to what progress, "
        "instruction and session leave. These are removed exactly, from chunks and contexts alike: text × (1, p, p², "
        "p³), p the progress, without a penalty. Adjusted chunks of whole episodes are permuted within text and "
        "session. Where hardly two episodes share a text, it is exploratory and never a yes. Margin .10. A no also "
        "needs pixels that tell the actions, and codes planted at the margin that would have scored more.",
    ),
    (
        "Actionable",
        "F = ⟨Δ predicted, Δ expert⟩ / ‖Δ expert‖², where Δ is after another instruction or another episode's image: "
        "0 ignores it, 1 follows as an expert would. How far an action moves would be positive for any jitter; F is "
        "not. Margin .25. By instruction: the expert's Δ comes from other episodes; a yes needs F above the margin "
        "from the own instruction and (where such rows are stored) from a paraphrase, and above 0 towards each "
        "meaning (p ≤ .01). By image: Δ expert is what the contexts predict of how the scene changes the recorded "
        "actions, since one driver's chunk is noisy; episodes lend each other their images in donor pairs, and the "
        "pair is the unit: with fewer than 8 pairs it is undecided. Delete-one jackknife; the interval is Fieller's, "
        "for a ratio of two estimates, and there is none where the denominator may be 0.",
    ),
    (
        "Which store holds more",
        "The same probe on the same episodes and deals of folds; the difference of each episode's held-out errors, "
        "averaged over the deals. p and interval by Student's t, its standard error × 1.5 because folds share "
        "training episodes (Nadeau and Bengio 2003). p is adjusted (Holm) over all pairs and primary targets that "
        "were declared; other pairs are exploratory, and no store is called better in them. Beside it, for the next "
        "chunk, an exploratory test that decides nothing: the second store's contexts are rotated onto the first's "
        "(Procrustes), those of random episodes are exchanged, and both probes are refitted, on at most 100 "
        "episodes; p says how often that makes as large a difference. One run of each says "
        "something about these runs; only several seeds of each say something about the recipes, and their spread is "
        "then part of the standard error (Satterthwaite's degrees of freedom).",
    ),
    (
        "Similarity of two stores",
        "CKA: linear, with the unbiased HSIC (Song et al. 2012; Kornblith et al. 2019), summed over progress bins "
        "before the ratio; raw and with every dimension z-scored. Mutual nearest neighbours: without rows of the same "
        "episode. Intervals of both: jackknife over episodes, neighbours sought anew. Procrustes: a rotation fitted "
        "on other episodes, R² beyond the bin's mean. Drift: only where both share a basis. Floor: whole episodes "
        "permuted within sessions. Ceiling: random halves of one store's own dimensions, or its rows under a "
        "paraphrase. Episodes far off in both stores, on which the resemblance would rest, are named, and the answer "
        "is without them. The words: the same up to a rotation, where CKA's interval lies above .95 and Procrustes' "
        "R² above .9; partly alike, where the interval of any measure lies above what 95 % of the permutations give; "
        "nothing in common is shown, where none does and CKA's interval lies below .10. What two models share by both "
        "following progress is in none of them.",
    ),
    (
        "Description",
        "Effective rank: exp of the entropy of the normalised singular values (Roy and Vetterli 2007). Participation "
        "ratio: (Σλ)² / Σλ². Massive: more than 20 times the median magnitude (after Sun et al. 2024). None of these "
        "says that a context is clear.",
    ),
    (
        "What this does not say",
        "A margin bounds a probe at this number of episodes, not the context; only linear and quadratic codes are "
        "looked for. One training run says nothing about a model; several runs, with one row each, do. Without an "
        "untrained backbone's store (untrained=), nothing here shows that training made a difference. A probe reads "
        "what could be used; whether the policy uses it is what “actionable” asks. Blank and mean pictures test "
        "wiring, not use: they move even policies that ignore the scene.",
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


def write_needed(verdict: Verdict) -> str:
    """How many episodes (or pairs) would decide an undecided verdict."""
    if verdict.n_needed is None:
        return "not known: see above"
    return f"about {verdict.n_needed}" if is_short_of_episodes(verdict) else f"more than these {verdict.n}"


def list_baselines(verdict: Verdict) -> Mapping[str, float]:
    """Those that could be measured."""
    return {name: value for name, value in verdict.baselines.items() if value is not None and value == value}
