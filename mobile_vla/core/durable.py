"""Files that are never seen half-written: made beside their place, brought to disk, and renamed."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = re.compile(r"\..+\.\d+\.part")  # as `_beside` calls them


@contextmanager
def replaced(file: Path, sync: bool = True) -> Iterator[Path]:
    """A path beside `file` to write to. It takes the place of `file` if the block ends well, else it is removed.

    sync: also survive a loss of power; not worth the wait for what can be made again.
    """
    part = _beside(file)
    try:
        yield part
        if sync:
            _sync(part)
        os.replace(part, file)
        if sync:
            _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to put files into. It gets the name, which is free, if the block ends well."""
    part = _beside(folder)
    part.mkdir()
    try:
        yield part
        for path in (*part.iterdir(), part):
            _sync(path)
        part.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_parts(folder: Path) -> None:
    """What killed processes left half-written; only where nobody writes."""
    for part in folder.glob(".*.part"):
        if PART.fullmatch(part.name) and part.is_file() and not part.is_symlink():
            part.unlink()


def write_text(file: Path, text: str) -> None:
    """Readers see the old text or the whole new one."""
    with replaced(file) as part:
        part.write_text(text, encoding="utf-8")


def tell(error: OSError) -> str:
    """What the system said; libraries write it in many ways."""
    return os.strerror(error.errno) if error.errno else str(error)


def _beside(path: Path) -> Path:
    """A name of this process's own, also where another machine writes into the same folder."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.part")


def _sync(path: Path) -> None:
    """Bring it to disk, so that a loss of power does not leave a renamed file without content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
