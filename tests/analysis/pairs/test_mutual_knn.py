"""Neighbours against a search that is written out plainly."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.mutual_knn import choose_k, find_mutual_knn, find_permuted_knn
from tests.analysis.clouds import draw, pair_of, turn


def plain_overlap(left: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """(E,) over the bins, one row at a time."""
    episodes, bins = left.shape[:2]
    found = np.zeros((episodes, bins))
    for e, t in np.ndindex(episodes, bins):
        near = []
        for side in (left, right):
            away = [(np.linalg.norm(side[e, t] - side[o, t]), o) for o in range(episodes) if o != e]
            near.append({other for _, other in sorted(away)[:k]})
        found[e, t] = len(near[0] & near[1]) / k
    return found.mean(axis=1)


def test_value_and_interval_are_those_of_a_plain_search():
    left = draw(0, episodes=14, width=6)
    right = left + draw(1, episodes=14, width=6)
    pair = pair_of(left, right)
    assert choose_k(pair) == 3
    found = find_mutual_knn(pair)
    assert found.value == pytest.approx(plain_overlap(left, right, 3).mean())
    without = [plain_overlap(*(np.delete(side, e, axis=0) for side in (left, right)), 3).mean() for e in range(14)]
    error = np.sqrt(13 / 14 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert found.ci[0] == pytest.approx(found.value - 1.7709 * error, rel=1e-4)


def test_permuted_is_the_measure_of_the_exchanged_episodes():
    left = draw(0, episodes=14, width=6)
    right = left + draw(1, episodes=14, width=6)
    pair = pair_of(left, right)
    orders = np.array([np.random.default_rng(seed).permutation(14) for seed in range(3)])
    expected = [plain_overlap(left, right[order], 3).mean() for order in orders]
    np.testing.assert_allclose(find_permuted_knn(pair, orders), expected)


def test_a_turned_copy_has_the_same_neighbours_and_another_model_has_those_of_chance():
    left = draw(0, episodes=80)
    assert find_mutual_knn(pair_of(left, turn(left))).value > 0.999
    assert find_mutual_knn(pair_of(left, draw(1, episodes=80))).value == pytest.approx(10 / 79, abs=0.02)


def test_near_copies_of_the_own_episode_are_no_neighbours():
    """Frames that lie on one point in both spaces would agree whatever the episodes do."""
    left, right = draw(0, episodes=80, jitter=0), draw(1, episodes=80, jitter=0)
    left, right = left[:, :1].repeat(5, axis=1), right[:, :1].repeat(5, axis=1)
    assert find_mutual_knn(pair_of(left, right)).value < 0.2
