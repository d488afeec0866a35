"""Dead reckoning, against the simulator's own poses and against the displacement that training measures by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mobile_vla.evaluation.displacement import Odometry
from mobile_vla.survey.trajectories import describe_trajectories, reckon, reckon_all


def test_it_ends_where_the_simulators_robot_is(recorded):
    for index in range(4):
        drive = recorded(index)
        path = reckon(drive.actions, 0.4, 1.0, turns=True)
        np.testing.assert_allclose(path[:-1], drive.poses[:, :2], atol=0.07)  # it may have touched a wall


@pytest.mark.parametrize(("step_s", "scale", "unit"), [(0.1, 2.0, "m"), (0.1, None, "steps"), (None, 2.0, "steps")])
def test_it_follows_the_rule_of_the_displacement(make_episode, step_s, scale, unit):
    episode = replace(make_episode("a", 12), step_s=step_s, speed_scale=scale)
    found, (path,) = reckon_all([episode])
    assert found == unit
    components = ("linear_x", "linear_y", "angular_z")
    fastest = float(np.abs(episode.actions[:, :2]).max())
    odometry = Odometry(
        components=components,
        unit=unit,
        step_s=step_s if unit == "m" else 1.0,
        scale=scale if unit == "m" else 1 / fastest,
    )
    for length in (1, 5, 12):
        ends = odometry.displacement(torch.from_numpy(episode.actions[:length]))
        np.testing.assert_allclose(path[length], ends.numpy(), rtol=1e-4, atol=1e-5)


def test_lengths_and_ends_by_label(make_episode):
    ahead, left = np.tile([1.0, 0, 0], (4, 1)), np.tile([0, 1.0, 0], (2, 1))
    back = np.concatenate([ahead, -ahead])
    episodes = [
        make_episode("a", ahead, direction="straight"),
        make_episode("b", left, direction="left"),
        make_episode("c", back, direction="straight"),
    ]
    found = describe_trajectories(episodes, "direction")
    assert (found.path_length.max, found.distance.max, found.distance.min) == (8, 4, 0)
    assert found.ends == {"left": (0, 2), "straight": (2, 0)}
    assert found.unit == "steps"


def test_a_robot_that_never_moves_has_a_path_of_length_0(make_episode):
    assert describe_trajectories([make_episode("a", np.zeros((5, 3)))], "direction").path_length.max == 0
