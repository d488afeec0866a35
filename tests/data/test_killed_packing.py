"""Packing that is killed at any moment, or done by two at once, leaves what undisturbed packing leaves."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from mobile_vla.data.frames import PackedFrames
from mobile_vla.data.packed.packing import examine_all
from tests.conftest import scan_folders

NUM_KILLS = 12
SPAWNING = """
import sys
from pathlib import Path
from mobile_vla.data.catalog import scan
from mobile_vla.data.frames import PackedFrames
from mobile_vla.sources.instructions import InstructionConfig
from mobile_vla.data.packed.packing import examine_all
from mobile_vla.sources.hdf5.source import Hdf5Source
from mobile_vla.sources.reader import Root
from mobile_vla.core.preprocessing import Preprocessing
if __name__ == "__main__":
    root, packed = map(Path, sys.argv[1:])
    episodes = scan(Hdf5Source(), [Root(path=root)], InstructionConfig()).episodes * 200
    frames = PackedFrames(Preprocessing(size=16), packed)
    examine_all(frames, episodes, lambda *_: print("one", flush=True), processes=2)
"""


@pytest.fixture
def episodes(tmp_path, write_episode):
    for seed in range(6):
        write_episode(tmp_path / "episodes" / f"{seed}.h5", num_frames=12, seed=seed)
    return scan_folders(tmp_path / "episodes").episodes


def content(frames):
    return {path.name: path.read_bytes() for path in frames.folder.rglob("*") if path.suffix in (".npy", ".json")}


def pack_in_a_child(frames, episodes):
    """The id of a process that packs."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            examine_all(frames, episodes)
            os._exit(0)
        finally:
            os._exit(1)
    return child


@pytest.fixture
def undisturbed(tmp_path, small, episodes):
    """What packing leaves, and the seconds that it takes."""
    frames = PackedFrames(small, tmp_path / "undisturbed")
    begun = time.perf_counter()
    assert os.waitpid(pack_in_a_child(frames, episodes), 0)[1] == 0
    return content(frames), time.perf_counter() - begun


def test_packing_that_was_killed_at_any_moment_is_finished_by_the_next(tmp_path, small, episodes, undisturbed):
    expected, took = undisturbed
    moments, unfinished = random.Random(0), 0
    for kill in range(NUM_KILLS):
        frames = PackedFrames(small, tmp_path / f"killed{kill}")
        child = pack_in_a_child(frames, episodes)
        time.sleep(moments.uniform(0, took))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        there = content(frames)
        assert all(expected[name] == bytes for name, bytes in there.items())  # whole, or not there
        unfinished += there != expected
        examine_all(frames, episodes)
        assert content(frames) == expected
    assert unfinished


def test_two_that_pack_the_same_folder_at_once_leave_what_one_leaves(tmp_path, small, episodes, undisturbed):
    expected, _ = undisturbed
    for attempt in range(4):
        frames = PackedFrames(small, tmp_path / f"shared{attempt}")
        children = [pack_in_a_child(frames, order) for order in (episodes, episodes, episodes[::-1])]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert content(frames) == expected
        assert not list(frames.folder.rglob("*.part"))


@pytest.mark.slow
def test_a_killed_pack_leaves_no_process_behind(tmp_path, episodes):
    script = tmp_path / "pack.py"
    script.write_text(SPAWNING)
    folders = [str(episodes[0].path.parent), str(tmp_path / "packed")]
    parent = subprocess.Popen([sys.executable, script, *folders], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"one\n"
    children = children_of(parent.pid)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    end = time.monotonic() + 20
    while any(map(is_alive, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


def children_of(process):
    with open(f"/proc/{process}/task/{process}/children") as file:
        return [int(child) for child in file.read().split()]


def is_alive(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
