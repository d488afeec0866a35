"""Floors keep what sessions and progress give; ceilings are of views of one store."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.cka import find_cka, find_permuted_cka
from mobile_vla.analysis.pairs.floors import Views, draw_orders, find_measure, find_views
from mobile_vla.analysis.pairs.pair import make_pair
from mobile_vla.analysis.sample import take_sample
from tests.analysis.clouds import draw, pair_of
from tests.analysis.conftest import write_store


def test_what_two_stores_share_by_session_is_part_of_the_floor():
    """Two models that both see which day it is, and nothing else of an episode."""
    session = np.arange(60) // 20
    day = 6 * np.random.default_rng(5).normal(size=(3, 1, 96))[session]
    left, right = (draw(seed, episodes=60) + day.astype(np.float32) for seed in (0, 1))
    views = find_views_of(left, right)
    blind = find_measure(find_cka, find_permuted_cka, pair_of(left, right), views, 99, 0)
    known = find_measure(find_cka, find_permuted_cka, pair_of(left, right, session), views, 99, 0)
    assert known.value == blind.value > 0.5
    assert blind.above_chance
    assert blind.floor.p95 < 0.3
    assert not known.above_chance
    assert known.floor.value == pytest.approx(known.value, abs=0.02)
    assert "among those alike in session" in known.floor.how


def test_sessions_of_one_episode_each_are_ignored_and_it_is_said():
    pair = pair_of(draw(0), draw(1), np.arange(40))
    orders, how = draw_orders(pair, 19, 0)
    assert (orders != np.arange(40)).mean() > 0.9
    assert "across sessions" in how


def test_only_episodes_with_rows_in_the_same_bins_change_places():
    episode, bin = np.repeat(np.arange(20), 2), np.tile(np.arange(2), 20)
    rows = (episode < 10) | (bin == 0)
    flat = draw(0, episodes=20, bins=2).reshape(40, -1)[rows]
    pair = make_pair(flat, flat, episode[rows], bin[rows], np.zeros(20, int))
    for order in draw_orders(pair, 19, 0)[0]:
        assert set(order[:10]) == set(range(10))
        assert (pair.exchange(order) >= 0).all()


def test_the_p95_of_the_floor_is_what_one_in_twenty_exceeds():
    """Independent models: the estimate itself is one more draw of its floor."""
    above = []
    for seed in range(60):
        left, right = draw(2 * seed, episodes=16, width=12), draw(2 * seed + 1, episodes=16, width=12)
        pair = pair_of(left, right)
        floor = np.quantile(find_permuted_cka(pair, draw_orders(pair, 99, 0)[0]), 0.95)
        above.append(find_cka(pair).value > floor)
    assert np.mean(above) < 0.15


def test_a_bin_of_few_rows_is_left_out():
    episode, bin = np.arange(12), np.array([0] * 9 + [1] * 3)
    vectors = draw(0, episodes=12, bins=1)[:, 0]
    pair = make_pair(vectors, vectors, episode, bin, np.zeros(12, int))
    assert (pair.num_episodes, len(pair.left)) == (9, 9)
    told = make_pair(vectors, vectors, episode, np.arange(12) % 3, np.zeros(12, int))
    assert told == "no progress bin holds 8 episodes (the fullest has 4)"


def test_paraphrases_are_the_ceiling_where_they_are_stored(tmp_path):
    own = draw(0, episodes=20)
    again = own + draw(7, episodes=20) * 0.2
    samples = [sample_of(tmp_path / "left", own, again), sample_of(tmp_path / "right", draw(1, episodes=20))]
    pair = pair_of(own, draw(1, episodes=20))
    views = find_views(*samples, "context", pair, 0)
    found = find_measure(find_cka, find_permuted_cka, pair, views, 19, 0)
    assert found.ceiling.parts == {"left": pytest.approx(find_cka(pair_of(own, again)).value, rel=1e-5)}
    assert found.ceiling.value > 0.8
    assert "under a paraphrase" in found.ceiling.how


def test_halves_of_one_store_are_the_ceiling_elsewhere():
    left, right = draw(0), draw(1, jitter=3.0)
    views = find_views_of(left, right)
    found = find_measure(find_cka, find_permuted_cka, pair_of(left, right), views, 19, 0)
    assert found.ceiling.value == min(found.ceiling.parts.values()) == found.ceiling.parts["right"]
    assert found.ceiling.parts["left"] > 0.3
    half = views.pairs["left"][0]
    assert half.left.shape[1] + half.right.shape[1] == left.shape[2]


def find_views_of(left: np.ndarray, right: np.ndarray) -> Views:
    """Without stores: halves."""
    pair = pair_of(left, right)
    rng = np.random.default_rng(0)
    return Views(pairs={"left": [pair.halve(rng)], "right": [pair.swap().halve(rng)]}, how="halves")


def sample_of(folder, own: np.ndarray, again: np.ndarray | None = None):
    episodes, bins = own.shape[:2]
    names = [f"e{e:02d}" for e in range(episodes) for _ in range(bins)]
    frames, times = list(range(bins)) * episodes, 1 if again is None else 2
    vectors = own.reshape(-1, own.shape[2])
    store = write_store(
        folder,
        {"context": vectors if again is None else np.concatenate([vectors, again.reshape(vectors.shape)])},
        names * times,
        frames * times,
        [frame / (bins - 1) for frame in frames] * times,
        instruction=["go"] * len(names) + ["move"] * len(names) * (times - 1),
        variant=["own"] * len(names) + ["paraphrase"] * len(names) * (times - 1),
    )
    return take_sample(store)
