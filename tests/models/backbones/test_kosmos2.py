"""A context is what transformers' own modules, composed one pair at a time and without padding, put out."""

import pytest
import torch
from torch.nn import functional as F
from transformers import Kosmos2Model

from mobile_vla.models.backbones.tokenizer import offline_tokenizer
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig

PAIRS = [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)]
# float32 rounding: a context has unit variance, and batched sums run in another order than single ones
TOLERANCE = {"atol": 2e-5, "rtol": 0}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pixels(frame: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, H) as CLIP wants it, channel by channel."""
    planes = [(frame[..., c].double() / 255 - CLIP_MEAN[c]) / CLIP_STD[c] for c in range(3)]
    return torch.stack(planes)[None].float()


def prompt_ids(policy, text: str) -> list[int]:
    prompt = policy.backbone.config.prompt.replace("{instruction}", text)
    return offline_tokenizer()(prompt, add_special_tokens=False)["input_ids"]


def composed_by_hand(model: Kosmos2Model, frame, text_ids: list[int], action_token) -> torch.Tensor:
    """Layout `robovlms`, from the parts of a `Kosmos2Model`: <s> image text action </s>."""
    tower = model.vision_model.model
    seen = tower.post_layernorm(model.vision_model(pixel_values=pixels(frame)).last_hidden_state)
    image, _ = model.image_to_text_projection(F.normalize(seen, dim=-1))
    embed = model.text_model.model.embed_tokens
    bos, eos = embed(torch.tensor([[0]])), embed(torch.tensor([[2]]))
    text = embed(torch.tensor([text_ids]))
    sequence = torch.cat([bos, image, text, action_token[None, None], eos], dim=1)
    return model.text_model(inputs_embeds=sequence, use_cache=False).last_hidden_state[0, -2]


@torch.no_grad()
def test_layout_robovlms_equals_the_parts_composed_by_hand(tiny, policy):
    batch = tiny.make_batch(policy, PAIRS)
    contexts = policy.contexts(batch)
    for row, (frame, text) in zip(contexts, PAIRS, strict=True):
        ids = prompt_ids(policy, tiny.texts[text])
        expected = composed_by_hand(policy.backbone.model, batch.frames[frame], ids, policy.backbone.action_token)
        torch.testing.assert_close(row, expected, **TOLERANCE)


@torch.no_grad()
def test_layout_kosmos2_equals_kosmos2_forward_over_the_processors_sequence(tiny):
    policy = tiny.stir(tiny.make_policy(layout="kosmos2"))
    batch = tiny.make_batch(policy, PAIRS)
    contexts = policy.contexts(batch)
    model, num_image = policy.backbone.model, policy.backbone.num_image_tokens
    begin, end = offline_tokenizer().convert_tokens_to_ids(["<image>", "</image>"])
    for row, (frame, text) in zip(contexts, PAIRS, strict=True):
        ids = [0, begin, *range(4, 4 + num_image), end, *prompt_ids(policy, tiny.texts[text])]
        embeddings = model.text_model.model.embed_tokens(torch.tensor([ids]))
        embeddings = torch.cat([embeddings, policy.backbone.action_token[None, None]], dim=1)
        is_image = torch.tensor([[0, 0, *[1] * num_image, *[0] * (len(ids) + 1 - 2 - num_image)]])
        hidden = model(
            pixel_values=pixels(batch.frames[frame]),
            inputs_embeds=embeddings.clone(),
            image_embeds_position_mask=is_image,
            use_cache=False,
        ).last_hidden_state
        torch.testing.assert_close(row, hidden[0, -1], **TOLERANCE)


@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
@torch.no_grad()
def test_hidden_image_tokens_are_as_if_they_were_not_there_and_the_others_keep_their_positions(tiny, layout):
    """Against the decoder over a sequence without them, with the positions of what is left written out."""
    policy = tiny.stir(tiny.make_policy(layout=layout))
    batch = tiny.make_batch(policy, PAIRS)
    model, parts = policy.backbone.model, policy.backbone.layout
    hidden = torch.zeros(len(PAIRS), 8, dtype=torch.bool)
    for pair, tokens in enumerate([[0], [7], [2, 3, 4], [], range(8)]):
        hidden[pair, list(tokens)] = True
    image = policy.backbone.image_tokens(policy.preprocessing(batch.frames))
    given = image, batch.text_ids, batch.text_mask, batch.pair_frame, batch.pair_text
    contexts = policy.backbone.decode(*given, hidden)
    embed = model.text_model.model.embed_tokens
    begin, behind, end = (
        embed(torch.tensor(offline_tokenizer().convert_tokens_to_ids(list(tokens)), dtype=torch.int64))
        for tokens in (parts.before_image, parts.behind_image, parts.behind_action)
    )
    for row, (frame, text), unseen in zip(contexts, PAIRS, hidden, strict=True):
        words = embed(torch.tensor(prompt_ids(policy, tiny.texts[text])))
        sequence = torch.cat([begin, image[frame], behind, words, policy.backbone.action_token[None], end])
        kept = torch.ones(len(sequence), dtype=torch.bool)
        kept[len(begin) : len(begin) + 8] = ~unseen
        positions = kept.nonzero()[:, 0] + 2  # where transformers begins to count
        states = model.text_model(
            inputs_embeds=sequence[kept][None], position_ids=positions[None], use_cache=False
        ).last_hidden_state[0]
        torch.testing.assert_close(row, states[-1 - len(end)], **TOLERANCE)
    assert torch.equal(policy.backbone.decode(*given), policy.backbone.decode(*given, torch.zeros_like(hidden)))


@torch.no_grad()
def test_the_context_is_read_at_the_action_token_behind_the_layer_norm(tiny):
    """Without the decoder's own scale and shift every context has mean 0 and variance 1."""
    policy = tiny.make_policy()
    contexts = policy.contexts(tiny.make_batch(policy, PAIRS))
    torch.testing.assert_close(contexts.mean(-1), torch.zeros(len(PAIRS)), atol=1e-5, rtol=0)
    torch.testing.assert_close(contexts.var(-1, unbiased=False), torch.ones(len(PAIRS)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
class TestWiring:
    """What a context depends on, and what it must not depend on."""

    @pytest.fixture
    def wired(self, tiny, layout):
        policy = tiny.make_policy(layout=layout, lora={"preset": "none"})
        batch = tiny.make_batch(policy, PAIRS)
        return policy, batch, policy.backbone.image_tokens(policy.preprocessing(batch.frames))

    @staticmethod
    @torch.no_grad()
    def decode(policy, batch, tokens, ids=None):
        ids = batch.text_ids if ids is None else ids
        return policy.backbone.decode(tokens, ids, batch.text_mask, batch.pair_frame, batch.pair_text)

    @staticmethod
    @torch.no_grad()
    def contexts(policy, batch):
        return policy.contexts(batch)

    def test_every_text_token_reaches_the_contexts_of_its_text_and_no_other(self, wired):
        policy, batch, tokens = wired
        before = self.decode(policy, batch, tokens)
        for text in range(len(batch.text_ids)):
            mine = batch.pair_text == text
            for position in range(int(batch.text_mask[text].sum())):
                ids = batch.text_ids.clone()
                ids[text, position] = (ids[text, position] + 7) % 500
                moved = (self.decode(policy, batch, tokens, ids) - before).abs().amax(-1)
                assert (moved[mine] > 1e-4).all(), (text, position)
                assert (moved[~mine] == 0).all(), (text, position)

    def test_every_image_token_reaches_the_contexts_of_its_frame_and_no_other(self, wired):
        policy, batch, tokens = wired
        before = self.decode(policy, batch, tokens)
        for frame in (0, 2):
            mine = batch.pair_frame == frame
            for token in range(policy.backbone.num_image_tokens):
                other = tokens.clone()
                other[frame, token] = tokens[frame, token].flip(0) + 0.3
                moved = (self.decode(policy, batch, other) - before).abs().amax(-1)
                assert (moved[mine] > 1e-4).all(), (frame, token)
                assert (moved[~mine] == 0).all(), (frame, token)

    def test_the_action_token_reaches_every_context(self, wired):
        policy, batch, tokens = wired
        before = self.decode(policy, batch, tokens)
        policy.backbone.action_token.data.add_(0.1 * torch.randn(32, generator=torch.Generator().manual_seed(1)))
        assert ((self.decode(policy, batch, tokens) - before).abs().amax(-1) > 1e-4).all()

    def test_padding_holds_nothing(self, wired):
        policy, batch, tokens = wired
        before = self.decode(policy, batch, tokens)
        ids = torch.where(batch.text_mask, batch.text_ids, 99)
        assert not batch.text_mask.all()
        torch.testing.assert_close(self.decode(policy, batch, tokens, ids), before, atol=0, rtol=0)

    def test_neighbours_order_and_padding_length_change_nothing(self, tiny, wired):
        policy, batch, _ = wired
        together = self.contexts(policy, batch)
        order = [3, 0, 4, 2, 1]
        shuffled = self.contexts(policy, tiny.make_batch(policy, [PAIRS[i] for i in order]))
        torch.testing.assert_close(shuffled, together[order], **TOLERANCE)
        long_text = "keep straight and then turn around the red box " * 3
        for i, (frame, text) in enumerate(PAIRS):
            alone = self.contexts(policy, tiny.make_batch(policy, [(frame, 0)], texts=(tiny.texts[text],)))
            torch.testing.assert_close(alone[0], together[i], **TOLERANCE)
            padded = self.contexts(policy, tiny.make_batch(policy, [(frame, 0)], texts=(tiny.texts[text], long_text)))
            torch.testing.assert_close(padded[0], together[i], **TOLERANCE)


def test_the_same_image_with_another_text_shares_its_image_tokens(tiny, policy):
    """Frames are encoded once each, whatever the number of pairs."""
    seen = []
    hook = policy.backbone.model.vision_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    with torch.no_grad():
        policy.contexts(tiny.make_batch(policy, [(f, t) for f in range(5) for t in range(3)]))
    hook.remove()
    assert seen == [5]


class TestGradientCheckpointing:
    @staticmethod
    def gradients(tiny, **settings):
        policy = tiny.stir(tiny.make_policy(**settings)).train()
        calls = {"text": 0, "vision": 0}
        layers = {"text": policy.backbone.model.text_model.model.layers, "vision": vision_layers(policy)}
        for name, stack in layers.items():
            for layer in stack:

                def count(*_, name=name):
                    calls[name] += 1

                layer.self_attn.register_forward_hook(count)
        batch = tiny.make_batch(policy, PAIRS)
        loss = (policy(batch) - batch.chunks).square().mean()
        forward = dict(calls)
        loss.backward()
        return {name: weight.grad for name, weight in policy.trained().items()}, forward, calls

    @pytest.mark.parametrize("preset", ["all", "text", "full"])
    def test_layers_run_again_in_the_backward_pass_and_gradients_stay(self, tiny, preset):
        plain, forward, total = self.gradients(tiny, lora={"preset": preset})
        assert forward == total == {"text": 2, "vision": 2}
        again, forward, total = self.gradients(tiny, lora={"preset": preset}, gradient_checkpointing=True)
        assert forward == {"text": 2, "vision": 2}
        assert total == {"text": 4, "vision": 2 if preset == "text" else 4}  # frozen towers have no backward pass
        assert plain.keys() == again.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(again[name], gradient, atol=1e-7, rtol=1e-5, msg=name)


def vision_layers(policy):
    return policy.backbone.model.vision_model.model.encoder.layers


class TestModes:
    """Training mode is deterministic but for what a configured dropout says."""

    @staticmethod
    @torch.no_grad()
    def twice(tiny, policy):
        batch = tiny.make_batch(policy, PAIRS)
        return [policy(batch) for _ in range(2)] + [policy.eval()(batch)]

    def test_without_dropout_training_computes_what_evaluation_computes(self, tiny):
        first, second, evaluated = self.twice(tiny, tiny.stir(tiny.make_policy()).train())
        assert torch.equal(first, second)
        # The last layer at one position is a product of fewer rows, summed in another order (`decoder`).
        torch.testing.assert_close(first, evaluated, **TOLERANCE)

    def test_adapter_dropout_is_active_in_training_only(self, tiny):
        policy = tiny.stir(tiny.make_policy(lora={"dropout": 0.5}))
        first, second, evaluated = self.twice(tiny, policy.train())
        assert not torch.equal(first, second)
        assert torch.equal(evaluated, self.twice(tiny, policy)[0])

    def test_backbone_dropout_is_active_in_training_only(self, tiny):
        policy = tiny.make_policy(dropout=0.3, lora={"preset": "none"})
        first, second, evaluated = self.twice(tiny, policy.train())
        assert not torch.equal(first, second)
        without = tiny.make_policy(lora={"preset": "none"})
        assert torch.equal(evaluated, self.twice(tiny, without)[0])

    def test_backbone_dropout_reaches_tower_projection_and_decoder(self, tiny):
        model = tiny.make_policy(dropout=0.3).backbone.model
        assert vision_layers(tiny.make_policy(dropout=0.3))[0].self_attn.dropout == 0.3
        assert model.image_to_text_projection.x_attn.dropout == 0.3
        layer = model.text_model.model.layers[0]
        assert (layer.dropout, layer.self_attn.dropout, layer.ffn.activation_dropout) == (0.3, 0.3, 0.3)

    def test_head_dropout_is_active_in_training_only(self, tiny):
        policy = tiny.make_policy(head=LSTMDecoderConfig(hidden=16, layers=2, mlp=(16,), dropout=0.5))
        first, second, _ = self.twice(tiny, policy.train())
        assert not torch.equal(first, second)


class TestPrecision:
    """bfloat16 holds what is frozen; what is trained, and the head, stay float32."""

    @pytest.mark.parametrize("preset", ["all", "text", "none", "full"])
    def test_frozen_weights_are_bf16_and_trained_ones_float32(self, tiny, preset):
        policy = tiny.make_policy(dtype=torch.bfloat16, lora={"preset": preset})
        for name, weight in policy.named_parameters():
            frozen_model = name.startswith("backbone.model.") and not weight.requires_grad
            assert weight.dtype == (torch.bfloat16 if frozen_model else torch.float32), name

    @pytest.mark.parametrize("settings", [{}, {"preset": "none"}, {"preset": "full"}, {"dora": True}, {"rslora": True}])
    def test_outputs_stay_close_to_float32_and_gradients_are_finite(self, tiny, settings):
        exact = tiny.stir(tiny.make_policy(lora=settings))
        rough = tiny.stir(tiny.make_policy(dtype=torch.bfloat16, lora=settings))
        batch = tiny.make_batch(exact, PAIRS)
        with torch.no_grad():
            contexts, expected = rough.contexts(batch).float(), exact.contexts(batch)
        # 8 bits of mantissa through a dozen layers: a few per cent of a unit-variance context, and not exactly 0
        error = (contexts - expected).square().mean().sqrt()
        assert 0 < error < 0.06
        predicted = rough.train()(batch)
        assert predicted.dtype == torch.float32
        (predicted - batch.chunks).square().mean().backward()
        for name, weight in rough.trained().items():
            assert weight.grad.dtype == torch.float32, name
            assert torch.isfinite(weight.grad).all(), name

    def test_matrix_products_really_run_in_bf16(self, tiny):
        """The policy brings its own autocast: nothing around it is needed."""
        policy = tiny.make_policy(dtype=torch.bfloat16)
        seen = {}
        for part in ("vision_model.model.encoder.layers.0.mlp.fc1", "text_model.model.layers.0.ffn.fc1"):
            module = policy.backbone.model.get_submodule(part)
            module.register_forward_hook(lambda m, i, out, part=part: seen.update({part: out.dtype}))
        policy.head.rnn.register_forward_hook(lambda m, i, out: seen.update(rnn=out[0].dtype))
        with torch.no_grad():
            policy(tiny.make_batch(policy, PAIRS))
        assert seen.pop("rnn") == torch.float32
        assert set(seen.values()) == {torch.bfloat16}
