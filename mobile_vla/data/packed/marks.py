"""Arrays that this package wrote, recognised by a mark in the header of each file.

Folders of cached features and packed frames may be set to any place, and may hold anything else. What is removed there
must be ours beyond doubt: neither the folder's name nor a description beside the files is enough, since either may be
copied. So the `.npy` header, a Python literal, ends in a comment that hashes where the file belongs. NumPy reads past
the comment. A file that was renamed, moved or written by another program has no mark, or the mark of another place.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

MAGIC = b"\x93NUMPY\x01\x00"
ALIGN = 64  # bytes, as NumPy pads
MOST = 1024  # bytes of a header that are read
KEY = re.compile(r"([0-9a-f]{32})\.npy")
PART = re.compile(r"\.([0-9a-f]{32})(?:\.npy)?\..+\.\d+\.part")  # of a process that writes, or was killed


def write_header(file: IO[bytes], array: np.ndarray | tuple[tuple[int, ...], str], place: str) -> None:
    """The header of a C-ordered array, or of a shape and a type (as `|u1`), with the mark of `place`; brought to disk.

    place  what nothing else is called: the file's own name, and all that tells its folder from others
    """
    shape, code = (array.shape, array.dtype.str) if isinstance(array, np.ndarray) else array
    text = f"{{'descr': {code!r}, 'fortran_order': False, 'shape': {tuple(map(int, shape))!r}, }}{_mark(place)}"
    length = len(MAGIC) + 2 + len(text) + 1
    text += " " * (-length % ALIGN) + "\n"
    file.write(MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii"))
    file.flush()  # a killed process leaves a part that is known as ours


def is_marked(path: Path, place: str) -> bool:
    """Whether it is a regular file, no link, that `write_header` began for this place."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            begin = file.read(MOST)
    except OSError:
        return False
    text = begin[len(MAGIC) + 2 :].partition(b"\n")[0].decode("latin-1").rstrip(" ")
    return begin.startswith(MAGIC) and text.endswith(_mark(place))


def list_marked(folder: Path, prefix: str, pattern: re.Pattern[str]) -> Iterator[Path]:
    """The marked files `<two digits>/<pattern>` of a folder; links are never followed.

    prefix  what places in this folder begin with;  pattern: `KEY` or `PART`, whose first group is the key
    """
    for room in _list_folders(folder):
        if not re.fullmatch("[0-9a-f]{2}", room.name):
            continue
        with os.scandir(room) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            found = pattern.fullmatch(name)
            if found and found[1].startswith(room.name) and is_marked(room / name, prefix + found[1]):
                yield room / name


def _list_folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:  # not there, or not for this user to read
        return []


def _mark(place: str) -> str:
    return f"  # mobile_vla {hashlib.sha256(place.encode()).hexdigest()[:16]}"
