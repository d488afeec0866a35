"""What the passes of one batch share: what one of them has made of a frame is not made again.

In: the batch of a pass. Out: the same batch, fed with image tokens where all of its frames were shown before, and what
the decoder need not run again. What taps hold of a frame comes along. The first pass is recorded; a later one whose
frames it has shown runs the decoder behind the image part alone (`models.prefix`). A batch with any new frame is run as
it is, and so is one where the image part differs or is looked at: image tokens are hidden or stand over the text, a tap
reads the decoder at image tokens (`mean`, `max`, `first`). A backbone that does not share prefixes runs every pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mobile_vla.core.batch import Batch, FrameId
from mobile_vla.models.backbones.prefix import Prefix, Recording, count_common
from mobile_vla.models.policy import Policy
from mobile_vla.taps.capture import Captured, refuse_compiled
from mobile_vla.taps.points import find_projection


@contextmanager
def remember_frames(policy: Policy, captured: Captured | None = None) -> Iterator["FrameMemory"]:
    """Watches the image tokens of a policy while the block runs; `captured`: what its taps hold, if it has any."""
    projection = find_projection(policy)
    refuse_compiled(policy, projection)
    memory = FrameMemory(policy, captured)
    with policy.get_submodule(projection).register_forward_hook(memory.see):
        yield memory


class FrameMemory:
    """On the policy's device."""

    def __init__(self, policy: Policy, captured: Captured | None):
        self.policy, self.captured = policy, captured
        looked_at = captured is not None and any(tap.reads_image_part for tap in captured.taps)
        backbone = policy.backbone
        self._shares = backbone.shares_prefix and not looked_at and not backbone.layout.over_text
        self._seen: Tensor | None = None
        self.expect(1)

    def expect(self, passes: int) -> None:
        """Another batch begins, of so many passes."""
        self._left = passes
        self._row: dict[FrameId, int] = {}  # of the image tokens
        self._tokens: Tensor | None = None
        self._taps: dict[str, Tensor] = {}
        self._recording: Recording | None = None
        self._pair: dict[FrameId, int] = {}  # of the recorded pass
        self._texts: list[list[int]] = []

    def see(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._seen = (output if isinstance(output, Tensor) else output[0]).detach()

    def feed(self, batch: Batch) -> tuple[Batch, Recording | Prefix | None]:
        """Before the policy runs on it: what it is given."""
        return self._with_tokens(batch), self._find_prefix(batch)

    def keep(self, batch: Batch) -> None:
        """After the policy has run on it, and before what it has captured is taken."""
        self._left -= 1
        if self._left == 0:
            return
        if self._recording is not None and not self._pair:
            shown = batch.pair_frame.tolist()
            self._pair = {batch.frame_id[row]: pair for pair, row in enumerate(shown)}
            self._texts = _tokens_of(batch)
        if batch.frames is not None:
            self._keep_tokens(batch)

    def _with_tokens(self, batch: Batch) -> Batch:
        if self._tokens is None or any(id not in self._row for id in batch.frame_id):
            return batch
        rows = torch.tensor([self._row[id] for id in batch.frame_id], device=self._tokens.device)
        if self.captured is not None:
            self.captured.give({name: values[rows] for name, values in self._taps.items()})
        return replace(batch, frames=None, image_tokens=self._tokens[rows])

    def _find_prefix(self, batch: Batch) -> Recording | Prefix | None:
        decodes = batch.states is None and batch.contexts is None
        if not self._shares or not decodes or batch.pair_hidden is not None:
            return None
        if self._recording is None:
            self._recording = Recording() if self._left > 1 else None
            return self._recording
        if any(id not in self._pair for id in batch.frame_id):
            return None
        backbone = self.policy.backbone
        pairs = [self._pair[batch.frame_id[row]] for row in batch.pair_frame.tolist()]
        length = backbone.layout.start_of_text(backbone.num_image_tokens)
        length += count_common([*self._texts, *_tokens_of(batch)])
        return Prefix(self._recording, torch.tensor(pairs, device=backbone.action_token.device), length)

    def _keep_tokens(self, batch: Batch) -> None:
        assert self._seen is not None, "image tokens are computed where there are none"
        found = {} if self.captured is None else self.captured.of_frames()
        if self._tokens is None:
            self._tokens, self._taps = self._seen, found
        else:
            self._tokens = torch.cat([self._tokens, self._seen])
            self._taps = {name: torch.cat([values, found[name]]) for name, values in self._taps.items()}
        first = len(self._tokens) - len(batch.frame_id)
        self._row |= {id: first + row for row, id in enumerate(batch.frame_id)}
        self._seen = None


def _tokens_of(batch: Batch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(batch.text_ids, batch.text_mask, strict=True)]
