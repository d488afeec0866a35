"""Few frames are read, always those around the same moments; what cannot be read is named."""

from io import BytesIO

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mobile_vla.data.frames import RecordedFrames
from mobile_vla.survey import sketches
from mobile_vla.survey.sketches import POINTS, THUMBNAIL, choose_frames, sketch, sketch_all
from tests.conftest import draw_frames, scan_folders
from tests.survey.conftest import sketch_frames


def frames_of(num_frames: int) -> list[int]:
    return [frame for span in choose_frames(num_frames) for frame in span]


@given(st.integers(1, 400))
def test_at_most_25_frames_and_always_those_at_the_points(num_frames: int):
    frames = frames_of(num_frames)
    assert frames == sorted(set(frames))
    assert len(frames) == num_frames if num_frames <= 18 else len(frames) <= 25
    assert {*range(5), *range(num_frames - 5, num_frames)} & set(range(num_frames)) <= set(frames)
    assert {round(point * (num_frames - 1)) for point in POINTS} <= set(frames) <= set(range(num_frames))


@given(st.integers(10, 400), st.integers(0, 2), st.integers(0, 2))
def test_a_copy_that_was_cut_shows_most_of_the_same_moments(num_frames: int, front: int, back: int):
    whole, cut = set(frames_of(num_frames)), frames_of(num_frames - front - back)
    shared = [frame for frame in cut if frame + front in whole]
    assert len(shared) >= 3 / 5 * len(cut)


def test_greys_are_the_means_of_the_frames(make_episode):
    frames = draw_frames(6, size=(64, 96))
    episode = make_episode("a", 6)
    found = sketch_frames([episode], {"a": frames})["a"]
    assert found.frames.tolist() == list(range(6))
    luma = np.stack([np.asarray(Image.fromarray(frame).convert("L"), np.float64) for frame in frames])
    assert np.abs(found.brightness - luma.mean(axis=(1, 2))).max() < 1.5
    blocks = luma.reshape(6, 16, 4, 16, 6).mean(axis=(2, 4))  # of the frame as it was recorded
    assert np.abs(found.greys - blocks).max() < 12
    assert np.corrcoef(found.greys.ravel(), blocks.ravel())[0, 1] > 0.995


def test_thumbnails_are_those_of_the_points(make_episode):
    frames = np.stack([np.full((20, 30, 3), 2 * i, np.uint8) for i in range(101)])  # told apart by their brightness
    found = sketch_frames([make_episode("a", 101)], {"a": frames})["a"]
    levels = [np.asarray(Image.open(BytesIO(jpeg))).mean() for jpeg in found.thumbnails]
    assert np.abs(np.array(levels) - [0, 50, 100, 150, 200]).max() < 2


def scanned(folder):
    return scan_folders(folder).episodes


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path, write_episode):
    for name in ("a", "b"):
        write_episode(tmp_path / f"{name}.h5")
    episodes = scanned(tmp_path)
    with h5py.File(tmp_path / "b.h5", "a") as file:
        del file["images"]
    seen = []
    found, faults = sketch_all(RecordedFrames(THUMBNAIL), episodes, lambda done, total: seen.append((done, total)))
    assert list(found) == ["a"]
    assert [fault.file for fault in faults] == [str(tmp_path / "b.h5")]
    assert "images" in faults[0].reason
    assert seen == [(1, 2), (2, 2)]


def test_processes_change_nothing(tmp_path, write_episode, monkeypatch):
    for seed in range(3):
        write_episode(tmp_path / f"{seed}.h5", seed=seed)
    episodes, source = scanned(tmp_path), RecordedFrames(THUMBNAIL)
    alone = {episode.id: sketch(source, episode) for episode in episodes}
    monkeypatch.setattr(sketches, "EPISODES_A_PROCESS", 1)
    monkeypatch.setattr(sketches.os, "cpu_count", lambda: 2)
    found, faults = sketch_all(source, episodes)
    assert faults == []
    assert list(found) == list(alone)
    for id, one in found.items():
        np.testing.assert_array_equal(one.greys, alone[id].greys)
        assert one.thumbnails == alone[id].thumbnails
