"""Opens one HDF5 file for reading, or says in a reader's words what is there instead.

In: a path. Out: an open file, or `BrokenEpisode` with the reason. A shortage of the machine (too many open files, no
memory) is nobody's fault but the machine's: it is raised as it comes, so that it never costs a good episode.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from mobile_vla.sources.schema import BrokenEpisode, printable, told

SIGNATURE = b"\x89HDF\r\n\x1a\n"
TRUNCATED = re.compile(r"truncated file: eof = (\d+).*stored_eof = (\d+)")
SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def open_file(path: Path) -> h5py.File:
    """The open file; `BrokenEpisode` if there is none that can be read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            listed = os.access(path, os.R_OK | os.X_OK)
            raise BrokenEpisode("is a folder" + (", expected an HDF5 file" if listed else ": permission denied"))
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BrokenEpisode("is a pipe, socket or device, expected an HDF5 file")
        if status.st_size == 0:
            raise BrokenEpisode("is empty (0 bytes)")
        return h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise BrokenEpisode(_why_not(path, error)) from error


@contextmanager
def reading() -> Iterator[None]:
    """Around reads of an open file: what h5py raises on a damaged one becomes a `BrokenEpisode`."""
    try:
        yield
    except BrokenEpisode:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if getattr(error, "errno", None) in SHORTAGE:
            raise
        raise BrokenEpisode(f"cannot be read: {told(error)}") from error


def _why_not(path: Path, error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code in SHORTAGE:
        raise error
    if code in (errno.ENOENT, errno.ELOOP):
        if os.path.islink(path):
            return f"is a dangling link to {printable(os.readlink(path))}"
        return "is not there any more"
    if code is not None:
        return f"cannot be opened: {os.strerror(code).lower()}"
    with path.open("rb") as file:
        head = file.read(len(SIGNATURE))
    if cut := TRUNCATED.search(str(error)):
        return f"truncated HDF5: {cut[1]} of {cut[2]} bytes are there"
    if h5py.is_hdf5(path) or SIGNATURE.startswith(head):
        return f"truncated or damaged HDF5: {told(error)}"
    return f"is not HDF5: begins with {head!r}"
