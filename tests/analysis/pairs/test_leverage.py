"""A few broken recordings do not make two models alike, and clean stores raise no alarm."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.cka import find_cka
from mobile_vla.analysis.pairs.leverage import find_far
from tests.analysis.clouds import draw, pair_of


def corrupt(vectors: np.ndarray, episodes: list[int], seed: int) -> np.ndarray:
    """The episodes thrown far off, as a blank picture would, elsewhere in each store."""
    found = vectors.copy()
    away = np.random.default_rng(seed).normal(size=vectors.shape[2])
    found[episodes] = 0.3 * found[episodes] + 12 * away
    return found


@pytest.mark.parametrize("episodes", [20, 40])
def test_corrupted_episodes_are_found_and_cka_without_them_is_that_of_the_others(episodes):
    broken = [3, 8, 9]
    left, right = draw(0, episodes=episodes), draw(1, episodes=episodes)
    pair = pair_of(corrupt(left, broken, 2), corrupt(right, broken, 3))
    assert find_cka(pair).ci[0] > 0.6
    assert find_far(pair).tolist() == broken
    rest = np.setdiff1d(np.arange(episodes), broken)
    without = find_cka(pair.keep(rest))
    assert without.value == pytest.approx(find_cka(pair_of(left[rest], right[rest])).value, abs=1e-6)


def test_far_in_one_store_alone_is_no_resemblance():
    pair = pair_of(corrupt(draw(0), [3, 8, 9], 2), draw(1))
    assert not len(find_far(pair))


@pytest.mark.parametrize("share", [0.0, 1.0, 3.0])
def test_clean_stores_raise_no_alarm(share):
    for seed in range(15):
        both = share * draw(3 * seed)
        pair = pair_of(both + draw(3 * seed + 1), both + draw(3 * seed + 2))
        assert not len(find_far(pair))
