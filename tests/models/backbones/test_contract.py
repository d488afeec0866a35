"""What every backbone promises, whatever is inside: held against each member, the example of docs/backbones.md too."""

from dataclasses import replace

import pytest
import torch

from mobile_vla.checkpoints.files import save
from mobile_vla.checkpoints.trained import load_trained, metadata, trained_state
from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.batch import FrameId
from mobile_vla.core.errors import UserError
from mobile_vla.doctor.examination import check_wiring
from mobile_vla.doctor.sample import Sample
from mobile_vla.doctor.sequence import map_sequence
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.backbones.prefix import Prefix, Recording, count_common
from mobile_vla.models.frozen import find_frozen, frozen_weights
from mobile_vla.models.memory import StepConfig, estimate_memory
from mobile_vla.models.memory import make_batch as make_step
from mobile_vla.models.policy import Policy
from mobile_vla.models.skeleton import build_skeleton
from mobile_vla.models.stepper import PolicyStepper
from mobile_vla.probing.frame_memory import remember_frames
from mobile_vla.settings.typed import build
from mobile_vla.taps.attention import attend
from mobile_vla.taps.attention_config import AttentionConfig
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import resolve_taps
from tests.models.backbones.members import (
    EXAMPLE,
    MEMBERS,
    TEXTS,
    make_batch,
    make_config,
    make_policy,
    make_prompter,
    write_example,
)
from tests.models.test_memory import measured_peak

PAIRS = [(0, 0), (1, 1), (2, 2), (0, 2), (4, 1)]
WINDOWS = [[0, 1, 2], [2, 3, 4]]
CLOSE = {"atol": 2e-5, "rtol": 0}  # float32 rounding of numbers near 1, summed in another order
SPACE = ActionSpace(components=("linear_x", "linear_y"), low=(-1.0, -0.5), high=(0.5, 1.15))


@pytest.fixture(scope="module", autouse=True)
def example(tmp_path_factory):
    write_example(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module", params=MEMBERS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def policy(name) -> Policy:
    """All adapters, in eval mode; tests must not change it."""
    return make_policy(name)


@pytest.fixture(scope="module")
def batch(policy):
    return make_batch(policy, PAIRS, WINDOWS)


@pytest.fixture(scope="module")
def contexts(policy, batch) -> torch.Tensor:
    with torch.no_grad():
        return policy.contexts(batch)


@torch.no_grad()
def encode(policy, batch) -> torch.Tensor:
    return policy.backbone.image_tokens(policy.preprocessing(batch.frames))


@pytest.fixture(scope="module")
def tokens(policy, batch) -> torch.Tensor:
    return encode(policy, batch)


def test_it_is_chosen_by_name_and_its_settings_are_checked(name):
    chosen = build(ModelConfig, {"name": name, "weights": "random"}, "model")
    assert type(chosen) is type(make_config(name))
    with pytest.raises(UserError, match=r"unknown setting 'model.no_such'"):
        build(ModelConfig, {"name": name, "weights": "random", "no_such": 1}, "model")
    with pytest.raises(UserError, match=r"model.prompt must hold \{instruction\}"):
        build(ModelConfig, {"name": name, "weights": "random", "prompt": "go"}, "model")


def test_shapes(policy, batch, contexts):
    backbone = policy.backbone
    tokens = encode(policy, batch)
    assert tokens.shape == (5, backbone.num_image_tokens, backbone.embeddings.weight.shape[1])
    assert contexts.shape == (len(PAIRS), backbone.context_width)
    with torch.no_grad():
        assert policy(batch).shape == (2, 3, 3, 2)
    assert torch.isfinite(contexts).all()


@torch.no_grad()
def test_a_black_frame_is_a_frame(policy, batch):
    black = replace(batch, frames=torch.zeros_like(batch.frames))
    assert torch.isfinite(policy.contexts(black)).all()


class TestWhatAContextDependsOn:
    @staticmethod
    @torch.no_grad()
    def decode(policy, batch, tokens, ids=None, hidden=None):
        ids = batch.text_ids if ids is None else ids
        return policy.backbone.decode(tokens, ids, batch.text_mask, batch.pair_frame, batch.pair_text, hidden)

    @torch.no_grad()
    def test_not_on_what_else_is_in_the_batch(self, policy, batch, contexts):
        order = [3, 0, 4, 2, 1]
        shuffled = policy.contexts(make_batch(policy, [PAIRS[i] for i in order]))
        torch.testing.assert_close(shuffled, contexts[order], **CLOSE)
        long_text = "keep straight and then turn around the red box " * 3
        for pair, (frame, text) in enumerate(PAIRS):
            for texts in ((TEXTS[text],), (TEXTS[text], long_text)):
                alone = make_batch(policy, [(frame, 0)], texts=texts)
                torch.testing.assert_close(policy.contexts(alone)[0], contexts[pair], **CLOSE)

    def test_not_on_what_padding_holds(self, policy, batch, contexts, tokens):
        ids = torch.where(batch.text_mask, batch.text_ids, 99)
        assert torch.equal(self.decode(policy, batch, tokens, ids), contexts)

    def test_on_every_word_of_its_text_alone(self, policy, batch, contexts, tokens):
        for text in range(len(batch.text_ids)):
            mine = batch.pair_text == text
            for position in range(int(batch.text_mask[text].sum())):
                ids = batch.text_ids.clone()
                ids[text, position] = (ids[text, position] + 7) % 400
                moved = (self.decode(policy, batch, tokens, ids) - contexts).abs().amax(-1)
                assert (moved[mine] > 1e-5).all(), (text, position)
                assert (moved[~mine] == 0).all(), (text, position)

    def test_on_every_image_token_of_its_frame_alone_unless_it_is_hidden(self, policy, batch, contexts, tokens):
        mine = batch.pair_frame == 0
        for token in range(policy.backbone.num_image_tokens):
            other = tokens.clone()
            other[0, token] = tokens[0, token].flip(0) + 0.3
            moved = (self.decode(policy, batch, other) - contexts).abs().amax(-1)
            assert (moved[mine] > 1e-5).all(), token
            assert (moved[~mine] == 0).all(), token
            hidden = torch.zeros(len(PAIRS), policy.backbone.num_image_tokens, dtype=torch.bool)
            hidden[:, token] = True
            unseen = self.decode(policy, batch, tokens, hidden=hidden)
            assert torch.equal(self.decode(policy, batch, other, hidden=hidden), unseen), token
            assert (unseen - contexts).abs().max() > 1e-5, token

    def test_on_the_action_token(self, name, batch, contexts, tokens):
        other = make_policy(name)
        other.backbone.action_token.data.add_(0.1 * torch.randn(other.backbone.context_width))
        assert ((self.decode(other, batch, tokens) - contexts).abs().amax(-1) > 1e-5).all()

    def test_the_sequence_is_what_its_layout_says(self, policy, batch):
        """Told by the doctor from the values that reach the decoder, words that are also special tokens among them."""
        found, backbone = map_sequence(policy, Sample.of(policy, batch, 3)), policy.backbone
        layout, length = backbone.layout, int(batch.text_mask[0].sum())
        parts = (
            ("special", len(layout.before_image)),
            ("image", backbone.num_image_tokens),
            ("special", len(layout.behind_image)),
            ("text", length),
            ("action", 1),
            ("special", len(layout.behind_action)),
        )
        expected = [role for role, count in parts for _ in range(count)]
        assert list(found.roles[: len(expected)]) == expected
        assert set(found.roles[len(expected) :]) == {"padding"}
        assert found.text_left == tuple(range(length))
        assert found.padding_felt == 0

    def test_the_doctor_finds_all_of_it_wired(self, name, batch):
        assert check_wiring(make_policy(name), batch) == []


@torch.no_grad()
def test_the_same_settings_make_the_same_policy_and_another_seed_another_base(name, policy, batch, contexts):
    again = make_policy(name)
    assert torch.equal(again.contexts(batch), contexts)
    assert again.base_fingerprint == policy.base_fingerprint
    assert make_policy(name, weights_seed=1).base_fingerprint != policy.base_fingerprint
    assert make_policy(name, torch.bfloat16).base_fingerprint == policy.base_fingerprint
    frozen = [make_policy(name, seed=seed, lora={"preset": "none"}) for seed in (1, 2)]
    assert torch.equal(*(one.contexts(batch) for one in frozen))  # the base is drawn from its own seed


@torch.no_grad()
def test_without_dropout_training_computes_what_evaluation_computes(name, batch, contexts):
    trained = make_policy(name).train()
    first, second = trained.contexts(batch), trained.contexts(batch)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, contexts, **CLOSE)


@torch.no_grad()
def test_trained_weights_come_back_from_a_checkpoint(name, policy, batch, tmp_path):
    config = {"model": {"name": name}}
    content = {"state_dict": trained_state(policy), "mobile_vla": metadata(policy, SPACE, config)}
    save(content, tmp_path / "last.ckpt")
    fresh = make_policy(name, stir=False)
    for weight in fresh.trained().values():
        weight.add_(0.3)
    assert not torch.equal(fresh(batch), policy(batch))
    load_trained(fresh, tmp_path / "last.ckpt")
    assert torch.equal(fresh(batch), policy(batch))


@torch.no_grad()
def test_step_by_step_is_what_a_window_is(policy, batch):
    stepper = PolicyStepper(policy, make_prompter(policy), SPACE, window=3)
    stepper.reset(batch.pair_id[0].instruction)
    whole = policy(make_batch(policy, [(0, 0), (1, 0), (2, 0)], [[0, 1, 2]]))[0]
    stepped = torch.stack([stepper.step(batch.frames[frame]) for frame in range(3)])
    torch.testing.assert_close(stepped, SPACE.denormalize(whole), **CLOSE)


class TestTaps:
    @staticmethod
    def advertised(policy) -> list[str]:
        backbone = policy.backbone
        text = [f"text_layer_{i}" for i in range(backbone.num_text_layers)]
        return ["context", "image_tokens", *text, *(f"vision_layer_{i}" for i in range(len(backbone.vision_layers)))]

    @torch.no_grad()
    def test_each_is_there_and_captures_a_row_a_pair(self, policy, batch, contexts):
        names = self.advertised(policy)
        with capture(policy, resolve_taps(policy, names)) as captured:
            policy(batch)
            found = captured.take(batch)
        assert list(found) == names
        for name, rows in found.items():
            assert rows.shape[0] == len(PAIRS), name
            assert torch.isfinite(rows).all(), name
            assert len(rows.unique(dim=0)) >= 4, name  # frames, or pairs, differ
        assert torch.equal(found["context"], contexts)
        torch.testing.assert_close(found["image_tokens"], encode(policy, batch).mean(1)[batch.pair_frame], **CLOSE)
        backbone = policy.backbone
        if backbone.anatomy.norm is not None:
            last = found[names[backbone.num_text_layers + 1]]
            torch.testing.assert_close(backbone.model.get_submodule(backbone.anatomy.norm)(last), contexts, **CLOSE)

    def test_one_that_is_not_there_is_refused_with_those_that_are(self, policy):
        with pytest.raises(UserError, match=r"there is no text_layer_9, the text part has \d layers"):
            resolve_taps(policy, ["text_layer_9"])
        with pytest.raises(UserError, match=r"there is no tap point 'no_such'; expected .*context.*text_layer_<0-"):
            resolve_taps(policy, ["no_such"])
        if not policy.backbone.vision_layers:
            with pytest.raises(UserError, match="there is no vision_layer_0, this backbone has no layers"):
                resolve_taps(policy, ["vision_layer_0"])


class TestWhatIsTrained:
    @pytest.mark.parametrize(
        ("lora", "parts"),
        [
            ({"preset": "all"}, {"vision", "projection", "text"}),
            ({"preset": "text"}, {"text"}),
            ({"preset": "text", "layers": "last:1"}, {"text"}),
            ({"preset": "none"}, set()),
            ({"preset": "full"}, {"vision", "projection", "text"}),
        ],
    )
    def test_of_each_preset(self, name, lora, parts):
        policy = make_policy(name, lora=lora)
        backbone, model = policy.backbone, "backbone.model."
        trained = [name.removeprefix(model) for name in policy.trained() if name.startswith(model)]
        linear = {
            backbone.anatomy.find_part(name)
            for name, module in backbone.model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        there = {backbone.anatomy.find_part(name) for name in trained}
        if lora["preset"] == "full":
            assert there == parts
            assert len(trained) == len(list(backbone.model.parameters()))
        else:
            assert there == parts & linear  # adapters go on linear layers only
            assert all(".lora_" in name for name in trained)
        if lora["preset"] == "all":
            adapted = {name.partition(".lora_")[0] for name in trained}
            assert adapted == {
                name
                for name, module in make_policy(name, lora={"preset": "none"}).backbone.model.named_modules()
                if isinstance(module, torch.nn.Linear) and backbone.anatomy.find_part(name) is not None
            }
        if "layers" in lora:
            assert {backbone.anatomy.find_text_layer(name) for name in trained} == {backbone.num_text_layers - 1}
        elif lora["preset"] in ("all", "text"):
            assert {backbone.anatomy.find_text_layer(name) for name in trained} - {None} == set(
                range(backbone.num_text_layers)
            )
        assert backbone.action_token.requires_grad == (lora["preset"] != "none" and "layers" not in lora)
        assert all(f"head.{name}" in policy.trained() for name, _ in policy.head.named_parameters())

    @pytest.mark.parametrize("preset", ["all", "text", "full"])
    def test_a_gradient_reaches_all_of_it(self, name, preset):
        policy = make_policy(name, lora={"preset": preset}).train()
        batch = make_batch(policy, PAIRS, WINDOWS)
        (policy(batch) - batch.chunks).square().mean().backward()
        silent = [name for name, weight in policy.trained().items() if weight.grad is None or not weight.grad.any()]
        assert silent == []
        frozen = [weight for weight in policy.parameters() if not weight.requires_grad]
        assert all(weight.grad is None for weight in frozen)

    def test_recomputed_activations_give_the_same_gradients_or_are_refused(self, name):
        def gradients(policy):
            batch = make_batch(policy.train(), PAIRS, WINDOWS)
            (policy(batch) - batch.chunks).square().mean().backward()
            return {name: weight.grad for name, weight in policy.trained().items()}

        plain = gradients(make_policy(name))
        if name == EXAMPLE:
            with pytest.raises(UserError, match=f"model.gradient_checkpointing=true: model.name={name} cannot"):
                make_policy(name, gradient_checkpointing=True)
            return
        again = gradients(make_policy(name, gradient_checkpointing=True))
        for weight, gradient in plain.items():
            torch.testing.assert_close(again[weight], gradient, atol=1e-6, rtol=1e-4, msg=weight)


class TestPrecision:
    @pytest.mark.parametrize("preset", ["all", "none", "full"])
    def test_frozen_weights_are_bf16_and_trained_ones_float32(self, name, preset):
        policy = make_policy(name, torch.bfloat16, lora={"preset": preset})
        for weight_name, weight in policy.named_parameters():
            frozen = weight_name.startswith("backbone.model.") and not weight.requires_grad
            assert weight.dtype == (torch.bfloat16 if frozen else torch.float32), weight_name

    def test_contexts_stay_close_and_gradients_finite(self, name, contexts):
        rough = make_policy(name, torch.bfloat16)
        batch = make_batch(rough, PAIRS, WINDOWS)
        found = rough.contexts(batch)
        error = (found.float() - contexts).square().mean().sqrt() / contexts.std()
        assert 0 < error < 0.1
        (rough.train()(batch) - batch.chunks).square().mean().backward()
        for weight_name, weight in rough.trained().items():
            assert weight.grad.dtype == torch.float32, weight_name
            assert torch.isfinite(weight.grad).all(), weight_name


class TestFrozenWork:
    """What is computed once is what is computed every time."""

    @torch.no_grad()
    def test_image_tokens(self, policy, batch, contexts):
        kept = replace(batch, frames=None, image_tokens=encode(policy, batch))
        assert torch.equal(policy.contexts(kept), contexts)

    @torch.no_grad()
    def test_states_where_it_keeps_them(self, name):
        policy = make_policy(name, lora={"preset": "text", "layers": "last:1"})
        backbone = policy.backbone
        frozen = find_frozen(backbone.config, backbone)
        if not backbone.keeps_states:
            assert (frozen.depth, frozen.why) == (
                "image_tokens",
                f"model.name={name} cannot begin in the midst of its decoder",
            )
            return
        assert frozen.depth == "states"
        batch = make_batch(policy, PAIRS, WINDOWS)
        tokens = encode(policy, batch)
        rows = []
        for frame, text in PAIRS:
            length = int(batch.text_mask[text].sum())
            ids = batch.text_ids[text : text + 1, :length]
            rows.append(
                backbone.frozen_states(tokens[frame : frame + 1], ids, torch.ones_like(ids, dtype=torch.bool))[0]
            )
        states = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        kept = replace(batch, frames=None, states=states)
        torch.testing.assert_close(policy.contexts(kept), policy.contexts(batch), **CLOSE)
        torch.testing.assert_close(policy.train().contexts(kept), policy.eval().contexts(batch), **CLOSE)

    def test_contexts_of_a_frozen_backbone_are_made_of_all_its_weights_that_count(self, name, batch):
        policy = make_policy(name, lora={"preset": "none"})
        assert find_frozen(policy.backbone.config, policy.backbone).depth == "contexts"
        named = {id(weight) for weight in frozen_weights(policy, "contexts").values()}
        for weight in policy.backbone.parameters():
            weight.requires_grad_()
        used = torch.autograd.grad(policy.contexts(batch).sum(), [*policy.backbone.parameters()], allow_unused=True)
        lacking = [
            weight_name
            for (weight_name, weight), gradient in zip(policy.backbone.named_parameters(), used, strict=True)
            if gradient is not None and id(weight) not in named
        ]
        assert lacking == []

    @torch.no_grad()
    def test_keys_and_values_of_a_prefix_where_it_shares_them(self, name, policy):
        first = make_batch(policy, [(3, 0), (0, 0), (4, 0), (1, 0)])
        others = make_batch(policy, [(4, 2), (3, 1), (3, 2), (1, 0), (0, 1), (4, 1)])
        backbone = policy.backbone
        if not backbone.shares_prefix:
            with remember_frames(policy) as memory:
                memory.expect(2)
                assert (
                    memory.feed(replace(first, frame_id=tuple(FrameId("episode", frame) for frame in range(5))))[1]
                    is None
                )
            return
        texts = [ids[mask].tolist() for ids, mask in zip(others.text_ids, others.text_mask, strict=True)]
        length = backbone.layout.start_of_text(backbone.num_image_tokens) + count_common(texts)
        recording = Recording()
        assert torch.equal(policy.contexts(first, recording), policy.contexts(first))
        ran = []

        def count(module, args, output):
            ran.append((output if torch.is_tensor(output) else output[0]).shape[1])

        hook = backbone.text_layers[0].register_forward_hook(count)
        found = policy.contexts(others, Prefix(recording, torch.tensor([2, 0, 0, 3, 1, 2]), length))
        expected = policy.contexts(others)
        hook.remove()
        assert ran[0] == ran[1] - length
        torch.testing.assert_close(found, expected, **CLOSE)


class TestBeforeThereAreWeights:
    @pytest.mark.parametrize("preset", ["all", "text", "none", "full"])
    def test_a_skeleton_has_the_real_ones_names_shapes_and_counts(self, name, preset):
        policy = make_policy(name, lora={"preset": preset})
        skeleton = build_skeleton(policy.backbone.config, 3, 2)
        assert all(weight.is_meta for weight in skeleton.parameters())
        assert skeleton.num_parameters() == policy.num_parameters()
        described = [
            [(n, tuple(w.shape), w.requires_grad) for n, w in one.named_parameters()] for one in (skeleton, policy)
        ]
        assert described[0] == described[1]
        assert skeleton.preprocessing == policy.preprocessing

    def test_the_sketch_of_a_source_knows_the_sizes(self, name, policy):
        sketch, backbone = open_source(make_config(name)).sketch, policy.backbone
        for size in ("context_width", "num_image_tokens", "num_text_layers"):
            assert getattr(sketch, size) == getattr(backbone, size)

    def test_the_memory_of_a_step_is_about_what_it_takes(self, name):
        step = StepConfig(batch_size=4, window=3, span=2, chunk=3, components=2, tokens=9)
        policy = make_policy(name)
        estimated = estimate_memory(build_skeleton(policy.backbone.config, 3, 2), step, 12)
        assert estimated.activations == pytest.approx(measured_peak(policy, make_step(policy, step, 12)), rel=0.3)


@torch.no_grad()
def test_attention_maps_are_shares_of_what_is_looked_at_or_are_refused(name, policy, batch):
    if policy.backbone.anatomy.attention is None:
        with (
            pytest.raises(UserError, match=rf"no attention maps of model.name={name}"),
            attend(policy, AttentionConfig()),
        ):
            pass
        return
    before = policy(batch)
    with attend(policy, AttentionConfig()) as attention:
        policy(batch)
        maps = attention.take(batch)
    assert torch.equal(policy(batch), before)
    ones = torch.ones(len(PAIRS))
    torch.testing.assert_close(sum(maps.text_shares.values()), ones, **CLOSE)
    torch.testing.assert_close(sum(maps.image_shares.values()), ones, **CLOSE)
    torch.testing.assert_close(maps.map.flatten(1).sum(1), maps.image_shares["patches"], **CLOSE)
    assert maps.text.shape[:2] == (len(PAIRS), policy.backbone.num_text_layers)
    grid = policy.backbone.image_grid
    assert maps.map.shape == (len(PAIRS), grid.rows, grid.columns)
