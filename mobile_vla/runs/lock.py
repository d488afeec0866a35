"""One process trains in a run's folder at a time."""

import shutil
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from mobile_vla.core.errors import UserError
from mobile_vla.core.locking import FileLock, Held, find_holder

NAME = ".lock"
# What a training writes before `config.yaml`, which says that there is a run.
BEGUN = (
    "split.json",
    "faults.json",
    "machine.json",
    "metrics.csv",
    "events.out.tfevents.*",
    "checkpoints",
    "contexts",
    "projector",
    "points",
    "projector_config.pbtxt",
    ".*.part",
    "hparams.yaml",
)


class RunLock(FileLock):
    """The lock of a run's folder, which is made where it is not there; `UserError` that names who has it."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            super().__init__(folder / NAME)
        except Held as holder:
            raise _refusal(folder, str(holder)) from holder


def refuse_if_locked(folder: Path) -> None:
    """`UserError` if a process trains there now: to be told so before the long part. Writes nothing."""
    holder = find_holder(folder / NAME)
    if holder is not None:
        raise _refusal(folder, holder)


def remove_begun(folder: Path, before: Collection[str]) -> None:
    """What a training has written that did not become a run, for whoever holds the lock.

    before: names that were there when the lock was taken: they, and names that no training writes, stay.
    """
    for path in folder.iterdir():
        if path.name in before or path.is_symlink() or not any(fnmatch(path.name, name) for name in BEGUN):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _refusal(folder: Path, holder: str) -> UserError:
    return UserError(
        f"{folder} is being trained in by {holder}; wait until it has ended, or repeat the run in a folder of its own "
        f"with config={folder / 'config.yaml'}"
    )
