"""Windows over shared contexts equal windows computed one by one; padding reaches nothing."""

from dataclasses import replace

import pytest
import torch

from mobile_vla.core.batch import gather_windows

PAIRS = [(frame, 1) for frame in range(5)]
CLOSE = {"atol": 2e-5, "rtol": 0}


@torch.no_grad()
def test_overlapping_windows_equal_window_by_window(tiny, policy):
    windows = [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    together = policy(tiny.make_batch(policy, PAIRS, windows))
    for row, window in zip(together, windows, strict=True):
        alone = policy(tiny.make_batch(policy, [PAIRS[i] for i in window], [[0, 1, 2]]))
        torch.testing.assert_close(alone[0], row, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("present", [1, 2, 3, 4])
def test_a_padded_window_predicts_what_the_unpadded_one_does(tiny, policy, present):
    window = [*range(present), *[-1] * (5 - present)]
    padded = policy(tiny.make_batch(policy, PAIRS, [window, [0, 1, 2, 3, 4]]))
    unpadded = policy(tiny.make_batch(policy, PAIRS[:present], [list(range(present))]))
    torch.testing.assert_close(padded[0, :present], unpadded[0], **CLOSE)


def test_padding_has_no_gradient(tiny, policy):
    rows = torch.randn(2, 4, requires_grad=True)
    windows = torch.tensor([[0, 1, -1], [1, -1, -1]])
    gathered = gather_windows(rows, windows)
    assert (gathered[windows < 0] == 0).all()
    gathered.sum().backward()
    assert rows.grad[:, 0].tolist() == [1.0, 2.0]  # the last row is in two windows, and is not what -1 reads


@torch.no_grad()
def test_the_deepest_tensor_of_a_batch_feeds_the_head(tiny, policy):
    """Cached image tokens and cached contexts give what frames give."""
    batch = tiny.make_batch(policy, PAIRS, [[0, 1, 2], [2, 3, 4]])
    expected = policy(batch)
    tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    assert torch.equal(policy(replace(batch, frames=None, image_tokens=tokens)), expected)
    assert torch.equal(policy(replace(batch, frames=None, contexts=policy.contexts(batch))), expected)


@torch.no_grad()
def test_a_pairs_hidden_run_of_image_tokens_is_its_own(tiny, policy):
    batch = tiny.make_batch(policy, PAIRS)
    runs = torch.tensor([[0, 0], [0, 3], [7, 8], [2, 2], [0, 8]])
    tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    mask = torch.tensor([[low <= token < high for token in range(8)] for low, high in runs.tolist()])
    expected = policy.backbone.decode(tokens, batch.text_ids, batch.text_mask, batch.pair_frame, batch.pair_text, mask)
    found = policy.contexts(replace(batch, pair_hidden=runs))
    assert torch.equal(found, expected)
    moved = (found - policy.contexts(batch)).abs().amax(1) > 1e-4
    assert moved.tolist() == [False, True, True, False, True]


@torch.no_grad()
def test_an_edit_comes_between_contexts_and_head(tiny, policy):
    batch = tiny.make_batch(policy, PAIRS, [[0, 1, 2], [2, 3, 4]])
    contexts = policy.contexts(batch)
    expected = policy.head(gather_windows(contexts * 2 + 1, batch.windows))
    assert torch.equal(policy(batch, lambda rows: rows * 2 + 1), expected)
    assert torch.equal(policy(batch, None), policy.head(gather_windows(contexts, batch.windows)))


def test_a_built_policy_evaluates(tiny):
    policy = tiny.make_policy(lora={"dropout": 0.5})
    assert not any(module.training for module in policy.modules())


def test_actions_lie_within_the_bounds(tiny, policy):
    with torch.no_grad():
        contexts = torch.randn(2, 3, 32) * 100
        assert policy.head(contexts).abs().max() <= 1


@torch.no_grad()
def test_the_head_equals_its_layers_written_out(policy):
    """An LSTM cell by cell (Hochreiter and Schmidhuber 1997, with forget gates), then matrix products."""
    contexts = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(3))
    weights = dict(policy.head.named_parameters())
    layer_input = contexts
    for layer in range(2):
        h = c = torch.zeros(2, 16)
        outputs = []
        for t in range(3):
            gates = layer_input[:, t] @ weights[f"rnn.weight_ih_l{layer}"].T + weights[f"rnn.bias_ih_l{layer}"]
            gates = gates + h @ weights[f"rnn.weight_hh_l{layer}"].T + weights[f"rnn.bias_hh_l{layer}"]
            i, f, g, o = gates.chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        layer_input = torch.stack(outputs, dim=1)
    x = layer_input
    for i in (0, 2, 4):
        x = x @ weights[f"velocities.mlp.{i}.weight"].T + weights[f"velocities.mlp.{i}.bias"]
        x = x.clamp(min=0) if i < 4 else x.tanh()
    torch.testing.assert_close(policy.head(contexts), x.reshape(2, 3, 3, 2), atol=1e-6, rtol=0)
