"""The vision tower's activation with one tensor kept for the backward pass, and one product in it.

In: a model whose layers hold transformers' `QuickGELUActivation`, x sigmoid(1.702 x). Out: the same function in its
place, as silu(1.702 x) / 1.702: its derivative is that of silu at 1.702 x, so the backward pass is one call of torch's
own kernel where autograd would run five and keep three tensors.
"""

from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import QuickGELUActivation

SLOPE = 1.702


class _SlopedSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        sloped = x * SLOPE
        ctx.save_for_backward(sloped)
        return F.silu(sloped).div_(SLOPE)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.ops.aten.silu_backward(gradient, ctx.saved_tensors[0])


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), up to rounding."""

    @no_type_check  # a compiler cannot follow the checks that tests add
    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if torch.compiler.is_compiling():
            return x * torch.sigmoid(SLOPE * x)  # a compiler makes one kernel of it by itself
        return _SlopedSiLU.apply(x)  # pyright: ignore[reportReturnType]


def use_quick_gelu(model: nn.Module) -> None:
    """Puts it in the place of transformers' own."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, QuickGELUActivation):
                setattr(module, name, QuickGELU())
