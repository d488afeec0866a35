"""What an episode is once its file has been read, frames apart: identity, actions, labels, instruction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from mobile_vla.core.actions import COMPONENTS

InstructionSource = Literal["file", "table", "default"]
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One recorded episode.

    id           path below its data root, without suffix; unique in a dataset, whatever the order of files
    frames_at    the file's dataset that holds the frames
    encoding     `raw` (N, H, W, 3) uint8, or `jpeg` rows
    resolution   (height, width) of the recorded frames, in pixels
    actions      (N, 3) velocities, one row a frame, already shifted by the dataset's `action_shift`
    action_known (N,) False where the shift left a frame without an action
    labels       name -> value, as far as file name and attributes say; a missing one is unknown
    step_s       seconds that one action is held, if known;  speed_scale  metres per second per unit, if known
    frame_labels name -> (N,) one value a frame, float64 (NaN is unknown) or text; (N, K) float64 for boxes
    fingerprint  of the recorded frames and actions, whatever the file is called; empty until they were read
    """

    id: str
    path: Path
    layout: Literal["flat", "nested"]
    frames_at: str
    encoding: Literal["raw", "jpeg"]
    num_frames: int
    resolution: tuple[int, int]
    actions: Float[np.ndarray, "N 3"]
    action_known: Bool[np.ndarray, " N"]
    instruction: str
    instruction_source: InstructionSource
    labels: Mapping[str, str] = field(default_factory=dict)
    step_s: float | None = None
    speed_scale: float | None = None
    frame_labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    fingerprint: str = ""

    def label(self, name: str) -> str:
        return self.labels.get(name, UNKNOWN)

    def progress(self, frame: int) -> float:
        """0 at the first frame, 1 at the last."""
        return frame / max(self.num_frames - 1, 1)

    def components(self, names: tuple[str, ...]) -> Float[np.ndarray, "N A"]:
        """The named columns of `actions`."""
        return self.actions[:, [COMPONENTS.index(name) for name in names]]


@dataclass(frozen=True)
class Fault:
    """A file that is left out, and why."""

    file: str
    reason: str
