"""One process trains in a run's folder at a time."""

import shutil
from pathlib import Path

from mobile_vla.errors import UserError
from mobile_vla.locking import FileLock, Held, find_holder

NAME = ".lock"


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


def remove_all_but_the_lock(folder: Path) -> None:
    """For whoever holds it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != NAME:
            path.unlink()


def _refusal(folder: Path, holder: str) -> UserError:
    return UserError(
        f"{folder} is being trained in by {holder}; wait until it has ended, or repeat the run in a folder of its own "
        f"with config={folder / 'config.yaml'}"
    )
