"""Where nobody knows which episodes were recorded together: does the label follow the order of recording?

In: labels, and the place of each episode in the order of recording. Out: a p-value. With y coded -1 and 1,

    T = sum_e y_e mean{y_j : 0 < |j - e| <= 3}

which is 2 (the share of neighbours with the same label, summed over episodes) - n; so for any number of classes the
shares are summed. Labels are permuted. Where neighbours share the label, light, drift and day are shared too, and
nothing tells the label from them; contiguous blocks as stand-ins for sessions do not repair that (false yes in 50 to
100 % of simulated stores).
"""

import numpy as np
from jaxtyping import Int

from mobile_vla.analysis.sample import Sample

NEIGHBOURS = 3
PERMUTATIONS = 1999  # a p-value near .05 would depend on the seed with fewer


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
    return float((1 + (_share_labels(drawn) >= seen - 1e-9).sum()) / (PERMUTATIONS + 1))


def _permute(
    labels: Int[np.ndarray, " n"], cells: Int[np.ndarray, " n"], rng: np.random.Generator
) -> Int[np.ndarray, "k n"]:
    """Labels in random orders, each cell by itself: sorted by random numbers after the cell."""
    keys = cells + rng.random((PERMUTATIONS, len(cells)))
    drawn = np.empty(keys.shape, int)
    drawn[:, np.argsort(cells, kind="stable")] = labels[np.argsort(keys, axis=1)]
    return drawn


def _share_labels(labels: Int[np.ndarray, "k n"]) -> np.ndarray:
    """(k,) the share of each episode's neighbours with its label, summed over the episodes."""
    n = labels.shape[1]
    same, number = np.zeros(labels.shape), np.zeros(n)
    for away in range(1, min(NEIGHBOURS, n - 1) + 1):
        equal = labels[:, away:] == labels[:, :-away]
        same[:, away:] += equal
        same[:, :-away] += equal
        number[away:] += 1
        number[:-away] += 1
    return (same / np.maximum(number, 1)).sum(axis=1)
