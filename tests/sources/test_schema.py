"""An episode's own arithmetic."""

import numpy as np
import pytest


@pytest.mark.parametrize(("num_frames", "expected"), [(1, [0]), (2, [0, 1]), (5, [0, 0.25, 0.5, 0.75, 1])])
def test_progress_runs_from_zero_to_one(make_episode, num_frames, expected):
    episode = make_episode(actions=num_frames)
    assert [episode.progress(frame) for frame in range(num_frames)] == expected


def test_components_come_by_name_in_the_order_asked(make_episode):
    episode = make_episode(actions=4)
    np.testing.assert_array_equal(episode.components(("angular_z", "linear_x")), episode.actions[:, [2, 0]])


def test_a_label_nobody_gave_is_unknown(make_episode):
    episode = make_episode(direction="left")
    assert (episode.label("direction"), episode.label("distance")) == ("left", "unknown")
