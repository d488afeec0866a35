"""Folds and permutations of whole episodes: fixed by a seed, stratified, and exchangeable.

In: codes of the episodes. Out: a fold of each episode, and orders in which episodes take each other's places.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from scipy.special import gammaln

from mobile_vla.core.levels import ALPHA

FOLDS = 5
DEAL_STEP = 100_003  # between the seeds of two deals


def deal_folds(strata: Int[np.ndarray, " E"], seed: int) -> Int[np.ndarray, " E"]:
    """A fold of each episode, 0 to FOLDS - 1: at random, each stratum spread evenly, all folds of nearly one size."""
    rng = np.random.default_rng([seed, 1])
    folds = np.empty(len(strata), int)
    place = int(rng.integers(FOLDS))
    for stratum in np.unique(strata):  # one after the other, so that small strata do not all end in the same folds
        members = rng.permutation(np.flatnonzero(strata == stratum))
        folds[members] = (place + np.arange(len(members))) % FOLDS
        place += len(members)
    return folds


def deal_often(strata: Int[np.ndarray, " E"], seed: int, count: int) -> list[Int[np.ndarray, " E"]]:
    """Several deals of the folds, each independent of the others."""
    return [deal_folds(strata, seed + DEAL_STEP * number) for number in range(count)]


def blocks_of(folds: Int[np.ndarray, " E"], episode: Int[np.ndarray, " N"] | None = None) -> list[np.ndarray]:
    """Rows of each fold; of the episodes themselves where no rows are given."""
    of_rows = folds if episode is None else folds[episode]
    found = [np.flatnonzero(of_rows == fold) for fold in range(FOLDS)]
    return [block for block in found if len(block)]


def permutations(blocks: Int[np.ndarray, " E"], count: int, seed: int) -> Iterator[Int[np.ndarray, " E"]]:
    """Orders of the episodes: within each block (a session, say) every order is equally likely."""
    rng = np.random.default_rng([seed, 2])
    members = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    for _ in range(count):
        order = np.arange(len(blocks))
        for block in members:
            order[block] = rng.permutation(block)
        yield order


def can_permute(blocks: Int[np.ndarray, " E"], labels: Int[np.ndarray, " E"]) -> bool:
    """Whether labels can be dealt anew within the blocks in so many ways that a p-value of .05 is in reach."""
    ways = 0.0  # logarithm of their number
    for block in np.unique(blocks):
        counts = np.unique(labels[blocks == block], return_counts=True)[1]
        ways += float(gammaln(counts.sum() + 1) - gammaln(counts + 1).sum())
    return bool(ways >= np.log(1 / ALPHA) - 1e-9)


def codes_of(*columns: object) -> Int[np.ndarray, " E"]:
    """One code for each combination of values."""
    texts = ["\x1f".join(map(str, values)) for values in zip(*columns, strict=True)]  # type: ignore[call-overload]
    return np.unique(texts, return_inverse=True)[1]
