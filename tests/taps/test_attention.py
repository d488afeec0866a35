"""Attention maps say what transformers' own attentions say, lie on the right patch, and leave the policy as it was."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from mobile_vla.core.errors import UserError
from mobile_vla.taps.attention import attend, rollout
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import resolve_taps
from tests.models.conftest import ARCHITECTURE, make_batch, make_policy, stir

PAIRS = [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)]
ATTENTION, ROLLOUT = AttentionConfig(), AttentionConfig(kind="rollout")
TEXT_LAYERS = "backbone.model.text_model.model.layers"
X_ATTN = "backbone.model.image_to_text_projection.x_attn"
LATENTS, PATCHES = 8, 4


@pytest.fixture(scope="module")
def policy():
    return stir(make_policy())


@pytest.fixture
def batch(policy):
    return make_batch(policy, PAIRS)


def state(policy):
    """Hooks, and all configurations of attention."""
    configs = [module.config.__dict__ for module in policy.modules() if hasattr(module, "config")]
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in policy.modules()]
    return copy.deepcopy([config for config in configs if "_attn_implementation_internal" in config]), hooks


@torch.no_grad()
def look(policy, batch, config=ATTENTION):
    with attend(policy, config) as attention:
        policy(batch)
        return attention.take(batch)


@torch.no_grad()
def own_attentions(policy, batch, pair):
    """What transformers returns for one pair without padding: of each layer (heads, N, N), and (heads, L, keys)."""
    model = copy.deepcopy(policy.backbone.model)
    model.text_model.set_attn_implementation("eager")
    pixels = policy.preprocessing(batch.frames)[batch.pair_frame[pair]][None]
    image = model.get_image_features(pixels)
    text = batch.pair_text[pair]
    words = model.get_input_embeddings()(batch.text_ids[text][batch.text_mask[text]])
    layout = policy.backbone.layout

    def special(names):
        ids = torch.tensor([policy.backbone.special_ids[name] for name in names], dtype=torch.long)
        return model.get_input_embeddings()(ids)

    parts = [special(layout.before_image), image.pooler_output[0], special(layout.behind_image), words]
    action = sum(map(len, parts))
    sequence = torch.cat([*parts, policy.backbone.action_token[None], special(layout.behind_action)])[None]
    mask = torch.ones(sequence.shape[:2], dtype=torch.long)
    output = model.text_model(inputs_embeds=sequence, attention_mask=mask, use_cache=False, output_attentions=True)
    return [layer[0] for layer in output.attentions], image.projection_attentions[0], action, len(layout.before_image)


def slow_map(row, first, projection):
    """Plain loops over latents, heads and patches; the patches are numbered row by row, behind the class token."""
    total = sum(float(row[first + j]) for j in range(LATENTS))
    found = [[0.0, 0.0], [0.0, 0.0]]
    elsewhere = {"class_token": 0.0, "queries": 0.0}
    for j in range(LATENTS):
        share = float(row[first + j]) / total
        for key in range(1 + PATCHES + LATENTS):
            weight = share * sum(float(head[j, key]) for head in projection) / len(projection)
            if key == 0:
                elsewhere["class_token"] += weight
            elif key <= PATCHES:
                found[(key - 1) // 2][(key - 1) % 2] += weight
            else:
                elsewhere["queries"] += weight
    return torch.tensor(found), elsewhere


@pytest.mark.parametrize("preset", ["all", "none"])
@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
@pytest.mark.parametrize("config", [ATTENTION, AttentionConfig(layers=(-1,)), ROLLOUT], ids=["all", "last", "rollout"])
def test_maps_are_what_transformers_own_attentions_come_to(layout, preset, config):
    policy = stir(make_policy(layout=layout, lora={"preset": preset}))
    batch = make_batch(policy, PAIRS)
    maps = look(policy, batch, config)
    for pair in range(len(PAIRS)):
        layers, projection, action, first = own_attentions(policy, batch, pair)
        chosen = layers[-1:] if config.layers else layers
        if config.kind == "rollout":
            row = torch.eye(layers[0].shape[-1])[action]
            for layer in reversed(layers):  # backwards from the action token: a row times matrices
                row = row / 2 + row @ layer.mean(0) / 2
        else:
            row = torch.stack([head[action] for layer in chosen for head in layer]).mean(0)
        expected, elsewhere = slow_map(row, first, projection)
        torch.testing.assert_close(maps.map[pair], expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(maps.tokens[pair], row[first : first + LATENTS], atol=2e-6, rtol=0)
        for name, share in elsewhere.items():
            assert float(maps.image_shares[name][pair]) == pytest.approx(share, abs=2e-6)
        begin, end = first + LATENTS, action
        if layout == "kosmos2":
            begin += 1  # </image>
        assert float(maps.text_shares["text"][pair]) == pytest.approx(float(row[begin:end].sum()), abs=2e-6)
        assert float(maps.text_shares["action"][pair]) == pytest.approx(float(row[action]), abs=2e-6)
        expected_rows = torch.stack([layer[:, action] for layer in chosen])
        length = expected_rows.shape[-1]
        torch.testing.assert_close(maps.text[pair, ..., :length], expected_rows, atol=2e-6, rtol=0)


@pytest.mark.parametrize("config", [ATTENTION, ROLLOUT], ids=["attention", "rollout"])
@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_rows_and_shares_sum_to_one_and_padding_has_none(layout, dtype, config):
    policy = stir(make_policy(dtype, layout=layout))
    batch = make_batch(policy, PAIRS)
    maps = look(policy, batch, config)
    tolerance = {"atol": 1e-5 if dtype == torch.float32 else 5e-3, "rtol": 0}
    ones = torch.ones(())
    for rows in (maps.text, maps.projection):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.sum(-1), ones.expand(rows.shape[:-1]), **tolerance)
    for shares in (maps.text_shares, maps.image_shares):
        torch.testing.assert_close(sum(shares.values()), ones.expand(len(PAIRS)), **tolerance)
        assert all(bool((share > 0).all()) for share in shares.values())
    torch.testing.assert_close(maps.map.sum((1, 2)), maps.image_shares["patches"])
    action, length = policy.backbone.layout.ends(LATENTS, batch.text_mask[batch.pair_text])
    assert length.min() < maps.text.shape[-1], "some texts are padded"
    for pair, position in enumerate(action):
        assert not maps.text[pair, ..., position + 1 :].any()
        assert bool((maps.text[pair, ..., : position + 1] > 0).all())


@torch.no_grad()
def test_products_are_float32_wherever_they_are_asked_for():
    policy = stir(make_policy(torch.bfloat16))
    batch = make_batch(policy, PAIRS)
    for config in (ATTENTION, ROLLOUT):
        alone = look(policy, batch, config)
        with torch.autocast("cpu", torch.bfloat16):
            within = look(policy, batch, config)
        assert torch.equal(alone.tokens, within.tokens)
        assert torch.equal(alone.map, within.map)


@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
@torch.no_grad()
def test_the_policy_computes_what_it_computes_without(layout):
    policy = stir(make_policy(layout=layout))
    batch = make_batch(policy, PAIRS)
    before = policy(batch)
    with attend(policy, ATTENTION):
        assert policy.backbone.model.config.text_config._attn_implementation == "eager"
        assert policy.backbone.model.config.vision_config._attn_implementation == "sdpa"
        torch.testing.assert_close(policy(batch), before, atol=1e-5, rtol=0)
    assert torch.equal(policy(batch), before)


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt, Stopped])
@pytest.mark.parametrize("inside", [False, True], ids=["between", "in the forward pass"])
@torch.no_grad()
def test_hooks_and_implementation_are_as_before_however_it_ends(error, inside, implementation):
    policy = make_policy()
    policy.backbone.model.set_attn_implementation(implementation)
    batch = make_batch(policy, PAIRS)

    def fail(*_):
        if error is not None:
            raise error

    if inside:
        policy.head.register_forward_pre_hook(fail)
    before = state(policy)
    with nullcontext() if error is None else pytest.raises(error):  # noqa: SIM117  (the order is the point)
        with attend(policy, ROLLOUT) as attention:
            assert state(policy)[1] != before[1]
            policy(batch)
            attention.take(batch)
            fail()
    assert state(policy) == before


def test_what_is_refused_leaves_everything_as_it_was(policy, batch):
    before = state(policy)
    with pytest.raises(UserError, match="there is no layer 2, the text part has 2 layers; expected -2 to 1"):
        attend(policy, AttentionConfig(layers=(0, 2))).__enter__()
    with pytest.raises(UserError, match="names a layer twice"):
        attend(policy, AttentionConfig(layers=(1, -1))).__enter__()
    assert state(policy) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "rollout", "layers": (0,)}, "goes through all layers"),
        ({"layers": ()}, "must name layers"),
        ({"layers": (1, 1)}, "each once"),
        ({"frames": 0}, "^frames must be at least 1"),
        ({"episodes": -1}, "^episodes must be at least 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AttentionConfig(**settings)


@torch.no_grad()
def test_a_take_belongs_to_one_forward_pass_on_the_batch_that_is_asked_for(policy, batch):
    other = make_batch(policy, PAIRS[::-1])
    with attend(policy, ATTENTION) as attention:
        with pytest.raises(RuntimeError, match="nothing was attended to"):
            attention.take(batch)
        policy(other)
        with pytest.raises(RuntimeError, match="another batch"):
            attention.take(batch)
        policy(batch)
        maps = attention.take(batch)
        with pytest.raises(RuntimeError, match="nothing was attended to"):
            attention.take(batch)
        with pytest.raises(ValueError, match="image size"):
            policy(replace(batch, frames=batch.frames[:, :5, :5]))
        with pytest.raises(RuntimeError, match="nothing was attended to"):
            attention.take(batch)
        policy(other)
        torch.testing.assert_close(attention.take(other).map.flip(0), maps.map)


@torch.no_grad()
def test_attention_and_captures_can_be_nested(policy, batch):
    alone = look(policy, batch)
    before = state(policy)
    with capture(policy, resolve_taps(policy, ["context"])) as captured, attend(policy, ATTENTION) as outer:
        with attend(policy, ROLLOUT) as inner:
            policy(batch)
            inner.take(batch)
        policy(batch)
        assert torch.equal(outer.take(batch).map, alone.map)
        assert captured.take(batch)["context"].shape == (len(PAIRS), 32)
    assert state(policy) == before


@torch.no_grad()
def test_cached_tokens_and_contexts_have_no_attention(policy, batch):
    tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    for given, cached in {
        "image tokens": replace(batch, frames=None, image_tokens=tokens),
        "contexts": replace(batch, frames=None, contexts=policy.contexts(batch)),
    }.items():
        with attend(policy, ATTENTION), pytest.raises(UserError, match=f"{given} come from a cache"):
            policy(cached)


@pytest.mark.parametrize("path", ["", "backbone.model.text_model", f"{TEXT_LAYERS}.1", X_ATTN])
def test_a_compiled_policy_is_refused(path):
    policy = make_policy()
    policy.get_submodule(path).compile(backend="eager")
    before = state(policy)
    with pytest.raises(UserError, match="is compiled"):
        attend(policy, ATTENTION).__enter__()
    assert state(policy) == before


def test_rollout_of_two_layers_by_hand():
    first = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    second = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    # Position 1 keeps half of itself (3/4 of it from input 1, 1/4 from input 0) and takes half from position 0.
    torch.testing.assert_close(rollout([first, second])[0, 1], torch.tensor([0.625, 0.375]))


SIDE, PATCH = 4, 14
BRIGHT = [(0, 3), (2, 1), (3, 0)]  # row, column: none on the diagonal
DEMANDING = 60.0


def attend_along(attention: nn.Module, query: torch.Tensor, key: torch.Tensor):
    """Each head's logits are (`query` . query state) x (`key` . key state)."""
    width, step = attention.embed_dim, attention.head_dim
    for layer, direction in ((attention.q_proj, query), (attention.k_proj, key)):
        layer.weight.zero_()
        layer.bias.zero_()
        for head in range(width // step):
            layer.weight[head * step] = direction


@torch.no_grad()
def plant(latent_of_bright: int, attended_latent: int):
    """Patches see themselves alone; one latent is made of the bright patch; the action token attends to one latent."""
    architecture = copy.deepcopy(ARCHITECTURE)
    architecture["vision_config"]["image_size"] = SIDE * PATCH
    policy = make_policy(architecture=architecture, lora={"preset": "none"})
    model = policy.backbone.model
    vision = model.vision_model.model
    for layer in vision.encoder.layers:
        for last in (layer.self_attn.out_proj, layer.mlp.fc2):
            last.weight.zero_()
            last.bias.zero_()
    vision.embeddings.position_embedding.weight.zero_()
    vision.embeddings.class_embedding.copy_(torch.eye(32)[1])
    vision.embeddings.patch_embedding.weight.zero_()[0] = 1 / PATCH**2  # positive for white, negative for black
    projection = model.image_to_text_projection
    projection.dense.weight.zero_()[0, 0] = 3
    projection.dense.bias.zero_()
    brightness = torch.eye(32)[0]
    projection.latent_query.copy_(-brightness.expand(LATENTS, -1))  # they seek what is dark
    projection.latent_query[latent_of_bright] *= -1
    attend_along(projection.x_attn, DEMANDING * brightness, brightness)

    batch = make_batch(policy, [(frame, 0) for frame in range(len(BRIGHT))])
    frames = torch.zeros_like(batch.frames)
    for frame, (row, column) in enumerate(BRIGHT):
        frames[frame, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 255
    batch = replace(batch, frames=frames)

    attention = model.text_model.model.layers[0].self_attn
    states = []
    handle = attention.register_forward_pre_hook(
        lambda module, args, kwargs: states.append(kwargs["hidden_states"]), with_kwargs=True
    )
    policy(batch)
    handle.remove()
    # States are layer-normalised, so none has a larger product with a state than that state itself.
    attend_along(attention, torch.zeros(32), states[0][0, 1 + attended_latent])
    for head in range(4):
        attention.q_proj.bias[head * attention.head_dim] = 5 * DEMANDING  # neighbours differ by little
    return policy, batch


def test_the_map_lies_on_the_patch_that_is_looked_at():
    policy, batch = plant(latent_of_bright=5, attended_latent=5)
    maps = look(policy, batch, AttentionConfig(layers=(0,)))
    for frame, (row, column) in enumerate(BRIGHT):
        assert float(maps.tokens[frame, 5]) > 0.99
        assert float(maps.map[frame, row, column]) > 0.99, maps.map[frame]


def test_what_another_latent_is_made_of_is_not_in_the_map():
    policy, batch = plant(latent_of_bright=5, attended_latent=2)
    maps = look(policy, batch, AttentionConfig(layers=(0,)))
    for frame, (row, column) in enumerate(BRIGHT):
        assert float(maps.tokens[frame, 2]) > 0.99
        assert float(maps.map[frame, row, column]) < 0.01
