"""What a tap point holds is what the modules put out when they are run by hand, one pair at a time."""

import re

import pytest
import torch
from torch.nn import functional as F

from mobile_vla.core.errors import UserError
from mobile_vla.taps.capture import capture
from mobile_vla.taps.measure import measure_taps
from mobile_vla.taps.places import every_pair
from mobile_vla.taps.points import resolve_taps
from tests.models.backbones.test_kosmos2 import pixels, prompt_ids
from tests.models.conftest import TEXTS, make_batch, make_policy, stir

PAIRS = [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)]  # texts of three lengths: all but the longest are padded
WINDOWS = [[0, 1, 2], [3, 4, -1], [1, 2, 3]]
TOLERANCE = {"atol": 2e-5, "rtol": 0}  # as in test_kosmos2: batched sums run in another order than single ones
FC1 = "backbone.model.text_model.model.layers.1.ffn.fc1"


@pytest.fixture(scope="module", params=["robovlms", "kosmos2"])
def policy(request):
    return stir(make_policy(layout=request.param))


@pytest.fixture(scope="module")
def by_hand(policy):
    return [run_by_hand(policy, make_batch(policy, PAIRS, WINDOWS), pair) for pair in range(len(PAIRS))]


@torch.no_grad()
def run_by_hand(policy, batch, pair: int) -> dict[str, torch.Tensor]:
    """Every hidden state of one (frame, text) pair, through the parts of a `Kosmos2Model`, without padding."""
    model, (frame, text) = policy.backbone.model, PAIRS[pair]
    tower, decoder = model.vision_model.model, model.text_model.model
    hidden = tower.pre_layrnorm(tower.embeddings(pixels(batch.frames[frame])))
    states = {}
    for i, layer in enumerate(tower.encoder.layers):
        hidden = layer(hidden, None)
        states[f"vision_{i}"] = hidden[0]  # (N, D)
    image, _ = model.image_to_text_projection(F.normalize(tower.post_layernorm(hidden), dim=-1))
    states["image"] = image[0]
    embed = decoder.embed_tokens
    ids = {name: [i] for name, i in policy.backbone.special_ids.items()}
    around_image_and_behind_action = {
        "robovlms": (ids["<s>"], [], ids.get("</s>", [])),
        "kosmos2": (ids["<s>"] + ids.get("<image>", []), ids.get("</image>", []), []),
    }[policy.backbone.config.layout]
    begin, middle, end = (embed(torch.tensor([part], dtype=torch.int64)) for part in around_image_and_behind_action)
    words = embed(torch.tensor([prompt_ids(policy, TEXTS[text])]))
    sequence = torch.cat([begin, image, middle, words, policy.backbone.action_token[None, None], end], dim=1)
    out = model.text_model(inputs_embeds=sequence, use_cache=False, output_hidden_states=True)
    action = -2 if policy.backbone.config.layout == "robovlms" else -1
    states["action"] = torch.tensor(sequence.shape[1] + action)
    states["context"] = out.last_hidden_state[0, action]
    # transformers lists the decoder's input first and the normed state last: the first layer's output comes second
    states["text_0"] = out.hidden_states[1][0]
    return states


@torch.no_grad()
def taken(policy, *names, batch=None):
    batch = batch or make_batch(policy, PAIRS, WINDOWS)
    with capture(policy, resolve_taps(policy, names)) as captured:
        policy(batch)
        return captured.take(batch)


def stacked(by_hand, value) -> torch.Tensor:
    return torch.stack([value(states) for states in by_hand])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", lambda s: s["context"]),
        ("image_tokens", lambda s: s["image"].mean(0)),
        ("image_tokens:max", lambda s: s["image"].amax(0)),
        ("image_tokens:whole", lambda s: s["image"]),
        ("vision_layer_0", lambda s: s["vision_0"].mean(0)),
        ("vision_layer_1", lambda s: s["vision_1"].mean(0)),
        ("vision_layer_1:first", lambda s: s["vision_1"][0]),
        ("text_layer_0", lambda s: s["text_0"][s["action"]]),
        ("text_layer_0:mean", lambda s: s["text_0"].mean(0)),
        ("text_layer_0:max", lambda s: s["text_0"].amax(0)),
        ("text_layer_0:first", lambda s: s["text_0"][0]),
        ("text_layer_0:last", lambda s: s["text_0"][-1]),
        ("backbone.model.text_model:action_token", lambda s: s["context"]),
        ("backbone.model.image_to_text_projection:last", lambda s: s["image"][-1]),
    ],
)
def test_a_tap_holds_what_its_module_puts_out(policy, by_hand, name, value):
    torch.testing.assert_close(taken(policy, name)[name], stacked(by_hand, value), **TOLERANCE)


def test_layers_are_counted_from_zero_and_differ(policy, by_hand):
    """The last layer's state becomes the context once the decoder's layer norm has seen it."""
    rows = taken(policy, "text_layer_0", "text_layer_1", "context")
    assert (rows["text_layer_0"] - rows["text_layer_1"]).abs().amax() > 1e-3
    with torch.no_grad():
        normed = policy.backbone.model.text_model.model.layer_norm(rows["text_layer_1"])
    torch.testing.assert_close(normed, rows["context"], **TOLERANCE)


def test_any_module_by_its_path(policy):
    names = (f"{FC1}:action_token", "head.velocities.mlp.0:whole", "head:whole", "head_state")
    rows = taken(policy, *names, "text_layer_0")
    layer = policy.backbone.model.text_model.model.layers[1]
    assert rows[names[0]].shape == (len(PAIRS), layer.ffn.fc1.out_features)
    places = every_pair(make_batch(policy, PAIRS, WINDOWS))
    with torch.no_grad():
        expected = policy(make_batch(policy, PAIRS, WINDOWS))[places.windows, places.positions]
        assert torch.equal(rows["head:whole"], expected)
        torch.testing.assert_close(
            policy.head.velocities.mlp[0](rows["head_state"]), rows["head.velocities.mlp.0:whole"], **TOLERANCE
        )


def test_pixels_are_mean_colours_of_fields(policy):
    batch = make_batch(policy, PAIRS, WINDOWS)
    side = policy.preprocessing.size
    rows = taken(policy, "pixels")["pixels"].view(len(PAIRS), 16, 16, 3)
    for row, (frame, _) in zip(rows, PAIRS, strict=True):
        for y, x in ((0, 0), (3, 11), (15, 15)):
            low, high = (slice(i * side // 16, -(-(i + 1) * side // 16)) for i in (y, x))
            field = batch.frames[frame][low, high].double().mean((0, 1)) / 255
            torch.testing.assert_close(row[y, x].double(), field, atol=1e-6, rtol=0)


def test_measuring_tells_what_a_row_will_be_and_leaves_the_policy_as_it_was(policy):
    names = ("context", "image_tokens:whole", "head_state", "pixels", f"{FC1}:mean")
    policy.train()
    shapes = measure_taps(policy, resolve_taps(policy, names))
    assert policy.training
    policy.eval()
    rows = taken(policy, *names)
    assert {name: shape.shape for name, shape in shapes.items()} == {name: rows[name].shape[1:] for name in names}
    assert {name: shape.row_bytes for name, shape in shapes.items()} == {n: rows[n][0].nbytes for n in names}
    half = make_policy(torch.bfloat16)
    assert measure_taps(half, resolve_taps(half, ["image_tokens"]))["image_tokens"].dtype == "bfloat16"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contexts", r"no tap point 'contexts'; expected context, .*image_tokens.*, or a module as <dotted path>"),
        ("imag_tokens", r"expected image_tokens, "),
        ("", r"no tap point ''"),
        ("text_layer_2", r"no text_layer_2, the text part has 2 layers; expected text_layer_0 to text_layer_1"),
        ("vision_layer_24", r"the vision part has 2 layers"),
        ("text_layer_-1", r"no tap point 'text_layer_-1'; expected text_layer_<0-1>, "),
        ("image_tokens:men", r"image_tokens cannot be reduced by 'men'; expected mean, max"),
        ("image_tokens:action_token", r"cannot be reduced by 'action_token'"),
        ("context:", r"context cannot be reduced by ''"),
        ("text_layer_0:whole", r"cannot be reduced by 'whole'"),
        ("head_state:mean", r"head_state cannot be reduced by 'mean'; expected whole"),
        (FC1, rf"{FC1} needs a reduction, as in {FC1}:action_token"),
        (FC1.replace("ffn", "fnn") + ":mean", rf"no module '.*fnn.fc1'; the nearest are {FC1}, "),
        ("backbone:mean", r"backbone cannot be tapped; expected a module within backbone.model.vision_model, "),
    ],
)
def test_a_wrong_name_is_told_before_anything_runs(policy, name, message):
    with pytest.raises(UserError, match=message):
        resolve_taps(policy, ["context", name] if name != "contexts" else [name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("backbone.model.text_model.model.layers:mean", "does not run when the policy runs"),
        ("backbone.model.text_model.model.embed_tokens:mean", "not one row for each pair"),
        ("backbone.model.text_model.model.layers.0.ffn.ffn_layernorm:mean", None),
        ("backbone.model.vision_model.model.post_layernorm:mean", "no rows of tokens to reduce"),
        ("backbone.model.vision_model.model.post_layernorm:whole", "runs several times in one forward pass"),
        ("backbone.model.vision_model.model.encoder.layers.0.mlp.activation_fn:whole", None),
    ],
)
def test_a_module_that_has_no_row_a_pair_is_told_by_measuring(policy, name, message):
    taps = resolve_taps(policy, [name])
    if message is None:
        assert measure_taps(policy, taps)
        return
    with pytest.raises(UserError, match=re.escape(name) + ".*" + message):
        measure_taps(policy, taps)


def test_a_tap_is_named_once(policy):
    names = ["image_tokens", "image_tokens:max"]
    assert [tap.name for tap in resolve_taps(policy, names)] == names
    with pytest.raises(UserError, match="names image_tokens twice"):
        resolve_taps(policy, ["image_tokens:mean", "context", "image_tokens"])
    with pytest.raises(UserError, match=r"^taps is empty; name at least one of context"):
        resolve_taps(policy, [])
