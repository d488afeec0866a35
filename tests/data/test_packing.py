"""Packing many episodes: in one process or several, nothing twice, and faults are named."""

import os

import h5py
import pytest
import torch

from mobile_vla.data import packing
from mobile_vla.data.catalog import Root, scan
from mobile_vla.data.frames import FileFrames, PackedFrames
from mobile_vla.data.instructions import InstructionConfig
from mobile_vla.data.packing import pack_all
from mobile_vla.errors import UserError


@pytest.fixture
def episodes(tmp_path, write_episode):
    """Three good episodes and, second, one whose frames cannot be read."""
    for seed, name in enumerate("abcd"):
        write_episode(tmp_path / "episodes" / f"{name}.h5", "v5_jpeg" if name == "d" else "v3", seed=seed)
    found = scan([Root(path=tmp_path / "episodes")], InstructionConfig()).episodes
    with h5py.File(found[1].path) as file:
        chunk = file["images"].id.get_chunk_info(0)
    damaged = bytearray(found[1].path.read_bytes())
    damaged[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    found[1].path.write_bytes(damaged)
    return list(found)


def test_all_but_the_broken_are_packed(tmp_path, small, episodes):
    frames = PackedFrames(small, tmp_path / "packed")
    (fault,) = pack_all(frames, episodes)
    assert fault.file == str(episodes[1].path)
    assert "frames 0 to 5 cannot be read" in fault.reason
    assert [frames.has(episode) for episode in episodes] == [True, False, True, True]


def test_what_is_packed_is_not_packed_again(tmp_path, small, episodes, monkeypatch):
    good = [episodes[0], episodes[2]]
    pack_all(PackedFrames(small, tmp_path / "packed"), good)
    packed = []
    monkeypatch.setattr(PackedFrames, "pack", lambda self, episode: packed.append(episode.id))
    seen = []
    pack_all(PackedFrames(small, tmp_path / "packed"), [*good, episodes[3]], lambda *done: seen.append(done))
    assert packed == ["d"]
    assert seen == [(1, 1)]


def test_two_processes_pack_the_same_folder(tmp_path, small, episodes, monkeypatch):
    """Each episode twice, so that both processes also write the same copy."""
    monkeypatch.setattr(packing, "EPISODES_A_PROCESS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    frames = PackedFrames(small, tmp_path / "packed")
    faults = pack_all(frames, [episode for episode in episodes for _ in range(2)])
    assert {fault.file for fault in faults} == {str(episodes[1].path)}
    direct = FileFrames(small)
    for episode in (episodes[0], episodes[2], episodes[3]):
        assert torch.equal(frames.read(episode, 0, 6), direct.read(episode, 0, 6))
    assert {file.suffix for file in (tmp_path / "packed").rglob("*.*")} == {".npy"}


def test_a_folder_that_cannot_be_written_is_told(tmp_path, small, episodes):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"data\.pack: cannot write packed frames below .*taken.*data\.pack=false"):
        pack_all(PackedFrames(small, tmp_path / "taken" / "packed"), episodes)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_told(tmp_path, small, episodes):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"data\.pack: cannot write packed frames"):
        pack_all(PackedFrames(small, tmp_path / "locked"), episodes)
