"""What an expert does at a point of the way when told this or that, learnt from other episodes; and whether it depends.

In: a sample with true chunks. Out: mean chunks by what was asked for and progress bin, each without one episode; and
whether the recorded actions depend on the instruction at all.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.sample import BINS, Sample, bin_of
from mobile_vla.analysis.verdicts.baseline import meanings_of
from mobile_vla.analysis.verdicts.folds import can_permute, codes_of, permutations
from mobile_vla.analysis.verdicts.permuting import draw
from mobile_vla.analysis.verdicts.verdict import ALPHA

PERMUTATIONS = 199


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

    def differ(
        self,
        here: Int[np.ndarray, " n"],
        there: Int[np.ndarray, " n"],
        bins: Int[np.ndarray, " n"],
        episodes: Int[np.ndarray, " n"],
        without: Int[np.ndarray, " m"],
    ) -> Float[np.ndarray, "n C A"]:
        """The mean chunk of those told `there`, minus that of those told `here`; NaN where nobody was. Of all episodes
        but the row's own one, and those that are to be left out of all rows."""
        left = np.setdiff1d(np.arange(len(self.asked)), without)
        totals = np.zeros((2, int(self.asked.max()) + 1, *self.sums.shape[1:]))
        for total, parts in zip(totals, (self.sums, self.counts), strict=True):
            np.add.at(total, self.asked[left], parts[left])

        def mean(code: np.ndarray) -> np.ndarray:
            own = ((self.asked[episodes] == code) & ~np.isin(episodes, without))[:, None, None]
            sums, counts = (
                total[code, bins] - np.where(own, parts[episodes, bins], 0.0)
                for total, parts in zip(totals, (self.sums, self.counts), strict=True)
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where((counts > 0.5) & (code >= 0)[:, None, None], sums / counts, np.nan)

        return mean(there) - mean(here)


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """Whether the recorded actions depend on the instruction, in a sentence why or why not; `can_tell`: whether these
    episodes could show it at all."""

    depends: bool
    sentence: str
    can_tell: bool = True


def find_dependence(sample: Sample) -> Dependence:
    """Whether the mean chunk of an instruction predicts other episodes' better than the mean chunk of all does."""
    if sample.actions is None:
        return Dependence(depends=False, sentence="the store holds no actions", can_tell=False)
    meanings = codes_of(sample.meaning)
    if len(set(meanings.tolist())) < 2:
        return Dependence(depends=False, sentence="all episodes were asked for the same, as far as can be told")
    blocks = codes_of(sample.session)
    if not can_permute(blocks, meanings):
        why = "too few episodes of one session were asked for different things"
        return Dependence(depends=False, sentence=why, can_tell=False)
    if np.bincount(meanings).max() < 2:
        return Dependence(depends=False, sentence="each episode was asked for something else", can_tell=False)
    gain = _Gain(sample, np.zeros_like(meanings))
    gained = gain.of(meanings)
    orders = permutations(blocks, PERMUTATIONS, seed=0)
    p, _ = draw(gained, (gain.of(meanings[order]) for order in orders))
    told = (
        f"the mean chunk of its instruction explains {gained:z.2f} of an episode's actions beyond progress, p = {p:.3f}"
    )
    return Dependence(depends=gained > 0 and p <= ALPHA, sentence=told)


def find_relevance(sample: Sample, codes: Int[np.ndarray, " E"]) -> float:
    """How much of other episodes' actions a label (a code of each episode) explains, beyond progress and instruction;
    0 without actions. What an expert acts on is a situation that a context should tell apart."""
    return 0.0 if sample.actions is None else _Gain(sample, meanings_of(sample)).of(codes)


class _Gain:
    """Share of the actions that mean chunks by a code explain, beyond those by progress and `given` (a code too)."""

    def __init__(self, sample: Sample, given: Int[np.ndarray, " E"]):
        assert sample.actions is not None
        flat = sample.actions.reshape(len(sample.rows), -1)
        self.sample, self.known = sample, np.isfinite(flat)
        cells = np.unique(given[sample.episode] * BINS + sample.bin, return_inverse=True)[1]
        left, _ = _leave_one_out(np.where(self.known, flat, 0.0), self.known, cells)
        deviation = left.std(axis=0)
        self.left = left / np.where(deviation > 0, deviation, 1)
        self.alone = self._error(np.zeros_like(given)) or 1.0

    def of(self, codes: Int[np.ndarray, " E"]) -> float:
        return 1 - self._error(codes) / self.alone

    def _error(self, codes: Int[np.ndarray, " E"]) -> float:
        cells = np.unique(codes[self.sample.episode] * BINS + self.sample.bin, return_inverse=True)[1]
        return float((_leave_one_out(self.left, self.known, cells)[1] ** 2).sum())


def _leave_one_out(
    values: Float[np.ndarray, "N M"], known: Bool[np.ndarray, "N M"], cells: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "N M"], Float[np.ndarray, "N M"]]:
    """Minus the cell's mean, and minus its mean without the row (an episode has one row a cell at most); 0 where
    unknown. A row that is alone in its cell keeps its value."""
    columns = np.eye(cells.max() + 1)[cells]
    counts = (columns.T @ known)[cells]
    left = np.where(known, values - (columns.T @ values)[cells] / np.maximum(counts, 1), 0.0)
    return left, np.where(counts > 1, left * counts / np.maximum(counts - 1, 1), np.where(known, values, 0.0))
