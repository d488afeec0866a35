"""What one pass over a file finds: the same fingerprint for the same content only, and content that is no recording."""

import json
import weakref
from dataclasses import replace

import h5py
import numpy as np
import pytest

from mobile_vla.data.examination import Examinations, examine
from mobile_vla.sources.hdf5 import layouts
from mobile_vla.sources.hdf5.layouts import block_length
from mobile_vla.sources.reader import Root
from mobile_vla.sources.schema import BrokenEpisode
from tests.conftest import draw_actions, draw_frames, encode_jpeg, read_file


@pytest.fixture
def record(tmp_path, write_episode):
    """Writes a file and reads it as an episode."""

    def write(name="a", layout="v3", num_frames=6, shift=0, **more):
        path = write_episode(tmp_path / f"{name}.h5", layout, num_frames, **more)
        return read_file(path, Root(path=tmp_path, action_shift=shift))

    return write


def rewrite(episode, change):
    with h5py.File(episode.path, "r+") as file:
        change(file)
    return episode


class TestFingerprint:
    def test_is_that_of_the_content_alone(self, record):
        """Another name, layout, compression, chunks, instruction, attributes, float type, shift: the same recording."""
        one = record("a", "v3", seed=1)
        others = [
            record("day/b c (2)", "v5", seed=1, instruction="stop"),
            record("c", "v6", seed=1, shift=2, operator="someone"),
            rewrite(record("d", seed=1), recompress),
            rewrite(record("e", seed=1), doubled),
        ]
        assert {examine(episode).fingerprint for episode in [one, *others]} == {examine(one).fingerprint}

    def test_of_jpeg_rows_is_that_of_their_pixels(self, record):
        rows = record("a", "v5_jpeg", seed=1)
        with h5py.File(rows.path) as file:
            pixels = np.stack(layouts.read_frames(file["observations/images"], 0, 6))
        assert examine(rows).fingerprint == examine(record("b", frames=pixels, seed=1)).fingerprint

    def test_tells_apart_what_is_not_the_same(self, record):
        frames, actions = draw_frames(6), draw_actions(6)
        one_pixel, swapped, other_actions = frames.copy(), frames.copy(), actions.copy()
        one_pixel[5, 23, 39, 2] ^= 1
        swapped[[2, 3]] = swapped[[3, 2]]
        other_actions[5, 2] += 1e-6
        contents = [
            (frames, actions),
            (one_pixel, actions),
            (swapped, actions),
            (frames, other_actions),
            (frames[:5], actions[:5]),
            (frames.reshape(6, 40, 24, 3), actions),  # the same bytes
            (frames.reshape(12, 12, 40, 3), np.zeros((12, 3))),
            (frames, actions[::-1]),
        ]
        found = [examine(record(str(i), frames=f, actions=a)).fingerprint for i, (f, a) in enumerate(contents)]
        assert len(set(found)) == len(contents)
        assert all(len(fingerprint) == 32 for fingerprint in found)


def recompress(file):
    frames = file["images"][()]
    del file["images"]
    file.create_dataset("images", data=frames, compression="lzf", chunks=(6, 5, 7, 1))


def doubled(file):
    actions = file["actions"][()]
    del file["actions"]
    file["actions"] = actions.astype(">f8")


class TestContent:
    @pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
    def test_a_frame_of_one_colour_is_named(self, record, colour):
        frames = draw_frames(6)
        frames[4] = colour
        found = examine(record(frames=frames))
        assert found.fault == f"frame 4 is one colour everywhere: {colour}"

    def test_so_is_a_jpeg_of_one_colour(self, record):
        frames = draw_frames(6)
        frames[0] = 0
        assert examine(record(layout="v5_jpeg", frames=frames)).fault == "frame 0 is one colour everywhere: (0, 0, 0)"

    @pytest.mark.parametrize("pixel", [(0, 0), (11, 20), (23, 39)])
    def test_a_dark_frame_with_one_pixel_of_light_is_good(self, record, pixel):
        frames = np.zeros((6, 24, 40, 3), np.uint8)
        frames[:, *pixel, 1] = range(1, 7)
        assert examine(record(frames=frames)).fault is None

    def test_a_camera_that_froze_is_named(self, record):
        frames = np.repeat(draw_frames(1), 6, axis=0)
        reason = "all 6 frames are identical although the robot is commanded to move"
        assert reason in examine(record(frames=frames)).fault

    def test_one_pixel_that_changes_is_no_frozen_camera(self, record):
        frames = np.repeat(draw_frames(1), 6, axis=0)
        frames[3, 0, 0, 0] ^= 1
        assert examine(record(frames=frames)).fault is None

    @pytest.mark.parametrize("moves_in", [[], [5]])
    def test_a_robot_that_stands_still_sees_the_same(self, record, moves_in):
        """What it does after the last frame, no frame shows."""
        actions = np.zeros((6, 3), np.float32)
        actions[moves_in] = 1.0
        assert examine(record(frames=np.repeat(draw_frames(1), 6, axis=0), actions=actions)).fault is None

    @pytest.mark.parametrize(("num_frames", "good"), [(1, True), (2, True), (3, False)])
    def test_two_frames_may_be_the_same(self, record, num_frames, good):
        frames = np.repeat(draw_frames(1), num_frames, axis=0)
        assert (examine(record(num_frames=num_frames, frames=frames)).fault is None) == good

    def test_rows_of_another_size_are_good(self, record):
        def change(file):
            file["observations/images"][2] = encode_jpeg(draw_frames(1, (48, 80))[0])

        assert examine(rewrite(record(layout="v5_jpeg"), change)).fault is None

    def test_a_row_without_bytes_is_named(self, record):
        def change(file):
            file["observations/images"][2] = np.empty(0, np.uint8)

        with pytest.raises(BrokenEpisode, match=r"frame 2 is no readable JPEG \(0 bytes\)"):
            examine(rewrite(record(layout="v5_jpeg"), change))


class TestBlocks:
    @pytest.mark.parametrize(
        ("chunk", "expected"),
        [(1, 8), (3, 9), (8, 8), (10, 10), (38, 38), (100, 50), (None, 8)],  # 100 would be more than is allowed
    )
    def test_hold_whole_chunks_within_a_limit(self, tmp_path, monkeypatch, chunk, expected):
        monkeypatch.setattr(layouts, "BLOCK_BYTES", 50 * 4 * 6 * 3)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            chunks = None if chunk is None else (chunk, 2, 2, 3)
            frames = file.create_dataset("images", (200, 4, 6, 3), np.uint8, chunks=chunks)
            assert block_length(frames) == expected

    def test_every_frame_comes_once_in_order_whatever_the_blocks(self, record, monkeypatch):
        monkeypatch.setattr(layouts, "BLOCK_FRAMES", 2)
        for layout in ("v3", "v5_jpeg"):
            kept = []
            episode = record(layout, layout, num_frames=11, seed=3)
            examine(episode, lambda frame, kept=kept: kept.append(frame.copy()))
            with h5py.File(episode.path) as file:
                expected = layouts.read_frames(file[episode.reader.layout.frames], 0, 11)
            np.testing.assert_array_equal(kept, expected)

    def test_only_a_block_is_in_memory(self, record):
        """Nothing holds on to a block once its last frame was looked at."""
        alive = []

        def keep(frame):
            alive.append(weakref.ref(frame.base if frame.base is not None else frame))
            assert len({id(ref()) for ref in alive if ref() is not None}) == 1

        examine(record(num_frames=64), keep)
        assert len(alive) == 64


class TestRemembered:
    def test_and_found_again_by_another_process(self, record, tmp_path):
        episode = record()
        found = Examinations(tmp_path / "known").examine(episode)
        assert Examinations(tmp_path / "known").find(episode) == found
        assert Examinations(tmp_path / "elsewhere").find(episode) is None
        (file,) = (tmp_path / "known").rglob("*.*")
        assert file.parent.name == file.name[:2]
        assert json.loads(file.read_text())["schema"] == 1

    def test_not_for_a_file_that_changed(self, record, tmp_path):
        known = Examinations(tmp_path / "known")
        known.examine(record(seed=1))
        changed = record(seed=2)
        assert known.find(changed) is None

    def test_not_for_other_frames_of_the_file(self, record, tmp_path):
        known = Examinations(tmp_path / "known")
        episode = record()
        known.examine(episode)
        assert known.find(replace(episode, reader=replace(episode.reader, layout=layouts.LAYOUTS[1]))) is None

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 2, "fingerprint": "x", "fault": null}', "{}"])
    def test_not_what_is_damaged_or_of_another_version(self, record, tmp_path, content):
        known, episode = Examinations(tmp_path / "known"), record()
        known.examine(episode)
        (file,) = (tmp_path / "known").rglob("*.*")
        file.write_text(content)
        assert known.find(episode) is None
