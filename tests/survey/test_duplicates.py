"""Copies are found whatever was done to their files; recordings of their own are not called copies."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mobile_vla.sources.synthetic.world import World
from mobile_vla.survey.duplicates import find_copies
from tests.survey.conftest import sketch_frames


def as_jpeg(frames: np.ndarray, quality: int) -> np.ndarray:
    decoded = []
    for frame in frames:
        stream = BytesIO()
        Image.fromarray(frame).save(stream, format="JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(stream)))
    return np.stack(decoded)


def brighter(frames: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(frames * factor, 0, 255).astype(np.uint8)


def smaller(frames: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(frame).resize((80, 45))) for frame in frames])


CHANGES = {  # what becomes of (frames, actions)
    "saved again": lambda f, a: (f, a),
    "JPEG": lambda f, a: (as_jpeg(f, 50), a),
    "brighter": lambda f, a: (brighter(f, 1.1), a),
    "darker": lambda f, a: (brighter(f, 0.8), a),
    "smaller": lambda f, a: (smaller(f), a),
    "cut in front": lambda f, a: (f[2:], a[2:]),
    "cut behind": lambda f, a: (f[:-2], a[:-2]),
    "cut, darker, JPEG": lambda f, a: (as_jpeg(brighter(f[1:-1], 0.9), 75), a[1:-1]),
}


@pytest.fixture
def find(make_episode):
    """`find({id: (frames, actions)}, labels)`: the groups."""

    def run(recordings, labels=None, **changes):
        episodes = [
            replace(make_episode(id, actions, **(labels or {}).get(id, {})), **changes)
            for id, (_, actions) in recordings.items()
        ]
        return find_copies(episodes, sketch_frames(episodes, {id: frames for id, (frames, _) in recordings.items()}))

    return run


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(find, recorded, change):
    one, other = recorded(0), recorded(1)
    copy = CHANGES[change](one.frames, one.actions)
    groups = find({"a": (one.frames, one.actions), "b": (other.frames, other.actions), "c": copy})
    assert [(group.kind, group.episodes, group.same_actions) for group in groups] == [("near", ("a", "c"), True)]


def test_copies_of_one_are_one_group(find, recorded):
    one = recorded(0)
    made = {name: change(one.frames, one.actions) for name, change in CHANGES.items()}
    (group,) = find(made)
    assert set(group.episodes) == set(CHANGES)
    assert 0 < group.distance < 0.005


def test_recordings_of_their_own_are_no_copies(find, recorded):
    """Twenty scenes; and a scene driven twice, on the one side and on the other."""
    drives = {str(i): recorded(i) for i in range(20)}
    drives |= {"left": recorded(2, "left"), "right": recorded(2, "right")}
    del drives["2"]
    assert find({id: (one.frames, one.actions) for id, one in drives.items()}) == []


def test_the_same_drive_from_a_start_10_cm_away_is_no_copy(find, recorded):
    one = recorded(0)
    world = World(resolution=(90, 160), noise=1.0)
    world.reset(one.task.scene)
    world.pose = (0.0, 0.1, 0.0)
    frames = [world._look()]
    for action in one.actions[:-1]:
        frames.append(world.step(action))
    assert find({"a": (one.frames, one.actions), "b": (np.stack(frames), one.actions)}) == []


def test_the_same_frames_with_other_actions_are_told(find, recorded):
    one = recorded(0)
    (group,) = find({"a": (one.frames, one.actions), "b": (one.frames, np.roll(one.actions, 1, axis=0))})
    assert not group.same_actions


def test_the_same_content_is_exact_whatever_it_looks_like(find, recorded):
    """Frames that say nothing (all black) agree with nothing by their look, but content is content."""
    black = np.zeros((6, 90, 160, 3), np.uint8)
    actions = np.zeros((6, 3), np.float32)
    with np.errstate(all="raise"):
        assert find({"a": (black, actions), "b": (black, actions)}) == []
    (group,) = find({"a": (black, actions), "b": (black, actions)}, fingerprint="same")
    assert (group.kind, group.episodes, group.files) == ("exact", ("a", "b"), ("a.h5", "b.h5"))


def test_labels_that_copies_disagree_in_are_named(find, recorded):
    one = recorded(0)
    labels = {
        "a": {"direction": "left", "boxes": "1box", "session": "20250101", "distance": "far"},
        "b": {"direction": "right", "boxes": "1box", "session": "20250102"},  # says nothing of the distance
    }
    (group,) = find(dict.fromkeys("ab", (one.frames, one.actions)), labels)
    assert group.differ_in == ("direction",)


def test_one_episode_has_no_copies(find, recorded):
    assert find({"a": (recorded(0).frames, recorded(0).actions)}) == []
