"""Which instructions mean the same, and whether the recorded actions depend on the instruction at all.

Without such dependence nothing measured on this data can show that a model reads its instruction.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mobile_vla.actions import ActionSpace
from mobile_vla.data.schema import UNKNOWN, Episode

MIN_PURITY = 0.9  # a label is what texts mean if a text predicts it this well on other episodes
PROGRESS_BINS = 6
ALPHA = 0.05


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

    Each episode's label is predicted from the other episodes with the same text, so a text that occurs once is no
    evidence. Below `MIN_PURITY` the texts do not mean this label.
    """
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for episode in episodes:
        values[episode.instruction][episode.label(label)] += 1
    hits = 0
    for episode in episodes:
        others = values[episode.instruction] - Counter([episode.label(label)])
        own = episode.label(label)
        hits += own != UNKNOWN and bool(others) and others.most_common(1)[0][0] == own
    if hits < MIN_PURITY * len(episodes):
        return Meanings({text: text for text in values}, known=False)
    return Meanings({text: counts.most_common(1)[0][0] for text, counts in values.items()}, known=True)


def why_no_dependence(episodes: Sequence[Episode], space: ActionSpace, meanings: Meanings) -> str | None:
    """None if the actions depend on the instruction; else, in a sentence, why this data cannot show its effect.

    Each episode's actions (normalised, averaged over bins of progress) are predicted by the mean of all other
    episodes, and by that mean moved towards the one of the other episodes with the same meaning, by n / (n + 1) for
    n of them. The instruction counts if the second error is smaller by a one-sided paired t-test over episodes.
    """
    if len({episode.instruction for episode in episodes}) < 2:
        return "every episode has the same instruction"
    if meanings.known and len(set(meanings.of.values())) < 2:
        return f"all instructions ask for the same ({next(iter(meanings.of.values()))})"
    profiles = np.stack([_profile(episode, space) for episode in episodes])  # (E, bins, A)
    groups = np.array([meanings.of[episode.instruction] for episode in episodes])
    gains = []
    for i, profile in enumerate(profiles):
        others = np.arange(len(profiles)) != i
        same = others & (groups == groups[i])
        overall = np.nanmean(profiles[others], axis=0)
        if not same.any():
            gains.append(0.0)
            continue
        weight = same.sum() / (same.sum() + 1)
        moved = overall + weight * (np.nanmean(profiles[same], axis=0) - overall)
        gains.append(np.nanmean((profile - overall) ** 2 - (profile - moved) ** 2))
    if len(gains) > 2 and np.ptp(gains) > 0:
        p_value = stats.ttest_1samp(gains, 0, alternative="greater").pvalue
        if p_value < ALPHA:
            return None
    return (
        "the recorded actions do not depend on the instruction: the mean action of an instruction predicts an episode "
        f"no better than the mean of all ({len(episodes)} episodes, {len(set(groups))} instructions)"
    )


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
