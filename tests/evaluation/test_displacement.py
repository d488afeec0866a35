"""Where a chunk takes the robot, step by step by hand."""

import math

import pytest
import torch

from mobile_vla.core.actions import ActionSpace
from mobile_vla.evaluation.displacement import Odometry

ALL = ("linear_x", "linear_y", "angular_z")


def walk(chunk: list[list[float]], components, step_s: float, scale: float) -> tuple[float, float]:
    """One step after the other: move in the present heading, then turn."""
    x = y = heading = 0.0
    for row in chunk:
        velocity = dict.fromkeys(ALL, 0.0) | dict(zip(components, row, strict=True))
        forward, left = velocity["linear_x"] * step_s * scale, velocity["linear_y"] * step_s * scale
        x += forward * math.cos(heading) - left * math.sin(heading)
        y += forward * math.sin(heading) + left * math.cos(heading)
        heading += velocity["angular_z"] * step_s
    return x, y


def space(components=ALL) -> ActionSpace:
    bounds = {"linear_x": (-0.5, 1.15), "linear_y": (-2.0, 1.0), "angular_z": (-3.0, 3.0)}
    low, high = zip(*(bounds[name] for name in components), strict=True)
    return ActionSpace(components=components, low=low, high=high)


@pytest.mark.parametrize("components", [ALL, ("linear_x", "linear_y"), ("linear_x", "angular_z"), ("angular_z",)])
def test_metres_where_step_and_speed_are_known(lab, components):
    episodes = [lab.make_episode(f"e{i}", step_s=0.4, speed_scale=0.3) for i in range(2)]
    odometry = Odometry.of(space(components), episodes)
    assert odometry.unit == "m"
    chunks = torch.randn(2, 3, 6, len(components), generator=torch.Generator().manual_seed(1))
    found = odometry.displacement(chunks)
    for s in range(2):
        for w in range(3):
            expected = walk(chunks[s, w].tolist(), components, 0.4, 0.3)
            assert found[s, w].tolist() == pytest.approx(expected, abs=1e-5)


def test_turning_bends_the_way():
    """A quarter turn in one step of pi/2 seconds: first metre ahead, second to the left."""
    odometry = Odometry(components=("linear_x", "angular_z"), unit="m", step_s=1.0, scale=1.0)
    chunk = torch.tensor([[1.0, math.pi / 2], [1.0, 0.0]])
    assert odometry.displacement(chunk).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("known", [{}, {"step_s": 0.4}, {"speed_scale": 1.0}])
def test_steps_where_they_are_not(lab, known):
    """One step is one step at the fastest linear speed of the bounds, and an unknown angle is left out."""
    odometry = Odometry.of(space(), [lab.make_episode("a", **known), lab.make_episode("b", **known)])
    assert odometry.unit == "steps"
    chunk = torch.tensor([[1.0, 0.0, 3.0], [0.0, -2.0, 3.0], [1.0, 0.0, 0.0]])
    assert odometry.displacement(chunk).tolist() == pytest.approx([1.0, -1.0])


def test_steps_where_episodes_differ(lab):
    slow, fast = lab.make_episode("a", step_s=0.4, speed_scale=1.0), lab.make_episode("b", step_s=0.1, speed_scale=1.0)
    assert Odometry.of(space(), [slow, fast]).unit == "steps"


def test_the_error_is_the_distance_between_the_ends():
    odometry = Odometry(components=("linear_x", "linear_y"), unit="m", step_s=0.5, scale=1.0)
    predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    target = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    assert float(odometry.error(predicted, target)) == pytest.approx(math.sqrt(2))
