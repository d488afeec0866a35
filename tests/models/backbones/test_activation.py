"""The vision tower's activation is transformers' own, in value and in gradient."""

import pytest
import torch
from transformers.activations import QuickGELUActivation

from mobile_vla.models.backbones.activation import QuickGELU


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_values_and_gradients_are_those_of_transformers(dtype):
    found = []
    for activation in (QuickGELU(), QuickGELUActivation()):
        x = torch.linspace(-20, 20, 401, dtype=dtype, requires_grad=True)
        y = activation(x)
        y.sum().backward()
        found.append((y.detach(), x.grad))
    for one, other in zip(*found, strict=True):
        tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.1}[dtype]
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_every_vision_layer_has_it(tiny):
    policy = tiny.make_policy()
    kinds = [type(module) for module in policy.modules()]
    assert QuickGELUActivation not in kinds
    assert kinds.count(QuickGELU) == policy.backbone.model.config.vision_config.num_hidden_layers
