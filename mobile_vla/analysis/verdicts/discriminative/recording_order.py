"""Where nobody knows which episodes were recorded together: does the label, or do the actions, follow the order of
recording?

In: labels or action chunks, and the place of each episode in the order of recording. Out: a p-value. Light, drift and
day change slowly over a recording, so episodes recorded one after the other share them; where these episodes also share
the label, or act alike, nothing tells the one from the other. Contiguous blocks as stand-ins for sessions do not repair
that (false yes in 50 to 100 % of simulated stores). Neighbours of an episode are those at most 3 places away:

    labels    T = sum_e y_e mean{y_j : 0 < |place_j - place_e| <= 3}, y coded -1 and 1: twice the share of neighbours
              with the same label, summed over episodes, less n. So for any number of classes the shares are summed.
    chunks    T = sum_e <m_e, mean{m_j : 0 < |place_j - place_e| <= 3}>, m_e the mean chunk of episode e in what the
              baseline leaves. Permuted within texts, since each text's mean is removed.
"""

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.sample import Sample
from mobile_vla.analysis.verdicts.folds import permutations

REACH = 3  # places on either side
LABELS_PERMUTED = 1999  # a p-value near .05 would depend on the seed with fewer
CHUNKS_PERMUTED = 499


def find_places(sample: Sample) -> Int[np.ndarray, " E"]:
    """Place of each episode in the order of recording; in the order of their names where nothing says it."""
    return np.arange(sample.num_episodes) if sample.order is None else np.asarray(sample.order)


def p_of_order(
    labels: Int[np.ndarray, " n"], places: Int[np.ndarray, " n"], cells: Int[np.ndarray, " n"], seed: int = 0
) -> float:
    """p-value of neighbours that share their label as often. cells: labels are permuted inside each."""
    order = np.argsort(places, kind="stable")
    labels, cells = labels[order], cells[order]
    drawn = _permute(labels, cells, np.random.default_rng([seed, 5]))
    seen = _share_labels(labels[None])[0]
    return float((1 + (_share_labels(drawn) >= seen - 1e-9).sum()) / (LABELS_PERMUTED + 1))


def find_drift(
    sample: Sample, leading: Float[np.ndarray, "N k"], text: Int[np.ndarray, " E"], seed: int
) -> float | None:
    """p-value of neighbours that act as much alike; None where no order is known.

    leading: what the baseline leaves of the chunks;  text: code of each episode"""
    if sample.order is None:
        return None
    means = sample.means(leading)
    for code in np.unique(text):
        means[text == code] -= means[text == code].mean(axis=0)
    inner = means @ means.T
    first, second, weight = _neighbours(np.argsort(sample.order, kind="stable"))
    observed = inner[first, second] @ weight
    orders = np.array(list(permutations(text, CHUNKS_PERMUTED, seed + 2)))
    reached = int((inner[orders[:, first], orders[:, second]] @ weight >= observed - 1e-12).sum())
    return (1 + reached) / (CHUNKS_PERMUTED + 1)


def _neighbours(by_place: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both episodes of each pair of neighbours, and what it counts: once in the mean of either one's neighbours.

    by_place: the episodes in the order of recording"""
    n = len(by_place)
    pairs = [(place, place + away) for away in range(1, min(REACH, n - 1) + 1) for place in range(n - away)]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    number = np.bincount(first, minlength=n) + np.bincount(second, minlength=n)
    return by_place[first], by_place[second], 1 / number[first] + 1 / number[second]


def _share_labels(labels: Int[np.ndarray, "k n"]) -> Float[np.ndarray, " k"]:
    """The share of each episode's neighbours with its label, summed over the episodes, which are in order."""
    first, second, weight = _neighbours(np.arange(labels.shape[1]))
    return (labels[:, first] == labels[:, second]) @ weight


def _permute(
    labels: Int[np.ndarray, " n"], cells: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, "k n"]:
    """Labels in random orders, each cell by itself: sorted by random numbers after the cell."""
    keys = cells + rng.random((LABELS_PERMUTED, len(cells)))
    drawn = np.empty(keys.shape, int)
    drawn[:, np.argsort(cells, kind="stable")] = labels[np.argsort(keys, axis=1)]
    return drawn
