"""Which components an action has, and the map between velocities and [-1, 1]."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobile_vla.core.actions import COMPONENTS, MIN_RANGE, ActionSpace, check_components
from mobile_vla.core.errors import UserError

ASYMMETRIC = ActionSpace(components=("linear_x", "angular_z"), low=(0.0, -2.0), high=(1.15, 0.5))


@pytest.mark.parametrize("components", [("linear_x",), ("angular_z", "linear_y"), COMPONENTS])
def test_any_distinct_components_in_any_order(components):
    check_components(components)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        (("linear_z",), r"unknown action component 'linear_z'; expected names out of \['linear_x'"),
        (("linear_x", "linear_x"), r"distinct names expected, got \['linear_x', 'linear_x'\]"),
        ((), r"one to 3 distinct names expected, got \[\]"),
    ],
)
def test_wrong_components_are_told(components, message):
    with pytest.raises(UserError, match=message):
        check_components(components, COMPONENTS)


def test_where_no_names_are_known_any_distinct_ones_do():
    check_components(("shoulder", "elbow", "wrist", "gripper"))
    with pytest.raises(UserError, match="distinct names expected"):
        check_components(("elbow", "elbow"))


def test_low_and_high_become_minus_one_and_one():
    corners = np.array([[0.0, -2.0], [1.15, 0.5], [0.575, -0.75]], np.float32)
    np.testing.assert_allclose(ASYMMETRIC.normalize(corners), [[-1, -1], [1, 1], [0, 0]], atol=1e-6)


def test_beyond_the_bounds_is_not_clipped():
    assert ASYMMETRIC.normalize(np.array([2.3, 1.75], np.float32)).tolist() == pytest.approx([3, 2])


@given(
    low=st.floats(-5, 5),
    span=st.floats(0.01, 10),
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=6),
)
def test_denormalize_inverts_normalize(low, span, values):
    space = ActionSpace(components=("linear_y",), low=(low,), high=(low + span,))
    velocities = np.asarray(values, np.float32)[:, None]
    back = space.denormalize(space.normalize(velocities))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, velocities, atol=1e-4 + 2e-5 * span)


def test_tensors_and_arrays_agree():
    velocities = np.random.default_rng(0).uniform(-2, 2, (5, 4, 2)).astype(np.float32)
    for change in (ASYMMETRIC.normalize, ASYMMETRIC.denormalize):
        np.testing.assert_allclose(change(torch.from_numpy(velocities)).numpy(), change(velocities), atol=1e-6)


def test_scale_turns_a_normalised_error_into_velocity():
    error = np.array([0.1, -0.3])
    moved = ASYMMETRIC.denormalize(np.array([0.2, 0.4]) + error) - ASYMMETRIC.denormalize(np.array([0.2, 0.4]))
    np.testing.assert_allclose(error * ASYMMETRIC.scale(), moved)


@pytest.mark.parametrize("low_high", [(0.3, 0.3), (0.3, 0.3 + MIN_RANGE / 2), (0.5, 0.1), (float("nan"), 1.0)])
def test_near_zero_range_names_the_component(low_high):
    low, high = low_high
    with pytest.raises(UserError, match=r"'linear_y' has \(near\) zero range.*data.bounds.linear_y=\[low,high\]"):
        ActionSpace(components=("linear_x", "linear_y"), low=(0, low), high=(1, high))


def test_one_bound_a_component():
    with pytest.raises(UserError, match="one low and one high for each"):
        ActionSpace(components=("linear_x", "linear_y"), low=(0,), high=(1, 1))


@pytest.mark.parametrize(
    ("components", "lateral"),
    [
        (("linear_x", "linear_y", "angular_z"), 1),
        (("linear_x", "angular_z"), 1),
        (("angular_z", "linear_y"), 1),
        (("linear_x",), None),
    ],
)
def test_lateral_is_the_component_that_tells_left_from_right(components, lateral):
    count = len(components)
    assert ActionSpace(components=components, low=(-1,) * count, high=(1,) * count).lateral == lateral
