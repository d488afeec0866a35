"""Taking an output folder: one step, which one process wins; the others touch nothing.

In: the folder that a job is to write into. Out: a `Claim`, held until the job has ended. Making a folder is such a
step, but `out=` may name one that exists and is empty, and a training that was refused leaves its lock there. So the
winner is the one who locks `<out>/.lock` and then finds nothing else in the folder. The system drops the lock when its
holder dies.

A file that is locked may have been removed before: what counts is the lock of the file that has the name. Record locks
belong to a process, not to an open file: one that closes the file, opened anywhere a second time, has lost the lock. A
training does so (`training.lock`), so before anything is removed the lock is taken again; and nothing here opens the
file of a folder that this process has claimed.
"""

import fcntl
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from mobile_vla.core.errors import UserError
from mobile_vla.core.locking import TAKEN

LOCK = ".lock"
OWN = re.compile(r"(process \d+ on \S*)?")  # what `locking.FileLock` and a claim write into their file
MOST = 200  # bytes of it
_mine: set[Path] = set()  # folders that threads of this process have claimed
_guard = threading.Lock()


class Claim:
    """Of an existing folder, held until `release`; `UserError` where another job has it.

    fresh  it must hold nothing but a left lock; else it is one to continue in
    """

    def __init__(self, out: Path, fresh: bool = True):
        self.out, self._file = out, out / LOCK
        self._name = Path(os.path.realpath(out))
        self._descriptor: int | None = None
        with _guard:
            if self._name in _mine:
                raise _refusal(out, "this process")
            _mine.add(self._name)
        try:
            self._descriptor, made = self._take()
            held = os.pread(self._descriptor, MOST + 1, 0)
            others = sorted(path.name for path in out.iterdir() if path.name != LOCK) if fresh else []
            found = LOCK if not _is_own(held) else others[0] if others else None
            if found is not None:
                self.release(keep_lock=not made)
                raise UserError(
                    f"the folder is not empty (it holds {found}); name a new one, or empty it",
                    argument="out",
                    value=out,
                )
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        except BaseException:
            self._forget()
            raise

    def release(self, remove_empty: bool = False, keep_lock: bool = False) -> None:
        """Let go of the folder and remove the lock, unless somebody else has taken it meanwhile.

        remove_empty  remove the folder too where nothing else is in it
        """
        if self._descriptor is not None:
            if not keep_lock and _lock(self._descriptor) and self._is_named():
                self._file.unlink()
                if remove_empty:
                    with suppress(OSError):  # it holds something
                        self.out.rmdir()
            os.close(self._descriptor)
            self._descriptor = None
        self._forget()

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, kind: object, error: object, at: object) -> None:
        self.release()

    def _take(self) -> tuple[int, bool]:
        """The open, locked file, and whether it was made here."""
        while True:
            made = not os.path.lexists(self._file)
            try:
                descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise UserError(
                    f"cannot write there: {error.strerror or error}", argument="out", value=self.out
                ) from error
            self._descriptor = descriptor
            try:
                locked = _lock(descriptor)
            except OSError as error:
                os.close(descriptor)
                raise UserError(
                    f"its file system cannot lock files ({error.strerror or error}), so two jobs might "
                    "write there; name a folder on another disk",
                    argument="out",
                    value=self.out,
                ) from error
            holder = os.pread(descriptor, MOST, 0).decode("utf-8", "replace")
            if not locked:
                os.close(descriptor)
                raise _refusal(self.out, holder or "another process")
            if self._is_named():
                return descriptor, made
            os.close(descriptor)  # its holder has just ended and removed it

    def _is_named(self) -> bool:
        """Whether the open file still has the name."""
        assert self._descriptor is not None
        try:
            there = os.lstat(self._file)
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)

    def _forget(self) -> None:
        with _guard:
            _mine.discard(self._name)


def find_foreign(out: Path) -> str | None:
    """The name of something in the folder that is not a lock of ours; None where there is nothing else.

    `UserError` where this process has claimed it.
    """
    with _guard:
        if Path(os.path.realpath(out)) in _mine:
            raise _refusal(out, "this process")
        for path in sorted(out.iterdir()):
            if path.name != LOCK or not path.is_file() or path.is_symlink() or not _is_own(_read(path)):
                return path.name
    return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST + 1)


def _is_own(held: bytes) -> bool:
    return OWN.fullmatch(held.decode("utf-8", "replace")) is not None


def _lock(descriptor: int) -> bool:
    """Whether this process has the lock now."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    return True


def _refusal(out: Path, holder: str) -> UserError:
    return UserError(
        f"{holder} has just begun to write there; name another folder, or wait until it ends", argument="out", value=out
    )
