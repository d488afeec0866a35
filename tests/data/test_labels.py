"""Labels out of file names and attributes."""

import numpy as np
import pytest

from mobile_vla.data.labels import read_labels
from mobile_vla.data.layouts import BrokenEpisode

NAMES = {
    "episode_20251204_113519_1box_hori_left_core_medium": {
        "session": "20251204",
        "boxes": "1box",
        "orientation": "hori",
        "direction": "left",
        "pattern": "core",
        "distance": "medium",
    },
    "episode_20251205_090000_2box_right_variant_far": {  # no orientation
        "session": "20251205",
        "boxes": "2box",
        "direction": "right",
        "pattern": "variant",
        "distance": "far",
    },
    "episode_251204_113519_target_left_right_path_core_close": {  # where the target is, and which way round
        "session": "20251204",
        "position": "left",
        "path": "right",
        "direction": "right",
        "pattern": "core",
        "distance": "close",
    },
    "episode_201204_113519_target_center_straight_path": {  # six digits that begin like a century
        "session": "20201204",
        "position": "center",
        "path": "straight",
        "direction": "straight",
    },
    "episode_20260310_101500_weak_left_left_curve": {
        "session": "20260310",
        "position": "weak_left",
        "path": "left_curve",
        "direction": "left",
    },
    "episode_20260310_101500_strong_right_left_curve": {
        "session": "20260310",
        "position": "strong_right",
        "path": "left_curve",
        "direction": "left",
    },
    "episode_20260310_101500_center_straight": {
        "session": "20260310",
        "position": "center",
        "path": "straight",
        "direction": "straight",
    },
    "kitchen_tour": {},
    "leftover_bright_2boxes_hardcore": {},  # words inside words are no labels
    "1234_5678": {},
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_generation(name):
    assert read_labels(name, {}) == NAMES[name]


def test_attributes_speak_where_the_name_is_silent():
    attributes = {"cx_position": "weak_right", "cx_path": "right_curve", "control_mode": "continuous", "num_frames": 6}
    assert read_labels("run7", attributes) == {
        "position": "weak_right",
        "path": "right_curve",
        "direction": "right",
        "control_mode": "continuous",
    }


def test_the_name_wins_over_attributes():
    name = "episode_251204_113519_target_left_right_path_core_close"
    labels = read_labels(name, {"cx_position": "right", "cx_path": "left", "pattern": "variant"})
    assert (labels["position"], labels["path"], labels["direction"], labels["pattern"]) == (
        "left",
        "right",
        "right",
        "core",
    )


@pytest.mark.parametrize("value", ["왼쪽", "왼쪽".encode(), np.array(["왼쪽".encode()])])
def test_attributes_are_text_however_hdf5_holds_them(value):
    assert read_labels("run", {"scenario": value}) == {"scenario": "왼쪽"}


def test_an_attribute_that_is_not_utf8_is_named():
    with pytest.raises(BrokenEpisode, match="attribute scenario: not UTF-8"):
        read_labels("run", {"scenario": b"\xff\xfe"})
