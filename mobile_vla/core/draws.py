"""Random numbers that belong to frames: a frame gets the same numbers in every batch, window, variant and order.

In: the frames that a batch's contexts belong to. Out: numbers for every window position, a pure function of (seed,
episode, frame). Heads that need noise draw it here. Closed-loop inference then equals batched inference, and when an
intervention replaces the instruction or the image of a frame, nothing else changes.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mobile_vla.core.batch import Batch, PairId

UNKNOWN = PairId("", 0, "")


class FrameDraws:
    """Numbers for the contexts that windows index into, drawn when they are asked for."""

    def __init__(self, ids: Sequence[PairId], windows: Int[Tensor, "S W"]):
        self.ids = ids
        self.windows = windows

    @classmethod
    def of(cls, batch: Batch) -> "FrameDraws":
        return cls(batch.context_id or batch.pair_id, batch.windows)

    @classmethod
    def unknown(cls, contexts: Float[Tensor, "S W D"]) -> "FrameDraws":
        """For contexts that belong to no frame: the same numbers at every position."""
        return cls((UNKNOWN,), torch.zeros(contexts.shape[:2], dtype=torch.int64, device=contexts.device))

    def normal(self, *shape: int, seed: int) -> Float[Tensor, "S W ..."]:
        """(S, W, *shape) standard normal numbers."""
        return self._lay_out([torch.randn(shape, generator=own) for own in _generators("normal", seed, self.ids)])

    def uniform(self, *shape: int, seed: int) -> Float[Tensor, "S W ..."]:
        """(S, W, *shape) numbers in [0, 1)."""
        return self._lay_out([torch.rand(shape, generator=own) for own in _generators("uniform", seed, self.ids)])

    def _lay_out(self, rows: list[Tensor]) -> Tensor:
        # Drawn on the CPU, so that every device gets the same numbers; the copy does not block.
        return torch.stack(rows).to(self.windows.device, non_blocking=True)[self.windows.clamp(min=0)]


def _generators(kind: str, seed: int, ids: Sequence[PairId]):
    """One generator, seeded anew for each frame."""
    generator = torch.Generator()
    for id in ids:
        name = f"{kind}\0{seed}\0{id.episode}\0{id.frame}".encode("utf-8", "surrogateescape")
        yield generator.manual_seed(int.from_bytes(blake2b(name, digest_size=8).digest(), "little"))
