"""How far a policy goes where an expert would when an input is replaced.

In: a store whose rows hold predicted chunks, as recorded and with an input replaced. Out: F as a `Ratio`

    F = <predicted' - predicted, expert' - expert> / |expert' - expert|^2

where ' is after the replacement: 0 ignores it, 1 follows as an expert would. How far an action moves would be positive
for any jitter; F is 0 for it. Only `swap`, `paraphrase` and `donor` rows are looked at: `blank` and `mean` pictures are
unlike any picture of the data and move even policies that ignore the scene, so they test wiring, not use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mobile_vla.analysis.sample import BINS, Sample
from mobile_vla.analysis.verdicts.actionable.contrast import Contrast, Moves
from mobile_vla.analysis.verdicts.actionable.experts import Experts
from mobile_vla.analysis.verdicts.actionable.fieller import Ratio, ratio_of, root_of
from mobile_vla.contexts.rows import OWN

MOST_LEFT_OUT = 200  # times that episodes are left out: of more, several at once
FACTOR = 1.07  # on the jackknife's standard errors: without, yes and no at the margin come in up to 5 % each
INSTRUCTION, PARAPHRASE, IMAGE = "swap", "paraphrase", "donor"  # variants of a probe


@dataclass(frozen=True, kw_only=True)
class Intervened:
    """Rows of one variant beside the same rows as recorded: indices into the store, aligned."""

    own: np.ndarray
    changed: np.ndarray


class Told(NamedTuple):
    """F by instruction.

    ratio    over all episodes;  episodes  how many moved
    towards  meaning -> the same of those who were told that in place of their own instruction, and how many they are
    """

    ratio: Ratio
    episodes: int
    towards: Mapping[str, tuple[Ratio, int]]


def match_variant(sample: Sample, variant: str) -> Intervened:
    """Rows of the variant whose episode is in the sample and whose frame is there as recorded."""
    store = sample.store
    kinds, names, frames = (store.column(name) for name in ("variant", "episode", "frame"))
    inside = set(sample.episodes)
    own = {
        (name, frame): row
        for row, (kind, name, frame) in enumerate(zip(kinds, names, frames.tolist(), strict=True))
        if kind == OWN and name in inside
    }
    pairs = [
        (own[name, frame], row)
        for row, (kind, name, frame) in enumerate(zip(kinds, names, frames.tolist(), strict=True))
        if kind == variant and (name, frame) in own
    ]
    rows = np.array(pairs, int).reshape(-1, 2)
    return Intervened(own=rows[:, 0], changed=rows[:, 1])


def measure_instruction(
    sample: Sample, experts: Experts, own: np.ndarray, swapped: np.ndarray, before: np.ndarray
) -> Told | None:
    """None where no episode was told what others were told. Indices into the store, aligned: rows as recorded; the same
    told something else; and the rows from whose predictions the policy moves to those of the second."""
    moves = _average_moves(sample, experts, own, swapped, before)
    contrast = Contrast(experts.courses, experts.asked, moves)
    relevant = contrast.relevant
    if not len(relevant):
        return None
    groups = np.array_split(relevant, min(len(relevant), MOST_LEFT_OUT))
    whole = contrast.sums(np.ones(sample.num_episodes, bool))
    without = np.array([contrast.sums(~np.isin(np.arange(sample.num_episodes), group)) for group in groups])
    meanings = {code: meaning for meaning, code in zip(sample.meaning, experts.asked.tolist(), strict=True)}
    codes = sorted({there for _, there in contrast.ways})

    spent = len({code for way in contrast.ways for code in way})  # a mean each

    def measure(ways: np.ndarray) -> Ratio:
        sums = whole[ways].sum(axis=0), without[:, ways].sum(axis=1)
        return root_of(ratio_of(*sums, FACTOR, len(groups) - spent))

    towards = {
        meanings[code]: (measure(contrast.towards(code)), int(contrast.weights[contrast.towards(code)].sum()))
        for code in codes
    }
    return Told(measure(np.arange(len(contrast.ways))), len(contrast.episodes), towards)


def moved(sample: Sample, before: np.ndarray, after: np.ndarray) -> Float[np.ndarray, "n M"]:
    """How the predicted chunk moves between rows of the store, flat."""
    predicted = sample.store.column("predicted").astype(np.float64)
    return (predicted[after] - predicted[before]).reshape(len(before), -1)


def _average_moves(sample: Sample, experts: Experts, own: np.ndarray, swapped: np.ndarray, before: np.ndarray) -> Moves:
    """By episode and what it was told in place of its instruction: the mean move in each bin."""
    store = sample.store
    there = np.array([experts.codes.get(text, -1) for text in store.column("instruction")[swapped].tolist()], int)
    episode = np.array([experts.places[name] for name in store.column("episode")[own].tolist()], int)
    steps = moved(sample, before, swapped)
    pairs, link = np.unique(np.stack([episode, there], axis=1), axis=0, return_inverse=True)
    known = np.isfinite(steps)
    sums, counts = (np.zeros((len(pairs), BINS, steps.shape[1])) for _ in range(2))
    at = link.reshape(-1), experts.bins[own]
    np.add.at(sums, at, np.where(known, steps, 0.0))
    np.add.at(counts, at, known)
    means = np.where(counts > 0.5, sums / np.maximum(counts, 1), np.nan)
    return Moves(episode=pairs[:, 0], there=pairs[:, 1], moved=means.reshape(len(pairs), -1))
