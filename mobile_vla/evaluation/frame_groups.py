"""Labels that frames have (`target visible`, `stop`), as groups of frames that errors are summed over.

In: episodes, and a batch. Out: which positions of its windows begin at a frame of each group. An entry of a chunk
belongs to the frame at which its chunk begins, since that frame is what the prediction was made from.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mobile_vla.core.batch import Batch
from mobile_vla.sources.schema import UNKNOWN, Episode

MOST_VALUES = 8  # of a label, for a table of it to be read


class FrameGroups:
    """`names` lists (label, value), the labels sorted, and the values of each. Values that are numbers are written as
    numbers are; where nothing is known the value is `unknown`. Boxes, constants and labels of many values make none.
    """

    def __init__(self, episodes: Sequence[Episode]):
        firsts = np.cumsum([0, *(episode.num_frames for episode in episodes)])
        self.first_row = {episode.id: int(first) for episode, first in zip(episodes, firsts)}
        values = {
            label: np.concatenate([_as_text(episode, label) for episode in episodes])
            for label in sorted({label for episode in episodes for label in episode.frame_labels})
            if all(np.ndim(episode.frame_labels.get(label, [])) == 1 for episode in episodes)
        }
        self.names = [
            (label, str(value))
            for label, column in values.items()
            for distinct in [np.unique(column)]
            if len(set(distinct) - {UNKNOWN}) >= 2 and len(distinct) <= MOST_VALUES
            for value in distinct
        ]
        columns = [values[label] == value for label, value in self.names]
        self.members = torch.tensor(np.array(columns, dtype=bool).reshape(len(columns), firsts[-1]).T)  # (frames, G)

    def of(self, batch: Batch) -> Float[Tensor, "S W G"]:
        """1 where the frame at a window's position is in the group; padding is in none."""
        device = batch.windows.device
        rows = torch.tensor([self.first_row[pair.episode] + pair.frame for pair in batch.pair_id])
        pairs = self.members[rows].to(device)  # (P, G)
        return (pairs[batch.windows.clamp(min=0)] & (batch.windows >= 0)[..., None]).float()


def _as_text(episode: Episode, label: str) -> np.ndarray:
    """(N,) each frame's value as text."""
    values = episode.frame_labels.get(label)
    if values is None:
        return np.full(episode.num_frames, UNKNOWN)
    if np.issubdtype(values.dtype, np.number):
        return np.array([UNKNOWN if np.isnan(value) else f"{value:g}" for value in values])
    return values.astype(str)
