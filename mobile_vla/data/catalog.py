"""From data roots to episodes: finds the files, reads everything but the frames, and says what was left out and why."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from mobile_vla.core.errors import UserError
from mobile_vla.sources.instructions import InstructionConfig, choose_instruction
from mobile_vla.sources.labels import read_labels
from mobile_vla.sources.layouts import detect, encoding_of, frame_resolution, read_actions, read_instruction
from mobile_vla.sources.opening import BrokenEpisode, open_file, printable, reading
from mobile_vla.sources.schema import Episode, Fault

SUFFIXES = (".h5", ".hdf5")  # a folder that is called like a file is taken for one
MAX_ACTION = 10.0  # the lab's commands are at most 1.15


@dataclass(frozen=True, kw_only=True)
class Root:
    """One folder of episodes and what its files do not say.

    action_shift  frame t belongs to the file's action t + shift (some collectors are off by one)
    max_action    a recorded velocity beyond it is no command but a fault of the file
    step_s        seconds that one action is held;  speed_scale  metres per second per unit of velocity
    """

    path: Path
    pattern: str = "**/*.h5"
    action_shift: int = 0
    max_action: float = MAX_ACTION
    step_s: float | None = None
    speed_scale: float | None = None


@dataclass(frozen=True)
class Catalog:
    """The good episodes, sorted by id, and the files that were left out."""

    episodes: tuple[Episode, ...]
    faults: tuple[Fault, ...] = field(default=())


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


def scan(
    roots: Sequence[Root],
    instructions: InstructionConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """Read every file's metadata and actions (a few milliseconds each); frames stay on disk.

    `UserError` if a root is missing or empty, or if no file at all is good.
    """
    # A file below two roots belongs to the inner one, whatever their order.
    inner_first = sorted(roots, key=lambda root: (-len(root.path.parts), root.path))
    files = [(root, path) for root in inner_first for path in find_files(root)]
    read: list[tuple[Root, Episode]] = []
    faults: list[Fault] = []
    seen: set[str] = set()
    for done, (root, path) in enumerate(files, start=1):
        real = os.path.realpath(path) if os.path.exists(path) else str(path)
        if real in seen:  # the same file below two roots is one episode
            continue
        seen.add(real)
        try:
            read.append((root, read_episode(path, root, instructions)))
        except BrokenEpisode as error:
            faults.append(Fault(printable(str(path)), str(error)))
        if progress:
            progress(done, len(files))
    if not read:
        raise UserError(
            f"data.root: all {len(faults)} files are broken; the first, {faults[0].file}: {faults[0].reason}"
        )
    episodes = sorted(_with_unique_ids(read), key=lambda episode: episode.id)
    return Catalog(tuple(episodes), tuple(faults))


def read_episode(path: Path, root: Root, instructions: InstructionConfig) -> Episode:
    """One file without its frames; `BrokenEpisode` says why it cannot be used."""
    with open_file(path) as file, reading():
        layout = detect(file)
        frames = file[layout.frames_at]
        assert isinstance(frames, h5py.Dataset), "detect has seen that it is one"
        encoding = encoding_of(frames)
        if len(frames) == 0:
            raise BrokenEpisode("no frames: the file holds 0")
        actions = read_actions(file, root.max_action)
        if len(actions) != len(frames):
            raise BrokenEpisode(f"{len(frames)} frames but {len(actions)} actions; expected one action a frame")
        labels = read_labels(path.stem, file.attrs)
        instruction, source = choose_instruction(read_instruction(file), labels, instructions)
        resolution = frame_resolution(frames)
    shifted, known = shift_actions(actions, root.action_shift)
    return Episode(
        id=printable(path.relative_to(root.path).with_suffix("").as_posix()),
        path=path,
        layout=layout.name,
        frames_at=layout.frames_at,
        encoding=encoding,
        num_frames=len(shifted),
        resolution=resolution,
        actions=shifted,
        action_known=known,
        instruction=instruction,
        instruction_source=source,
        labels=labels,
        step_s=root.step_s,
        speed_scale=root.speed_scale,
    )


def shift_actions(actions: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Row t of the result is row t + shift of the file; rows that fall outside are zero and not known."""
    index = np.arange(len(actions)) + shift
    known = (index >= 0) & (index < len(actions))
    return np.where(known[:, None], actions[index.clip(0, len(actions) - 1)], 0).astype(np.float32), known


def _with_unique_ids(read: list[tuple[Root, Episode]]) -> list[Episode]:
    """Where two files have the same name, all of these are called by their root too, and then by their suffix."""
    for longer in (lambda root, e: f"{root.path.as_posix()}/{e.id}", lambda _, e: f"{e.id}{e.path.suffix}"):
        counts = Counter(episode.id for _, episode in read)
        read = [(root, e if counts[e.id] == 1 else replace(e, id=longer(root, e))) for root, e in read]
    return [episode for _, episode in read]
