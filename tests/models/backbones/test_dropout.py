"""Dropout by bits is dropout: how much is lost, that draws do not hang together, and that the mean stays."""

import pytest
import torch
from torch import nn

from mobile_vla.models.backbones.dropout import BitDropout


def drawn(p: float, *shape: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return BitDropout(p).train()(torch.ones(shape))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_share_that_is_lost_and_the_mean(p):
    found = drawn(p, 1000, 999)
    lost = (found == 0).double()
    error = (p * (1 - p) / found.numel()) ** 0.5
    assert abs(lost.mean().item() - p) < 4.5 * error + 1e-5
    assert abs(found.double().mean().item() - 1) < 4.5 * error / (1 - p)
    for place in range(4):  # the four parts of one draw
        assert abs(lost.flatten()[place::4].mean().item() - p) < 9 * error + 1e-5


def test_neighbours_are_lost_independently():
    """As often both as the square says, whether they come from one draw or from two, and at any distance."""
    lost = (drawn(0.3, 10**6) == 0).double()
    error = (0.09 * 0.91 / 10**6) ** 0.5
    for distance in (1, 2, 3, 4, 8):
        both = (lost[:-distance] * lost[distance:]).mean().item()
        assert abs(both - 0.09) < 6 * error, distance


def test_what_is_kept_is_scaled_by_what_is_really_drawn():
    kept = drawn(0.1, 1000).max().item()
    assert kept == pytest.approx(65536 / (65536 - 6554), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_go_where_values_went(dtype):
    torch.manual_seed(1)
    values = torch.randn(37, 11).to(dtype).requires_grad_()
    out = BitDropout(0.4).train()(values)
    assert out.dtype == dtype
    out.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad == 0, out == 0)
    torch.testing.assert_close(values.grad * values.detach(), out.detach())


def test_the_seed_says_what_is_lost_and_each_call_draws_anew():
    assert torch.equal(drawn(0.5, 100), drawn(0.5, 100))
    assert not torch.equal(drawn(0.5, 100), drawn(0.5, 100, seed=1))
    torch.manual_seed(0)
    dropout = BitDropout(0.5).train()
    assert not torch.equal(dropout(torch.ones(100)), dropout(torch.ones(100)))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything(p):
    assert torch.equal(drawn(p, 50), nn.Dropout(p).train()(torch.ones(50)))


def test_evaluation_changes_nothing():
    values = torch.randn(50)
    assert torch.equal(BitDropout(0.5).eval()(values), values)


def test_all_adapters_have_it(tiny):
    policy = tiny.make_policy(lora={"preset": "all", "dropout": 0.25})
    found = [m for name, m in policy.named_modules() if "lora_dropout." in name]
    assert len(found) > 20
    assert all(isinstance(m, BitDropout) and m.p == 0.25 for m in found)
