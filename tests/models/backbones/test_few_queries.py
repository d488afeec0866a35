"""Attention of few queries gives what transformers' own gives, without keys and values."""

import copy

import pytest
import torch
from torch import nn
from transformers import Kosmos2Config
from transformers.activations import QuickGELUActivation
from transformers.models.kosmos2.modeling_kosmos2 import KosmosTextAttention

from mobile_vla.evaluation.losses import masked_huber
from mobile_vla.models.backbones.activation import QuickGELU
from mobile_vla.models.backbones.adapted import AdaptedLinear
from mobile_vla.models.backbones.few_queries import FewQueryAttention, use_few_queries
from mobile_vla.models.backbones.lora import AdapterConfig, apply_adapters

WIDTH, HEADS, PAIRS, POSITIONS = 32, 4, 3, 10


class Projections(nn.Module):
    """Adapters find their places by name."""

    def __init__(self, attention: nn.Module):
        super().__init__()
        self.image_to_text_projection = nn.ModuleDict({"x_attn": attention})

    @property
    def attention(self) -> nn.Module:
        return self.image_to_text_projection["x_attn"]


def build(normed: bool, r: int = 16, dropout: float = 0.0) -> tuple[KosmosTextAttention, KosmosTextAttention]:
    """Ours and transformers' own, with the same adapted weights."""
    torch.manual_seed(0)
    text = Kosmos2Config(text_config={"embed_dim": WIDTH, "attention_heads": HEADS}).text_config
    text._attn_implementation = "sdpa"
    own = Projections(KosmosTextAttention(text, WIDTH, HEADS, add_inner_attn_layernorm=normed))
    apply_adapters(own, AdapterConfig(r=r, dropout=dropout), r".*\.(?:q|k|v|out)_proj")
    for weight in own.parameters():
        weight.data = torch.randn(weight.shape) / weight.shape[-1] ** 0.5
    ours = copy.deepcopy(own)
    use_few_queries(ours)
    assert ours.state_dict().keys() == own.state_dict().keys()
    return ours.attention, own.attention


def never(*_):
    raise AssertionError("keys or values are made")


def compute(attention: nn.Module, shared: bool, masked: bool) -> list[torch.Tensor]:
    """The output, and the gradients of queries, positions and every adapter."""
    torch.manual_seed(1)
    queries = torch.randn(2, WIDTH) if shared else torch.randn(PAIRS, 2, WIDTH)
    queries, positions = queries.requires_grad_(), torch.randn(PAIRS, POSITIONS, WIDTH, requires_grad=True)
    mask = torch.zeros(PAIRS, 1, 2, POSITIONS)
    mask[1, :, :, 6:] = torch.finfo(torch.float32).min
    out, _ = attention(
        hidden_states=queries.expand(PAIRS, -1, -1),
        encoder_hidden_states=positions,
        attention_mask=mask if masked else None,
    )
    (out * torch.linspace(-1, 2, WIDTH)).sum().backward()
    halves = [weight.grad for name, weight in attention.named_parameters() if "lora_" in name]
    return [out.detach(), queries.grad, positions.grad, *halves]


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_output_and_gradients_are_those_of_keys_and_values(normed, masked, shared):
    ours, own = build(normed)
    ours.k_proj.forward = ours.v_proj.forward = never
    found, expected = (compute(attention.train(), shared, masked) for attention in (ours, own))
    assert len(found) == 3 + 8
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("case", ["many queries", "watched", "eager", "adapters draw", "attention draws"])
def test_otherwise_it_is_transformers_own_to_the_last_bit(case):
    ours, own = build(normed=True, dropout=0.3 if case == "adapters draw" else 0.0)
    seen, queries = [], torch.randn(PAIRS, 5 if case == "many queries" else 2, WIDTH)
    positions = torch.randn(PAIRS, POSITIONS, WIDTH)
    if case == "watched":
        ours.k_proj.register_forward_hook(lambda module, args, output: seen.append(output))
    if case == "eager":
        ours.config._attn_implementation = own.config._attn_implementation = "eager"
    if case == "attention draws":
        ours.dropout = own.dropout = 0.3
    results = []
    for attention in (ours.train(), own.train()):
        torch.manual_seed(2)
        results.append(attention(hidden_states=queries, encoder_hidden_states=positions))
    assert torch.equal(results[0][0], results[1][0])
    if case == "watched":
        assert torch.equal(seen[0], own.k_proj(positions))
    if case == "eager":
        assert torch.equal(results[0][1], results[1][1])


def as_published(policy: nn.Module) -> nn.Module:
    """The same weights in the modules of transformers and peft."""
    plain = copy.deepcopy(policy)
    (peft_linear,) = AdaptedLinear.__bases__
    for module in list(plain.modules()):
        if isinstance(module, FewQueryAttention):
            module.__class__ = KosmosTextAttention
        if isinstance(module, AdaptedLinear):
            module.__class__ = peft_linear
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, QuickGELUActivation())
    return plain


@pytest.mark.parametrize("r", [2, 16])  # adapters apart, and together with their layers' weights
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("training", [False, True])
def test_a_policy_has_the_loss_gradients_and_contexts_of_the_published_modules(tiny, r, dropout, training):
    """With dropout too: both draw the same masks, each adapter its own."""
    policy = tiny.stir(tiny.make_policy(lora={"r": r, "dropout": dropout})).train(training)
    batch = tiny.make_batch(
        policy, [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)], windows=[[0, 1, 2], [1, 2, 3], [2, 4, -1]]
    )
    found = []
    for model in (policy, as_published(policy)):
        torch.manual_seed(3)
        contexts = model.contexts(batch)
        torch.manual_seed(3)
        loss = masked_huber(model(batch), batch.chunks, batch.chunk_mask, delta=1.0)
        loss.backward()
        gradients = {name: weight.grad for name, weight in model.trained().items()}
        found.append((contexts.detach(), loss.detach(), gradients))
    (contexts, loss, gradients), (expected_contexts, expected_loss, expected) = found
    torch.testing.assert_close(contexts, expected_contexts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6, msg=name)
