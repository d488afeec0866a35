"""Episodes as training sees them: what is good, what of it is the action, how it would be split.

In: a folder of HDF5 files or several, another source, or arrays. Out: a `Recordings`, a sequence of episodes; frames
are read as they are indexed, in their own size, ready for `drive.act`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mobile_vla.core.errors import UserError
from mobile_vla.core.nearest import suggest
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.dataset import DataConfig, Dataset, check_labels
from mobile_vla.data.dataset import open_dataset as open_engine
from mobile_vla.data.splits import Part, SplitConfig, make_split
from mobile_vla.jobs.progress import show_steps
from mobile_vla.settings.saved import suggest_neighbour
from mobile_vla.sources.hdf5.source import Hdf5Source
from mobile_vla.sources.memory import MemorySource
from mobile_vla.sources.reader import read_frames
from mobile_vla.sources.schema import Episode, Fault
from mobile_vla.sources.source import EpisodeSource

PATTERN = "**/*.h5"
ARGUMENTS = {  # what a setting of the data is called here
    "data.root": "path",
    "data.pattern": "pattern",
    "data.source": "source",
    "data.components": "components",
    "data.action_shift": "action_shift",
    "data.labels": "labels",
    "data.split": "split",
}


def open_dataset(
    path: Path | str | EpisodeSource | Sequence[Path | str] | Sequence[Mapping[str, Any]],
    *,
    source: EpisodeSource | None = None,
    pattern: str = PATTERN,
    components: Sequence[str] | None = None,
    action_shift: int = 0,
    labels: Path | str | None = None,
    split: SplitConfig | None = None,
) -> "Recordings":
    """The good episodes. Each is read whole the first time, and remembered as good or broken.

    path          a folder, or several; a source that reads no folders; or a list of episodes as
                  `mobile_vla.sources.memory.MemorySource` takes them: `[{"frames": …, "actions": …}, …]`
    source        what reads the folders; without it they hold HDF5 files
    pattern       which files below the folders
    components    which components are the action: the columns of `actions`. Without it those that training takes
                  (`linear_x` and `linear_y`), or all of a source that has others
    action_shift  frame t belongs to the recorded action t + shift
    labels        a table of labels by episode or frame (csv, json, parquet)
    split         shares and labels of the split; without it as `mobile-vla train` splits

    `UserError` where a folder is missing, or too little is good.
    """
    folders, source = _sort_out(path, source, pattern)
    try:
        config = DataConfig(
            source=source,
            root=folders,
            pattern=pattern,
            components=_choose(components, source),
            action_shift=action_shift,
            labels=None if labels is None else str(labels),
            split=split or SplitConfig(),
            pack=False,
        )
        with show_steps() as progress:
            dataset = open_engine(config, Preprocessing(), progress)
        check_labels(config, dataset)
    except UserError as error:
        raise UserError(_name_arguments(str(error))) from error
    return Recordings(config, dataset)


def _sort_out(path: Any, source: EpisodeSource | None, pattern: str) -> tuple[tuple[str, ...] | None, EpisodeSource]:
    """The folders, if any, and what reads them."""
    several = list(path) if isinstance(path, Sequence) and not isinstance(path, str) else [path]
    if several and all(isinstance(one, Path | str) for one in several):
        source = source or Hdf5Source()
        if not source.reads_folders:
            raise UserError(f"path: {source!r} reads no folders; give it as path, alone")
        for one in several:
            place = Path(one).expanduser().absolute()
            if not place.is_dir():
                what = "a folder of HDF5 files" if isinstance(source, Hdf5Source) else "a folder"
                raise UserError(f"path: expected {what}, there is none at {one}{suggest_neighbour(place)}")
        return tuple(str(one) for one in several), source
    if source is not None or pattern != PATTERN:
        raise UserError("source and pattern: they are about folders, and path names none; leave them out")
    if isinstance(path, EpisodeSource):
        if path.reads_folders:
            raise UserError(f"path: {path!r} reads folders; give these as path, and it as source=")
        return None, path
    if isinstance(path, Sequence) and path and all(isinstance(one, Mapping) for one in path):
        return None, MemorySource(path)
    got = f"{type(path).__name__} of {type(path[0]).__name__}" if isinstance(path, Sequence) and path else repr(path)
    expected = "a folder, a list of folders, a source, or a list of mappings with frames and actions"
    raise UserError(f"path: expected {expected}, got {got:.80}")


def _choose(components: Sequence[str] | None, source: EpisodeSource) -> tuple[str, ...]:
    if components is not None:
        return tuple(components)
    usual, known = DataConfig.components, source.known_components()
    return usual if known is None or set(usual) <= set(known) else known


def _name_arguments(message: str) -> str:
    """The message of an engine that knows settings, in the words of Python's arguments."""
    for setting, argument in ARGUMENTS.items():
        message = message.replace(setting, argument)
    return message


class Recordings(Sequence["Recording"]):
    """Episodes sorted by id; index by number or by id."""

    def __init__(self, config: DataConfig, dataset: Dataset):
        self._config = config
        self._episodes = {one.id: Recording(one, config.components) for one in dataset.episodes}
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._episodes)

    def __iter__(self) -> Iterator["Recording"]:
        return iter(self._episodes.values())

    def __getitem__(self, which: Any) -> Any:
        if not isinstance(which, str):
            return list(self._episodes.values())[which]
        if which not in self._episodes:
            raise UserError(f"no episode '{which}'{suggest(which, self._episodes)}")
        return self._episodes[which]

    def __repr__(self) -> str:
        return f"Recordings({'; '.join(self._dataset.describe())})"

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the columns of `actions`."""
        return self._config.components

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Files that were left out, each with its reason."""
        return self._dataset.faults

    def label(self, name: str) -> np.ndarray:
        """(episodes,) texts, `unknown` where an episode does not have it."""
        return np.array([one.labels.get(name, "unknown") for one in self], object)

    @cached_property
    def split(self) -> Mapping[Part, tuple[str, ...]]:
        """Ids by part (train, validation, test), as a training on these episodes is dealt them."""
        return make_split(self._dataset.episodes, self._config.split).parts


@dataclass(frozen=True, eq=False)
class Recording:
    """One episode."""

    _episode: Episode
    components: tuple[str, ...]

    def __len__(self) -> int:
        return self._episode.num_frames

    def __repr__(self) -> str:
        return f"Recording({self.id!r}, {len(self)} frames, {self.instruction!r})"

    @property
    def id(self) -> str:
        return self._episode.id

    @property
    def instruction(self) -> str:
        return self._episode.instruction

    @property
    def labels(self) -> Mapping[str, str]:
        return self._episode.labels

    @property
    def actions(self) -> Float[np.ndarray, "N A"]:
        """Recorded velocities, one row a frame; rows that `action_known` calls False mean nothing."""
        return self._episode.components(self.components)

    @property
    def action_known(self) -> Bool[np.ndarray, " N"]:
        return self._episode.action_known

    @property
    def frames(self) -> "Frames":
        return Frames(self._episode)


class Frames(Sequence[np.ndarray]):
    """Frames of one episode as they were recorded: uint8, (height, width, 3) RGB; read as they are indexed."""

    def __init__(self, episode: Episode):
        self._episode = episode

    def __len__(self) -> int:
        return self._episode.num_frames

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        return iter(self._read(0, len(self)))

    def __getitem__(self, which: Any) -> Any:
        """One frame, or with a slice a list of frames, which may differ in size."""
        if isinstance(which, slice):
            chosen = range(len(self))[which]
            if not chosen:
                return []
            low = min(chosen)
            read = self._read(low, max(chosen) + 1)
            return [read[index - low] for index in chosen]
        index = range(len(self))[which]
        return self._read(index, index + 1)[0]

    def _read(self, low: int, high: int) -> list[UInt8[np.ndarray, "height width 3"]]:
        return read_frames(self._episode.reader, low, high)
