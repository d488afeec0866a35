"""Labels out of file names and attributes."""

import h5py
import numpy as np
import pytest

from mobile_vla.sources.hdf5.labels import read_labels

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


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (np.float64(0.5), "0.5"), (np.array([7]), "7"), (True, "True")])
def test_a_number_is_text(value, text):
    assert read_labels("run", {"scenario": value}) == {"scenario": text}


@pytest.mark.parametrize("value", [b"\xbf\xde", "\udcbf\udcde", np.array([b"\xbf\xde"])])
def test_an_attribute_that_is_not_utf8_is_a_label_in_escapes(value):
    assert read_labels("run", {"scenario": value}) == {"scenario": r"\xbf\xde"}


@pytest.mark.parametrize("value", [np.arange(3), np.array([]), h5py.Empty("S4"), np.array(["a", "b"])])
def test_what_is_not_one_value_is_no_label(value):
    assert read_labels("run", {"scenario": value, "pattern": "core"}) == {"pattern": "core"}


def test_an_attribute_that_h5py_cannot_read_is_no_label(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        time = h5py.h5t.UNIX_D32LE
        h5py.h5a.create(file.id, b"scenario", time, h5py.h5s.create(h5py.h5s.SCALAR))
        file.attrs["pattern"] = file.ref  # a reference is no text either
        assert read_labels("run", file.attrs) == {}


def test_the_day_is_that_of_the_name_or_else_of_an_attribute():
    attributes = {"collection_datetime": "2025-12-04T11:35:19", "scenario": "box"}
    assert read_labels("run_17", attributes) == {"session": "20251204", "scenario": "box"}
    assert read_labels("episode_20251205_090000", attributes)["session"] == "20251205"
    assert read_labels("2025-12-06T10-00-00_left", {})["session"] == "20251206"
    assert "session" not in read_labels("run_17", {"date": "soon", "timestamp": 3})
