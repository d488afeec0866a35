"""Sequence layouts: in which order image tokens, text and action token reach the text decoder.

A layout turns image tokens, embedded text and the action token into the decoder's input, its mask and the position
at which the context is read. Padding stands at the right end, behind everything that the context may attend to, so
a context does not depend on what else is in the batch. Each family of backbones has its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Additive = Float[Tensor, "P 1 N N"]  # 0 where a position may be attended to, the least number of its dtype elsewhere


class Sequence(NamedTuple):
    """What the decoder reads: embeddings (not yet scaled), which of them can be attended to, where the context is."""

    embeddings: Float[Tensor, "P N D"]
    mask: Bool[Tensor, "P N"]
    action_position: Int[Tensor, " P"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """before image | image tokens | behind image | text | action token | behind action | padding.

    name       as checkpoints and figures call it
    before_image, behind_image, behind_action  special tokens, by their text
    over_text  image tokens take the places of the text's first tokens: none of these is left, and of the image tokens
               only as many as the text has tokens can be attended to
    """

    name: str
    before_image: tuple[str, ...] = ()
    behind_image: tuple[str, ...] = ()
    behind_action: tuple[str, ...] = ()
    over_text: bool = False

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """In the order in which they stand in a sequence."""
        return (*self.before_image, *self.behind_image, *self.behind_action)

    def start_of_text(self, num_image_tokens: int) -> int:
        """Position of the first token behind the image part; what comes before it is the same whatever the text says,
        unless image tokens stand `over_text`."""
        return len(self.before_image) + num_image_tokens + len(self.behind_image)

    def ends(
        self, num_image_tokens: int, text_mask: Bool[Tensor, "P T"]
    ) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
        """Where each sequence's action token stands, and how long the sequence is without its padding."""
        start, lengths = self.start_of_text(num_image_tokens), text_mask.sum(1)
        action_position = start + (torch.clamp(lengths - num_image_tokens, min=0) if self.over_text else lengths)
        return action_position, action_position + 1 + len(self.behind_action)

    def assemble(
        self,
        embed: Callable[[tuple[str, ...]], Float[Tensor, "n D"]],
        image_tokens: Float[Tensor, "P L D"],
        text: Float[Tensor, "P T D"],
        text_mask: Bool[Tensor, "P T"],
        action_token: Float[Tensor, " D"],
        hidden: Bool[Tensor, "P L"] | None = None,
    ) -> Sequence:
        """`embed` maps special tokens to their embeddings. Text is right-padded; its mask says how long it is.

        hidden: image tokens that keep their place but that nothing may attend to.
        """
        num_pairs, device = text.shape[0], text.device

        def rows(tokens: Tensor) -> Tensor:
            return tokens.expand(num_pairs, -1, -1)

        head = [rows(embed(self.before_image)), image_tokens, rows(embed(self.behind_image))]
        if self.over_text:
            text = text[:, image_tokens.shape[1] :]
        tail = torch.cat([action_token[None].to(text.dtype), embed(self.behind_action)])  # (1 + n, D)
        room = text.new_zeros(num_pairs, tail.shape[0], text.shape[2])
        embeddings = torch.cat([*head, text, room], dim=1)  # (P, N, D)
        action_position, _ = self.ends(image_tokens.shape[1], text_mask)
        # The action token follows each text's own last token; what the text's padding held there is overwritten.
        where = action_position[:, None] + torch.arange(tail.shape[0], device=device)
        embeddings = embeddings.scatter(1, where[..., None].expand(-1, -1, text.shape[2]), rows(tail))
        mask = self.mask(embeddings.shape[1], image_tokens.shape[1], text_mask, hidden)
        return Sequence(embeddings, mask, action_position)

    def mask(
        self,
        length: int,
        num_image_tokens: int,
        text_mask: Bool[Tensor, "P T"],
        hidden: Bool[Tensor, "P L"] | None = None,
    ) -> Bool[Tensor, "P length"]:
        """Which positions of a sequence of this length can be attended to (by those behind them)."""
        device = text_mask.device
        _, lengths = self.ends(num_image_tokens, text_mask)
        mask = torch.arange(length, device=device) < lengths[:, None]
        first = len(self.before_image)
        if self.over_text:  # the mask is that of the text whose places they took
            token = torch.arange(num_image_tokens, device=device)
            mask[:, first : first + len(token)] &= token < text_mask.sum(1)[:, None]
        if hidden is not None:
            mask[:, first : first + hidden.shape[1]] &= ~hidden
        return mask


def attention_mask(mask: Bool[Tensor, "P N"], dtype: torch.dtype) -> Additive:
    """Causal, and nothing attends to what the mask leaves out."""
    length = mask.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril() & mask[:, None]
    least = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=mask.device)
    return torch.where(allowed, 0, least)[:, None]
