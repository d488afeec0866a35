"""The loss is a mean over what counts, and its parts add up to the loss of the whole."""

import pytest
import torch
from torch.nn import functional as F

from mobile_vla.evaluation.losses import MeanLoss, huber, masked_huber


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(3, 4, 5, 2, generator=generator) * 2
    target = torch.randn(3, 4, 5, 2, generator=generator)
    return predicted, target, torch.rand(3, 4, 5, generator=generator) < 0.6


@pytest.mark.parametrize("delta", [0.3, 1.0])
def test_equals_torchs_huber_on_the_valid_entries(delta):
    predicted, target, mask = example()
    expected = F.huber_loss(predicted[mask], target[mask], delta=delta)
    torch.testing.assert_close(masked_huber(predicted, target, mask, delta), expected)


def test_huber_by_its_formula():
    d = torch.linspace(-3, 3, 13)
    expected = [0.5 * x * x if abs(x) <= 0.7 else 0.7 * (abs(x) - 0.35) for x in d.tolist()]
    torch.testing.assert_close(huber(d, torch.zeros(13), 0.7), torch.tensor(expected))


def test_masked_entries_have_no_value_and_no_gradient():
    predicted, target, mask = example()
    predicted.requires_grad_()
    loss = masked_huber(predicted, target.where(mask[..., None], torch.tensor(1e6)), mask, 1.0)
    torch.testing.assert_close(loss, masked_huber(predicted, target, mask, 1.0))
    loss.backward()
    assert not predicted.grad[~mask].any()
    assert predicted.grad[mask].all()


def test_parts_with_a_common_denominator_add_up_to_the_whole():
    """However unevenly the valid entries are spread; the mean of the parts' own means would differ."""
    predicted, target, mask = example()
    mask[0] = False
    mask[0, 0, 0] = True
    whole = masked_huber(predicted, target, mask, 1.0)
    parts = [
        masked_huber(predicted[i : i + 1], target[i : i + 1], mask[i : i + 1], 1.0, int(mask.sum())) for i in range(3)
    ]
    torch.testing.assert_close(sum(parts), whole)
    own = [masked_huber(predicted[i : i + 1], target[i : i + 1], mask[i : i + 1], 1.0) for i in range(3)]
    assert abs(sum(own) / 3 - whole) > 1e-3


def test_nothing_valid_is_a_loss_of_zero():
    predicted, target, mask = example()
    predicted.requires_grad_()
    loss = masked_huber(predicted, target, torch.zeros_like(mask), 1.0)
    loss.backward()
    assert loss == 0
    assert not predicted.grad.any()


def test_the_mean_over_batches_weighs_each_by_what_counts_in_it():
    """However unevenly entries are spread; and each validation begins anew."""
    predicted, target, mask = example()
    mask[0, :, 1:] = False
    costs, mean = huber(predicted, target, 1.0), MeanLoss()
    for _ in range(2):
        mean.reset()
        for part in range(3):
            mean.update(costs[part : part + 1], mask[part : part + 1])
        torch.testing.assert_close(mean.compute(), masked_huber(predicted, target, mask, 1.0))
