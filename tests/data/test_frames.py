"""Frames from the file and from the packed copy: the right pixels, few reads, and never a stale or half copy."""

import os
import pickle
from dataclasses import replace
from io import BytesIO

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data import frames as frames_module
from mobile_vla.data.frames import PackedFrames, RecordedFrames
from mobile_vla.sources.reader import Root
from mobile_vla.sources.schema import BrokenEpisode
from tests.conftest import LAYOUTS, draw_frames, encode_jpeg, read_file


@pytest.fixture
def record(tmp_path, write_episode):
    """Writes a file and reads it as an episode."""

    def write(name="a", layout="v3", num_frames=9, **more):
        path = write_episode(tmp_path / f"{name}.h5", layout, num_frames, **more)
        return read_file(path, Root(path=tmp_path))

    return write


@pytest.fixture(params=["file", "packed"])
def source(request, small, tmp_path):
    if request.param == "file":
        return RecordedFrames(small)
    return PackedFrames(small, tmp_path / "packed")


@pytest.fixture
def reads(monkeypatch):
    """Every read of a dataset called `images`, as (key)."""
    seen = []
    original = h5py.Dataset.__getitem__

    def record_read(self, key, **more):
        if self.name.endswith("images"):
            seen.append(key)
        return original(self, key, **more)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", record_read)
    return seen


def pillow(frames, size=16):
    return np.stack([Image.fromarray(f).resize((size, size), Image.Resampling.BICUBIC) for f in frames]).astype(int)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_are_pillows_within_one_level(record, source, layout):
    episode = record(layout=layout, seed=4)
    expected = draw_frames(9, seed=4)
    if layout == "v5_jpeg":
        expected = np.stack([np.asarray(Image.open(BytesIO(encode_jpeg(frame).tobytes()))) for frame in expected])
    read = source.read(episode, 2, 7)
    assert read.dtype == torch.uint8
    assert read.shape == (5, 16, 16, 3)
    assert np.abs(read.numpy() - pillow(expected[2:7])).max() <= 1


def test_the_packed_copy_equals_the_file(record, small, tmp_path):
    episode = record(layout="v5_jpeg")
    packed, direct = PackedFrames(small, tmp_path / "packed"), RecordedFrames(small)
    assert torch.equal(packed.read(episode, 0, 9), direct.read(episode, 0, 9))


@pytest.mark.parametrize("layout", ["v3", "v5_jpeg"])
def test_a_span_is_one_read_of_exactly_its_frames(record, small, reads, layout):
    episode = record(layout=layout)
    reads.clear()
    RecordedFrames(small).read(episode, 3, 8)
    assert reads == [slice(3, 8)]


def test_packed_frames_are_read_from_the_file_once(record, small, tmp_path, reads):
    episode = record()
    reads.clear()
    for source in (PackedFrames(small, tmp_path / "packed"), PackedFrames(small, tmp_path / "packed")):
        for low in range(4):
            source.read(episode, low, low + 3)
    assert [frame for key in reads for frame in range(key.start, key.stop)] == list(range(9))


def test_what_is_read_may_be_changed(record, source):
    episode = record()
    source.read(episode, 0, 2).fill_(7)
    assert not (source.read(episode, 0, 2) == 7).all()


def test_sources_travel_to_workers_without_their_handles(record, source):
    episode = record()
    before = source.read(episode, 0, 3)
    assert torch.equal(pickle.loads(pickle.dumps(source)).read(episode, 0, 3), before)


def test_only_so_many_files_stay_open(record, source, monkeypatch):
    monkeypatch.setattr(frames_module, "MAX_OPEN", 2)
    monkeypatch.setattr(frames_module, "MAX_MAPS", 2)
    episodes = [record(name, seed=i) for i, name in enumerate("abcde")]
    first = [source.read(episode, 0, 2) for episode in episodes]
    held = source._open if isinstance(source, RecordedFrames) else source._maps
    assert len(held) == 2
    assert all(torch.equal(source.read(e, 0, 2), frames) for e, frames in zip(episodes, first, strict=True))


def test_a_file_damaged_behind_its_head_is_called_broken(record, small):
    episode = record()
    content = bytearray(episode.path.read_bytes())
    with h5py.File(episode.path) as file:
        chunk = file["images"].id.get_chunk_info(0)
    content[chunk.byte_offset : chunk.byte_offset + 30] = bytes(30)
    episode.path.write_bytes(content)
    with pytest.raises(BrokenEpisode, match="frames 0 to 4 cannot be read"):
        RecordedFrames(small).read(episode, 0, 5)


@pytest.mark.parametrize("change", ["gone", "empty", "shorter", "another layout"])
def test_a_file_that_is_not_what_it_was_is_called_broken(record, source, change):
    episode = record()
    reason = "is not there any more"
    if change == "gone":
        episode.path.unlink()
    elif change == "empty":
        episode.path.write_bytes(b"")
        reason = r"is empty \(0 bytes\)"
    elif change == "shorter":
        record(num_frames=7)
        reason = "holds 7 frames, held 9 before"
    else:
        record(layout="v5")
        reason = "'images' is not there any more"
    with pytest.raises(BrokenEpisode, match=reason):
        source.read(episode, 0, 5)


class TestPackedCopies:
    def test_are_made_anew_when_the_file_changes(self, record, small, tmp_path):
        before = PackedFrames(small, tmp_path / "packed").read(record(seed=1), 0, 9)
        changed = record(seed=2)
        after = PackedFrames(small, tmp_path / "packed").read(changed, 0, 9)
        assert not torch.equal(before, after)
        assert np.abs(after.numpy() - pillow(draw_frames(9, seed=2))).max() <= 1

    def test_a_change_that_keeps_size_and_name_counts(self, record, small, tmp_path):
        episode = record()
        source = PackedFrames(small, tmp_path / "packed")
        source.pack(episode)
        assert source.has(episode)
        time = episode.path.stat().st_mtime_ns
        os.utime(episode.path, ns=(time + 1_000_000, time + 1_000_000))
        assert not source.has(episode)

    @pytest.mark.parametrize("other", [{"size": 8}, {"size": 16, "interpolation": "bilinear"}])
    def test_another_resize_is_another_copy(self, record, small, tmp_path, other):
        episode = record()
        PackedFrames(small, tmp_path / "packed").pack(episode)
        assert not PackedFrames(Preprocessing(**other), tmp_path / "packed").has(episode)

    def test_mean_and_std_share_the_copy(self, record, small, tmp_path):
        """They are applied on the device; what is packed is before them."""
        episode = record()
        PackedFrames(small, tmp_path / "packed").pack(episode)
        plain = Preprocessing(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        assert PackedFrames(plain, tmp_path / "packed").has(episode)

    def test_files_of_the_same_name_do_not_share_a_copy(self, record, small, tmp_path):
        source = PackedFrames(small, tmp_path / "packed")
        one, other = record("one/a"), record("two/a")
        os.utime(other.path, ns=(one.path.stat().st_atime_ns, one.path.stat().st_mtime_ns))
        assert one.path.stat().st_size == other.path.stat().st_size
        assert source.path(one) != source.path(other)

    def test_a_writer_that_is_killed_leaves_nothing_that_is_read(self, record, small, tmp_path, monkeypatch):
        episode = record()
        source = PackedFrames(small, tmp_path / "packed")

        def die(frame, preprocessing):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(frames_module, "resized", die)
            with pytest.raises(KeyboardInterrupt):
                source.pack(episode)
        assert not source.has(episode)
        assert list((tmp_path / "packed").rglob("*.*")) == []

    @pytest.mark.parametrize("pid", [None, 1])
    def test_what_a_killed_writer_left_behind_does_no_harm(self, record, small, tmp_path, pid):
        episode = record()
        source = PackedFrames(small, tmp_path / "packed")
        left = source.path(episode).with_suffix(f".{pid or os.getpid()}.part")
        left.parent.mkdir(parents=True)
        left.write_bytes(b"\x93NUMPY half")
        assert not source.has(episode)
        assert torch.equal(source.read(episode, 0, 9), RecordedFrames(small).read(episode, 0, 9))

    def test_a_second_writer_in_the_middle_of_the_first_does_no_harm(self, record, small, tmp_path, monkeypatch):
        episode = record()
        resize = frames_module.resized

        def let_another_finish(frame, preprocessing):
            monkeypatch.setattr(frames_module, "resized", resize)
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                PackedFrames(small, tmp_path / "packed").pack(episode)
            return resize(frame, preprocessing)

        monkeypatch.setattr(frames_module, "resized", let_another_finish)
        source = PackedFrames(small, tmp_path / "packed")
        source.pack(episode)
        assert torch.equal(source.read(episode, 0, 9), RecordedFrames(small).read(episode, 0, 9))
        assert {file.suffix for file in (tmp_path / "packed").rglob("*.*")} == {".npy", ".json"}

    @pytest.mark.parametrize("damage", [b"", b"\x93NUMPY half", b"PK\x03\x04", None])
    def test_a_damaged_copy_is_made_anew(self, record, small, tmp_path, damage):
        episode = record()
        source = PackedFrames(small, tmp_path / "packed")
        source.pack(episode)
        path = source.path(episode)
        if damage is None:  # a whole copy, but of something else
            np.save(path, np.zeros((9, 8, 8, 3), np.uint8))
        else:
            path.write_bytes(damage)
        assert not source.has(episode)
        assert torch.equal(source.read(episode, 0, 9), RecordedFrames(small).read(episode, 0, 9))
        assert source.has(episode)

    def test_a_file_that_changes_while_it_is_packed_is_not_taken_for_the_new_one(
        self, record, small, tmp_path, monkeypatch
    ):
        episode = record(seed=1)
        source = PackedFrames(small, tmp_path / "packed")
        resize = frames_module.resized

        def change_meanwhile(frame, preprocessing):
            os.utime(episode.path)
            return resize(frame, preprocessing)

        monkeypatch.setattr(frames_module, "resized", change_meanwhile)
        source.pack(episode)
        assert not source.has(episode)
        assert source.examinations.find(episode) is None

    def test_a_file_that_changes_while_training_runs_is_broken_if_its_content_does(self, record, small, tmp_path):
        """Its actions were read before: frames of another recording must not be trained on with them."""
        episode = record(seed=1)
        source = PackedFrames(small, tmp_path / "packed")
        episode = replace(episode, fingerprint=source.pack(episode).fingerprint)
        os.utime(episode.path)  # copied back, say: another time, the same content
        expected = RecordedFrames(small).read(episode, 0, 9)
        for fresh in (PackedFrames(small, tmp_path / "packed"), PackedFrames(small, tmp_path / "packed")):
            assert torch.equal(fresh.read(episode, 0, 9), expected)
        record(seed=2)
        for _ in range(2):  # the second time, others have packed the new content
            with pytest.raises(BrokenEpisode, match="changed since it was examined"):
                PackedFrames(small, tmp_path / "packed").read(episode, 0, 9)

    def test_a_file_that_turns_black_while_training_runs_is_broken(self, record, small, tmp_path):
        episode = record()
        record(frames=np.zeros((9, 24, 40, 3), np.uint8))
        for _ in range(2):
            with pytest.raises(BrokenEpisode, match="frame 0 is one colour everywhere"):
                PackedFrames(small, tmp_path / "packed").read(episode, 0, 9)
