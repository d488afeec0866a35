"""What a source hands out for each of its episodes: an `EpisodeReader`, which says all about it and reads its frames.

In: an episode wherever it lies. Out: its `Facts`, and frames low ... high - 1 of it. What cannot be trained on is a
`BrokenEpisode` with the reason; the other episodes go on without it. What a reader returns is checked here, in one
place for all sources.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from mobile_vla.core.actions import COMPONENTS
from mobile_vla.sources.schema import BrokenEpisode

MAX_ACTION = 10.0  # the lab's commands are at most 1.15
BLOCK_FRAMES = 16  # read at once, of a source that does not say how many are best

Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What recordings do not say of themselves.

    action_shift  frame t belongs to the recorded action t + shift (some collectors are off by one)
    max_action    a recorded value beyond it is no command but a fault of the recording
    step_s        seconds that one action is held;  speed_scale  metres per second per unit of velocity
    """

    action_shift: int = 0
    max_action: float = MAX_ACTION
    step_s: float | None = None
    speed_scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Root(Conventions):
    """One folder of episodes (`data.root`), which files below it are meant, and what these do not say."""

    path: Path
    pattern: str = "**/*.h5"


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """All that a source says of an episode, frames apart.

    resolution    (height, width) of the first frame, in pixels
    actions       (N, A) numbers as recorded, one row a frame;  action_names  of the columns
    instruction   one text, or one a frame; None (or a blank one) where there is none, and the settings give it
    labels        name -> value, both text
    step_s, speed_scale  where the source knows them; the settings, where they say something, are right
    layout, encoding     in words, for the counts of `stats`
    reader        who reads its frames from now on, where reading has told something; None: the same reader
    """

    num_frames: int
    resolution: tuple[int, int]
    actions: Float[np.ndarray, "N A"]
    action_names: tuple[str, ...] = COMPONENTS
    instruction: str | Sequence[str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    step_s: float | None = None
    speed_scale: float | None = None
    layout: str = "other"
    encoding: str = "raw"
    reader: "EpisodeReader | None" = None


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a recording says of its clock.

    source     `timestamps` by frame, or the `total_duration` of the episode divided by its frames
    seconds    from each frame to the next, or one value for all of them
    """

    source: Literal["timestamps", "total_duration"]
    seconds: Float[np.ndarray, " steps"]


class OpenEpisode(ABC):
    """An episode while it is open."""

    def block(self) -> int:
        """Frames that are best read at once."""
        return BLOCK_FRAMES

    @abstractmethod
    def frames(self, low: int, high: int) -> list[Frame]:
        """Frames low ... high - 1, RGB; they may differ in size. `BrokenEpisode` if they cannot be read."""

    @abstractmethod
    def actions(self) -> Float[np.ndarray, "N A"]:
        """As recorded, whatever `Conventions` say."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeReader(OpenEpisode):
    """Reads one episode. It travels to other processes, and so holds neither open files nor locks.

    id         what the episode is called;  longer_ids  names to be used in turn where another episode has the same
    path       where it is: a file that holds nothing else, a place in a file, or what a source without files calls it;
               no other episode's; for people
    root       of the folders that the source was given, the one that it was found in
    """

    id: str
    path: Path
    longer_ids: tuple[str, ...] = ()
    root: Root | None = None

    @abstractmethod
    def read(self) -> Facts:
        """All but the frames, in a few milliseconds; `BrokenEpisode` says why the episode cannot be used."""

    @abstractmethod
    def identity(self) -> tuple[object, ...]:
        """All that frames and actions depend on, without reading them: what is kept of the episode is called by it.

        Begin with a word of your own; of a file, take `file_state`; add every setting that changes a pixel. Values
        whose `repr` is the same in every process. `BrokenEpisode` where the episode is gone.
        """

    def actions(self) -> Float[np.ndarray, "N A"]:
        return self.read().actions

    def opened(self) -> AbstractContextManager[OpenEpisode]:
        """For many reads in a row, where opening costs something."""
        return nullcontext(self)

    def file(self) -> Path | None:
        """The file that packed copies are outdated with; None where there is none."""
        return None

    def steps(self) -> Steps | None:
        """What the recording says of its clock, if anything."""
        return None


def file_state(path: Path) -> tuple[object, ...]:
    """(real path, bytes, time of change [ns]) of a file as it is now; `OSError` if it is gone."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def read_frames(opened: OpenEpisode, low: int, high: int) -> list[Frame]:
    """Frames low ... high - 1, seen to be what they should be."""
    frames = opened.frames(low, high)
    if len(frames) != high - low:
        raise BrokenEpisode(f"frames {low} to {high - 1}: expected {high - low}, got {len(frames)}")
    for index, frame in enumerate(frames, start=low):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or 0 in frame.shape:
            raise BrokenEpisode(
                f"frame {index}: expected (height, width, 3) uint8, got {frame.shape} {frame.dtype.name}"
            )
    return frames


def check_facts(facts: Facts, max_action: float) -> None:
    """`BrokenEpisode` for what cannot be trained on."""
    names, actions = facts.action_names, np.asarray(facts.actions)
    if facts.num_frames < 1:
        raise BrokenEpisode("no frames")
    if actions.ndim != 2 or actions.shape[1] != len(names) or actions.dtype.kind not in "fiu":
        raise BrokenEpisode(f"actions: expected (N, {len(names)}) numbers, got {actions.shape} {actions.dtype}")
    check_actions(actions if actions.dtype.kind == "f" else actions.astype(np.float64), names, max_action)
    if len(actions) != facts.num_frames:
        raise BrokenEpisode(f"{facts.num_frames} frames but {len(actions)} actions; expected one action a frame")
    for name, value in facts.labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BrokenEpisode(f"label {name!r}: expected text, got {type(value).__name__} {value!r:.40}")


def check_actions(values: np.ndarray, names: Sequence[str], max_action: float) -> None:
    """`BrokenEpisode` for values of (N, A) that are not finite, or larger than `data.max_action`."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise BrokenEpisode(f"actions: not finite in {bad.size} of {len(values)} rows (first: {bad[0]})")
    # In the values' own precision: 0.1 in float32 is not beyond 0.1.
    if values.size and np.abs(values).max() > np.asarray(max_action).astype(values.dtype):
        row, column = np.unravel_index(np.abs(values).argmax(), values.shape)
        found = f"{names[int(column)]} is {values[row, column]:g} in row {row}"
        raise BrokenEpisode(f"actions: {found}, beyond data.max_action={max_action:g}")


def choose_text(facts: Facts) -> str | None:
    """The episode's own instruction; `BrokenEpisode` where it is none, or changes on the way."""
    texts = [facts.instruction] if isinstance(facts.instruction, str) else list(facts.instruction or ())
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise BrokenEpisode(f"instruction: expected text, got {type(text).__name__} {text!r:.40}")
        if text != texts[0]:
            raise BrokenEpisode(
                f"instruction: changes at frame {index} ('{texts[0]:.40}', then '{text:.40}'); expected one for the "
                "whole episode: divide it there"
            )
    return texts[0].strip() or None if texts else None
