"""What a policy is examined on: a few windows, and the same windows with unrelated inputs in their places.

In: a policy, and windows of real episodes or none. Out: a `Sample` of batches of one shape, so that a context which
does not change is the same to the last bit: the same products run over the same rows. Unrelated are prompts of random
tokens of the same length, frames of random patches, and a random action token. Nothing draws from torch's own random
numbers: a training that is examined first is the same training.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mobile_vla.core.batch import Batch, PairId, gather_windows
from mobile_vla.core.draws import FrameDraws
from mobile_vla.models.policy import Policy

MADE_UP_TOKENS = 13  # a prompt's length where there is no data
LONGER = 3  # tokens that the second prompt has beyond the first, where all are equally long


@dataclass(frozen=True, kw_only=True)
class Sample:
    """own   windows as recorded, or made up;  recorded  whether there are episodes behind it

    other_ids, other_frames, other_action_token  what takes the place of texts, frames and action token
    """

    own: Batch
    recorded: bool
    other_ids: Int[Tensor, "I T"]
    other_frames: UInt8[Tensor, "U H V 3"]
    other_action_token: Float[Tensor, " D"]

    @classmethod
    def of(cls, policy: Policy, batch: Batch | None, window: int, seed: int = 0) -> "Sample":
        """Without a batch one window of made-up frames with a made-up prompt; on the policy's device."""
        generator = torch.Generator().manual_seed(seed)
        device = policy.backbone.action_token.device
        own = _make_up(policy, window, generator) if batch is None else batch
        return cls(
            own=own.to(device),
            recorded=batch is not None,
            other_ids=replace_tokens(policy, own.text_ids, generator).to(device),
            other_frames=draw_frames(policy, len(_frames(own)), generator).to(device),
            other_action_token=_draw_action_token(policy, generator).to(device),
        )

    @property
    def frames(self) -> UInt8[Tensor, "U H V 3"]:
        return _frames(self.own)

    def first_pairs(self, count: int) -> "Sample":
        """With fewer pairs, and the first window made of these."""
        own = self.own
        kept = torch.unique(own.windows[own.windows >= 0])[:count]
        windows = torch.arange(own.windows.shape[1], device=own.windows.device)[None] % len(kept)
        fewer = replace(
            own,
            pair_frame=torch.arange(len(kept), device=own.windows.device),
            pair_text=own.pair_text[kept],
            pair_id=tuple(own.pair_id[i] for i in kept.tolist()),
            frames=self.frames[own.pair_frame[kept]],
            windows=windows,
            chunks=own.chunks[:1],
            chunk_mask=own.chunk_mask[:1],
            frame_id=(),
        )
        return replace(self, own=fewer, other_frames=self.other_frames[: len(kept)])

    def with_other_words(self) -> Batch:
        return replace(self.own, text_ids=self.other_ids)

    def with_other_frames(self) -> Batch:
        return replace(self.own, frames=self.other_frames)

    def with_other_inputs(self) -> Batch:
        return replace(self.own, text_ids=self.other_ids, frames=self.other_frames)


def replace_tokens(policy: Policy, ids: Int[Tensor, "I T"], generator: torch.Generator) -> Int[Tensor, "I T"]:
    """Each token by another one, drawn from the middle of the vocabulary, where there are words."""
    size = policy.backbone.embeddings.num_embeddings
    low, high = size // 4, size * 3 // 4
    drawn = torch.randint(low, high - 1, ids.shape, generator=generator)
    return drawn + (drawn >= ids.cpu()) * ((ids.cpu() >= low) & (ids.cpu() < high))  # never the same


def draw_frames(policy: Policy, count: int, generator: torch.Generator) -> UInt8[Tensor, "N H V 3"]:
    """Every patch of one random colour."""
    size, patch = policy.preprocessing.size, policy.backbone.patch_size
    side = -(-size // patch)
    coarse = torch.randint(0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8)
    return coarse.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :size, :size].contiguous()


def respond(
    policy: Policy, contexts: Float[Tensor, "S W D"], draws: FrameDraws | None = None
) -> Float[Tensor, "S W ..."]:
    """What the head makes of windows of contexts, before its actions are made discrete, if they are."""
    return policy.head.response(policy.head(contexts), draws or FrameDraws.unknown(contexts))


def chunks_of(policy: Policy, batch: Batch, contexts: Float[Tensor, "P D"]) -> Float[Tensor, "S W ..."]:
    """What the head makes of contexts laid out as the batch's windows."""
    return respond(policy, gather_windows(contexts, batch.windows), FrameDraws.of(batch))


def _make_up(policy: Policy, window: int, generator: torch.Generator) -> Batch:
    ids = replace_tokens(policy, torch.zeros(1, MADE_UP_TOKENS, dtype=torch.int64), generator)
    shape = (1, window, policy.head.chunk)
    return Batch(
        frames=draw_frames(policy, window, generator),
        text_ids=ids,
        text_mask=torch.ones_like(ids, dtype=torch.bool),
        pair_frame=torch.arange(window),
        pair_text=torch.zeros(window, dtype=torch.int64),
        windows=torch.arange(window)[None],
        chunks=torch.rand(*shape, policy.head.num_components, generator=generator) * 2 - 1,
        chunk_mask=torch.ones(shape, dtype=torch.bool),
        pair_id=tuple(PairId("made up", frame, "") for frame in range(window)),
    )


def _draw_action_token(policy: Policy, generator: torch.Generator) -> Float[Tensor, " D"]:
    """As large as a word's embedding: a token of zeros says nothing of how large one should be."""
    spread = policy.backbone.embeddings.weight.detach().float().std().cpu()
    return torch.randn(policy.backbone.context_width, generator=generator) * spread


def _frames(batch: Batch) -> UInt8[Tensor, "U H V 3"]:
    assert batch.frames is not None, "pixels are what is examined first"
    return batch.frames
