"""What a probe hands out, as a store wants it: rows that know who they are, and arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobile_vla.contexts.manifest import TapSpec
from mobile_vla.contexts.rows import Label, Row, RowId
from mobile_vla.data.assemble import BatchAssembler
from mobile_vla.data.windows import chunks_at
from mobile_vla.probing.engine import ProbedRows
from mobile_vla.sources.schema import Episode


class RowMaker:
    """For the episodes of one assembler.

    parts    of each episode, by id: the part that the run had it in
    trained  whether what the head predicts is worth storing
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        assembler: BatchAssembler,
        parts: Mapping[str, str | None],
        specs: Mapping[str, TapSpec],
        trained: bool,
    ):
        self.actions, self.chunk = assembler.actions, assembler.windows.chunk
        self.parts, self.specs, self.trained = parts, specs, trained
        self.episodes = {episode.id: episode for episode in episodes}

    def make(self, found: ProbedRows) -> tuple[list[Row], dict[str, np.ndarray]]:
        """Rows, and tap name -> (R, ...)."""
        predicted = self.actions.denormalize(found.predicted.float().cpu()).numpy()
        rows = []
        for index, id in enumerate(found.ids):
            episode = self.episodes[id.episode]
            # Recorded velocities as they are: to the head's units and back would cost their last digits.
            action, mask = chunks_at(
                episode.components(self.actions.components), episode.action_known, np.array([id.frame]), self.chunk
            )
            shown = found.shown[index]
            own = (shown.episode, shown.frame, shown.still) == (id.episode, id.frame, "")
            rows.append(
                Row(
                    id=RowId(*id),
                    progress=episode.progress(id.frame),
                    part=self.parts[id.episode],
                    fingerprint=episode.fingerprint,
                    shown=None if own else (shown.still or shown.episode, shown.frame),
                    labels={**episode.labels, **_labels_at(episode, id.frame)},
                    action=action[0],
                    action_mask=mask[0],
                    predicted=predicted[index] if self.trained else None,
                )
            )
        return rows, {name: _to_array(values, self.specs[name]) for name, values in found.taps.items()}


def _labels_at(episode: Episode, frame: int) -> dict[str, Label | None]:
    found: dict[str, Any] = {name: values[frame] for name, values in episode.frame_labels.items()}
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()}


def _to_array(values: Tensor, spec: TapSpec) -> np.ndarray:
    """float32, which the store rounds; bfloat16 that stays bfloat16 as its bits, for which numpy has no type."""
    if values.dtype == torch.bfloat16 and spec.dtype == "bfloat16":
        return values.contiguous().view(torch.uint16).cpu().numpy()
    return values.float().cpu().numpy()
