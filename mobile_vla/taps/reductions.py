"""From what a module puts out for a row to what is kept of it: one vector, or all of it.

In: (R, N, D), N tokens a row, of which the first `length` are there and the rest is padding. Out: (R, D), or (R, N, D)
for `whole`, in the dtype that came in, and never a view: a view would hold on to all of the tokens' memory.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Extent(NamedTuple):
    """Of each row: how many of its tokens are there, and where its action token stands (None: it has none)."""

    length: Int[Tensor, " R"]
    action: Int[Tensor, " R"] | None = None


def mean(tokens: Float[Tensor, "R N D"], extent: Extent) -> Float[Tensor, "R D"]:
    """Over the tokens that are there, added up in float32."""
    there = _is_there(tokens, extent)
    total = torch.where(there, tokens, tokens.new_zeros(())).sum(1, dtype=_at_least_float32(tokens))
    return (total / extent.length[:, None]).to(tokens.dtype)


def largest(tokens: Float[Tensor, "R N D"], extent: Extent) -> Float[Tensor, "R D"]:
    """The largest value of each component over the tokens that are there."""
    return torch.where(_is_there(tokens, extent), tokens, -torch.inf).amax(1)


def first(tokens: Float[Tensor, "R N D"], extent: Extent) -> Float[Tensor, "R D"]:
    return tokens[:, 0].clone()


def last(tokens: Float[Tensor, "R N D"], extent: Extent) -> Float[Tensor, "R D"]:
    """The last token that is there."""
    return _at(tokens, extent.length - 1)


def action_token(tokens: Float[Tensor, "R N D"], extent: Extent) -> Float[Tensor, "R D"]:
    assert extent.action is not None, "only the text decoder's rows have an action token"
    return _at(tokens, extent.action)


def whole(tokens: Float[Tensor, "R *rest"], extent: Extent) -> Float[Tensor, "R *rest"]:
    return tokens.clone()


REDUCTIONS: dict[str, Callable[[Tensor, Extent], Tensor]] = {
    "mean": mean,
    "max": largest,
    "first": first,
    "last": last,
    "action_token": action_token,
    "whole": whole,
}


def _is_there(tokens: Tensor, extent: Extent) -> Tensor:
    return (torch.arange(tokens.shape[1], device=tokens.device) < extent.length[:, None])[..., None]  # (R, N, 1)


def _at(tokens: Tensor, position: Tensor) -> Tensor:
    return tokens[torch.arange(len(tokens), device=tokens.device), position]


def _at_least_float32(tokens: Tensor) -> torch.dtype:
    return torch.promote_types(tokens.dtype, torch.float32)
