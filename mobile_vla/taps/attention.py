"""Attention maps: which patches of its frame the action token looks at, through the image tokens.

    with attend(policy, AttentionConfig()) as attention:
        policy(batch)
        maps = attention.take(batch).map  # (P, rows, columns), to be laid over the frames

The decoder's attention says which image tokens the action token reads. Where a projection makes image tokens by
attention, as Kosmos-2's does, that says of which patches each is made, and the map is the product: the share of the
look at the image that goes to each patch. What goes to the class token, and to the latent queries, which are the same
for every image, is no patch's and is told apart. Elsewhere image tokens lie over the frame, and are the patches.

Attention is no proof of use: what a token that is attended to changes is another question, which effects answer. And
a patch is where the vision tower has put something, which it may have fetched from elsewhere.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mobile_vla.core.batch import Batch
from mobile_vla.core.errors import UserError
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.capture import refuse_compiled
from mobile_vla.taps.points import MODEL, list_layers


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """P pairs, U frames, N tokens of the decoder's sequence, L image tokens; float32, on the policy's device.

    text          the action token's attention over its sequence, of each chosen layer (all for a rollout); rows sum to
                  1, and padding has 0
    tokens        what of that, or of its rollout, goes to each image token: the mean over layers and heads
    projection    of each image token, over class token, patches (row by row) and latent queries, in this order; the
                  mean over heads. Where there is no such attention, each image token is its own patch
    map           `tokens`, made to sum to 1, times the patches' part of `projection`
    text_shares   of the action token's attention (or rollout), what goes to the `image` tokens, to the `text` (the
                  prompt), to `special` tokens and to the `action` token itself; they sum to 1
    image_shares  of what goes to the image tokens, what comes from `patches` (the sum of the map), from the
                  `class_token` and from `queries`; they sum to 1
    """

    text: Float[Tensor, "P layers heads N"]
    tokens: Float[Tensor, "P L"]
    projection: Float[Tensor, "U L keys"]
    map: Float[Tensor, "P rows columns"]
    text_shares: dict[str, Float[Tensor, " P"]]
    image_shares: dict[str, Float[Tensor, " P"]]


@contextmanager
def attend(policy: nn.Module, config: AttentionConfig) -> Iterator["Attention"]:
    """Eager attention and hooks while the block runs; both are as before afterwards, however it ends.

    Only what is looked at is switched, by the backbone; `UserError` where it gives no attention.
    """
    assert not policy.training, "with dropout, attention rows do not sum to 1"
    backbone: Any = policy.backbone
    anatomy = backbone.anatomy
    if anatomy.attention is None:
        raise UserError(
            f"probe.attention: there are no attention maps of model.name={backbone.config.name}; leave "
            "probe.attention.episodes at 0"
        )
    stack = list_layers(policy, "text")
    layers = _resolve(config.layers, len(stack))
    paths = {f"{stack[index]}.{anatomy.attention}": index for index in layers}
    projection = None if anatomy.projection_attention is None else f"{MODEL}.{anatomy.projection_attention}"
    for path in (*paths, *([] if projection is None else [projection])):
        refuse_compiled(policy, path)
    attention = Attention(policy, config, layers)
    with ExitStack() as undo:
        undo.enter_context(backbone.attend_eagerly())
        undo.enter_context(policy.register_forward_pre_hook(attention.begin, with_kwargs=True))
        undo.enter_context(policy.register_forward_hook(attention.end, always_call=True))
        for path, index in paths.items():
            hook = partial(attention.keep_layer, index)
            undo.enter_context(policy.get_submodule(path).register_forward_hook(hook))
        if projection is not None:
            hook = attention.keep_projection
            undo.enter_context(policy.get_submodule(projection).register_forward_hook(hook))
        yield attention


class Attention:
    """What was attended to in the last forward pass."""

    def __init__(self, policy: nn.Module, config: AttentionConfig, layers: Sequence[int]):
        self.policy: Any = policy
        self.config = config
        self.layers = layers
        self._batch: Batch | None = None
        self._action: Tensor | None = None  # (P,) where in its sequence each action token stands
        self._rows: dict[int, Tensor] = {}  # layer -> (P, heads, N), the action token's
        self._matrices: dict[int, Tensor] = {}  # layer -> (P, N, N), for a rollout
        self._projection: Tensor | None = None  # (U, L, keys)

    def take(self, batch: Batch) -> AttentionMaps:
        """The maps of the batch that the policy has just been run on; once a forward pass."""
        if self._batch is None or self._action is None:
            raise RuntimeError("nothing was attended to: run the policy on a batch, uncompiled, before each take")
        if self._batch.pair_id != batch.pair_id:
            raise RuntimeError("the policy was last run on another batch than the one that is asked for")
        action, self._batch = self._action, None
        projection = self._own_patches(batch) if self._projection is None else self._projection
        with torch.autocast(action.device.type, enabled=False):  # products in float32, wherever this is called
            text = torch.stack([self._rows[index] for index in self.layers], dim=1)  # (P, layers, heads, N)
            if self.config.kind == "rollout":
                matrices = [self._matrices[index] for index in self.layers]
                row = rollout(matrices)[torch.arange(len(action), device=action.device), action]  # (P, N)
            else:
                row = text.mean((1, 2))
            return self._combine(batch, text, row, projection, action)

    def begin(self, policy: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pass begins: where will its action tokens stand?"""
        batch = kwargs["batch"] if "batch" in kwargs else args[0]
        if batch.frames is None:
            given = "image tokens" if batch.contexts is None else "contexts"
            raise UserError(f"there is none where {given} come from a cache; turn that off", argument="attention")
        backbone = self.policy.backbone
        self._batch, self._rows, self._matrices, self._projection = batch, {}, {}, None
        self._action, _ = backbone.layout.ends(backbone.num_image_tokens, batch.text_mask[batch.pair_text])

    def end(self, policy: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A forward pass is over; one that failed has no output, and nothing to take."""
        if output is None:
            self._batch = None

    def keep_layer(self, index: int, module: nn.Module, args: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        weights = output[1].detach()  # (P, heads, N, N)
        assert self._action is not None
        pairs = torch.arange(weights.shape[0], device=weights.device)
        self._rows[index] = weights[pairs, :, self._action].float()
        if self.config.kind == "rollout":
            self._matrices[index] = weights.float().mean(1)

    def keep_projection(self, module: nn.Module, args: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        self._projection = output[1].detach().float().mean(1)  # (U, L, keys)

    def _own_patches(self, batch: Batch) -> Float[Tensor, "U L L"]:
        """Each image token is its own patch."""
        assert batch.frames is not None
        assert self.policy.backbone.anatomy.projection_attention is None
        own = torch.eye(self.policy.backbone.num_image_tokens, device=batch.frames.device)
        return own.expand(len(batch.frames), -1, -1)

    def _combine(
        self,
        batch: Batch,
        text: Float[Tensor, "P layers heads N"],
        row: Float[Tensor, "P N"],
        projection: Float[Tensor, "U L keys"],
        action: Int[Tensor, " P"],
    ) -> AttentionMaps:
        """Action token -> image tokens -> patches; `row` is the action token's, over its whole sequence."""
        backbone = self.policy.backbone
        grid = backbone.image_grid
        begin = len(backbone.layout.before_image)
        end = begin + backbone.num_image_tokens
        tokens = row[:, begin:end]  # (P, L)
        look = tokens / tokens.sum(1, keepdim=True)
        reached = torch.einsum("pl,plk->pk", look, projection[batch.pair_frame])  # (P, keys)
        classes, patches, queries = reached.split([grid.classes, grid.rows * grid.columns, grid.others], dim=1)
        behind_image = end + len(backbone.layout.behind_image)
        itself = row.gather(1, action[:, None])[:, 0]
        special = row[:, :begin].sum(1) + row[:, end:behind_image].sum(1)
        return AttentionMaps(
            text=text,
            tokens=tokens,
            projection=projection,
            map=patches.unflatten(1, (grid.rows, grid.columns)),  # numbered row by row, from the upper left one
            text_shares={
                "image": tokens.sum(1),
                "text": row[:, behind_image:].sum(1) - itself,
                "special": special,
                "action": itself,
            },
            image_shares={"patches": patches.sum(1), "class_token": classes.sum(1), "queries": queries.sum(1)},
        )


def rollout(matrices: Sequence[Float[Tensor, "P N N"]]) -> Float[Tensor, "P N N"]:
    """Which input each position's state comes from, if half of every state is the residual's (Abnar & Zuidema 2020).

    matrices  attention of each layer, first to last, averaged over heads
    """
    identity = torch.eye(matrices[0].shape[-1], device=matrices[0].device)
    reached = identity.expand_as(matrices[0])
    for matrix in matrices:
        reached = (matrix + identity) / 2 @ reached
    return reached


def _resolve(layers: Sequence[int] | None, count: int) -> list[int]:
    """Layers by their index from the first, in order."""
    if layers is None:
        return list(range(count))
    wrong = [layer for layer in layers if not -count <= layer < count]
    if wrong:
        raise UserError(
            f"there is no layer {wrong[0]}, the text part has {count} layers; expected {-count} to {count - 1}",
            argument="attention.layers",
        )
    indices = [layer % count for layer in layers]
    if len(set(indices)) < len(indices):
        raise UserError(f"names a layer twice, {list(layers)}; name each once", argument="attention.layers")
    return sorted(indices)
