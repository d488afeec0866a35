"""The decoder in pieces computes what transformers' whole decoder computes, in values and in gradients."""

from dataclasses import replace

import pytest
import torch

from mobile_vla.models.backbones import decoder

LAYOUTS = ("robovlms", "kosmos2", "legacy")
PAIRS = [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)]  # texts of three lengths
# float32 rounding: the last layer is computed for one row of each sequence instead of all, in another order of sums
CLOSE = {"atol": 2e-6, "rtol": 1e-5}


def deep(tiny, preset: str = "text", num_layers: int = 4, **settings):
    """A policy of several text layers; `layers` and the like go to the adapters."""
    architecture = {**tiny.architecture, "text_config": {**tiny.architecture["text_config"], "layers": num_layers}}
    model = {name: settings.pop(name) for name in ("layout", "gradient_checkpointing") if name in settings}
    return tiny.stir(tiny.make_policy(architecture=architecture, lora={"preset": preset, **settings}, **model))


def contexts_and_gradients(policy, batch):
    policy.zero_grad()
    contexts = policy.contexts(batch)
    (contexts * torch.linspace(-1, 1, contexts.shape[1])).sum().backward()
    return contexts.detach(), {name: w.grad.clone() for name, w in policy.trained().items() if w.grad is not None}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_computes_the_contexts_and_gradients_of_the_whole_decoder(tiny, layout, checkpointing):
    policy = deep(tiny, preset="all", layout=layout, gradient_checkpointing=checkpointing)
    batch = tiny.make_batch(policy, PAIRS)
    expected, expected_gradients = contexts_and_gradients(policy, batch)
    found, gradients = contexts_and_gradients(policy.train(), batch)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert gradients.keys() == expected_gradients.keys()
    assert "backbone.action_token" in gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=2e-5, rtol=1e-4, msg=name)


@torch.no_grad()
def test_training_respects_hidden_image_tokens(tiny):
    policy = deep(tiny)
    batch = tiny.make_batch(policy, PAIRS)
    hidden = torch.tensor([[0, 0], [0, 3], [2, 8], [0, 0], [0, 8]])
    shown, masked = (policy.contexts(b) for b in (batch, with_hidden(batch, hidden)))
    found = policy.train().contexts(with_hidden(batch, hidden))
    torch.testing.assert_close(found, masked, **CLOSE)
    assert [(a - b).abs().max() > 1e-3 for a, b in zip(shown, masked, strict=True)] == [False, True, True, False, True]


def with_hidden(batch, hidden):
    return replace(batch, pair_hidden=hidden)


@torch.no_grad()
def test_the_last_layer_runs_at_the_action_token_alone_while_training(tiny):
    policy = deep(tiny).train()
    rows = []
    policy.backbone.text.layers[-1].ffn.register_forward_hook(lambda module, args, output: rows.append(output.shape[1]))
    policy.contexts(tiny.make_batch(policy, PAIRS))
    assert rows == [1]
    policy.eval().contexts(tiny.make_batch(policy, PAIRS))
    assert rows[1] > 8, "watched as a whole"


def states_of(policy, batch):
    """Each pair's by itself, padded on the right as a reader of files does."""
    backbone = policy.backbone
    tokens = backbone.image_tokens(policy.preprocessing(batch.frames))
    found = []
    for frame, text in zip(batch.pair_frame.tolist(), batch.pair_text.tolist(), strict=True):
        length = int(batch.text_mask[text].sum())
        ids, mask = batch.text_ids[text : text + 1, :length], batch.text_mask[text : text + 1, :length]
        found.append(backbone.frozen_states(tokens[frame : frame + 1], ids, mask)[0])
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("layers", "first"), [("last:1", 3), ("last:3", 1), ((2,), 2)])
@torch.no_grad()
def test_contexts_from_frozen_states_equal_those_from_frames(tiny, layout, layers, first):
    policy = deep(tiny, layout=layout, layers=layers)
    batch = tiny.make_batch(policy, PAIRS)
    assert policy.backbone.num_frozen_layers == first
    states = states_of(policy, batch)
    found = policy.backbone.decode_states(states, batch.text_mask[batch.pair_text])
    torch.testing.assert_close(found, policy.contexts(batch), **CLOSE)


def test_frozen_states_are_what_the_first_trained_layer_reads(tiny):
    """Against a hook on transformers' own layer, up to the action token."""
    policy = deep(tiny, layers="last:2")
    batch = tiny.make_batch(policy, [(3, 1)])
    read = []
    policy.backbone.text.layers[2].register_forward_pre_hook(lambda module, args: read.append(args[0]))
    with torch.no_grad():
        policy.contexts(batch)
        (states,) = states_of(policy, batch)
    torch.testing.assert_close(read[0][0, : len(states)], states, atol=5e-6, rtol=1e-5)
    action, _ = policy.backbone.layout.ends(8, batch.text_mask[1:2])
    assert len(states) == int(action) + 1


def test_gradients_from_frozen_states_equal_those_from_frames(tiny):
    policy = deep(tiny, layers="last:2").train()
    batch = tiny.make_batch(policy, PAIRS)
    expected, expected_gradients = contexts_and_gradients(policy, batch)
    with torch.no_grad():
        states = states_of(policy, batch)
    found, gradients = contexts_and_gradients(policy, replace(batch, frames=None, states=states))
    torch.testing.assert_close(found, expected, **CLOSE)
    assert gradients.keys() == expected_gradients.keys()
    assert all("layers.2." in name or "layers.3." in name for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=2e-5, rtol=1e-4, msg=name)


def test_nothing_attends_forward_or_to_what_is_masked():
    mask = torch.tensor([[True, True, False, True], [False, True, True, False]])
    found = decoder.attention_mask(mask, torch.float32) == 0
    for pair in range(2):
        for query in range(4):
            for key in range(4):
                assert found[pair, 0, query, key] == (key <= query and bool(mask[pair, key]))


@torch.no_grad()
def test_dropout_is_drawn_as_often_as_by_the_whole_decoder(tiny, monkeypatch):
    policy = tiny.make_policy(dropout=0.2, lora={"preset": "none"}).train()
    batch = tiny.make_batch(policy, PAIRS)
    with torch.no_grad():
        tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    drawn, own = [], torch.nn.functional.dropout

    def count(input, p=0.5, training=True, inplace=False):
        drawn.append((p, training))
        return own(input, p, training, inplace)

    monkeypatch.setattr(torch.nn.functional, "dropout", count)
    policy.backbone.model.text_model(inputs_embeds=torch.zeros(1, 5, policy.backbone.context_width), use_cache=False)
    whole = drawn.copy()
    drawn.clear()
    policy.contexts(replace(batch, frames=None, image_tokens=tokens))
    assert drawn == whole
    assert all(one == (0.2, True) for one in whole)
