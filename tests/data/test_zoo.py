"""The zoo of broken and of odd but good files: every bad one named with its reason, and no good one dropped."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mobile_vla.data.dataset import DataConfig, open_dataset
from mobile_vla.sources.reader import Root
from mobile_vla.sources.schema import printable
from tests.conftest import scan_folders
from tests.data.zoo import BROKEN, GOOD, PATTERN, write_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "episodes"
    return folder, write_zoo(folder)


def test_it_is_large_enough():
    assert len(BROKEN) >= 45
    assert len(GOOD) >= 30


@pytest.mark.parametrize("pack", [True, False])
def test_every_bad_one_is_named_with_its_reason_and_no_good_one_is_dropped(zoo, tmp_path, small, pack):
    folder, expected = zoo
    config = DataConfig(
        root=str(folder), pattern=PATTERN, pack=pack, pack_dir=str(tmp_path / "packed"), max_fault_share=1.0
    )
    dataset = open_dataset(config, small)
    reasons = {fault.file: fault.reason for fault in dataset.faults}
    missed = [name for name, reason in expected.items() if reason and printable(f"{folder}/{name}") not in reasons]
    assert not missed
    dropped = {name: reasons[str(folder / name)] for name in GOOD if str(folder / name) in reasons}
    assert not dropped
    assert len(dataset.faults) == len(BROKEN)
    wrong = {
        name: reasons[str(folder / name)]
        for name, reason in expected.items()
        if reason and not re.search(reason, reasons[str(folder / name)])
    }
    assert not wrong
    assert not [reason for reason in reasons.values() if "\n" in reason or len(reason) > 300]
    assert {episode.path for episode in dataset.episodes} == {folder / name for name in GOOD}
    for episode in dataset.episodes:
        frames = dataset.frames.read(episode, 0, episode.num_frames)
        assert frames.shape == (episode.num_frames, 16, 16, 3)
        assert episode.fingerprint
    # what is printed and stored must be text that a terminal and a file take
    "\n".join([*dataset.describe(), *reasons, *(episode.id for episode in dataset.episodes)]).encode()


def test_the_order_in_which_files_are_found_changes_nothing(zoo, monkeypatch):
    folder, _ = zoo
    root = Root(path=folder, pattern=PATTERN)
    forward = scan_folders(root)
    monkeypatch.setattr("mobile_vla.sources.hdf5.source.find_files", lambda root: find(root)[::-1])
    backward = scan_folders(root)
    assert [episode.id for episode in forward.episodes] == [episode.id for episode in backward.episodes]
    assert set(forward.faults) == set(backward.faults)


def find(root):
    return sorted(path for path in root.path.glob(root.pattern))


AS_NOBODY = """
import os, sys
from pathlib import Path
from mobile_vla.data.catalog import scan
from mobile_vla.sources.hdf5.source import Hdf5Source
from mobile_vla.sources.instructions import InstructionConfig
from mobile_vla.sources.reader import Root

root = [Root(path=Path(sys.argv[1]))]
scan(Hdf5Source(), root, InstructionConfig())  # all modules are imported while it is still allowed
if os.geteuid() == 0:
    os.setuid(65534)
catalog = scan(Hdf5Source(), root, InstructionConfig())
print([episode.id for episode in catalog.episodes])
for fault in catalog.faults:
    print(Path(fault.file).name, "|", fault.reason)
"""


def test_without_permission_a_file_and_a_folder_are_named(write_episode):
    """As a user who is not root, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        for file in ("good", "closed", "hidden/a", "blind/b"):
            write_episode(folder / f"{file}.h5").chmod(0o644)
        locked = {"closed.h5": 0o000, "hidden": 0o000, "blind": 0o444}
        for file, mode in locked.items():
            (folder / file).chmod(mode)
        try:
            run = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, env={**os.environ}
            )
        finally:
            for file in locked:
                (folder / file).chmod(0o755)
    assert run.returncode == 0, run.stderr
    good, *faults = run.stdout.splitlines()
    assert good == "['good']"
    assert sorted(faults) == [
        "b.h5 | cannot be opened: permission denied",
        "closed.h5 | cannot be opened: permission denied",
        "hidden | is a folder: permission denied",
    ]
