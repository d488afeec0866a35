"""How much an episode counts, beside the formulas of the weights written out."""

import numpy as np
import pytest

from mobile_vla.analysis.verdicts.discriminative.balance import count_effective, weigh_episodes


def test_with_one_cell_it_is_the_usual_balanced_accuracy():
    labels = np.array([0, 0, 0, 1, 1, 2])
    weights = weigh_episodes(labels, np.zeros(6, int), 3)
    np.testing.assert_allclose(weights, 1 / 3 / np.array([3, 3, 3, 2, 2, 1]))


def test_cells_count_by_the_inverse_of_their_variance():
    """Two classes: w_s = n_0 n_1 / n, and half a cell's weight for each of its classes."""
    rng = np.random.default_rng(0)
    labels, cells = rng.integers(0, 2, 50), rng.integers(0, 4, 50)
    correct = rng.random(50)
    weight, accuracy = [], []
    for cell in range(4):
        inside = [correct[(cells == cell) & (labels == code)] for code in (0, 1)]
        sizes = [len(one) for one in inside]
        weight.append(sizes[0] * sizes[1] / sum(sizes))
        accuracy.append(np.mean([one.mean() for one in inside]))
    weights = weigh_episodes(labels, cells, 2)
    assert weights.sum() == pytest.approx(1)
    assert weights @ correct == pytest.approx(np.average(accuracy, weights=weight))
    assert count_effective(weights) == pytest.approx(4 * sum(weight))


def test_a_cell_of_one_class_counts_nothing():
    labels, cells = np.array([0, 1, 0, 1, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 1])
    weights = weigh_episodes(labels, cells, 2)
    assert not weights[4:].any()
    assert count_effective(weights) == pytest.approx(4)


def test_a_class_that_shares_no_cell_makes_the_whole_count_nothing():
    labels, cells = np.array([0, 1, 0, 1, 2, 2]), np.array([0, 0, 0, 0, 1, 1])
    assert count_effective(weigh_episodes(labels, cells, 3)) == 0
