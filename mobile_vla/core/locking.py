"""One process at a time: a lock that the system drops when its holder dies, however it dies."""

import errno
import fcntl
import os
import platform
from pathlib import Path
from types import TracebackType
from typing import IO

TAKEN = (errno.EACCES, errno.EAGAIN)


class Held(Exception):
    """Another process has the lock; the text names it."""


class FileLock:
    """Held from construction to `release`; `Held` where another process has it.

    A record lock: unlike flock's it is not inherited by child processes, which may outlive a killed parent.
    """

    def __init__(self, file: Path):
        while True:
            self._file = file.open("a+")
            _take(self._file)
            if _is_named(self._file, file):
                break
            self._file.close()  # its last holder has just removed it
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {platform.node()}")
        self._file.flush()

    def release(self) -> None:
        self._file.close()

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def find_holder(file: Path) -> str | None:
    """Who has the lock now, if anybody; changes nothing."""
    try:
        with file.open("r+") as there:
            _take(there)
    except FileNotFoundError:
        return None
    except Held as holder:
        return str(holder)
    return None


def _is_named(file: IO[str], name: Path) -> bool:
    """Whether the open file still has the name: what counts is the lock of the one that has."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    except FileNotFoundError:
        return False


def _take(file: IO[str]) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        if error.errno in TAKEN:
            raise Held(holder) from error
        raise
