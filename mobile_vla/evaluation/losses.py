"""The loss that is reported, whatever a head minimises: Huber on normalised velocity chunks, over the valid entries."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from mobile_vla.core.losses import huber, masked_mean


def masked_huber(
    predicted: Float[Tensor, "S W C A"],
    target: Float[Tensor, "S W C A"],
    mask: Bool[Tensor, "S W C"],
    delta: float,
    denominator: int | None = None,
) -> Float[Tensor, ""]:
    """Mean over the valid entries and the components; `denominator` as in `masked_mean`."""
    return masked_mean(huber(predicted, target, delta), mask, denominator)


class MeanLoss(Metric):
    """`masked_mean` over any number of batches, on all ranks together."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.sums: Tensor
        self.add_state("sums", torch.zeros(2), dist_reduce_fx="sum")  # of the losses; entries x components

    def update(self, losses: Float[Tensor, "S W C A"], mask: Bool[Tensor, "S W C"]) -> None:
        sum_of_losses = torch.where(mask.unsqueeze(-1), losses, 0).sum()
        self.sums += torch.stack([sum_of_losses, mask.sum() * losses.shape[-1]])

    def compute(self) -> Float[Tensor, ""]:
        return self.sums[0] / self.sums[1].clamp(min=1)
