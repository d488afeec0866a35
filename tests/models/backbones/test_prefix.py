"""Pairs that run their own tokens alone, behind what other pairs of their frames have left, give what they give."""

import pytest
import torch

from mobile_vla.models.backbones.prefix import Prefix, Recording, count_common

LAYERS = "backbone.model.text_model.model.layers"
FIRST = [(frame, 0) for frame in (3, 0, 4, 1)]  # recorded: pairs of frame and text, in this order
OTHERS = [(4, 2), (3, 1), (3, 2), (1, 0), (0, 1), (4, 1)]  # texts that are longer and shorter, frames twice


def watch(policy, run):
    """Contexts, and what every text layer puts out on the way."""
    kept = {}
    layers = policy.get_submodule(LAYERS)
    hooks = [
        layer.register_forward_hook(lambda module, args, output, i=i: kept.update({i: output}))
        for i, layer in enumerate(layers)
    ]
    found = run()
    for hook in hooks:
        hook.remove()
    return found, [kept[i] for i in range(len(layers))]


@torch.no_grad()
@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
def test_contexts_and_hidden_states_are_those_of_whole_sequences(tiny, layout):
    policy = tiny.stir(tiny.make_policy(layout=layout))
    backbone = policy.backbone
    first, others = tiny.make_batch(policy, FIRST), tiny.make_batch(policy, OTHERS)
    texts = [ids[mask].tolist() for ids, mask in zip(others.text_ids, others.text_mask, strict=True)]
    length = backbone.layout.start_of_text(backbone.num_image_tokens) + count_common(texts)
    recording = Recording()
    recorded, _ = watch(policy, lambda: policy.contexts(first, recording))
    assert torch.equal(recorded, policy.contexts(first))
    rows = torch.tensor([[frame for frame, _ in FIRST].index(frame) for frame, _ in OTHERS])
    found, states = watch(policy, lambda: policy.contexts(others, Prefix(recording, rows, length)))
    expected, whole = watch(policy, lambda: policy.contexts(others))
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    there = backbone.layout.mask(whole[0].shape[1], backbone.num_image_tokens, others.text_mask[others.pair_text])
    for own, all_of_it in zip(states, whole, strict=True):
        assert own.shape[1] == all_of_it.shape[1] - length  # nothing in front of it has run
        kept = there[:, length:]
        torch.testing.assert_close(own[kept], all_of_it[:, length:][kept], atol=2e-6, rtol=0)
    assert (expected[0] - expected[5]).abs().max() > 1e-3  # another text, the same frame
    assert (expected[1] - expected[4]).abs().max() > 1e-3  # another frame, the same text


@torch.no_grad()
def test_in_the_precision_of_training_they_differ_by_its_rounding(tiny):
    policy = tiny.stir(tiny.make_policy(torch.bfloat16))
    first, others = tiny.make_batch(policy, FIRST), tiny.make_batch(policy, OTHERS)
    length = policy.backbone.layout.start_of_text(policy.backbone.num_image_tokens)
    recording = Recording()
    policy.contexts(first, recording)
    rows = torch.tensor([[frame for frame, _ in FIRST].index(frame) for frame, _ in OTHERS])
    found = policy(others, prefix=Prefix(recording, rows, length))
    torch.testing.assert_close(found, policy(others), atol=2e-2, rtol=0)


def test_what_texts_have_in_common():
    assert count_common([[5, 6, 7], [5, 6, 8, 9], [5, 6]]) == 2
    assert count_common([[5, 6, 7]]) == 3
    assert count_common([[5], [6]]) == count_common([[], [6]]) == 0
