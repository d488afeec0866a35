"""What a row of a frame holds is the same whether the frame was run again or remembered; and it is run once."""

from dataclasses import replace

import pytest
import torch

from mobile_vla.contexts.capture import capture
from mobile_vla.contexts.taps import PREDICTED, resolve_taps
from mobile_vla.data.requests import WindowRequest
from mobile_vla.errors import UserError
from mobile_vla.training.frame_memory import remember_frames
from mobile_vla.training.interventions.catalog import make_variants, parse_variants
from mobile_vla.training.passes import change_window

VISION = "backbone.model.vision_model.model.encoder.layers.0.mlp"
NAMES = ("context", "image_tokens", "image_tokens:whole", "vision_layer_0", f"{VISION}:max", "pixels", "text_layer_0")


@pytest.fixture(scope="module")
def passes(bench):
    """Windows as recorded, then hidden tokens (known frames), donors (new ones), and a still beside donors."""
    assembler = bench.data.assembler(bench.episodes)
    variants = make_variants(parse_variants(["mask_tokens:3", "donor"]), assembler, bench.meanings, bench.policy)
    own = [WindowRequest(episode=i, start=0) for i in (0, 2, 5)]
    changed = {
        name: [one for one in (change_window(name, change, request) for request in own) if one is not None]
        for name, change in variants.items()
    }
    hidden, _, donor = changed
    return [assembler(part) for part in (own, changed[hidden], changed[donor], changed[donor][:1], own[1:])]


@torch.no_grad()
def test_taps_hold_what_they_hold_without(bench, passes):
    policy, taps = bench.policy, resolve_taps(bench.policy, NAMES)
    ran = []
    hook = policy.backbone.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: ran.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    with hook, capture(policy, [*taps, PREDICTED]) as captured, remember_frames(policy, captured) as memory:
        memory.expect(len(passes) + 1)
        for number, batch in enumerate(passes):
            policy(batch)
            expected = captured.take(batch)
            ran.clear()
            fed, prefix = memory.feed(batch)
            policy(fed, prefix=prefix)
            memory.keep(fed)
            found = captured.take(fed)
            assert ran == ([] if number in (1, 3, 4) else [len(batch.frame_id)])
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                torch.testing.assert_close(found[name], values, atol=2e-5, rtol=0, msg=f"{name} of pass {number}")
        memory.expect(2)
        assert memory.feed(passes[0])[0] is passes[0]


@torch.no_grad()
def test_what_is_given_holds_for_one_pass(bench, passes):
    """A batch with image tokens of its own has no pixels, whatever the one before was given."""
    policy = bench.policy
    with (
        capture(policy, resolve_taps(policy, ["pixels"])) as captured,
        remember_frames(policy, captured) as memory,
    ):
        memory.expect(3)
        policy(passes[0])
        memory.keep(passes[0])
        fed, _ = memory.feed(passes[1])
        policy(fed)
        assert captured.take(fed)["pixels"].any()
        with pytest.raises(UserError, match="pixels cannot be had where image tokens come from a cache"):
            policy(replace(fed, frame_id=fed.frame_id[::-1]))


def test_a_compiled_projection_is_refused(lab):
    policy = lab.make_policy()
    policy.backbone.model.image_to_text_projection.compile(backend="eager")
    compiled = pytest.raises(UserError, match="image_to_text_projection' is compiled")
    with capture(policy, resolve_taps(policy, ["context"])) as captured, compiled, remember_frames(policy, captured):
        pass
