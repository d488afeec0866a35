"""Adapted layers give what peft's own do, whichever order they are computed in."""

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import nn

from mobile_vla.models.backbones.adapted import AdaptedLinear

BOTH = {"together": (24, 40, 16), "apart": (256, 256, 4)}  # in, out, rank


def build(kind: type[Linear], widths: tuple[int, int, int], dropout: float = 0.0, **settings) -> Linear:
    num_in, num_out, rank = widths
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=dropout, **settings)
    torch.manual_seed(0)
    layer = kind(nn.Linear(num_in, num_out), "default", config=config, r=rank, lora_alpha=2 * rank)
    layer.base_layer.requires_grad_(False)
    nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    return layer


def compute(layer: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of the input and of both halves of the adapter."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)  # of the dropout
    out = layer(x)
    out.square().sum().backward()
    halves = [weight.grad for name, weight in layer.named_parameters() if "lora_" in name]
    return [out.detach(), x.grad, *halves]


@pytest.mark.parametrize("order", BOTH)
@pytest.mark.parametrize("settings", [{}, {"dropout": 0.3}, {"use_rslora": True}, {"use_dora": True}], ids=str)
def test_output_and_gradients_are_those_of_peft(order, settings):
    x = torch.randn(5, 7, BOTH[order][0])
    ours, theirs = (compute(build(kind, BOTH[order], **settings).train(), x) for kind in (AdaptedLinear, Linear))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("order", BOTH)
def test_the_order_follows_rank_and_widths(order, monkeypatch):
    """Only together are the weights summed, which makes a product of their size."""
    made = []
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *given, **scale: made.append(given[0].shape) or addmm(*given, **scale))
    num_in, num_out, _ = BOTH[order]
    build(AdaptedLinear, BOTH[order])(torch.randn(3, num_in))
    assert made == [(num_out, num_in) if order == "together" else (3, num_out)]


def test_a_small_update_is_not_lost_in_half_precision():
    """Summed in bfloat16 with weights of 1, an update of 1e-3 would vanish; beside them it moves an output near 0."""
    layer, x = build(AdaptedLinear, BOTH["together"]), torch.zeros(1, 24)
    layer.base_layer.to(torch.bfloat16)
    for weight, value in ((layer.base_layer.weight, 1.0), (layer.base_layer.bias, -1.0)):
        nn.init.constant_(weight, value)
    nn.init.constant_(layer.lora_A["default"].weight, 0.0).data[0, 0] = 1.0
    nn.init.constant_(layer.lora_B["default"].weight, 0.0).data[:, 0] = 5e-4  # times the scale of 2
    x[0, 0] = 1.0
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), torch.full((1, 40), 1e-3), rtol=0.01, atol=0)


@pytest.mark.parametrize("order", BOTH)
def test_disabled_and_merged_adapters_are_not_added_again(order):
    layer, x = build(AdaptedLinear, BOTH[order]), torch.randn(3, BOTH[order][0])
    adapted, frozen = layer(x), layer.base_layer(x)
    layer.enable_adapters(False)
    torch.testing.assert_close(layer(x), frozen)
    layer.enable_adapters(True)
    layer.merge()
    torch.testing.assert_close(layer(x), adapted, rtol=1e-5, atol=1e-5)
