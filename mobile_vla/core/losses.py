"""One mean for every loss: over the entries that count, with one denominator for a whole optimizer step."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def huber(predicted: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"], delta: float) -> Float[Tensor, "*shape"]:
    """Huber's loss, entry by entry: d^2 / 2 up to `delta`, delta (|d| - delta / 2) beyond (Huber 1964)."""
    return F.huber_loss(predicted, target, reduction="none", delta=delta)


def masked_mean(
    losses: Float[Tensor, "S W C A"], mask: Bool[Tensor, "S W C"], denominator: int | None = None
) -> Float[Tensor, ""]:
    """Mean over the valid entries and the components; `denominator` counts the valid entries of a larger whole.

    With the valid entries of all accumulated batches and ranks as the denominator, the parts of an optimizer step
    add up to the mean over the step, however unevenly its valid entries are spread.
    """
    valid = mask.sum().clamp(min=1) if denominator is None else max(denominator, 1)
    return torch.where(mask.unsqueeze(-1), losses, 0).sum() / (valid * losses.shape[-1])
