"""The source `hdf5`: folders of HDF5 files, one episode a file; layouts are told apart by looking at the files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobile_vla.core.actions import COMPONENTS
from mobile_vla.core.errors import UserError
from mobile_vla.sources.hdf5.reader import Hdf5Reader
from mobile_vla.sources.reader import EpisodeReader, Root
from mobile_vla.sources.schema import printable
from mobile_vla.sources.source import EpisodeSource

SUFFIXES = (".h5", ".hdf5")  # a folder that is called like a file is taken for one


@dataclass(frozen=True, kw_only=True)
class Hdf5Source(EpisodeSource):
    """Nothing is set: `data.root` and `data.pattern` say which files are meant."""

    name: str = "hdf5"

    def find(self, roots: Sequence[Root]) -> Sequence[EpisodeReader]:
        # A file below two roots belongs to the inner one, whatever their order.
        inner_first = sorted(roots, key=lambda root: (-len(root.path.parts), root.path))
        found: dict[str, Hdf5Reader] = {}
        for root in inner_first:
            for path in find_files(root):
                real = os.path.realpath(path) if os.path.exists(path) else str(path)
                if real not in found:  # the same file below two roots is one episode
                    found[real] = _make_reader(path, root)
        return list(found.values())

    def known_components(self) -> tuple[str, ...]:
        return COMPONENTS


def _make_reader(path: Path, root: Root) -> Hdf5Reader:
    """Where two files have the same name, all of these are called by their root too, and then by their suffix."""
    id = printable(path.relative_to(root.path).with_suffix("").as_posix())
    below = f"{root.path.as_posix()}/{id}"
    return Hdf5Reader(id=id, longer_ids=(below, f"{below}{path.suffix}"), path=path, root=root)


def find_files(root: Root) -> list[Path]:
    """Files of one root, sorted; `UserError` where there is no folder or no file.

    A folder called like an HDF5 file is one of them, and so is one that may not be looked into: whoever reads it is
    told so.
    """
    if not os.path.exists(root.path):
        near = [path.name for path in root.path.parent.glob("*") if os.path.isdir(path)]
        hint = f"; its parent holds {sorted(near)[:5]}" if near else ""
        raise UserError(f"data.root: no such folder: {root.path}{hint}")
    if not root.path.is_dir():
        raise UserError(f"data.root: expected a folder of HDF5 files, got a file: {root.path}")
    try:
        matches = sorted(root.path.glob(root.pattern))
    except (ValueError, NotImplementedError) as error:
        raise UserError(
            f"data.pattern='{root.pattern}' is no pattern below a folder ({error}); expected for example **/*.h5"
        ) from error
    locked = _locked_folders(root.path) if "**" in root.pattern else []
    files = [path for path in matches if not os.path.isdir(path) or path.suffix in SUFFIXES]
    files += [folder for folder in locked if folder not in files]
    if not files:
        raise UserError(
            f"data.root: no file in {root.path} matches data.pattern='{root.pattern}'; set data.pattern, or write "
            f"episodes with: mobile-vla synth out={root.path}"
        )
    return files


def _locked_folders(root: Path) -> list[Path]:
    """Folders below the root that cannot be listed, which a search passes over without a word."""
    locked: list[Path] = []
    for _ in os.walk(root, onerror=lambda error: locked.append(Path(error.filename))):
        pass
    return sorted(locked)
