"""Frames from the file and from the packed copy: the right pixels, few reads, and never a stale or half copy."""

import os
import pickle
from io import BytesIO

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from mobile_vla.data import frames as frames_module
from mobile_vla.data.catalog import Root, read_episode
from mobile_vla.data.frames import FileFrames, PackedFrames
from mobile_vla.data.instructions import InstructionConfig
from mobile_vla.data.layouts import BrokenEpisode
from mobile_vla.preprocessing import Preprocessing
from tests.conftest import LAYOUTS, draw_frames, encode_jpeg


@pytest.fixture
def record(tmp_path, write_episode):
    """Writes a file and reads it as an episode."""

    def write(name="a", layout="v3", num_frames=9, **more):
        path = write_episode(tmp_path / f"{name}.h5", layout, num_frames, **more)
        return read_episode(path, Root(path=tmp_path), InstructionConfig())

    return write


@pytest.fixture(params=["file", "packed"])
def source(request, small, tmp_path):
    if request.param == "file":
        return FileFrames(small)
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
    packed, direct = PackedFrames(small, tmp_path / "packed"), FileFrames(small)
    assert torch.equal(packed.read(episode, 0, 9), direct.read(episode, 0, 9))


@pytest.mark.parametrize("layout", ["v3", "v5_jpeg"])
def test_a_span_is_one_read_of_exactly_its_frames(record, small, reads, layout):
    episode = record(layout=layout)
    reads.clear()
    FileFrames(small).read(episode, 3, 8)
    assert reads == [slice(3, 8)]


def test_packed_frames_are_read_from_the_file_once(record, small, tmp_path, reads):
    episode = record()
    reads.clear()
    for source in (PackedFrames(small, tmp_path / "packed"), PackedFrames(small, tmp_path / "packed")):
        for low in range(4):
            source.read(episode, low, low + 3)
    assert reads == [slice(0, 9)]


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
    episodes = [record(name, seed=i) for i, name in enumerate("abcde")]
    first = [source.read(episode, 0, 2) for episode in episodes]
    held = source._open if isinstance(source, FileFrames) else source._maps
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
        FileFrames(small).read(episode, 0, 5)


def test_a_file_that_is_gone_is_called_broken(record, small):
    episode = record()
    episode.path.unlink()
    with pytest.raises(BrokenEpisode, match="frames 0 to 4 cannot be read"):
        FileFrames(small).read(episode, 0, 5)


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

        def die(file, frames):
            file.write(b"\x93NUMPY half")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(np, "save", die)
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
        assert torch.equal(source.read(episode, 0, 9), FileFrames(small).read(episode, 0, 9))

    def test_a_second_writer_in_the_middle_of_the_first_does_no_harm(self, record, small, tmp_path, monkeypatch):
        episode = record()
        save = np.save

        def let_another_finish(file, frames):
            monkeypatch.setattr(np, "save", save)
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                PackedFrames(small, tmp_path / "packed").pack(episode)
            save(file, frames)

        monkeypatch.setattr(np, "save", let_another_finish)
        source = PackedFrames(small, tmp_path / "packed")
        source.pack(episode)
        assert torch.equal(source.read(episode, 0, 9), FileFrames(small).read(episode, 0, 9))
        assert [file.suffix for file in (tmp_path / "packed").rglob("*.*")] == [".npy"]
