"""Windows over an episode and the chunk of actions at each of a window's frames; what is padding is masked.

An episode's ends decide most of what is trained on when it has 18 frames, so their treatment is one explicit
setting, the same in training and validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.lib.stride_tricks import sliding_window_view

from mobile_vla.core.changes import Change, on_change
from mobile_vla.core.errors import UserError
from mobile_vla.sources.schema import Episode


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """window: frames a window; chunk: actions predicted at each frame; stride: frames between windows.

    ends  `pad`: a window starts at every frame that leaves it `window` frames; chunk entries beyond the episode
          are masked, and an episode shorter than a window is one window, padded (and masked) at its tail.
          `drop`: only windows whose chunks all lie inside the episode; an episode without one is refused.
    """

    window: int = 8
    chunk: int = field(default=10, metadata=on_change(Change.MODEL))
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


class ChunkTable:
    """The actions of many episodes end to end, so that the chunks of many windows are one look-up (see `chunks_at`).

    Behind each episode come as many rows that are not known as a window that starts in it can reach beyond its end.
    """

    def __init__(
        self,
        actions: Sequence[Float[np.ndarray, "_ A"]],
        known: Sequence[Bool[np.ndarray, " _"]],
        config: WindowConfig,
    ):
        beyond = config.num_needed - 1
        self._first = np.cumsum([0, *(len(rows) + beyond for rows in actions)])  # row of each episode's first frame
        self._known = np.concatenate([np.pad(rows, (0, beyond)) for rows in known])
        rows = np.concatenate([np.pad(rows, ((0, beyond), (0, 0))) for rows in actions])
        self._actions = np.where(self._known[:, None], rows, 0).astype(np.float32)
        self._reach = np.arange(config.window)[:, None] + np.arange(config.chunk)  # (W, C)

    def at(
        self, episodes: Int[np.ndarray, " S"], starts: Int[np.ndarray, " S"]
    ) -> tuple[Float[np.ndarray, "S W C A"], Bool[np.ndarray, "S W C"]]:
        """The chunks at each frame of the windows that start at `starts` of `episodes`; masked entries are 0."""
        index = (self._first[episodes] + starts)[:, None, None] + self._reach
        return self._actions[index], self._known[index]


def valid_entries(episode: Episode, config: WindowConfig) -> Int[np.ndarray, " windows"]:
    """Chunk entries that count, for each window of an episode, without reading anything."""
    known = np.pad(episode.action_known, (0, config.num_needed - 1)).astype(np.int64)
    of_frame = sliding_window_view(known, config.chunk).sum(axis=-1)
    of_window = sliding_window_view(of_frame, config.window).sum(axis=-1)
    return of_window[np.asarray(config.starts(episode.num_frames), dtype=np.int64)]
