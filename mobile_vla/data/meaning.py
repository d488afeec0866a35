"""Which instructions mean the same, and whether the recorded actions depend on the instruction at all.

Without such a dependence no loss and no effect can show that a model reads its instruction.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.dependence import Dependence, judge_dependence
from mobile_vla.sources.schema import UNKNOWN, Episode

MIN_PURITY = 0.9  # a label is what texts mean if a text predicts it this well on other episodes,
ALPHA = 0.01  # and better than chance
PROGRESS_BINS = 6
SESSION = "session"  # the label of episodes that were recorded together


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


def find_dependence(episodes: Sequence[Episode], space: ActionSpace, meanings: Meanings) -> Dependence:
    """Whether the recorded actions depend on what the instruction asks for; see `mobile_vla.core.dependence`.

    Each episode's actions are averaged over bins of progress. Episodes of one `session` (a day) are compared with each
    other alone; those of which no session is known, likewise.
    """
    return judge_dependence(
        np.stack([_profile(episode, space) for episode in episodes]),
        [meanings.of[episode.instruction] for episode in episodes],
        [episode.label(SESSION) for episode in episodes],
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
