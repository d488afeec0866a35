"""Held-out orthogonal Procrustes: does a rotation, fitted on some episodes, carry others from one space to the other?

In: a `Pair`. Out: R^2 beyond the progress bin's mean on episodes that the rotation was not fitted on, of both
directions' mean, with its interval.

There are rarely more episodes than dimensions, so that a rotation of all of them could be bent to fit anything. In each
fold both spaces are therefore reduced to principal components of the training episodes' means, at most one for every
four of them, and the R^2 is of those: a rotated copy scores 1, and `details["variance"]` says how much of the held-out
variance the components hold. The common scale is fitted on training episodes that its rotation has not seen: spaces
that have nothing in common get a scale near 0 and score near 0, not far below.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh

from mobile_vla.analysis.pairs.measure import Estimate, jackknife
from mobile_vla.analysis.pairs.pair import Pair
from mobile_vla.analysis.verdicts.folds import FOLDS, deal_folds

MOST_COMPONENTS = 32
EPISODES_A_COMPONENT = 4
MANY_GROUPS, FEW_GROUPS, FEW_EPISODES = 20, 10, 100  # of the jackknife; fewer groups where a fit is dear
LEAST = 1e-10  # variance relative to the first component's: less is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class _Deal:
    """fold  (E,) of each episode;  half  (FOLDS, E) 0 and 1: the two halves of each fold's training
    sizes    how many components each fold has
    """

    fold: Int[np.ndarray, " E"]
    half: Int[np.ndarray, "F E"]
    sizes: tuple[int, ...]

    def keep(self, kept: Int[np.ndarray, " K"]) -> "_Deal":
        return replace(self, fold=self.fold[kept], half=self.half[:, kept])


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """One fold.

    left, right  (N, r) of all rows;  role  (E,) 0 and 1: the two halves of training, 2: held out
    held         (2,) share of the held-out variance beyond the bins' means that left's and right's components hold
    """

    left: Float[np.ndarray, "N r"]
    right: Float[np.ndarray, "N r"]
    role: Int[np.ndarray, " E"]
    held: Float[np.ndarray, " 2"]


def find_procrustes(pair: Pair, seed: int = 0, *, spread: bool = True) -> Estimate | None:
    """None where a side does not vary within the bins. spread: without, there is no interval, which takes most of the
    time.

    The interval is a delete-a-group jackknife: components and rotations are fitted anew without each group of
    episodes, in the same folds and of the same size. Leaving episodes out of the sums alone does not see that another
    sample would give another rotation: its interval, x 1.5 and nominally 90 %, covered 73 % at 40 episodes.
    """
    deal = _deal(pair, seed)
    folds = _reduce(pair, deal)
    if folds is None:
        return None
    both = _r2(_score(pair, folds, np.arange(pair.num_episodes)).sum(axis=0)[None])[0]
    values = np.full(2, both.mean())
    if spread:
        scores = []
        for kept in _leave_groups_out(pair, seed):
            few = pair.keep(kept)
            again = _reduce(few, deal.keep(kept))
            if again is None:
                return None
            scores.append(_score(few, again, np.arange(len(kept))).sum(axis=0))
        values = _r2(np.stack(scores)).mean(axis=1)
    found = jackknife(float(both.mean()), values, highest=1.0)
    return replace(
        found,
        n=pair.num_episodes,
        details={
            "components": folds[0].left.shape[1],
            "variance": dict(zip(("left", "right"), np.mean([fold.held for fold in folds], axis=0).tolist())),
            "left_to_right": float(both[0]),
            "right_to_left": float(both[1]),
        },
    )


def find_permuted_procrustes(
    pair: Pair, orders: Int[np.ndarray, "K E"], seed: int = 0
) -> Float[np.ndarray, " K"] | None:
    """With right's episodes exchanged, as whole ones, before the rotation is fitted; in the same components."""
    folds = _reduce(pair, _deal(pair, seed))
    if folds is None:
        return None
    return _r2(np.stack([_score(pair, folds, order).sum(axis=0) for order in orders])).mean(axis=1)


def _deal(pair: Pair, seed: int) -> _Deal:
    fold = deal_folds(pair.block, seed)
    rng = np.random.default_rng([seed, 3])
    half = np.zeros((FOLDS, len(fold)), int)
    for number in range(FOLDS):
        half[number, rng.permutation(np.flatnonzero(fold != number))[::2]] = 1
    counts = np.bincount(fold, minlength=FOLDS)
    sizes = [min(MOST_COMPONENTS, max(1, int(len(fold) - count) // EPISODES_A_COMPONENT)) for count in counts]
    return _Deal(fold=fold, half=half, sizes=tuple(sizes))


def _leave_groups_out(pair: Pair, seed: int) -> Iterator[Int[np.ndarray, " K"]]:
    """The episodes that are left without each group."""
    count = MANY_GROUPS if pair.num_episodes <= FEW_EPISODES else FEW_GROUPS
    group = np.random.default_rng([seed, 7]).permutation(np.arange(pair.num_episodes) % count)
    for number in range(min(count, pair.num_episodes)):
        yield np.flatnonzero(group != number)


def _reduce(pair: Pair, deal: _Deal) -> list[Reduced] | None:
    found = []
    for fold, size in enumerate(deal.sizes):
        training = deal.fold != fold
        role = np.where(training, deal.half[fold], 2)
        out = ~training[pair.episode]
        sides, held = [], []
        for vectors in (pair.left, pair.right):
            rest = _beyond_means(pair, vectors, training)
            axes = find_axes(pair.average(rest)[training], size)
            sides.append(rest.astype(np.float64) @ axes)
            total = float((rest[out].astype(np.float64) ** 2).sum())
            held.append(float((sides[-1][out] ** 2).sum()) / total if total else 0.0)
        size = min(side.shape[1] for side in sides)
        if size == 0 or min(held) == 0:
            return None
        found.append(Reduced(left=sides[0][:, :size], right=sides[1][:, :size], role=role, held=np.array(held)))
    return found


def find_axes(means: Float[np.ndarray, "E D"], size: int) -> Float[np.ndarray, "D r"]:
    """The first principal axes, through the smaller of the two products; none where nothing varies."""
    count = min(size, *means.shape)
    product = means @ means.T if len(means) <= means.shape[1] else means.T @ means
    values, vectors = eigh(product, subset_by_index=(len(product) - count, len(product) - 1))
    good = values > LEAST * max(values[-1], np.finfo(float).tiny)
    values, vectors = values[good][::-1], vectors[:, good][:, ::-1]
    return means.T @ (vectors / np.sqrt(values)) if len(means) <= means.shape[1] else vectors


def _beyond_means(pair: Pair, vectors: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Less the mean of the bin over the training episodes."""
    rest = np.empty_like(vectors)
    for rows in pair.groups:
        seen = rows[training[pair.episode[rows]]]
        rest[rows] = vectors[rows] - vectors[seen].mean(axis=0, dtype=np.float64)
    return rest


def _score(pair: Pair, folds: list[Reduced], order: np.ndarray) -> np.ndarray:
    """(E, 4) of each episode, when it was held out: left's and right's squares, squared errors right and left."""
    exchanged = pair.exchange(order)
    found = np.zeros((pair.num_episodes, 4))
    for fold in folds:
        left, right, role = fold.left, fold.right[exchanged], fold.role[pair.episode]
        halves = [left[rows].T @ right[rows] for rows in (np.flatnonzero(role == half) for half in (0, 1))]
        agreement = sum(float((halves[1 - half] * find_rotation(halves[half])).sum()) for half in (0, 1))
        agreement = max(agreement, 0.0)
        rows = role < 2
        to_right, to_left = agreement / (left[rows] ** 2).sum(), agreement / (right[rows] ** 2).sum()
        rotation = find_rotation(halves[0] + halves[1])
        rows = np.flatnonzero(role == 2)
        turned, target = left[rows] @ rotation, right[rows]
        parts = [
            (turned**2).sum(axis=1),
            (target**2).sum(axis=1),
            ((target - to_right * turned) ** 2).sum(axis=1),
            ((turned - to_left * target) ** 2).sum(axis=1),
        ]
        np.add.at(found, pair.episode[rows], np.stack(parts, axis=1))
    return found


def find_rotation(cross: np.ndarray) -> np.ndarray:
    """The orthogonal Q that makes left Q closest to right (Schoenemann 1966)."""
    left, _, right = np.linalg.svd(cross)
    return left @ right


def _r2(sums: np.ndarray) -> np.ndarray:
    """(n, 4) to (n, 2): of right from left, and of left from right."""
    return 1 - sums[:, 2:] / sums[:, 1::-1]
