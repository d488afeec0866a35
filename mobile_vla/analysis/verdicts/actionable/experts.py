"""What an expert does at a point of the way under an instruction, learnt from other episodes.

In: a sample with true chunks. Out: the mean chunk of each episode and progress bin; and whether the recorded actions
depend on the instruction at all.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.sample import BINS, Sample, bin_of
from mobile_vla.analysis.verdicts.folds import codes_of
from mobile_vla.core.dependence import Dependence, explained_share, judge_dependence


@dataclass(frozen=True, kw_only=True, eq=False)
class Experts:
    """codes   text -> code of what it asks for;  asked  (E,) code of each episode
    places  episode -> its index;  bins  (rows of the store,) of progress
    sums, counts  (E, BINS, C, A) of the known actions of each episode's rows as recorded
    """

    codes: dict[str, int]
    asked: Int[np.ndarray, " E"]
    places: dict[str, int]
    bins: Int[np.ndarray, " rows"]
    sums: Float[np.ndarray, "E B C A"]
    counts: Float[np.ndarray, "E B C A"]

    @classmethod
    def of(cls, sample: Sample) -> "Experts":
        """Of all rows as recorded of the sample's episodes, whatever their number in a bin."""
        store = sample.store
        names = {name: code for code, name in enumerate(dict.fromkeys(sample.meaning))}
        places = {name: place for place, name in enumerate(sample.episodes)}
        bins, actions = bin_of(store.column("progress")), store.column("action").astype(np.float64)
        episodes = np.array([places.get(name, -1) for name in store.column("episode").tolist()])
        rows = store.select()
        rows = rows[episodes[rows] >= 0]
        sums = np.zeros((sample.num_episodes, BINS, *actions.shape[1:]))
        counts = np.zeros_like(sums)
        known = np.isfinite(actions[rows])
        at = episodes[rows], bins[rows]
        np.add.at(sums, at, np.where(known, actions[rows], 0.0))
        np.add.at(counts, at, known)
        return cls(
            codes={text: names[asked] for text, asked in zip(sample.instruction, sample.meaning, strict=True)},
            asked=np.array([names[asked] for asked in sample.meaning]),
            places=places,
            bins=bins,
            sums=sums,
            counts=counts,
        )

    @property
    def courses(self) -> Float[np.ndarray, "E M"]:
        """The mean chunk of each episode in each bin, bin after bin; NaN where unknown."""
        means = np.where(self.counts > 0.5, self.sums / np.maximum(self.counts, 1), np.nan)
        return means.reshape(len(self.asked), -1)


def find_dependence(sample: Sample) -> Dependence:
    """Whether the recorded actions depend on the instruction; see `mobile_vla.core.dependence`."""
    if sample.actions is None:
        return Dependence.impossible("the store holds no actions", sample.num_episodes)
    return judge_dependence(_profiles(sample), sample.meaning, sample.session.tolist())


def find_relevance(sample: Sample, codes: Int[np.ndarray, " E"]) -> float:
    """How much of the actions' variance a label (a code of each episode) explains, beyond progress and instruction, and
    beyond chance; 0 without actions. What an expert acts on is a situation that a context should tell apart."""
    if sample.actions is None:
        return 0.0
    return explained_share(_profiles(sample), np.unique(codes, return_inverse=True)[1], codes_of(sample.meaning))


def _profiles(sample: Sample) -> Float[np.ndarray, "E B A"]:
    """The chunk of each episode's row in each bin of progress, flat; NaN where there is none."""
    assert sample.actions is not None
    flat = sample.actions.reshape(len(sample.rows), -1)
    profiles = np.full((sample.num_episodes, BINS, flat.shape[1]), np.nan)
    profiles[sample.episode, sample.bin] = flat
    return profiles
