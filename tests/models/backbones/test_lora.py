"""Which weights are trained under each preset, that gradients reach all of them, and no others."""

import re

import pytest
import torch

from mobile_vla.models.backbones.lora import AdapterConfig

PAIRS = [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]
WINDOWS = [[0, 1, 2], [2, 3, 4]]
TEXT_LINEARS = 6  # of a text layer: q, k, v, out, fc1, fc2
VISION_LINEARS = 6
PROJECTION_LINEARS = 5  # dense and the cross-attention's four


def step(tiny, policy, optimizer=None) -> dict[str, torch.Tensor | None]:
    """Gradients of one training step, by name; the step is taken where there is an optimizer."""
    policy.train()
    policy.zero_grad()
    batch = tiny.make_batch(policy, PAIRS, WINDOWS)
    (policy(batch) - batch.chunks).square().mean().backward()
    gradients = {n: None if w.grad is None else w.grad.clone() for n, w in policy.named_parameters()}
    if optimizer is not None:
        optimizer.step()
    return gradients


def parts(policy) -> dict[str, list[str]]:
    """Names of the trained weights, by what they are."""
    names = list(policy.trained())
    return {
        "a": [n for n in names if "lora_A" in n],
        "b": [n for n in names if "lora_B" in n],
        "magnitude": [n for n in names if "magnitude" in n],
        "head": [n for n in names if n.startswith("head.")],
        "token": [n for n in names if n == "backbone.action_token"],
        "base": [n for n in names if n.startswith("backbone.model.") and "lora_" not in n],
    }


@pytest.mark.parametrize(
    ("settings", "num_adapted"),
    [
        ({"preset": "all"}, 2 * TEXT_LINEARS + 2 * VISION_LINEARS + PROJECTION_LINEARS),
        ({"preset": "text"}, 2 * TEXT_LINEARS),
        ({"preset": "text", "layers": "last:1"}, TEXT_LINEARS),
        ({"preset": "text", "layers": (0,)}, TEXT_LINEARS),
        ({"preset": "all", "layers": "last:1"}, TEXT_LINEARS + 2 * VISION_LINEARS + PROJECTION_LINEARS),
        ({"preset": "all", "rslora": True}, 2 * TEXT_LINEARS + 2 * VISION_LINEARS + PROJECTION_LINEARS),
    ],
)
def test_gradients_of_adapters_from_the_first_step_on(tiny, settings, num_adapted):
    policy = tiny.make_policy(lora=settings)
    trained = parts(policy)
    assert {k: len(v) for k, v in trained.items()} == {
        "a": num_adapted,
        "b": num_adapted,
        "magnitude": 0,
        "head": len(list(policy.head.parameters())),
        "token": int(settings != {"preset": "text", "layers": "last:1"}),  # all in front of its layer is frozen, it too
        "base": 0,
    }
    optimizer = torch.optim.SGD(policy.trained().values(), lr=0.1)
    first, second = step(tiny, policy, optimizer), step(tiny, policy)
    for name, gradient in first.items():
        if name not in policy.trained():
            assert gradient is None, f"{name} is frozen and has a gradient"
        elif "lora_A" in name:
            assert not gradient.any(), f"{name} cannot have a gradient while its B is zero"
            assert second[name].any(), f"{name} has no gradient at the second step"
        else:
            assert gradient.any(), f"{name} has no gradient at the first step"


def test_adapters_of_the_last_layer_lie_there(tiny):
    trained = parts(tiny.make_policy(lora={"preset": "text", "layers": "last:1"}))
    assert {re.search(r"layers\.(\d+)\.", name)[1] for name in trained["a"]} == {"1"}


def test_none_trains_the_head_alone_and_keeps_the_action_token(tiny):
    policy = tiny.make_policy(lora={"preset": "none"})
    assert policy.trained().keys() == {f"head.{name}" for name, _ in policy.head.named_parameters()}
    gradients = step(tiny, policy)
    assert all(gradients[name].any() for name in policy.trained())
    assert all(gradient is None for name, gradient in gradients.items() if name not in policy.trained())


def test_full_trains_every_weight(tiny):
    policy = tiny.make_policy(lora={"preset": "full"})
    assert policy.trained().keys() == dict(policy.named_parameters()).keys()
    gradients = step(tiny, policy)
    # a key's bias moves every logit of a query by the same amount, which softmax takes out again: 0 up to rounding
    without_effect = re.compile(r"(k_proj\.bias)$")
    for name, gradient in gradients.items():
        if not without_effect.search(name):
            assert gradient.any(), name


def test_dora_trains_magnitudes_beside_its_adapters(tiny):
    policy = tiny.make_policy(lora={"preset": "text", "dora": True})
    trained = parts(policy)
    assert len(trained["magnitude"]) == len(trained["a"]) == 2 * TEXT_LINEARS
    gradients = step(tiny, policy)
    assert all(gradients[name].any() for name in [*trained["magnitude"], *trained["b"]])


@pytest.mark.parametrize("settings", [{}, {"rslora": True}, {"dora": True}])
def test_fresh_adapters_change_nothing(tiny, settings):
    """What is trained starts from the base model itself."""
    fresh = tiny.make_policy(lora={"preset": "all", **settings})
    bare = tiny.make_policy(lora={"preset": "none"})
    batch = tiny.make_batch(bare, PAIRS)
    with torch.no_grad():
        torch.testing.assert_close(fresh.contexts(batch), bare.contexts(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8 / 4), (True, 8 / 4**0.5)])
def test_an_adapter_adds_its_scaled_product(tiny, rslora, scale):
    policy = tiny.stir(tiny.make_policy(lora={"r": 4, "alpha": 8, "rslora": rslora}))
    layer = policy.backbone.model.text_model.model.layers[0].ffn.fc1
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = x @ layer.base_layer.weight.T + layer.base_layer.bias + scale * (x @ a.T @ b.T)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", ["last:3", (0, 2), (-1,), ()])
def test_a_layer_that_does_not_exist_is_refused(tiny, layers):
    with pytest.raises(ValueError, match=r"model\.lora\.layers=.* does not fit a text decoder of 2 layers"):
        tiny.make_policy(lora={"preset": "text", "layers": layers})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, r"model\.lora\.r must be at least 1, got 0"),
        ({"dropout": 1.0}, r"model\.lora\.dropout must lie in \[0, 1\), got 1"),
        ({"layers": "last:0"}, r"model\.lora\.layers must be .*got 'last:0'"),
        ({"layers": "first:2"}, r"model\.lora\.layers must be .*got 'first:2'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AdapterConfig(**settings)
