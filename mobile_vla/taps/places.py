"""Where a row is computed: of which window, at which position.

A context is the same in every window, but the head's state and the predicted chunk depend on the frames before. A row
takes them where closed-loop inference takes them, where the frame has its longest history: at the last position of the
window that ends with it, or, near the episode's begin, in the window that starts with the episode. Heads are causal,
so what follows in that window does not matter.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from mobile_vla.core.batch import Batch


class Places(NamedTuple):
    """Of each of R rows: its pair in the batch, and the window and the position in it that the row is taken from."""

    pairs: Int[Tensor, " R"]
    windows: Int[Tensor, " R"]
    positions: Int[Tensor, " R"]

    def to(self, device: torch.device) -> "Places":
        return Places(*(part.to(device) for part in self))


def start_of(frame: int, window: int) -> int:
    """First frame of the window of `window` frames in which `frame` has its longest history."""
    return max(frame - window + 1, 0)


def starts_of(frames: Iterable[int], window: int) -> list[int]:
    """The windows that these frames of an episode need, by first frame; the first frames share one."""
    return sorted({start_of(frame, window) for frame in frames})


def rows_in(batch: Batch, wanted: Mapping[str, Collection[int]]) -> Places:
    """The wanted frames (by episode) that have their longest history in this batch, by window and position.

    Where no window is in two batches, no row is: so it is with the batches of a plan, for which one window in each
    place is enough, and with validation batches (stride 1), whose windows have a place for every frame.
    """
    length = batch.windows.shape[1]
    last = [  # of each pair, the position that it has its longest history at; -1 if it is not wanted
        min(pair.frame, length - 1) if pair.frame in wanted.get(pair.episode, ()) else -1 for pair in batch.pair_id
    ]
    shown = batch.windows.cpu()  # (S, W)
    there = (shown >= 0) & (torch.tensor(last)[shown.clamp(min=0)] == torch.arange(length))
    windows, positions = there.nonzero(as_tuple=True)
    return Places(shown[windows, positions], windows, positions)


def every_pair(batch: Batch) -> Places:
    """All pairs that a window of the batch shows, in order, each where it has the longest history that the batch holds.

    Pairs that only give their contexts to others are in no window.
    """
    place: dict[int, tuple[int, int]] = {}  # pair -> (window, position); later positions overwrite earlier ones
    for position in range(batch.windows.shape[1]):
        for window, pair in enumerate(batch.windows[:, position].tolist()):
            place[pair] = window, position
    place.pop(-1, None)  # padding
    pairs = sorted(place)
    found = torch.tensor([place[pair] for pair in pairs])
    return Places(torch.tensor(pairs), found[:, 0], found[:, 1])
