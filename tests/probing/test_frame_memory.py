"""What a row holds is the same whether its frame was run again or remembered; and what is remembered is not run."""

from dataclasses import replace

import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.data.requests import WindowRequest
from mobile_vla.interventions.catalog import make_variants, parse_variants
from mobile_vla.models.backbones.prefix import Recording
from mobile_vla.probing.frame_memory import remember_frames
from mobile_vla.probing.passes import change_window
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import PREDICTED, resolve_taps

VISION = "backbone.model.vision_model.model.encoder.layers.0.mlp"
TEXT = "backbone.model.text_model.model.layers.0.ffn"
BEHIND_IMAGES = ("text_layer_0", "text_layer_0:last", f"{TEXT}:action_token")
COMMON = 1 + 4 + 6  # <s>, image tokens, and the words that every prompt begins with
NAMES = ("context", "image_tokens", "image_tokens:whole", "vision_layer_0", f"{VISION}:max", "pixels", *BEHIND_IMAGES)


@pytest.fixture(scope="module")
def passes(bench):
    """Windows as recorded, then known frames with hidden tokens, new ones (donors), and known ones with other texts."""
    assembler = bench.data.assembler(bench.episodes)
    names = ["mask_tokens:3", "donor", "swap", "empty"]
    variants = make_variants(parse_variants(names), assembler, bench.meanings, bench.policy)
    own = [WindowRequest(episode=i, start=0) for i in (0, 2, 5)]
    changed = {
        name: [one for one in (change_window(name, change, request) for request in own) if one is not None]
        for name, change in variants.items()
    }
    hidden, _, donor, swap, empty = changed
    wanted = (own, changed[hidden], changed[donor], changed[donor][:1], own[1:], changed[swap], changed[empty][::-1])
    return [assembler(part) for part in wanted]


@torch.no_grad()
@pytest.mark.parametrize("more", [(), ("text_layer_0:mean",), ("text_layer_0:max",), ("text_layer_0:first",)])
def test_taps_hold_what_they_hold_without(bench, passes, more):
    """A tap that reads the decoder at image tokens needs its whole sequence; without one, only texts are run again."""
    policy, taps = bench.policy, resolve_taps(bench.policy, [*NAMES, *more])
    ran, lengths = [], []
    vision, text = policy.backbone.model.vision_model, policy.backbone.model.text_model
    hooks = [
        module.register_forward_pre_hook(lambda _, args, given, see=see: see(given), with_kwargs=True)
        for module, see in (
            (vision, lambda given: ran.append(len(given["pixel_values"]))),
            (text, lambda given: lengths.append(given["inputs_embeds"].shape[1])),
        )
    ]
    with capture(policy, [*taps, PREDICTED]) as captured, remember_frames(policy, captured) as memory:
        memory.expect(len(passes) + 1)
        for number, batch in enumerate(passes):
            policy(batch)
            expected = captured.take(batch)
            ran.clear()
            fed, prefix = memory.feed(batch)
            policy(fed, prefix=prefix)
            memory.keep(fed)
            found = captured.take(fed)
            assert ran == ([] if number in (1, 3, 4, 5, 6) else [len(batch.frame_id)])
            spared = lengths[-2] - lengths[-1]
            assert spared == (COMMON if number in (4, 5, 6) and not more else 0), number
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                torch.testing.assert_close(found[name], values, atol=2e-5, rtol=0, msg=f"{name} of pass {number}")
        memory.expect(2)
        assert memory.feed(passes[0])[0] is passes[0]
    for hook in hooks:
        hook.remove()


def test_nothing_is_recorded_for_nobody(bench, passes):
    """Keys and values take memory: a pass that no other follows leaves none, nor one whose image part has text."""
    with remember_frames(bench.policy) as memory:
        assert memory.feed(passes[0])[1] is None
        memory.expect(2)
        assert isinstance(memory.feed(passes[0])[1], Recording)
        memory.expect(2)
        assert memory.feed(passes[1])[1] is None


def test_image_tokens_over_the_text_are_not_shared(lab, bench, passes):
    """How many of them can be attended to is a matter of the text."""
    with remember_frames(lab.make_policy(layout="legacy")) as memory:
        memory.expect(2)
        assert memory.feed(passes[0])[1] is None


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
