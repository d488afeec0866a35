"""A dataset opened: good episodes, what was left out, what reads frames. What train, eval and probe start from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mobile_vla.core.actions import ActionSpace, check_components
from mobile_vla.core.changes import Change, on_change
from mobile_vla.core.errors import UserError
from mobile_vla.core.plural import plural
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.catalog import Catalog, scan
from mobile_vla.data.examination import Examinations
from mobile_vla.data.faults import refuse_too_many
from mobile_vla.data.frames import EXAMINED, FrameSource, PackedFrames, RecordedFrames
from mobile_vla.data.labelling.table import LabelReport, join_labels
from mobile_vla.data.packed.packing import examine_all
from mobile_vla.data.splits import SplitConfig
from mobile_vla.data.windows import WindowConfig, refuse_short
from mobile_vla.sources.hdf5.source import Hdf5Source
from mobile_vla.sources.instructions import InstructionConfig, count_sources
from mobile_vla.sources.reader import MAX_ACTION, Conventions, Root
from mobile_vla.sources.schema import Episode, Fault
from mobile_vla.sources.source import EpisodeSource

DEFAULT_LABEL = "direction"
Progress = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True, kw_only=True)
class DataConfig(WindowConfig):
    """Where episodes are, what of them is the action, how they are windowed, split and dealt.

    source        what kind of source reads them, and its own settings
    root          one folder or several, None for a source that reads none;  pattern  which files below them
    components    the action, by name
    action_shift, step_s, speed_scale  one value, or one for each root (see `sources.reader.Conventions`)
    bounds        component -> [low, high]; what is not given is taken from the training split
    max_action    a recorded value beyond it is a fault of the episode
    faults        `skip` leaves broken episodes out and names them, `error` stops at the first
    max_fault_share  `skip` stops, too, where more than this share of the episodes is broken
    labels        a table of labels by episode or frame, which is right where it and a file disagree (`label_table`)
    instruction_label  the label that instructions are about, by which paraphrases are told from swaps
    batch_size    windows a batch and device;  span  consecutive windows kept together (they share frames)
    pack          keep frames, decoded and resized once, in `pack_dir` (what is known of each is kept there too)
    """

    source: EpisodeSource = field(default_factory=Hdf5Source, metadata=on_change(Change.NOTED))
    root: str | tuple[str, ...] | None = field(default=None, metadata=on_change(Change.NOTED))
    pattern: str = field(default="**/*.h5", metadata=on_change(Change.NOTED))
    components: tuple[str, ...] = field(default=("linear_x", "linear_y"), metadata=on_change(Change.MODEL))
    action_shift: int | tuple[int, ...] = 0
    step_s: float | tuple[float | None, ...] | None = None
    speed_scale: float | tuple[float | None, ...] | None = None
    max_action: float = field(default=MAX_ACTION, metadata=on_change(Change.NOTED))
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict, metadata=on_change(Change.MODEL))
    faults: Literal["skip", "error"] = field(default="skip", metadata=on_change(Change.NOTED))
    max_fault_share: float = field(default=0.2, metadata=on_change(Change.NOTED))
    instructions: InstructionConfig = field(default_factory=InstructionConfig)
    labels: str | None = field(default=None, metadata=on_change(Change.NOTED))
    instruction_label: str = "direction"
    split: SplitConfig = field(default_factory=SplitConfig)
    batch_size: int = field(default=8, metadata=on_change(Change.STEP_SIZE))
    span: int = 4
    num_workers: int = field(default=0, metadata=on_change(Change.SILENT))
    pack: bool = field(default=True, metadata=on_change(Change.SILENT))
    pack_dir: str = field(default="~/.cache/mobile_vla/frames", metadata=on_change(Change.SILENT))

    def __post_init__(self):
        super().__post_init__()
        check_components(self.components, self.source.known_components())
        for name in self.bounds:
            if name not in self.components:
                raise UserError(f"data.bounds names '{name}', which is not one of data.components={self.components}")
        if min(self.batch_size, self.span) < 1 or self.num_workers < 0:
            raise UserError(
                f"data: batch_size and span must be at least 1 and num_workers at least 0, got {self.batch_size}, "
                f"{self.span} and {self.num_workers}"
            )
        if not 0 <= self.max_fault_share <= 1:
            raise UserError(f"data.max_fault_share must lie in [0, 1], got {self.max_fault_share}")
        if not self.max_action > 0:
            raise UserError(f"data.max_action must be positive, got {self.max_action}")
        self.roots()
        self.conventions()

    def roots(self) -> list[Root]:
        """One `Root` for each folder, none where the source reads none.

        `UserError` if a list of values does not fit the list of folders.
        """
        paths = (self.root,) if isinstance(self.root, str) else self.root
        if not self.source.reads_folders:
            if paths is not None:
                name = self.source.name
                raise UserError(
                    f"data.root={self.root!r}: data.source.name={name} reads no folders; leave it out, or read HDF5 "
                    "files instead with ~data.source"
                )
            return []
        if not paths or not all(paths):
            raise UserError(f"data.root={self.root!r}: expected one folder or several")
        each = self._conventions(len(paths))
        return [
            Root(path=Path(path).expanduser().absolute(), pattern=self.pattern, **vars(conventions))
            for path, conventions in zip(paths, each, strict=True)
        ]

    def conventions(self) -> Conventions | None:
        """Of a source without roots; with roots, each has its own."""
        return None if self.source.reads_folders else self._conventions(1)[0]

    def places(self) -> list[str]:
        """Where the episodes are, for people."""
        return [str(root.path) for root in self.roots()] or [repr(self.source)]

    def _conventions(self, number: int) -> list[Conventions]:
        def each(name: str) -> list:
            value = getattr(self, name)
            if not isinstance(value, tuple):
                return [value] * number
            if len(value) != number:
                raise UserError(f"data.{name} has {len(value)} values for {number} roots; give one, or one each")
            return list(value)

        return [
            Conventions(action_shift=shift, max_action=self.max_action, step_s=step, speed_scale=scale)
            for shift, step, scale in zip(each("action_shift"), each("step_s"), each("speed_scale"), strict=True)
        ]


@dataclass(frozen=True)
class Dataset:
    """Good episodes sorted by id, the files left out, the source of frames, and what became of a table of labels."""

    episodes: tuple[Episode, ...]
    faults: tuple[Fault, ...]
    frames: FrameSource
    label_report: LabelReport | None = None

    def describe(self) -> list[str]:
        """What a user should read before a night's training, in a few lines."""
        frames = sum(episode.num_frames for episode in self.episodes)
        sources = count_sources(self.episodes)
        texts = len({episode.instruction for episode in self.episodes})
        read = sum(bool(episode.fingerprint) for episode in self.episodes)
        examined = "all examined" if read == len(self.episodes) else f"{read} examined"
        lines = [
            f"{plural(len(self.episodes), 'episode')}, {plural(frames, 'frame')}, {examined}; instructions: "
            f"{sources['file']} from the file, {sources['table']} from the table, {sources['default']} by default "
            f"({texts} distinct)"
        ]
        if self.faults:
            lines.append(f"{plural(len(self.faults), 'file')} left out:")
            lines += [f"  {fault.file}: {fault.reason}" for fault in self.faults[:10]]
            if len(self.faults) > 10:
                lines.append(f"  … and {len(self.faults) - 10} more")
        if self.label_report is not None:
            lines += self.label_report.describe()
        return lines


def open_dataset(config: DataConfig, preprocessing: Preprocessing, progress: Progress | None = None) -> Dataset:
    """Find and read the episodes, examine (and pack) their frames; `UserError` if too little is left."""

    def report(what: str) -> Callable[[int, int], None] | None:
        return None if progress is None else partial(progress, what)

    catalog = find_episodes(config, report("reading episodes"))
    num_files = len(catalog.episodes) + len(catalog.faults)
    refuse_faults(config, catalog.faults, num_files)
    scanned, label_report = list(catalog.episodes), None
    if config.labels is not None:
        scanned, label_report = join_labels(scanned, Path(config.labels).expanduser().absolute(), config.instructions)
    refuse_short(scanned, config)
    fit_actions(config, scanned)  # what no episode moves in: told before the long part
    folder = Path(config.pack_dir).expanduser()
    frames = PackedFrames(preprocessing, folder) if config.pack else RecordedFrames(preprocessing)
    reader = frames if isinstance(frames, PackedFrames) else Examinations(folder / EXAMINED)
    episodes, unreadable = examine_all(reader, scanned, report("packing frames" if config.pack else "examining"))
    faults = (*catalog.faults, *unreadable)
    refuse_faults(config, faults, num_files)
    return Dataset(tuple(episodes), faults, frames, label_report)


def names_episodes(settings: Mapping[str, Any]) -> bool:
    """Whether plain settings of data, not yet built, say which episodes are meant."""
    source = EpisodeSource.choose(settings.get("source", {}))
    return settings["root"] is not None or not source.reads_folders


def find_episodes(config: DataConfig, progress: Callable[[int, int], None] | None = None) -> Catalog:
    """All but the frames; an episode whose actions lack one of `data.components` is left out like a broken one."""
    catalog = scan(config.source, config.roots(), config.instructions, config.conventions(), progress)
    good: list[Episode] = []
    faults = list(catalog.faults)
    for episode in catalog.episodes:
        lacking = [name for name in config.components if name not in episode.action_names]
        if not lacking:
            good.append(episode)
            continue
        faults.append(Fault(episode.place, f"actions: no component '{lacking[0]}', but {list(episode.action_names)}"))
    if not good:
        check_components(config.components, catalog.episodes[0].action_names)
    return Catalog(tuple(good), tuple(faults))


def refuse_faults(config: DataConfig, faults: Sequence[Fault], num_files: int) -> None:
    """`UserError` where `data.faults` does not allow to go on without these files, or no file is left."""
    if len(faults) == num_files or (faults and config.faults == "error"):
        raise UserError(
            f"data: {len(faults)} of {num_files} files are broken; the first, {faults[0].file}: {faults[0].reason}"
            + ("; data.faults=skip leaves them out" if len(faults) < num_files else "")
        )
    refuse_too_many(faults, num_files, config.max_fault_share)


def check_labels(config: DataConfig, dataset: Dataset) -> None:
    """A label that no episode has is a misspelling, unless it is the default, which files may well not have."""
    known = sorted({name for episode in dataset.episodes for name in episode.labels})
    asked = {"data.split.by": config.split.by, "data.instruction_label": (config.instruction_label,)}
    if config.split.group is not None:
        asked["data.split.group"] = (config.split.group,)
    if config.instructions.table:
        asked["data.instructions.by"] = (config.instructions.by,)
    for setting, names in asked.items():
        for name in names:
            if name not in known and name != DEFAULT_LABEL:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise UserError(f"{setting}: no episode has a label '{name}'; {hint}there are {known}")


def fit_actions(config: DataConfig, training: list[Episode]) -> ActionSpace:
    """Bounds from the configuration where it gives them, else from the training split's actions."""
    actions = np.concatenate([episode.components(config.components)[episode.action_known] for episode in training])
    return ActionSpace.fit(config.components, actions, config.bounds)
