"""How deep nothing changes: told from settings, and held against what training really changes."""

import pytest
import torch

from mobile_vla.models.frozen import DEPTHS, find_frozen, frozen_weights

LAYERS = 4
CASES = [
    ({"preset": "all"}, {}, "frames", "trains the vision tower"),
    ({"preset": "full"}, {}, "frames", "trains the vision tower"),
    ({"preset": "all", "layers": "last:2"}, {}, "frames", "trains the vision tower"),
    ({"preset": "text"}, {}, "image_tokens", "action token"),
    ({"preset": "text", "action_token": False}, {}, "image_tokens", "first text layer"),
    ({"preset": "text", "layers": "last:2"}, {}, "states", "text layer 2 is trained"),
    ({"preset": "text", "layers": (1, 3)}, {}, "states", "text layer 1 is trained"),
    ({"preset": "text", "layers": "last:2", "action_token": True}, {}, "image_tokens", "action token"),
    ({"preset": "none"}, {}, "contexts", ""),
    ({"preset": "none", "action_token": True}, {}, "image_tokens", "action token"),
    ({"preset": "none"}, {"dropout": 0.1}, "frames", "model.dropout=0.1"),
    ({"preset": "text", "layers": "last:2"}, {"dropout": 0.1}, "frames", "model.dropout=0.1"),
]


def make(tiny, lora, model):
    architecture = {**tiny.architecture, "text_config": {**tiny.architecture["text_config"], "layers": LAYERS}}
    return tiny.make_policy(architecture=architecture, lora=lora, **model)


@pytest.mark.parametrize(("lora", "model", "depth", "why"), CASES)
def test_depth_and_reason(tiny, lora, model, depth, why):
    policy = make(tiny, lora, model)
    frozen = find_frozen(policy.backbone.config, policy.backbone)
    assert frozen.depth == depth
    assert why in frozen.why
    assert [frozen.reaches(d) for d in DEPTHS] == [i <= DEPTHS.index(depth) for i in range(4)]


@pytest.mark.parametrize(("lora", "model", "depth", "why"), [case for case in CASES if case[2] != "frames"])
def test_a_large_step_changes_nothing_in_front_of_the_depth_and_something_behind_it(tiny, lora, model, depth, why):
    """Every trained weight is thrown about; image tokens, states and contexts say what that reaches."""
    policy = make(tiny, lora, model)
    before = everything(tiny, policy)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.trained().items():
            if name.startswith("backbone"):
                weight.add_(torch.randn(weight.shape, generator=generator))
    after = everything(tiny, policy)
    for kept in DEPTHS[1 : DEPTHS.index(depth) + 1]:
        assert torch.equal(before[kept], after[kept]), kept
    if depth != "contexts":
        assert not torch.allclose(before["contexts"], after["contexts"])
    if lora.get("action_token"):
        assert policy.backbone.num_frozen_layers == 0


@torch.no_grad()
def everything(tiny, policy):
    batch = tiny.make_batch(policy, [(0, 0), (1, 0)])
    tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    states = policy.backbone.frozen_states(tokens, batch.text_ids[:1, :3], batch.text_mask[:1, :3])
    return {"image_tokens": tokens, "states": states, "contexts": policy.contexts(batch)}


@pytest.mark.parametrize(
    ("depth", "part"),
    [
        ("image_tokens", "vision_model.model.encoder.layers.0.mlp.fc1.weight"),
        ("image_tokens", "image_to_text_projection.latent_query"),
        ("states", "layers.1.ffn.fc1.weight"),
        ("states", "action_token"),
        ("states", "embed_tokens.weight"),
        ("contexts", "layers.3.ffn.fc1.weight"),
        ("contexts", "layer_norm.weight"),
    ],
)
def test_what_is_kept_is_made_of(tiny, depth, part):
    lora = {"preset": "none"} if depth == "contexts" else {"preset": "text", "layers": "last:2"}
    assert part in frozen_weights(make(tiny, lora, {}), depth)


def test_what_comes_behind_is_no_part_of_it(tiny):
    policy = make(tiny, {"preset": "text", "layers": "last:2"}, {})
    assert not any(name.startswith("layers.2") for name in frozen_weights(policy, "states"))
    assert not any(name.startswith(("layers", "embed")) for name in frozen_weights(policy, "image_tokens"))
    with pytest.raises(AssertionError, match="is trained"):
        frozen_weights(policy, "contexts")
