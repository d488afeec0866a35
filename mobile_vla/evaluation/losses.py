"""The loss that is reported, whatever a head minimises: Huber on normalised velocity chunks, over the valid entries."""

from jaxtyping import Bool, Float
from torch import Tensor

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
