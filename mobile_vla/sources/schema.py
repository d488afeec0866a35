"""What an episode is once its source has been asked, frames apart: identity, actions, labels, instruction."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float

from mobile_vla.core.actions import COMPONENTS

if TYPE_CHECKING:
    from mobile_vla.sources.reader import EpisodeReader

InstructionSource = Literal["file", "table", "default"]
UNKNOWN = "unknown"


class BrokenEpisode(ValueError):
    """An episode that cannot be trained on; its message is the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One recorded episode.

    id           what its source calls it (of a file: its path below the data root, without suffix); unique in a
                 dataset, whatever the order in which episodes are found
    path         the file that holds it, or what a source without files calls the place; for people
    layout       how its source keeps it, in a word (`flat`, `nested`);  encoding  `raw` frames, or `jpeg`
    resolution   (height, width) of the recorded frames, in pixels
    actions      (N, A), one row a frame, already shifted by the dataset's `action_shift`
    action_known (N,) False where the shift left a frame without an action
    action_names of the A columns; velocities of a robot on wheels unless its source says otherwise
    labels       name -> value, as far as the source says; a missing one is unknown
    step_s       seconds that one action is held, if known;  speed_scale  metres per second per unit, if known
    frame_labels name -> (N,) one value a frame, float64 (NaN is unknown) or text; (N, K) float64 for boxes
    fingerprint  of the recorded frames and actions, wherever they lie; empty until they were read
    reader       reads its frames
    """

    id: str
    path: Path
    layout: str
    encoding: str
    num_frames: int
    resolution: tuple[int, int]
    actions: Float[np.ndarray, "N A"]
    action_known: Bool[np.ndarray, " N"]
    instruction: str
    instruction_source: InstructionSource
    reader: "EpisodeReader"
    action_names: tuple[str, ...] = COMPONENTS
    labels: Mapping[str, str] = field(default_factory=dict)
    step_s: float | None = None
    speed_scale: float | None = None
    frame_labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def place(self) -> str:
        """`path` as text that can be printed and stored."""
        return printable(str(self.path))

    def label(self, name: str) -> str:
        return self.labels.get(name, UNKNOWN)

    def progress(self, frame: int) -> float:
        """0 at the first frame, 1 at the last."""
        return frame / max(self.num_frames - 1, 1)

    def components(self, names: tuple[str, ...]) -> Float[np.ndarray, "N A"]:
        """The named columns of `actions`."""
        return self.actions[:, [self.action_names.index(name) for name in names]]


@dataclass(frozen=True)
class Fault:
    """An episode that is left out (the place where it should be), and why."""

    file: str
    reason: str


def printable(text: str) -> str:
    """Names that are not UTF-8 come with lone surrogates, which no terminal and no JSON file takes: as escapes."""
    return os.fsencode(text).decode("utf-8", errors="backslashreplace")


def told(error: Exception) -> str:
    """A library's message, in one line that is short enough for a table."""
    return " ".join(str(error).split())[:160] or type(error).__name__
