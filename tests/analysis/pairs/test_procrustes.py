"""A rotation is found where there is one, and scores nothing where there is none, however few the episodes."""

import numpy as np
import pytest

from mobile_vla.analysis.pairs.procrustes import find_axes, find_permuted_procrustes, find_procrustes
from tests.analysis.clouds import draw, pair_of, turn


@pytest.mark.parametrize("width", [6, 96])
def test_a_turned_and_scaled_copy_scores_one(width):
    left = draw(0, width=width, jitter=1.0) if width > 8 else draw(0, width=12)[:, :, :width]
    found = find_procrustes(pair_of(left, 5 * turn(left) - 3))
    assert found.value == pytest.approx(1, abs=1e-4)
    assert found.details["left_to_right"] == pytest.approx(found.details["right_to_left"], abs=1e-4)


def test_what_the_components_leave_out_is_told():
    left = draw(0)
    assert 0.2 < find_procrustes(pair_of(left, turn(left))).details["variance"]["left"] < 0.9
    assert find_procrustes(pair_of(left[:, :, :4], turn(left[:, :, :4]))).details["variance"]["left"] > 0.999


@pytest.mark.parametrize("episodes", [16, 40])
def test_models_that_share_nothing_score_nothing_neither_above_nor_far_below(episodes):
    found = [
        find_procrustes(
            pair_of(draw(2 * seed, episodes=episodes), draw(2 * seed + 1, episodes=episodes)), spread=False
        ).value
        for seed in range(10)
    ]
    assert abs(np.mean(found)) < 0.05
    assert min(found) > -0.3


def test_noise_lowers_the_score_to_what_a_rotation_explains():
    """Of a signal s and noise n on either side, equal in all directions: R^2 = (s / (s + n))^2."""
    rng = np.random.default_rng(0)
    signal = 2 * rng.normal(size=(400, 1, 6))
    left, right = (signal + rng.normal(size=(400, 2, 6)) for _ in range(2))
    found = find_procrustes(pair_of(left.astype(np.float32), turn(right.astype(np.float32))))
    assert found.value == pytest.approx((4 / 5) ** 2, abs=0.04)
    assert found.ci[0] < 0.64 < found.ci[1]


def test_progress_alone_scores_nothing():
    left, right = draw(0), draw(1)
    left[:, :, 7] += 34 * np.linspace(0, 1, 5)
    right[:, :, 3] += 34 * np.linspace(0, 1, 5)
    assert find_procrustes(pair_of(left, right)).value < 0.05


def test_permuted_fits_anew_to_the_exchanged_episodes():
    left = draw(0)
    right = turn(left)
    order = np.random.default_rng(0).permutation(40)
    found = find_permuted_procrustes(pair_of(left, right), np.array([np.arange(40), order]))
    assert found[0] == pytest.approx(find_procrustes(pair_of(left, right)).value)
    assert abs(found[1]) < 0.1


def test_the_interval_is_the_jackknife_over_groups():
    left, right = draw(0), draw(0) + draw(1)
    found = find_procrustes(pair_of(left, right))
    reach = found.value - found.ci[0]
    assert reach == pytest.approx(1.7291 * found.error, rel=1e-3)  # t of 19, 90 %
    assert found.n == 40
    assert found.value * 0.02 < found.error < 0.3


@pytest.mark.slow
def test_the_interval_covers_where_the_rotation_is_hard_to_find():
    """Half of the variance is shared, and another sample gives another rotation. Nominal: 90 %."""

    def find(seed: int):
        rng = np.random.default_rng(seed)
        scale = 3 / np.sqrt(np.arange(1, 33))
        both, *own = rng.normal(size=(3, 40, 1, 32)) * scale
        left, right = (both + one + 0.3 * rng.normal(size=(40, 2, 32)) * scale for one in own)
        return find_procrustes(pair_of(left.astype(np.float32), right.astype(np.float32)))

    found = [find(seed) for seed in range(30)]
    truth = np.mean([one.value for one in found])
    assert np.mean([one.ci[0] <= truth <= one.ci[1] for one in found]) >= 0.85


def test_a_side_that_does_not_vary_has_no_score():
    assert find_procrustes(pair_of(draw(0), np.ones((40, 5, 6), np.float32))) is None


@pytest.mark.parametrize("shape", [(30, 8), (9, 50)], ids=str)
def test_axes_are_the_principal_ones(shape):
    values = np.random.default_rng(0).normal(size=shape) * np.linspace(5, 1, shape[1])
    axes = find_axes(values, 4)
    expected = np.linalg.svd(values, full_matrices=False)[2][:4]
    np.testing.assert_allclose(np.abs(expected @ axes), np.eye(4), atol=1e-8)
