"""What tap points hold while a policy is driven: rows by frame, as numpy arrays.

    with policy.capture("context", "text_layer_12") as taps:
        drive = policy.start("go left")
        for frame in frames:
            drive.act(frame)
    taps["context"]  # (frames, D)

In: the frames that drives of the policy see while the block runs. Out: one row a frame and tap, the same vectors that
`mobile-vla probe` stores of a recorded episode.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.taps.capture import Captured
from mobile_vla.taps.places import Places


@dataclass(frozen=True)
class _Row:
    drive: int
    frame: int
    instruction: str
    vectors: dict[str, np.ndarray]


class Taps:
    """Rows of all drives of the policy, in the order in which frames were seen; in memory until `take`."""

    def __init__(self, captured: Captured):
        self._captured = captured
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Taps({', '.join(self.names)}: {len(self)} rows)"

    @property
    def names(self) -> list[str]:
        return [tap.name for tap in self._captured.taps]

    def __getitem__(self, tap: str) -> Float[np.ndarray, "N ..."]:
        """(N, *shape) float32, one row a frame; `UserError` for a tap that is not captured, or before any frame."""
        if tap not in self.names:
            raise UserError(f"taps[{tap!r}]: not captured here; there are {', '.join(self.names)}")
        if not self._rows:
            raise UserError(f"taps[{tap!r}]: no rows yet; they come with drive.act(frame) and drive.observe(frame)")
        return np.stack([row.vectors[tap] for row in self._rows])

    @property
    def drives(self) -> Int[np.ndarray, " N"]:
        """The number of each row's drive (`drive.number`): the groups of a cross-validation."""
        return np.array([row.drive for row in self._rows], int)

    @property
    def frames(self) -> Int[np.ndarray, " N"]:
        """Which frame of its drive each row is, from 0."""
        return np.array([row.frame for row in self._rows], int)

    @property
    def instructions(self) -> list[str]:
        return [row.instruction for row in self._rows]

    def take(self) -> dict[str, np.ndarray]:
        """Tap -> (N, *shape), and forget these rows: after each `act`, or where a drive is long."""
        taken = {name: self[name] for name in self.names}
        self._rows.clear()
        return taken

    def of_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Tap -> (P, *shape) on the policy's device, one row a pair of the batch that `policy.module` just ran."""
        return self._captured.take(batch)

    def add(self, batch: Batch, drive: int) -> None:
        """The row of a step that has just been run."""
        first, last = torch.zeros(1, dtype=torch.int64), torch.tensor([batch.windows.shape[1] - 1])
        found = self._captured.take(batch, Places(pairs=first, windows=first, positions=last))
        vectors = {name: rows[0].float().cpu().numpy() for name, rows in found.items()}
        (pair,) = batch.pair_id
        self._rows.append(_Row(drive=drive, frame=pair.frame, instruction=pair.instruction, vectors=vectors))
