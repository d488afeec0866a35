"""Labels and actions that follow the order of recording are found to; others are not more often than 5 %."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.analysis.planted.worlds import World
from mobile_vla.analysis.verdicts.discriminative.recording_order import (
    _neighbours,
    _share_labels,
    find_drift,
    p_of_order,
)
from tests.analysis.verdicts.planted_sample import plant_sample


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


def test_the_sum_over_pairs_of_neighbours_is_the_mean_over_each_ones_neighbours():
    rng = np.random.default_rng(2)
    order = rng.permutation(15)
    inner = rng.standard_normal((15, 15))
    inner += inner.T
    near = (abs(order[:, None] - order) > 0) & (abs(order[:, None] - order) <= 3)
    first, second, weight = _neighbours(np.argsort(order))
    assert inner[first, second] @ weight == pytest.approx(sum(inner[e, near[e]].mean() for e in range(15)))


def test_drift_is_found_in_the_order_of_recording_and_nowhere_else():
    sample, _ = plant_sample(World(episodes=40, width=16))
    rng = np.random.default_rng(0)
    order, text = rng.permutation(40), np.arange(40) % 2
    sample = replace(sample, order=order)
    noise = rng.standard_normal((len(sample.rows), 2))
    drifting = noise + 1.5 * np.sin(order / 6)[sample.episode][:, None]
    p = find_drift(sample, drifting, text, 0)
    assert p is not None
    assert p <= 0.01
    other = find_drift(replace(sample, order=rng.permutation(40)), drifting, text, 0)
    assert other is not None
    assert other > 0.05
    assert find_drift(replace(sample, order=None), drifting, text, 0) is None


def test_it_fires_on_one_in_twenty_without_drift():
    """Also where texts are told one after the other: their means are removed."""
    sample, _ = plant_sample(World(episodes=20, width=16))
    sample = replace(sample, order=np.arange(20))
    rng = np.random.default_rng(1)
    fired = [
        find_drift(sample, rng.standard_normal((len(sample.rows), 1)), np.arange(20) // 5, seed) <= 0.05
        for seed in range(60)
    ]
    assert np.mean(fired) < 0.15
