"""Each component by itself, over known actions only; bounds as training would fit them."""

from dataclasses import replace

import numpy as np
import pytest

from mobile_vla.data.dataset import DataConfig
from mobile_vla.survey.actions import describe_actions

CONFIG = DataConfig(root="x")


def test_numbers_against_plain_ones(make_episode):
    rng = np.random.default_rng(0)
    columns = [rng.choice([-1.15, 0.0, 1.15], 50), rng.uniform(-2, 1, 50), np.zeros(50)]
    actions = np.stack(columns, axis=1).astype(np.float32)
    known = rng.random(50) < 0.7
    episodes = [make_episode("a", actions[:20], known=known[:20]), make_episode("b", actions[20:], known=known[20:])]
    found = describe_actions(CONFIG, episodes)
    assert found.frames == known.sum()
    x, y, z = (found.components[name] for name in ("linear_x", "linear_y", "angular_z"))
    told = columns[0][known]
    assert x.values == {v: pytest.approx((told == float(v)).mean()) for v in ("-1.15", "0", "1.15")}
    assert x.zero_share == pytest.approx((told == 0).mean())
    told = columns[1][known]
    assert (y.min, y.max) == (pytest.approx(told.min()), pytest.approx(told.max()))
    assert (y.mean, y.std) == (pytest.approx(told.mean(), abs=1e-6), pytest.approx(told.std(), abs=1e-6))
    assert y.values == {}
    assert sum(y.histogram.counts) == known.sum()
    assert [c.varies for c in (x, y, z)] == [True, True, False]
    assert [c.chosen for c in (x, y, z)] == [True, True, False]
    assert found.bounds == {"linear_x": (x.min, x.max), "linear_y": (y.min, y.max)}
    assert found.refused is None


def test_given_bounds_hold(make_episode):
    config = replace(CONFIG, bounds={"linear_y": (-2, 2)})
    assert describe_actions(config, [make_episode()]).bounds["linear_y"] == (-2, 2)


def test_a_component_that_never_varies_is_shown_with_what_training_says_of_it(make_episode):
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 3))
    actions[:, 1] = 0.25
    found = describe_actions(CONFIG, [make_episode("a", actions)])
    assert found.bounds["linear_y"] == (0.25, 0.25)
    assert "'linear_y' has (near) zero range" in (found.refused or "")


def test_without_any_known_action_there_is_nothing_to_show(make_episode):
    found = describe_actions(CONFIG, [make_episode("a", 9, known=np.zeros(9, bool))])
    assert (found.frames, found.components, found.bounds) == (0, {}, {})
    assert "action_shift leaves none" in (found.refused or "")
