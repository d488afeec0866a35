"""What travels from the data to the model, and the legend of shapes. Imports nothing of the package.

A context is a function of one frame and one instruction, so a batch lists its distinct frames and its distinct
texts once; pairs join them, and windows index into the pairs. Overlapping windows never pay twice.

Legend
    U  distinct frames          I  distinct texts           T  text tokens (longest of the batch)
    P  (frame, text) pairs      S  windows                  W  frames a window (8)
    C  actions a chunk (10)     A  action components        L  image tokens (64)          D  context width
    H, V                        height and width of a frame as the model wants it
    N  positions of the text decoder's sequence, up to the action token (longest of the batch)
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

OWN = "own"  # the variant of a pair as recorded: its own frame with its own instruction


class PairId(NamedTuple):
    """Who a pair is; order of arrival means nothing.

    episode      the episode's id
    frame        index of the frame in that episode
    instruction  the text that the model is given
    variant      `own`, or the name of the intervention that made the pair
    """

    episode: str
    frame: int
    instruction: str
    variant: str = OWN


class FrameId(NamedTuple):
    """What a row of `frames` or `image_tokens` shows: a cache of image tokens is keyed by it, never by a pair's frame.

    still  name and digest of a picture that is no episode's frame; `episode` is empty then
    """

    episode: str
    frame: int
    still: str = ""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Distinct frames, distinct texts, the pairs of them, and the windows over the pairs.

    Exactly one of `frames`, `image_tokens`, `states` (what the first trained text layer reads, padded on the right)
    and `contexts` feeds the model.
    `windows` holds -1 only as padding at a window's tail. `chunks` are normalised to [-1, 1]; where `chunk_mask`
    is False they hold 0 and mean nothing. `denominator` is the number of valid chunk entries of the whole
    optimizer step (all accumulated batches, all ranks), so that the loss is one mean, not a mean of means.
    `broken` names the files that could not be read, with the reason: their windows are wholly masked.

    Interventions. What a pair is shown is `frame_id[pair_frame]`, which is not the frame of its `pair_id` where a donor
    or a still takes its place. `pair_hidden` is the run of image tokens (first, behind the last) that a pair's decoder
    cannot attend to; `pair_source` the pair whose context replaces a part of this one's, -1 for none, and such a pair
    may be in no window. None: no pair has any.

    `context_id` says whose the contexts are that `windows` index into, where these are not the batch's pairs: driving,
    a batch has the pair of one frame, and its window the contexts of the last W frames.
    """

    text_ids: Int[Tensor, "I T"]
    text_mask: Bool[Tensor, "I T"]
    pair_frame: Int[Tensor, " P"]
    pair_text: Int[Tensor, " P"]
    windows: Int[Tensor, "S W"]
    chunks: Float[Tensor, "S W C A"]
    chunk_mask: Bool[Tensor, "S W C"]
    pair_id: tuple[PairId, ...]
    frames: UInt8[Tensor, "U H V 3"] | None = None
    image_tokens: Float[Tensor, "U L D"] | None = None
    states: Float[Tensor, "P N D"] | None = None
    contexts: Float[Tensor, "P D"] | None = None
    denominator: int | None = None
    broken: tuple[tuple[str, str], ...] = ()
    frame_id: tuple[FrameId, ...] = ()
    pair_hidden: Int[Tensor, "P 2"] | None = None
    pair_source: Int[Tensor, " P"] | None = None
    context_id: tuple[PairId, ...] = ()

    @property
    def num_windows(self) -> int:
        return self.windows.shape[0]

    @property
    def num_valid(self) -> int:
        """Valid chunk entries (one for each step and window position, whatever the number of components)."""
        return int(self.chunk_mask.sum())

    def window_pairs(self, window: int) -> list[PairId]:
        """The pairs of one window, in order, without its padding."""
        return [self.pair_id[i] for i in self.windows[window].tolist() if i >= 0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        return self._each_tensor(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        return self._each_tensor(Tensor.pin_memory)

    def _each_tensor(self, change) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(v) for k, v in tensors.items() if isinstance(v, Tensor)})


def gather_windows(rows: Float[Tensor, "P D"], windows: Int[Tensor, "S W"]) -> Float[Tensor, "S W D"]:
    """Rows of the pairs laid out window by window; padding positions are zero."""
    present = (windows >= 0).unsqueeze(-1)
    return torch.where(present, rows[windows.clamp(min=0)], rows.new_zeros(()))
