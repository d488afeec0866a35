"""Reading many episodes: in one process or several, packed or not, nothing twice, and faults are named."""

import errno
import os
from pathlib import Path

import h5py
import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.data.examination import Examinations, examine
from mobile_vla.data.frames import PackedFrames, RecordedFrames
from mobile_vla.data.packed import packing
from mobile_vla.data.packed.packing import examine_all
from tests.conftest import draw_frames, scan_folders


@pytest.fixture
def episodes(tmp_path, write_episode):
    """Three good episodes and, second, one whose frames cannot be read."""
    for seed, name in enumerate("abcd"):
        write_episode(tmp_path / "episodes" / f"{name}.h5", "v5_jpeg" if name == "d" else "v3", seed=seed)
    found = scan_folders(tmp_path / "episodes").episodes
    with h5py.File(found[1].path) as file:
        chunk = file["images"].id.get_chunk_info(0)
    damaged = bytearray(found[1].path.read_bytes())
    damaged[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    found[1].path.write_bytes(damaged)
    return list(found)


@pytest.fixture
def reads(monkeypatch):
    """Every read of a dataset called `images`, as (file name, key)."""
    seen = []
    original = h5py.Dataset.__getitem__

    def record_read(self, key, **more):
        if self.name.endswith("images"):
            seen.append((Path(self.file.filename).name, key))
        return original(self, key, **more)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", record_read)
    return seen


def test_all_but_the_broken_are_packed_and_examined(tmp_path, small, episodes):
    frames = PackedFrames(small, tmp_path / "packed")
    good, (fault,) = examine_all(frames, episodes)
    assert fault.file == str(episodes[1].path)
    assert "frames 0 to 5 cannot be read" in fault.reason
    assert [frames.has(episode) for episode in episodes] == [True, False, True, True]
    assert [episode.id for episode in good] == ["a", "c", "d"]
    assert [e.fingerprint for e in good] == [examine(episodes[i]).fingerprint for i in (0, 2, 3)]


def test_what_is_known_is_not_read_again(tmp_path, small, episodes, reads):
    frames = PackedFrames(small, tmp_path / "packed")
    before, _ = examine_all(frames, [episodes[0], episodes[2]])
    reads.clear()
    seen = []
    again, _ = examine_all(frames, [episodes[0], episodes[2], episodes[3]], lambda *done: seen.append(done))
    assert {name for name, _ in reads} == {"d.h5"}
    assert seen == [(1, 1)]
    assert [e.fingerprint for e in again[:2]] == [e.fingerprint for e in before]
    reads.clear()
    unpacked, _ = examine_all(Examinations(tmp_path / "packed" / "examined"), again)
    assert [e.fingerprint for e in unpacked] == [e.fingerprint for e in again]
    assert reads == []


def test_a_copy_that_is_lost_is_made_and_one_that_is_damaged_made_anew(tmp_path, small, episodes):
    frames = PackedFrames(small, tmp_path / "packed")
    good = [episodes[0], episodes[2], episodes[3]]
    examine_all(frames, good)
    expected = [frames.read(episode, 0, 6) for episode in good]
    frames.path(good[0]).unlink()
    for episode, length in zip(good[1:], (-100, 40), strict=True):
        path = frames.path(episode)
        path.write_bytes(path.read_bytes()[:length])
    fresh = PackedFrames(small, tmp_path / "packed")
    assert [fresh.has(episode) for episode in good] == [False] * 3
    again, faults = examine_all(fresh, good)
    assert not faults
    assert [fresh.has(episode) for episode in good] == [True] * 3  # now, not when training needs them
    assert all(torch.equal(fresh.read(e, 0, 6), frames) for e, frames in zip(again, expected, strict=True))


def test_a_fault_of_the_content_is_remembered_but_not_one_of_reading(tmp_path, small, write_episode, episodes, reads):
    """What could not be read may be the network's fault, and pass."""
    black = draw_frames(6)
    black[4] = 0
    write_episode(tmp_path / "episodes" / "black.h5", frames=black)
    found = scan_folders(tmp_path / "episodes").episodes
    frames = PackedFrames(small, tmp_path / "packed")
    _, first = examine_all(frames, found)
    reads.clear()
    _, second = examine_all(PackedFrames(small, tmp_path / "packed"), found)
    assert first == second
    assert [fault.reason[:30] for fault in first] == [
        "frames 0 to 5 cannot be read: ",
        "frame 4 is one colour everywhe",
    ]
    assert {name for name, _ in reads} == {"b.h5"}
    assert [frames.has(episode) for episode in found] == [episode.id in "acd" for episode in found]


def test_two_processes_pack_the_same_folder(tmp_path, small, episodes, monkeypatch):
    """Each episode twice, so that both processes also write the same copy."""
    monkeypatch.setattr(packing, "BYTES_A_PROCESS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    frames = PackedFrames(small, tmp_path / "packed")
    _, faults = examine_all(frames, [episode for episode in episodes for _ in range(2)])
    assert {fault.file for fault in faults} == {str(episodes[1].path)}
    direct = RecordedFrames(small)
    for episode in (episodes[0], episodes[2], episodes[3]):
        assert torch.equal(frames.read(episode, 0, 6), direct.read(episode, 0, 6))
    assert {file.suffix for file in (tmp_path / "packed").rglob("*.*")} == {".npy", ".json"}


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, small, episodes, packed):
    (tmp_path / "taken").write_text("a file")
    folder = tmp_path / "taken" / "packed"
    reader = PackedFrames(small, folder) if packed else Examinations(folder)
    with pytest.raises(UserError, match=r"data\.pack_dir: cannot write below .*taken.* \(Not a directory\); set"):
        examine_all(reader, episodes)


def test_a_full_disk_is_not_the_files_fault(tmp_path, small, episodes, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mobile_vla.data.frames.write_header", full)
    with pytest.raises(UserError, match=r"cannot write below .*No space left on device"):
        examine_all(PackedFrames(small, tmp_path / "packed"), episodes)
    assert not [file for file in (tmp_path / "packed").rglob("*") if file.is_file()]
