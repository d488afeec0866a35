"""Capture sees every row once and changes nothing, and its hooks are gone however it ends."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from mobile_vla.core.batch import gather_windows
from mobile_vla.core.errors import UserError
from mobile_vla.taps.capture import capture
from mobile_vla.taps.places import Places, every_pair
from mobile_vla.taps.points import resolve_taps
from tests.models.conftest import make_batch, make_policy, stir

PAIRS = [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)]
WINDOWS = [[0, 1, 2, -1], [3, 4, 0, 1], [1, 2, 3, 4]]
ALL = ("context", "image_tokens", "image_tokens:whole", "text_layer_1", "vision_layer_0", "head_state", "pixels")
INNER = "backbone.model.text_model.model.layers.0.ffn.fc1:action_token"  # runs again in a checkpointed backward pass
LAST = "text_layer_1"  # while training, it is computed at the action token alone
TRAINING = (*(tap for tap in ALL if tap != LAST), "text_layer_0", INNER)


@pytest.fixture(scope="module")
def policy():
    return stir(make_policy())


@pytest.fixture
def batch(policy):
    return make_batch(policy, PAIRS, WINDOWS)


def count_hooks(policy) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in policy.modules())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("preset", ["all", "text", "none", "full"])
@torch.no_grad()
def test_the_head_run_on_the_contexts_gives_the_predictions_bit_for_bit(preset, dtype):
    policy = stir(make_policy(dtype, lora={"preset": preset}))
    batch = make_batch(policy, PAIRS, WINDOWS)
    before = policy(batch)
    with capture(policy, resolve_taps(policy, ALL)) as captured:
        predicted = policy(batch)
        rows = captured.take(batch)
    assert torch.equal(predicted, before)  # watching changes nothing
    assert torch.equal(policy.head(gather_windows(rows["context"], batch.windows)), predicted)
    assert torch.equal(rows["context"], policy.contexts(batch))
    assert rows["context"].dtype == policy.contexts(batch).dtype
    assert rows["image_tokens"].dtype == rows["image_tokens:whole"].dtype
    places = every_pair(batch)
    again = policy.head.rnn(gather_windows(rows["context"], batch.windows).float())[0]
    assert torch.equal(rows["head_state"], again[places.windows, places.positions])


@torch.no_grad()
def test_places_choose_the_rows(policy, batch):
    places = Places(torch.tensor([4, 0]), torch.tensor([1, 1]), torch.tensor([1, 2]))
    with capture(policy, resolve_taps(policy, ALL)) as captured:
        policy(batch)
        everything = captured.take(batch)
        policy(batch)
        chosen = captured.take(batch, places)
    for name in set(ALL) - {"head_state"}:
        assert torch.equal(chosen[name], everything[name][[4, 0]]), name
    states = policy.head.rnn(gather_windows(policy.contexts(batch), batch.windows))[0]
    assert torch.equal(chosen["head_state"], states[1, [1, 2]])


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt, Stopped])
@pytest.mark.parametrize("inside", [False, True], ids=["between", "in the forward pass"])
def test_hooks_are_gone_however_it_ends(policy, batch, error, inside):
    before = count_hooks(policy)

    def fail(*_):
        if error is not None:
            raise error

    handle = policy.head.register_forward_pre_hook(fail) if inside else None
    with nullcontext() if error is None else pytest.raises(error):  # noqa: SIM117  (the order is the point)
        with capture(policy, resolve_taps(policy, [*ALL, INNER])) as captured:
            assert count_hooks(policy) > before + 1
            policy(batch)
            captured.take(batch)
            fail()
    if handle is not None:
        handle.remove()
    assert count_hooks(policy) == before


@torch.no_grad()
def test_captures_can_be_nested(policy, batch):
    before = count_hooks(policy)
    with capture(policy, resolve_taps(policy, ["context", "text_layer_0"])) as outer:
        with capture(policy, resolve_taps(policy, ["context", "text_layer_1"])) as inner:
            policy(batch)
            within = inner.take(batch)
        around = outer.take(batch)
        policy(batch)
        assert torch.equal(outer.take(batch)["text_layer_0"], around["text_layer_0"])
    assert torch.equal(within["context"], around["context"])
    assert within.keys() == {"context", "text_layer_1"}
    assert count_hooks(policy) == before


@torch.no_grad()
def test_a_take_belongs_to_one_forward_pass_on_the_batch_that_is_asked_for(policy, batch):
    other = make_batch(policy, PAIRS[::-1], WINDOWS)
    with capture(policy, resolve_taps(policy, ["context", "text_layer_0"])) as captured:
        with pytest.raises(RuntimeError, match="nothing was captured"):
            captured.take(batch)
        policy(other)
        policy(batch)
        rows = captured.take(batch)
        with pytest.raises(RuntimeError, match="nothing was captured"):
            captured.take(batch)
        policy(other)
        with pytest.raises(RuntimeError, match="another batch"):
            captured.take(batch)
        assert torch.equal(captured.take(other)["text_layer_0"], rows["text_layer_0"].flip(0))


@torch.no_grad()
def test_a_failed_forward_pass_leaves_nothing_to_take(policy, batch):
    with capture(policy, resolve_taps(policy, ["context"])) as captured:
        policy(batch)
        with pytest.raises(ValueError, match="image size"):
            policy(replace(batch, frames=batch.frames[:, :5, :5]))
        with pytest.raises(RuntimeError, match="nothing was captured"):
            captured.take(batch)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step_inside_is_seen_once_and_not_disturbed(batch, checkpointing):
    """In the backward pass checkpointed layers run again: what they put out then is no second row."""

    def train(watched: bool):
        policy = stir(make_policy(gradient_checkpointing=checkpointing)).train()
        runs = []
        policy.get_submodule(INNER.split(":")[0]).register_forward_hook(lambda *_: runs.append(1))
        rows = {}
        if watched:
            with capture(policy, resolve_taps(policy, TRAINING)) as captured:
                for _ in range(2):
                    policy.zero_grad()
                    policy(batch).square().mean().backward()
                    rows = captured.take(batch)
        else:
            policy(batch).square().mean().backward()
        gradients = {name: weight.grad for name, weight in policy.trained().items()}
        return gradients, rows, len(runs)

    expected, _, _ = train(watched=False)
    found, rows, runs = train(watched=True)
    assert runs == (4 if checkpointing else 2)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items() if gradient is not None)
    assert not any(value.requires_grad for value in rows.values())
    policy = stir(make_policy())
    with torch.no_grad(), capture(policy, resolve_taps(policy, TRAINING)) as captured:
        policy(batch)
        plain = captured.take(batch)
    for name, value in plain.items():
        # In training the decoder's sequence ends with the action token, and the LSTM runs another kernel.
        of_frame = name.startswith(("image_tokens", "vision", "pixels"))
        torch.testing.assert_close(rows[name], value, atol=0 if of_frame else 5e-6, rtol=0)


def test_in_training_the_last_text_layer_is_not_run_as_a_whole_and_says_so(policy, batch):
    policy.train()
    try:
        with capture(policy, resolve_taps(policy, [LAST])) as captured:
            policy(batch)
            with pytest.raises(UserError, match=f"{LAST} does not run"):
                captured.take(batch)
    finally:
        policy.eval()


class TestCompiled:
    """Hooks that come after `torch.compile` are not run: it is refused wherever a tap point would be silent."""

    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("backbone.model.text_model", ["text_layer_0"]),
            ("backbone.model.text_model.model.layers.0", ["context", "text_layer_0"]),
            ("backbone.model", ["image_tokens"]),
            ("head", ["context"]),
            ("head.rnn", ["head_state"]),
        ],
    )
    @pytest.mark.parametrize("how", ["wrapped", "in place"])
    def test_a_compiled_part_is_refused(self, path, names, how):
        policy = make_policy()
        module = policy.get_submodule(path)
        if how == "in place":
            module.compile(backend="eager")
        else:
            parent, _, last = path.rpartition(".")
            setattr(policy.get_submodule(parent), last, torch.compile(module, backend="eager"))
        before = count_hooks(policy)
        taps, last = resolve_taps(policy, names), path.rpartition(".")[2]
        with pytest.raises(UserError, match=rf"'.*{last}.*' is compiled .*probe the policy uncompiled"):
            capture(policy, taps).__enter__()
        assert count_hooks(policy) == before

    @pytest.mark.parametrize("how", ["wrapped", "in place", "forward", "decode"])
    def test_a_compiled_policy_is_refused(self, how):
        policy = make_policy()
        if how == "wrapped":
            policy = torch.compile(policy, backend="eager")
        elif how == "in place":
            policy.compile(backend="eager")
        elif how == "forward":
            policy.forward = torch.compile(policy.forward, backend="eager")
        else:
            policy.backbone.decode = torch.compile(policy.backbone.decode, backend="eager")
        taps = resolve_taps(policy, ["text_layer_0"])
        with pytest.raises(UserError, match="is compiled"):
            capture(policy, taps).__enter__()

    @torch.no_grad()
    def test_a_compiled_part_elsewhere_is_no_reason(self, batch):
        policy = stir(make_policy())
        policy.backbone.model.vision_model.model.post_layernorm.compile(backend="eager")
        with capture(policy, resolve_taps(policy, ["text_layer_0"])) as captured:
            policy(batch)
            assert captured.take(batch)["text_layer_0"].shape == (len(PAIRS), 32)


class TestCached:
    @torch.no_grad()
    def test_image_tokens_from_a_cache_are_those_of_the_projection(self, policy, batch):
        tokens = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
        cached = replace(batch, frames=None, image_tokens=tokens)
        names = ["context", "image_tokens", "image_tokens:whole", "text_layer_0"]
        with capture(policy, resolve_taps(policy, names)) as captured:
            policy(batch)
            expected = captured.take(batch)
            policy(cached)
            rows = captured.take(cached)
        assert all(torch.equal(rows[name], expected[name]) for name in names)

    @pytest.mark.parametrize("name", ["vision_layer_0", "pixels"])
    @torch.no_grad()
    def test_what_lies_before_cached_image_tokens_is_refused(self, policy, batch, name):
        cached = replace(batch, frames=None, image_tokens=torch.zeros(5, 8, 32))
        message = f"{name} cannot be had where image tokens come from a cache"
        with capture(policy, resolve_taps(policy, ["context", name])), pytest.raises(UserError, match=message):
            policy(cached)

    @torch.no_grad()
    def test_contexts_from_a_cache_are_the_heads_input_and_nothing_else_is_there(self, policy, batch):
        cached = replace(batch, frames=None, contexts=policy.contexts(batch))
        with capture(policy, resolve_taps(policy, ["context", "head_state"])) as captured:
            policy(cached)
            assert torch.equal(captured.take(cached)["context"], cached.contexts)
        for name in ("text_layer_0", "image_tokens", "pixels"):
            message = f"{name} cannot be had where contexts come from a cache"
            with capture(policy, resolve_taps(policy, [name])), pytest.raises(UserError, match=message):
                policy(cached)
