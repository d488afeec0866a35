"""Balanced accuracy inside cells: how much each episode counts when sessions, or instructions, may not help.

In: labels and cells of episodes (a cell is a session, or an instruction, or both). Out: a weight of each episode, which
sum to 1, so that the statistic is sum_e weight_e correct_e.

Within a cell with n_0 and n_1 episodes of two classes the balanced accuracy is the mean over the two classes, and the
cell counts by n_0 n_1 / n: the inverse of its variance, and 0 where a cell holds one class only, which tells nothing
about the label. For more classes the same is done one class against the others: class c in a cell counts by
n_c (n - n_c) / n, and the statistic is the mean over the classes. With a single cell this is the usual balanced
accuracy.
"""

import numpy as np
from jaxtyping import Float, Int

from mobile_vla.analysis.verdicts.verdict import FEWEST


def weigh_episodes(labels: Int[np.ndarray, " E"], cells: Int[np.ndarray, " E"], num: int) -> Float[np.ndarray, " E"]:
    """Of `num` classes. A class that never shares a cell with another one counts nothing."""
    counts = count_in_cells(labels, cells, num)
    totals = counts.sum(axis=1, keepdims=True)
    parts = counts * (totals - counts) / np.maximum(totals, 1)
    shares = parts / np.maximum(parts.sum(axis=0), 1e-12)
    return (shares / np.maximum(counts, 1) / num)[cells, labels]


def count_in_cells(labels: Int[np.ndarray, " E"], cells: Int[np.ndarray, " E"], num: int) -> Float[np.ndarray, "S C"]:
    counts = np.zeros((int(cells.max(initial=0)) + 1, num))
    np.add.at(counts, (cells, labels), 1)
    return counts


def count_effective(weights: Float[np.ndarray, " E"]) -> float:
    """Episodes in two equal classes of one cell that would give the statistic the same variance, a (1 - a) times
    sum weight^2: for two classes it is sum of 4 n_0 n_1 / n over the cells. 0 where a class counts nothing."""
    if weights.sum() < 1 - 1e-6:  # a class counts nothing
        return 0.0
    return 1 / float((weights**2).sum())


def fewest_effective(num: int) -> int:
    """Below, nothing is concluded: `FEWEST` of each class."""
    return FEWEST * num
