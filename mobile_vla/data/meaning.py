"""Which instructions mean the same, and whether the recorded actions depend on the instruction at all.

Without such dependence nothing measured on this data can show that a model reads its instruction.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import gammaln

from mobile_vla.actions import ActionSpace
from mobile_vla.data.schema import UNKNOWN, Episode

MIN_PURITY = 0.9  # a label is what texts mean if a text predicts it this well on other episodes,
ALPHA = 0.01  # and better than chance; also the level at which actions are said to depend on the instruction
PROGRESS_BINS = 6
PERMUTATIONS = 999


@dataclass(frozen=True)
class Meanings:
    """text -> meaning. Where no label explains the texts, every text is a meaning of its own (`known` is False)."""

    of: dict[str, str]
    known: bool

    def swaps(self, text: str, texts: Sequence[str]) -> list[str]:
        """Texts that ask for something else."""
        return [other for other in texts if self.of[other] != self.of[text]]

    def paraphrases(self, text: str, texts: Sequence[str]) -> list[str]:
        """Other texts that ask for the same."""
        return [other for other in texts if other != text and self.of[other] == self.of[text]]


def find_meanings(episodes: Sequence[Episode], label: str) -> Meanings:
    """Group texts by the value of `label` that they go with, if they predict it.

    Each episode's label is predicted from the other episodes with the same text (a text that occurs once is no
    evidence). The texts mean this label if that is right for `MIN_PURITY` of them, and more often than the commonest
    value alone would be (one-sided binomial test); a label that never varies explains nothing.
    """
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for episode in episodes:
        values[episode.instruction][episode.label(label)] += 1
    right = tried = 0
    for episode in episodes:
        own = episode.label(label)
        others = values[episode.instruction] - Counter([own])
        if others:
            tried += 1
            right += own != UNKNOWN and others.most_common(1)[0][0] == own
    commonest = max(Counter(episode.label(label) for episode in episodes).values()) / len(episodes)
    if (
        not tried
        or right < MIN_PURITY * tried
        or stats.binomtest(right, tried, commonest, alternative="greater").pvalue > ALPHA
    ):
        return Meanings({text: text for text in values}, known=False)
    return Meanings({text: counts.most_common(1)[0][0] for text, counts in values.items()}, known=True)


def why_no_dependence(episodes: Sequence[Episode], space: ActionSpace, meanings: Meanings) -> str | None:
    """None if the actions depend on the instruction; else, in a sentence, why this data cannot show its effect.

    Each episode's actions are averaged over bins of progress. The statistic is how much of their variance between
    episodes the means by meaning take up, against the mean of all; its null distribution comes from permuting the
    instructions of whole episodes (an exact test, whatever the episodes' lengths and distribution).
    """
    if len({episode.instruction for episode in episodes}) < 2:
        return "every episode has the same instruction"
    profiles = np.stack([_profile(episode, space).ravel() for episode in episodes])  # (E, bins * A)
    counts = np.isfinite(profiles).sum(axis=0)
    profiles = np.nan_to_num(profiles - np.nansum(profiles, axis=0) / np.maximum(counts, 1))
    groups = np.unique([meanings.of[episode.instruction] for episode in episodes], return_inverse=True)[1]
    rng = np.random.default_rng(0)
    observed = _explained(profiles, groups) * (1 - 1e-9)  # equal dealings are ties, whatever the order of adding
    at_least = sum(_explained(profiles, rng.permutation(groups)) >= observed for _ in range(PERMUTATIONS))
    p_value = (1 + at_least) / (1 + PERMUTATIONS)
    if p_value <= ALPHA:
        return None
    if 1 / _dealings(groups) > ALPHA:
        return (
            f"{len(episodes)} episodes with {groups.max() + 1} instructions are too few to show whether the recorded "
            f"actions depend on the instruction (p = {p_value:.2f})"
        )
    return (
        "the recorded actions do not depend on the instruction: the mean action by instruction says no more about an "
        f"episode than the mean of all (p = {p_value:.2f}, {len(episodes)} episodes, {groups.max() + 1} instructions)"
    )


def _dealings(groups: np.ndarray) -> float:
    """In how many ways episodes can be dealt to groups of these sizes, groups of one size being alike."""
    sizes = np.bincount(groups)
    same = np.bincount(sizes)
    log_ways = gammaln(len(groups) + 1) - gammaln(sizes + 1).sum() - gammaln(same[same > 0] + 1).sum()
    return float(np.exp(min(log_ways, 700.0)))


def _explained(profiles: np.ndarray, groups: np.ndarray) -> float:
    """Sum of squares between groups of centred rows."""
    members = np.eye(groups.max() + 1)[groups]  # (E, G)
    return float(((members.T @ profiles) ** 2 / members.sum(axis=0)[:, None]).sum())


def _profile(episode: Episode, space: ActionSpace) -> np.ndarray:
    """(bins, A) mean normalised action in each bin of progress; NaN where a bin has no known action."""
    actions = space.normalize(episode.components(space.components))
    bins = np.minimum((np.arange(len(actions)) * PROGRESS_BINS) // len(actions), PROGRESS_BINS - 1)
    profile = np.full((PROGRESS_BINS, actions.shape[1]), np.nan)
    for b in range(PROGRESS_BINS):
        rows = (bins == b) & episode.action_known
        if rows.any():
            profile[b] = actions[rows].mean(axis=0)
    return profile
