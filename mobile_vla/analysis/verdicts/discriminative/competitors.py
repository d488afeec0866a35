"""What a verdict on contexts has to beat: everything that needs no context, and still might tell the label.

In: the question, scored as the contexts are (`Asked`). Out: `Competitor`s, and the paired difference from each.

    majority         the most frequent class
    progress         at which progress the stored rows of an episode lie
    instruction      sentences, words, pairs of words and runs of characters, by the same ridge classifier
    key words        the words and runs that go with a class in the training episodes (naive Bayes)
    recording order  the place in the order of recording: its trend, and what episodes nearby are
    session          constant in a cell, so chance, where sessions are known

"Yes" takes the lower bounds of *all* differences above 0, not only that of the best competitor by score: an
intersection-union test, which needs no correction. A difference is paired by episode: the share of the deals in which
the contexts were right less that in which the competitor was, weighted as the accuracy is; standard error x 1.5 as in
all statistics of five folds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from mobile_vla.analysis.sample import BINS, Sample
from mobile_vla.analysis.verdicts.discriminative.decoding import PENALTY, Asked
from mobile_vla.analysis.verdicts.discriminative.recording_order import find_places
from mobile_vla.analysis.verdicts.discriminative.wording import find_runs, find_words
from mobile_vla.analysis.verdicts.preserving.ridge import Ridge, standardise
from mobile_vla.analysis.verdicts.verdict import NADEAU_BENGIO
from mobile_vla.core.levels import ALPHA

READERS = ("instruction", "key words")
NOTHING = 1e-9  # of the variance: what is less is the same in all episodes of a cell
REACHES = (2.0, 6.0)  # episodes: how far the recording order's kernel looks
CLEAR = 2.5  # standard errors at which a word goes with a class
PRIOR = 0.5  # of an episode with, and one without a word, in each class


@dataclass(frozen=True, kw_only=True)
class Competitor:
    """accuracy  balanced, as of the contexts;  difference  of the contexts less it, with its one-sided 95 % bound"""

    name: str
    accuracy: float
    difference: float
    bound: float

    @property
    def beaten(self) -> bool:
        return self.bound > 0

    def to_plain(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "difference": self.difference,
            "lower_bound": self.bound,
            "beaten": self.beaten,
        }


def find_competitors(
    rates: Float[np.ndarray, " n"], sample: Sample, asked: Asked, *, sessions: bool
) -> list[Competitor]:
    """rates  share of the deals in which the contexts were right, of each asked episode;  sessions  are known"""
    texts = [sample.instruction[episode] for episode in asked.chosen.tolist()]
    words, runs = find_words(texts), find_runs(texts)
    places = find_places(sample)[asked.chosen]
    chance = np.full(asked.size, 1 / asked.num)
    scored = {
        "majority": chance,
        "progress": rate_columns(describe_progress(sample)[asked.chosen], asked),
        "instruction": _rate_kernel(_mean_kernel(words, runs), asked),
        "key words": _rate_key_words(np.concatenate([words, runs], axis=1), asked),
        "recording order": _rate_kernel(_order_kernel(places), asked),
        **({"session": chance} if sessions else {}),
    }
    return [compare(name, rates, other, asked) for name, other in scored.items()]


def compare(name: str, rates: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"], asked: Asked) -> Competitor:
    """The weighted mean of the paired differences, with a one-sided bound by Student's t."""
    weights, apart = asked.weights, rates - other
    difference = float(apart @ weights)
    square, freedom = 0.0, 0
    for code in range(asked.num):
        inside = (asked.labels == code) & (weights > 0)
        count = int(inside.sum())
        mean = np.average(apart[inside], weights=weights[inside])
        square += float((weights[inside] ** 2 * (apart[inside] - mean) ** 2).sum()) * count / max(count - 1, 1)
        freedom += count - 1
    reach = float(stats.t.ppf(1 - ALPHA, max(freedom, 1))) * NADEAU_BENGIO * np.sqrt(square)
    return Competitor(
        name=name, accuracy=float(other @ weights), difference=difference, bound=float(difference - reach)
    )


def rate_columns(columns: Float[np.ndarray, "n d"], asked: Asked) -> Float[np.ndarray, " n"]:
    """Of each episode the share of the deals in which a ridge classifier on these columns is right."""
    values = standardise(columns)
    return _rate_kernel(values @ values.T, asked)


def describe_progress(sample: Sample) -> Float[np.ndarray, "E P"]:
    """The progress of an episode's rows: in each bin, on average, first, last, and how many rows there are."""
    progress, bins = np.asarray(sample.progress, np.float64), sample.bin
    counts = np.zeros((sample.num_episodes, BINS))
    sums = np.zeros_like(counts)
    np.add.at(counts, (sample.episode, bins), 1)
    np.add.at(sums, (sample.episode, bins), progress)
    there = counts > 0
    middle = sums.sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    of_bin = np.where(there, sums / np.maximum(counts, 1), middle)
    ends = np.array([(progress[rows].min(), progress[rows].max()) for rows in sample.rows_by_episode])
    mean = sums.sum(axis=1) / counts.sum(axis=1)
    centred = (mean - mean.mean()) ** 2
    return np.column_stack([of_bin, there, mean, centred, ends, counts.sum(axis=1)])


def _rate_kernel(kernel: Float[np.ndarray, "n n"], asked: Asked) -> Float[np.ndarray, " n"]:
    """Chance where all episodes of a cell are the same."""
    ridge = Ridge(kernel, asked.columns)
    if ridge.variances.sum() <= NOTHING * max(float(np.trace(kernel)), NOTHING):
        return np.full(asked.size, 1 / asked.num)
    return asked.many.rate(asked.many.classify(ridge.left(PENALTY), np.arange(asked.size)[None]))[0]


def _mean_kernel(*parts: Float[np.ndarray, "n _"]) -> Float[np.ndarray, "n n"]:
    """Of several sets of columns, each counting alike."""
    kernels = [values @ values.T for part in parts if part.shape[1] for values in [standardise(part)]]
    return np.mean(kernels, axis=0) if kernels else np.zeros((len(parts[0]),) * 2)


def _order_kernel(places: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """A trend, and episodes nearby: the nearer the more alike."""
    rank = np.argsort(np.argsort(places, kind="stable"), kind="stable")
    trend = standardise(rank[:, None].astype(float))
    away = np.abs(rank[:, None] - rank[None])
    return np.mean([trend @ trend.T, *(np.exp(-away / reach) for reach in REACHES)], axis=0)


def _rate_key_words(words: Float[np.ndarray, "n V"], asked: Asked) -> Float[np.ndarray, " n"]:
    """Naive Bayes on the words that clearly go with a class in the training episodes, or else on the clearest one.

    Classes count alike, and the scores are centred in each cell by its training episodes, as the ridge's are."""
    if not words.shape[1]:
        return np.full(asked.size, 1 / asked.num)
    member = np.eye(asked.num)[asked.labels]  # (n, C)
    deals = asked.some
    right = np.zeros(asked.size)
    for folds in deals.folds:
        for fold in np.unique(folds):
            test = folds == fold
            of_class, cells = member[~test], asked.columns[~test]
            scores = words @ _weigh_words(words[~test], of_class)  # (n, C)
            means = cells.T @ scores[~test] / np.maximum(cells.sum(axis=0), 1)[:, None]
            decided = (scores[test] - asked.columns[test] @ means).argmax(axis=1)
            right[test] += decided == asked.labels[test]
    return right / deals.count


def _weigh_words(words: Float[np.ndarray, "t V"], of_class: Float[np.ndarray, "t C"]) -> Float[np.ndarray, "V C"]:
    """Logarithm of the odds of a word in a class against the other classes; 0 where it is not clear."""
    counts, sizes = words.T @ of_class, of_class.sum(axis=0)
    others, rest = counts.sum(axis=1, keepdims=True) - counts, sizes.sum() - sizes
    odds = [np.log((number + PRIOR) / (size - number + PRIOR)) for number, size in ((counts, sizes), (others, rest))]
    shares = (counts + PRIOR) / (sizes + 2 * PRIOR), (others + PRIOR) / (rest + 2 * PRIOR)
    pooled = (counts + others + PRIOR) / (sizes.sum() + 2 * PRIOR)
    error = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(sizes, 1) + 1 / np.maximum(rest, 1)))
    clear = np.abs(shares[0] - shares[1]) / error
    kept = clear >= np.minimum(CLEAR, clear.max(axis=0))
    return np.where(kept, odds[0] - odds[1], 0.0)
