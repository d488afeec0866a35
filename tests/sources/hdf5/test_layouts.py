"""The HDF5 layouts, told apart by looking at the file."""

import h5py
import numpy as np
import pytest

from mobile_vla.sources.hdf5 import layouts
from mobile_vla.sources.hdf5.layouts import (
    detect,
    encoding_of,
    frame_resolution,
    read_actions,
    read_frames,
    read_instruction,
)
from mobile_vla.sources.schema import BrokenEpisode
from tests.conftest import BOX_NAME, KOREAN, LAYOUTS, draw_actions, draw_frames, encode_jpeg

LAB = layouts.LAYOUTS[0]


@pytest.fixture
def scratch(tmp_path):
    """An empty open file."""
    with h5py.File(tmp_path / "scratch.h5", "w") as file:
        yield file


@pytest.mark.parametrize(
    ("layout", "expected"),
    [("v3", ("flat", "raw")), ("v6", ("flat", "raw")), ("v5", ("nested", "raw")), ("v5_jpeg", ("nested", "jpeg"))],
)
def test_the_file_says_its_layout(tmp_path, write_episode, layout, expected):
    with h5py.File(write_episode(tmp_path / "x.h5", layout)) as file:
        found = detect(file)
        assert (found.name, encoding_of(file[found.frames])) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_and_actions_are_those_written(tmp_path, write_episode, layout):
    with h5py.File(write_episode(tmp_path / f"{BOX_NAME}.h5", layout, 5, seed=3)) as file:
        frames = file[detect(file).frames]
        read = np.stack(read_frames(frames, 1, 4)).astype(int)
        assert np.abs(read - draw_frames(5, seed=3)[1:4]).mean() <= (5 if layout == "v5_jpeg" else 0)
        assert frame_resolution(frames) == (24, 40)
        np.testing.assert_array_equal(read_actions(file, LAB), draw_actions(5, seed=3))


def test_a_group_where_frames_should_be_is_no_layout(scratch):
    scratch.create_group("images")
    with pytest.raises(BrokenEpisode, match=r"expected a dataset 'images' or 'observations/images'.*\['images'\]"):
        detect(scratch)


def test_names_that_are_not_utf8_are_still_told(scratch):
    scratch.create_group("bilder")
    scratch.create_group(b"bild\xff")
    with pytest.raises(BrokenEpisode, match="no frames: expected a dataset"):
        detect(scratch)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_may_be_written_to(tmp_path, write_episode, layout):
    """Else torch warns the user of an array that is not writable."""
    with h5py.File(write_episode(tmp_path / "x.h5", layout)) as file:
        assert all(frame.flags.writeable for frame in read_frames(file[detect(file).frames], 0, 2))


def test_grey_jpeg_rows_become_rgb(scratch):
    rows = scratch.create_dataset("images", (1,), dtype=h5py.vlen_dtype(np.uint8))
    rows[0] = encode_jpeg(np.full((8, 10), 77, np.uint8))
    (frame,) = read_frames(rows, 0, 1)
    assert frame.shape == (8, 10, 3)
    assert np.abs(frame.astype(int) - 77).max() <= 1


def test_a_row_that_is_no_jpeg_is_called_by_its_frame(scratch):
    rows = scratch.create_dataset("images", (5,), dtype=h5py.vlen_dtype(np.uint8))
    for index in range(5):
        rows[index] = encode_jpeg(draw_frames(1)[0])
    rows[3] = rows[3][: len(rows[3]) // 2]
    with pytest.raises(BrokenEpisode, match="frame 3 is no readable JPEG"):
        read_frames(rows, 2, 5)


class TestInstruction:
    @pytest.mark.parametrize("dtype", [None, h5py.string_dtype()])
    def test_the_dataset_is_korean_text(self, scratch, dtype):
        scratch.create_dataset("language_instruction", data=np.array([KOREAN.encode()]), dtype=dtype)
        assert read_instruction(scratch, LAB) == KOREAN

    def test_the_attribute_speaks_where_no_dataset_does(self, scratch):
        scratch.attrs["task"] = KOREAN
        assert read_instruction(scratch, LAB) == KOREAN

    def test_the_dataset_wins_over_the_attribute(self, scratch):
        scratch["language_instruction"] = [b"from the dataset"]
        scratch.attrs["task"] = "from the attribute"
        assert read_instruction(scratch, LAB) == "from the dataset"

    @pytest.mark.parametrize("blank", [[b""], [b"  \n"], np.empty(0, "S4")])
    def test_a_blank_dataset_leaves_the_word_to_the_attribute(self, scratch, blank):
        scratch["language_instruction"] = blank
        scratch.attrs["task"] = "go"
        assert read_instruction(scratch, LAB) == "go"

    @pytest.mark.parametrize("nothing", [None, "", h5py.Empty("S4")], ids=["absent", "blank", "null"])
    def test_none_where_there_is_none(self, scratch, nothing):
        if nothing is not None:
            scratch.attrs["task"] = nothing
        assert read_instruction(scratch, LAB) is None

    def test_other_encodings_are_refused(self, scratch):
        scratch["language_instruction"] = np.array([KOREAN.encode("cp949")])
        with pytest.raises(BrokenEpisode, match="instruction: not UTF-8"):
            read_instruction(scratch, LAB)

    @pytest.mark.parametrize("task", [3, 0.5, np.arange(3), True])
    def test_a_task_that_is_no_text_is_no_instruction(self, scratch, task):
        scratch.attrs["task"] = task
        assert read_instruction(scratch, LAB) is None

    def test_of_several_texts_the_first_that_is_not_blank(self, scratch):
        scratch["language_instruction"] = np.array([b"", b"go left", b"go right"])
        assert read_instruction(scratch, LAB) == "go left"

    @pytest.mark.parametrize("value", [np.arange(4), 3.5, np.array([True])])
    def test_numbers_where_the_text_should_be_are_refused(self, scratch, value):
        scratch["language_instruction"] = value
        with pytest.raises(BrokenEpisode, match="instruction: expected text, got"):
            read_instruction(scratch, LAB)
        del scratch["language_instruction"]
        scratch.attrs["language_instruction"] = value
        with pytest.raises(BrokenEpisode, match="instruction: expected text, got"):
            read_instruction(scratch, LAB)


class TestLinks:
    def test_a_link_inside_the_file_is_followed(self, scratch):
        scratch["camera/top"] = draw_frames(3)
        scratch["images"] = h5py.SoftLink("/camera/top")
        assert detect(scratch).name == "flat"

    def test_what_is_broken_in_one_layout_may_be_good_in_the_other(self, scratch):
        scratch["images"] = h5py.SoftLink("/gone")
        scratch["observations/images"] = draw_frames(3)
        assert detect(scratch).name == "nested"

    def test_with_neither_the_reason_is_that_of_the_first(self, scratch):
        scratch["images"] = np.zeros((3, 4, 5), np.uint8)
        scratch["observations/images"] = np.zeros(3)
        with pytest.raises(BrokenEpisode, match=r"got \(3, 4, 5\) uint8 \(grey frames\?\)"):
            detect(scratch)

    def test_frames_stored_outside_the_file_are_refused(self, scratch, tmp_path):
        """Packed copies are called by this file's size and time, which would not change with the frames."""
        scratch.create_dataset("images", (2, 4, 5, 3), np.uint8, external=[(str(tmp_path / "raw"), 0, 120)])
        with pytest.raises(BrokenEpisode, match="'images' lies in another file"):
            detect(scratch)
