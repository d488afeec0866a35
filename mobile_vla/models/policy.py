"""The policy, its whole forward pass on one screen: frames and texts -> contexts -> windows -> chunks of actions."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mobile_vla.core.batch import Batch, gather_windows
from mobile_vla.core.draws import FrameDraws
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.backbone import Backbone
from mobile_vla.models.backbones.fingerprint import fingerprint
from mobile_vla.models.backbones.loading import Source, load_model
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.backbones.prefix import Prefix, Recording
from mobile_vla.models.heads.head import Head, Target

ContextEdit = Callable[[Tensor], Tensor]  # (P, D) -> (P, D), or as many rows as the windows count


class Policy(nn.Module):
    """A backbone that turns (frame, text) pairs into contexts, and a head that turns windows of them into actions."""

    def __init__(self, backbone: Backbone, head: Head, preprocessing: Preprocessing):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.preprocessing = preprocessing
        self.base_fingerprint = ""

    @classmethod
    def build(
        cls, config: ModelConfig, source: Source, chunk: int, num_components: int, dtype: torch.dtype
    ) -> "Policy":
        """Load the base, inject adapters, add a fresh head; trained weights float32, frozen ones in `dtype`."""
        backbone = config.wrap(load_model(source), source.special_ids)
        base = fingerprint(backbone.model)
        backbone.adapt(config.lora)
        backbone.compute_in(dtype)
        head = config.head.build(backbone.context_width, chunk, num_components)
        policy = cls(backbone, head, source.preprocessing)
        policy.base_fingerprint = base
        return policy.eval()

    def forward(
        self,
        batch: Batch,
        edit: ContextEdit | None = None,
        prefix: Recording | Prefix | None = None,
        huber_delta: float | None = None,
    ) -> Float[Tensor, "S W C A"] | tuple[Float[Tensor, "S W C A"], Float[Tensor, "S W C A"]]:
        """Normalised actions, one chunk for each window position; `edit` changes what the head reads.

        With `huber_delta` two tensors, as training needs them: the actions, through which no gradient need run, and
        what each of their entries costs the head.
        """
        contexts = self.contexts(batch, prefix)
        if edit is not None:
            contexts = edit(contexts)
        prediction, draws = self.head(gather_windows(contexts, batch.windows)), FrameDraws.of(batch)
        with torch.autocast(contexts.device.type, enabled=False):
            if huber_delta is None:
                return self.head.actions(prediction, draws)
            target = Target(chunks=batch.chunks, mask=batch.chunk_mask, draws=draws, huber_delta=huber_delta)
            losses = self.head.losses(prediction, target)
            with torch.no_grad():
                return self.head.actions(prediction, draws), losses

    def contexts(self, batch: Batch, prefix: Recording | Prefix | None = None) -> Float[Tensor, "P D"]:
        """One context a pair, from the deepest that the batch holds; the decoder does not run the `prefix` again."""
        if batch.contexts is not None:
            return batch.contexts
        if batch.states is not None:
            return self.backbone.decode_states(batch.states, batch.text_mask[batch.pair_text])
        tokens = batch.image_tokens
        if tokens is None:
            assert batch.frames is not None, "a batch holds frames, image tokens or contexts"
            tokens = self.backbone.image_tokens(self.preprocessing(batch.frames))  # (U, L, D)
        return self.backbone.decode(
            tokens, batch.text_ids, batch.text_mask, batch.pair_frame, batch.pair_text, self._hidden(batch), prefix
        )

    def _hidden(self, batch: Batch) -> Bool[Tensor, "P L"] | None:
        """Which image tokens are masked for which pair."""
        if batch.pair_hidden is None:
            return None
        first, behind = batch.pair_hidden.unbind(1)
        token = torch.arange(self.backbone.num_image_tokens, device=first.device)
        return (token >= first[:, None]) & (token < behind[:, None])

    def trained(self) -> dict[str, nn.Parameter]:
        """What training changes, by name: all that a checkpoint holds."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    def num_parameters(self) -> dict[str, int]:
        """Parameters that are trained, and all, each counted once."""
        total = sum(weight.numel() for weight in self.parameters())
        return {"trainable": sum(weight.numel() for weight in self.trained().values()), "total": total}
