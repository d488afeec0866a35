"""Mutual nearest neighbours: does each episode have the same neighbours in both spaces?

In: a `Pair`. Out: the mean share of the k nearest that both sides agree on (Huh et al. 2024, "The platonic
representation hypothesis"), with its interval.

Neighbours are sought among the rows of the same progress bin: one row an episode, so never a frame of the row's own
episode, a near copy that both spaces hold close whatever they mean. Distances are raw: those of a rotated copy are the
same, z-scored ones are not; a massive dimension that rules them shows in the difference to `find_cka` of z-scored rows.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.analysis.pairs.measure import Estimate, jackknife
from mobile_vla.analysis.pairs.pair import Pair

MOST_NEIGHBOURS = 10


def find_mutual_knn(pair: Pair) -> Estimate:
    """With a delete-one-episode jackknife, neighbours sought anew without the episode.

    An episode counts in its own rows and as a neighbour of others' rows. The spread of the episodes' means knows only
    the first: its interval, nominally 90 %, covered 65 to 82 %.
    """
    neighbours = find_neighbours(pair)
    means = _overlap_by_episode(pair, neighbours, np.arange(pair.num_episodes))
    found = jackknife(float(means.mean()), _overlap_without_each(pair), highest=1.0, details={"k": choose_k(pair)})
    return replace(found, ci=(max(found.ci[0], 0.0), found.ci[1]))


def find_permuted_knn(pair: Pair, orders: Int[np.ndarray, "K E"]) -> Float[np.ndarray, " K"]:
    """With right's episodes exchanged, as whole ones."""
    neighbours = find_neighbours(pair)
    return np.array([_overlap_by_episode(pair, neighbours, order).mean() for order in orders])


def choose_k(pair: Pair) -> int:
    """10, or a quarter of the smallest bin's other rows: neighbours must be few among many."""
    smallest = min(len(rows) for rows in pair.groups)
    return max(1, min(MOST_NEIGHBOURS, (smallest - 1) // 4))


def find_neighbours(pair: Pair) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each bin: (n, k) places of left's neighbours, and (n, n) of whether a row is among right's."""
    k = choose_k(pair)
    found = []
    for left, right in zip(*pair.grams, strict=True):
        theirs = np.zeros(right.shape, bool)
        np.put_along_axis(theirs, _nearest(right, k), True, axis=1)
        found.append((_nearest(left, k), theirs))
    return found


def _distances(gram: np.ndarray) -> np.ndarray:
    """(n, n) squared, less the row's own square, which is the same for all of its neighbours; infinite to itself."""
    distances = np.diagonal(gram) - 2 * gram
    np.fill_diagonal(distances, np.inf)
    return distances


def _nearest(gram: np.ndarray, k: int) -> np.ndarray:
    """(n, k) in no order; a row is not its own neighbour."""
    return np.argpartition(_distances(gram), k - 1, axis=1)[:, :k]


def _overlap_without_each(pair: Pair) -> Float[np.ndarray, " E"]:
    """The measure without each episode in turn. A row that has the episode among its k nearest moves up to the next."""
    k = choose_k(pair)
    num, bins = pair.num_episodes, np.bincount(pair.episode)
    sums = np.zeros((num, num))  # of each episode's overlaps (rows), without each episode (columns)
    for rows, left, right in zip(pair.groups, *pair.grams, strict=True):
        inside, following = zip(*(_split_off_next(gram, k) for gram in (left, right)), strict=True)
        ours, theirs = inside
        there = np.arange(len(rows))
        enters_theirs = theirs[there, following[0]][:, None]  # left's next one is among right's nearest
        enters_ours = ours[there, following[1]][:, None]
        same = (following[0] == following[1])[:, None]
        overlap = (ours & theirs).sum(axis=1, keepdims=True)
        change = np.where(ours, enters_theirs, 0) + np.where(theirs, enters_ours, 0)
        change = change + np.where(ours & theirs, same * 1 - 1, 0)
        episodes = pair.episode[rows]
        sums[episodes] += overlap / k
        sums[np.ix_(episodes, episodes)] += change / k
    means = sums / bins[:, None]
    np.fill_diagonal(means, 0.0)
    return means.sum(axis=0) / (num - 1)


def _split_off_next(gram: np.ndarray, k: int) -> tuple[Bool[np.ndarray, "n n"], Int[np.ndarray, " n"]]:
    """Whether a row is among the k nearest, and which one is the next."""
    distances = _distances(gram)
    order = np.argpartition(distances, (k - 1, k), axis=1)
    inside = np.zeros(gram.shape, bool)
    np.put_along_axis(inside, order[:, :k], True, axis=1)
    return inside, order[:, k]


def _overlap_by_episode(pair: Pair, neighbours: list[tuple[np.ndarray, np.ndarray]], order: np.ndarray) -> np.ndarray:
    sums, counts = np.zeros(pair.num_episodes), np.zeros(pair.num_episodes)
    for rows, (ours, theirs) in zip(pair.groups, neighbours, strict=True):
        episodes = pair.episode[rows]
        where = np.full(pair.num_episodes, -1)
        where[episodes] = np.arange(len(rows))
        places = where[order[episodes]]
        sums[episodes] += theirs[places[:, None], places[ours]].mean(axis=1)
        counts[episodes] += 1
    return sums / counts
