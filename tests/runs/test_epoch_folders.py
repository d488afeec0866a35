"""Stores of epochs come in the order of their numbers, and those after a position go: ours, and nothing else."""

import pytest

from mobile_vla.contexts.removal import remove_store
from mobile_vla.contexts.writer import StoreWriter
from mobile_vla.runs.epoch_folders import list_epochs, name_epoch, remove_from
from tests.contexts.storing import INFO, TAPS, plan


def begin_store(folder):
    """One that was begun: its manifest is there, and no row."""
    with StoreWriter(folder, plan(2, 2), TAPS, INFO):
        pass
    return folder


def test_stores_are_listed_by_number_and_removed_from_an_epoch_on(tmp_path):
    for name in [*map(name_epoch, (2, 999, 1000)), "epoch_best", "of_mine"]:
        begin_store(tmp_path / name)
    assert [name_epoch(3), *list_epochs(tmp_path)] == ["epoch_003", 2, 999, 1000]
    assert remove_from(tmp_path, 999) == [tmp_path / "epoch_999", tmp_path / "epoch_1000"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["epoch_002", "epoch_best", "of_mine"]
    assert remove_from(tmp_path, 999) == remove_from(tmp_path / "nowhere", 0) == []


def test_what_no_training_has_stored_stays(tmp_path):
    """Notes in a store, a folder with an epoch's name and other content, and what a link leads to."""
    notes = begin_store(tmp_path / "epoch_001") / "notes.txt"
    notes.write_text("mine")
    mine = tmp_path / "epoch_002" / "shards" / "data.npy"
    mine.parent.mkdir(parents=True)
    mine.touch()
    other = begin_store(tmp_path / "elsewhere")
    (tmp_path / "epoch_003").symlink_to(other)
    assert remove_from(tmp_path, 0) == [tmp_path / "epoch_001"]
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]
    assert mine.exists()
    assert (other / "manifest.json").exists()


@pytest.mark.parametrize("manifest", ["", "{}", '{"schema": 99}', "[]"])
def test_a_folder_with_another_manifest_stays(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    assert not remove_store(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == manifest
