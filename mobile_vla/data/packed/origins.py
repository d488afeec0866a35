"""Where packed copies come from: a small JSON file beside each, by which changed and removed episodes are noticed.

In: the folder of packed frames. Out: each copy with its `Origin`, which knows whether the file is still what it was.
A copy of an episode that no file holds has none: it is never outdated.
A copy is found by its name alone; what is kept here is for people, and for removing what nobody will ask for again.
The folder may hold anything else: only files with our own mark are listed, and so removed (`marks`). Copies that
versions without marks have made are read as before, and are never removed.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from mobile_vla.core.durable import replaced
from mobile_vla.data.packed.marks import KEY, PART, list_marked
from mobile_vla.sources.schema import Episode

PREFIX = "frames/"  # what the places of packed copies begin with (`marks`)
ABANDONED_S = 3600.0  # a half-written file that nobody has touched for so long has lost its writer


@dataclass(frozen=True)
class Origin:
    """The file that a copy was made of, as it was then."""

    path: str
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, episode: Episode) -> "Origin | None":
        file = episode.reader.file()
        if file is None:
            return None
        status = file.stat()
        return cls(os.path.realpath(file), status.st_size, status.st_mtime_ns)

    def find_state(self) -> Literal["current", "changed", "removed"]:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return "removed"
        return "current" if (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns) else "changed"


@dataclass(frozen=True)
class Outdated:
    """Copies of files that have changed or are gone; `changed` and `removed` are the paths of these files."""

    copies: tuple[Path, ...]
    changed: frozenset[str]
    removed: frozenset[str]

    def count_bytes(self) -> int:
        return sum(copy.stat().st_size for copy in self.copies)

    def remove(self) -> None:
        """Whoever reads one of them at this moment goes on reading it."""
        for copy in self.copies:
            _beside(copy).unlink(missing_ok=True)
            copy.unlink(missing_ok=True)


def write_origin(copy: Path, origin: Origin) -> None:
    with replaced(_beside(copy), sync=False) as part:
        part.write_text(json.dumps(asdict(origin)), encoding="utf-8")


def read_origins(folder: Path) -> Iterator[tuple[Path, Origin]]:
    """The copies that tell where they come from."""
    for copy in list_marked(folder, PREFIX, KEY):
        file = _beside(copy)
        try:
            origin = None if file.is_symlink() else Origin(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # just pruned by another process, or not whole
            continue
        if origin is not None:
            yield copy, origin


def find_outdated(folder: Path, roots: Sequence[Path], episodes: Sequence[Episode]) -> Outdated:
    """Of the copies of these episodes, and of files below these roots, those that nobody will ask for again.

    Of other folders nothing is said: they may lie on a disk that is not mounted at the moment.
    """
    below = tuple(os.path.join(os.path.realpath(root), "") for root in roots)
    files = {find_file(episode) for episode in episodes}  # some may be links to elsewhere
    copies, paths = [], {"changed": set(), "removed": set()}
    for copy, origin in read_origins(folder):
        ours = origin.path.startswith(below) or origin.path in files
        state = origin.find_state() if ours else "current"
        if state != "current":
            copies.append(copy)
            paths[state].add(origin.path)
    return Outdated(tuple(copies), frozenset(paths["changed"]), frozenset(paths["removed"]))


def find_file(episode: Episode) -> str | None:
    """The real path of the file that holds an episode, if one does."""
    file = episode.reader.file()
    return None if file is None else os.path.realpath(file)


def remove_abandoned(folder: Path) -> int:
    """Half-written copies that killed writers have left; how many bytes that were."""
    freed = 0
    for part in list_marked(folder, PREFIX, PART):
        try:
            status = part.stat()
            if time.time() - status.st_mtime > ABANDONED_S:
                part.unlink()
                freed += status.st_size
        except FileNotFoundError:  # its writer has just finished
            continue
    return freed


def _beside(copy: Path) -> Path:
    return copy.with_suffix(".json")
