"""Features that never change are named, and only those."""

from dataclasses import replace

import numpy as np

from mobile_vla.data.dataset import DataConfig
from mobile_vla.survey.actions import describe_actions
from mobile_vla.survey.constants import find_constants
from tests.conftest import draw_frames
from tests.survey.conftest import sketch_frames


def constants(episodes, frames=None):
    frames = frames or {episode.id: draw_frames(episode.num_frames) for episode in episodes}
    actions = describe_actions(DataConfig(root="x"), episodes)
    return find_constants(episodes, actions, sketch_frames(episodes, frames))


def test_labels(make_episode):
    episodes = [
        make_episode(
            str(i), boxes="1box", direction=side, path=f"{side}_curve", distance=far, session=f"{i}", take=f"{i}"
        )
        for i, (side, far) in enumerate([("left", "far"), ("right", "far"), ("left", "close"), ("right", "far")] * 2)
    ]
    found = constants([*episodes])
    assert found.labels == {"boxes": "1box"}
    assert found.same_labels == (("direction", "path"),)
    assert constants([*episodes, make_episode("x", boxes="2box")]).labels == {}
    assert constants(episodes[:1]).labels == {}  # one episode proves nothing


def test_frame_labels(make_episode):
    box = np.ones(18)
    unsure = np.where(np.arange(18) % 2, np.nan, 1.0)
    episodes = [
        replace(
            make_episode("a"), frame_labels={"has_bbox": box, "near": np.arange(18.0), "who": np.array(["x"] * 18)}
        ),
        replace(make_episode("b"), frame_labels={"has_bbox": unsure, "bbox": np.tile([1.0, 2.0], (18, 1))}),
    ]
    assert constants(episodes).frame_labels == {"has_bbox": ("1", 27), "bbox": ("1 2", 18), "who": ("x", 18)}


def test_components(make_episode):
    actions = np.random.default_rng(0).uniform(-1, 1, (18, 3))
    actions[:, 2] = actions[:, 0]
    actions[:, 1] = 0.5
    found = constants([make_episode("a", actions)])
    assert (found.components, found.equal) == (("linear_y",), (("linear_x", "angular_z"),))


def test_a_camera_in_which_nothing_moves(make_episode):
    still = np.repeat(draw_frames(1), 18, axis=0)
    moving = draw_frames(18)
    found = constants([make_episode("a"), make_episode("b")], {"a": still, "b": moving})
    assert found.frozen == ("a",)
