"""Labels that follow the order of recording are found to; labels at random are not more often than 5 %."""

import numpy as np
import pytest

from mobile_vla.analysis.verdicts.recording_order import _share_labels, p_of_order


def test_it_is_the_sum_of_the_formula():
    labels = np.random.default_rng(0).integers(0, 2, 20)
    y = 2 * labels - 1
    total = sum(y[e] * np.mean([y[j] for j in range(20) if 0 < abs(j - e) <= 3]) for e in range(20))
    assert 2 * _share_labels(labels[None])[0] - 20 == pytest.approx(total)


def test_blocks_follow_the_order_and_alternating_labels_do_not():
    cells = np.zeros(40, int)
    blocks = np.repeat([0, 1, 2, 0], 10)
    assert p_of_order(blocks, np.arange(40), cells) < 0.01
    assert p_of_order(np.arange(40) % 2, np.arange(40), cells) > 0.5
    shuffled = np.random.default_rng(0).permutation(40)
    assert p_of_order(blocks[shuffled], shuffled, cells) < 0.01


def test_labels_at_random_are_said_to_follow_it_in_5_percent():
    rng = np.random.default_rng(1)
    p = [p_of_order(rng.permutation(np.arange(30) % 2), np.arange(30), np.zeros(30, int), seed) for seed in range(200)]
    assert 2 <= sum(value <= 0.05 for value in p) <= 19


def test_what_the_cell_explains_is_not_the_order():
    cells = np.repeat([0, 1], 20)
    labels = np.where(np.arange(40) % 10 == 5, 1 - cells, cells)
    assert p_of_order(labels, np.arange(40), np.zeros(40, int)) < 0.05
    assert p_of_order(labels, np.arange(40), cells) > 0.05
