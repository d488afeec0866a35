"""Windows over an episode and the chunk of actions at each of a window's frames; what is padding is masked.

An episode's ends decide most of what is trained on when it has 18 frames, so their treatment is one explicit
setting, the same in training and validation.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from mobile_vla.data.schema import Episode
from mobile_vla.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """window: frames a window; chunk: actions predicted at each frame; stride: frames between windows.

    ends  `pad`: a window starts at every frame that leaves it `window` frames; chunk entries beyond the episode
          are masked, and an episode shorter than a window is one window, padded (and masked) at its tail.
          `drop`: only windows whose chunks all lie inside the episode; an episode without one is refused.
    """

    window: int = 8
    chunk: int = 10
    stride: int = 1
    ends: Literal["pad", "drop"] = "pad"

    def __post_init__(self):
        for name in ("window", "chunk", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, got {getattr(self, name)}")

    @property
    def num_needed(self) -> int:
        """Frames that a whole window with whole chunks spans."""
        return self.window + self.chunk - 1

    def starts(self, num_frames: int) -> range:
        """First frames of the windows of an episode."""
        if self.ends == "drop":
            return range(0, num_frames - self.num_needed + 1, self.stride)
        return range(0, max(num_frames - self.window, 0) + 1, self.stride)

    def frames(self, num_frames: int, start: int) -> Int[np.ndarray, " window"]:
        """Frame index at each position of the window; -1 beyond the episode."""
        index = np.arange(start, start + self.window)
        return np.where(index < num_frames, index, -1)


def refuse_short(episodes: list[Episode], config: WindowConfig) -> None:
    """With `ends=drop`, `UserError` naming the episodes that hold no whole window."""
    if config.ends == "pad":
        return
    short = [episode for episode in episodes if not config.starts(episode.num_frames)]
    if short:
        names = ", ".join(f"{episode.id} ({episode.num_frames})" for episode in short[:3])
        raise UserError(
            f"data.ends=drop needs episodes of at least {config.num_needed} frames (window {config.window} + chunk "
            f"{config.chunk} - 1), but {len(short)} of {len(episodes)} are shorter: {names}; set data.ends=pad or "
            "move them away"
        )


def chunks_at(
    actions: Float[np.ndarray, "N A"],
    known: Bool[np.ndarray, " N"],
    frames: Int[np.ndarray, " W"],
    chunk: int,
) -> tuple[Float[np.ndarray, "W C A"], Bool[np.ndarray, "W C"]]:
    """The next `chunk` actions from each frame on, frame's own first; masked entries are 0.

    An entry counts if its frame is there (not -1), it lies inside the episode and its action is known.
    """
    index = frames[:, None] + np.arange(chunk)  # (W, C)
    inside = (frames[:, None] >= 0) & (index < len(actions))
    index = index.clip(0, len(actions) - 1)
    mask = inside & known[index]
    return np.where(mask[..., None], actions[index], 0).astype(np.float32), mask


def valid_entries(episode: Episode, config: WindowConfig) -> Int[np.ndarray, " windows"]:
    """Chunk entries that count, for each window of an episode, without reading anything."""
    entries = []
    for start in config.starts(episode.num_frames):
        frames = config.frames(episode.num_frames, start)
        _, mask = chunks_at(episode.actions, episode.action_known, frames, config.chunk)
        entries.append(mask.sum())
    return np.asarray(entries, dtype=np.int64)
