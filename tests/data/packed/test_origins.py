"""Changed and removed episodes are noticed; what nobody will ask for again is removed, and nothing else."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_vla.data.frames import PackedFrames, RecordedFrames
from mobile_vla.data.packed.origins import read_origins
from mobile_vla.data.packed.packing import Packed, pack_folder
from tests.conftest import scan_folders


@dataclass
class Folder:
    """Episodes a, b and c, packed into a folder beside them."""

    root: Path
    frames: PackedFrames

    def pack(self, prune=False) -> Packed:
        episodes = scan_folders(self.root).episodes
        return pack_folder(self.frames, episodes, [self.root], prune=prune)

    def copies(self) -> set[Path]:
        return {path for path in self.frames.folder.glob("??/*") if path.suffix == ".npy"}


@pytest.fixture
def folder(tmp_path, write_episode, small):
    for seed, name in enumerate("abc"):
        write_episode(tmp_path / "episodes" / f"{name}.h5", seed=seed)
    found = Folder(tmp_path / "episodes", PackedFrames(small, tmp_path / "packed"))
    found.pack()
    return found


def test_every_copy_tells_which_file_it_was_made_of(folder):
    origins = {Path(origin.path).name: copy for copy, origin in read_origins(folder.frames.folder)}
    assert sorted(origins) == ["a.h5", "b.h5", "c.h5"]
    assert set(origins.values()) == folder.copies()


def test_added_changed_and_removed_episodes_are_told_apart(folder, write_episode):
    before = folder.copies()
    write_episode(folder.root / "a.h5", seed=9)
    (folder.root / "b.h5").unlink()
    write_episode(folder.root / "d.h5", seed=3)
    done = folder.pack()
    assert [episode.id for episode in done.good] == ["a", "c", "d"]
    assert [episode.id for episode in done.new] == ["a", "d"]
    assert done.changed == 1
    assert done.outdated.changed == {str(folder.root / "a.h5")}
    assert done.outdated.removed == {str(folder.root / "b.h5")}
    assert before < folder.copies()  # nothing is removed unless that is asked for
    again = folder.pack()
    assert (len(again.good), again.new, again.changed, len(again.outdated.copies)) == (3, [], 0, 2)


def test_prune_removes_the_outdated_and_keeps_what_is_read(folder, write_episode, small):
    expected = {id: RecordedFrames(small).read(episode, 0, 6) for id, episode in by_id(folder.pack()).items()}
    reading = by_id(folder.pack())["b"]
    folder.frames.read(reading, 0, 1)
    write_episode(folder.root / "a.h5", seed=9)
    (folder.root / "b.h5").unlink()
    done = folder.pack(prune=True)
    assert len(folder.copies()) == 2
    assert len(list(folder.frames.folder.glob("??/*.json"))) == 2
    assert done.freed == done.outdated_bytes == 2 * (128 + 6 * 16 * 16 * 3)
    assert torch.equal(folder.frames.read(reading, 0, 6), expected["b"])  # by whoever was reading it
    assert torch.equal(PackedFrames(small, folder.frames.folder).read(by_id(done)["c"], 0, 6), expected["c"])
    assert folder.pack(prune=True).freed == 0


def by_id(done):
    return {episode.id: episode for episode in done.good}


def test_copies_of_other_folders_and_of_other_sizes_stay(folder, tmp_path, write_episode, small):
    """A disk that is not mounted looks as if all of its episodes were removed."""
    other = tmp_path / "episodes2"
    write_episode(other / "a.h5", seed=5)
    Folder(other, folder.frames).pack()
    Folder(folder.root, PackedFrames(type(small)(size=8), folder.frames.folder)).pack()
    other.rename(tmp_path / "unmounted")
    done = folder.pack(prune=True)
    assert done.freed == 0
    assert len(folder.copies()) == 3 + 1 + 3


def test_an_episode_that_is_a_link_to_elsewhere_is_noticed_too(folder, tmp_path, write_episode):
    target = write_episode(tmp_path / "elsewhere" / "e.h5", seed=5)
    (folder.root / "e.h5").symlink_to(target)
    folder.pack()
    write_episode(target, seed=6)
    done = folder.pack()
    assert (done.changed, done.outdated.changed) == (1, {str(target)})


def test_what_killed_packs_left_is_removed_once_its_writer_is_surely_gone(folder):
    copy = next(iter(folder.copies()))
    old, fresh, foreign = (copy.with_name(name) for name in _parts(copy.stem))
    for file in (old, fresh):
        file.write_bytes(copy.read_bytes()[:300])
    foreign.write_bytes(bytes(300))
    for file in (old, foreign):
        os.utime(file, (1e9, 1e9))
    assert folder.pack(prune=True).freed == 300
    assert not old.exists()
    assert fresh.exists()
    assert foreign.exists()


def _parts(stem):
    return f".{stem}.node.1.part", f".{stem}.node.2.part", f".{stem}.node.3.part"


def test_prune_leaves_everything_that_packing_has_not_written(folder, tmp_path, write_episode):
    """`data.pack_dir` may be any folder: look-alikes, links and other programs' files stay."""
    packed, gone = folder.frames.folder, "ab" + "0" * 30
    origin = json.dumps({"path": str(folder.root / "gone.h5"), "bytes": 1, "mtime_ns": 1})  # of a file that is gone
    own = next(iter(folder.copies()))
    planted = [packed / "ab" / f"{gone}.npy", packed / "results" / f"{gone}.npy", packed / "ab" / "vectors.npy"]
    for path in planted:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(own, path)  # a file of ours under another name: which one it is, its mark says
        path.with_suffix(".json").write_text(origin)
    np.save(packed / "ab" / f"{gone[:-1]}1.npy", np.zeros((6, 16, 16, 3), np.uint8))
    (packed / "ab" / f"{gone[:-1]}1.json").write_text(origin)
    (packed / "ab" / "download.part").write_bytes(bytes(100))
    os.utime(packed / "ab" / "download.part", (1, 1))
    outside = tmp_path / "outside"
    shutil.copytree(own.parent, outside)
    for note in outside.glob("*.json"):
        note.write_text(origin)
    own_room = own.parent.name
    shutil.rmtree(own.parent)
    (packed / own_room).symlink_to(outside)
    before = {path: path.read_bytes() for path in [*packed.rglob("*"), *outside.rglob("*")] if path.is_file()}
    assert folder.pack(prune=True).freed == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_note_of_an_origin_does_no_harm(folder):
    next(folder.frames.folder.glob("??/*.json")).write_bytes(b"\xff{")
    assert len(list(read_origins(folder.frames.folder))) == 2
    assert folder.pack(prune=True).freed == 0
    assert len(folder.copies()) == 3
