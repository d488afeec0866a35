"""Each fault that is planted is named, and nothing else is blamed; a healthy run has no finding."""

import copy
import json
import time
from dataclasses import replace

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from mobile_vla.core.actions import ActionSpace
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.data.windows import ChunkTable
from mobile_vla.doctor.case import Case
from mobile_vla.doctor.examination import check_wiring, examine
from mobile_vla.doctor.figures import save_figures
from mobile_vla.jobs.results import make_plain
from mobile_vla.models.backbones.kosmos2 import Kosmos2Backbone
from mobile_vla.models.backbones.layouts import Layout
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.opening.configuration import Configuration

PROMPT = "go to the goal and then find it {instruction}"  # 8 tokens, and 5 of the first episode's instruction


def names(case: Case) -> list[str]:
    return [finding.name for finding in examine(case).findings]


def test_a_healthy_run_has_no_finding_and_is_left_as_it_was(healthy):
    before = {name: value.clone() for name, value in healthy.policy.state_dict().items()}
    drawn = torch.get_rng_state()
    assert names(healthy) == []
    after = healthy.policy.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(weight.grad is None for weight in healthy.policy.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not healthy.policy.training


@pytest.mark.parametrize("layout", ["robovlms", "kosmos2"])
def test_an_untrained_model_has_no_finding_with_data_or_without(fresh, make_config, layout):
    assert names(fresh(layout=layout)) == []
    assert names(Case.of(Configuration.open(make_config(layout=layout, data={"root": "."})), with_data=False)) == []


@pytest.mark.parametrize("preset", ["none", "text", "full"])
def test_other_presets_have_no_finding(fresh, preset):
    assert names(fresh(lora=AdapterConfig(preset=preset, r=4, dropout=0.0))) == []


@pytest.fixture(scope="module")
def legacy(fresh):
    """A prompt of 13 tokens over 64 image tokens."""
    return examine(fresh(layout="legacy", prompt=PROMPT, architecture={"latent_query_num": 64}))


class TestLegacy:
    @pytest.fixture
    def found(self, legacy):
        assert legacy.sequence.num_text == 13
        return legacy

    def test_words_and_image_tokens_from_13_on_change_exactly_nothing(self, found):
        by_name = {finding.name: finding for finding in found.findings}
        assert set(by_name) == {"instruction_not_wired", "image_tokens_not_wired"}
        assert by_name["image_tokens_not_wired"].numbers["tokens"] == list(range(13, 64))
        assert "13 of 13 prompt tokens are overwritten" in by_name["instruction_not_wired"].what
        assert "(number 13-63)" in by_name["image_tokens_not_wired"].what
        assert {finding.severity for finding in found.findings} == {"error"}

    def test_the_map_shows_it(self, found):
        assert found.sequence.roles[:65] == ("image",) * 64 + ("action",)
        assert [i for i, attended in enumerate(found.sequence.attended) if attended] == [*range(13), 64]
        assert found.sequence.text_left == ()

    def test_pictures_and_json_can_be_made_of_it(self, found, tmp_path):
        save_figures(found, tmp_path)
        assert {file.name for file in tmp_path.iterdir()} == {"sequence.png", "sensitivity.png"}
        plain = json.loads(json.dumps(make_plain(found.to_plain()), allow_nan=False))
        assert len(plain["sensitivities"]["image_tokens"]) == 64
        assert plain["sensitivities"]["instruction"]["largest_context"] == 0


def test_a_zero_action_token(healthy):
    healthy.policy.backbone.action_token.data.zero_()
    healthy.state["backbone.action_token"].zero_()
    assert names(healthy) == ["action_token_zero"]


def test_adapters_that_are_wrapped_but_inactive(healthy):
    for module in healthy.policy.modules():
        if isinstance(module, BaseTunerLayer):
            module._disable_adapters = True
    assert names(healthy) == ["adapters_inactive"]
    assert all(m.disable_adapters for m in healthy.policy.modules() if isinstance(m, BaseTunerLayer))


def test_adapters_that_training_did_not_reach(healthy):
    for name, weight in healthy.policy.named_parameters():
        if "lora_B" in name:
            weight.data.zero_()
            healthy.state[name].zero_()
    assert names(healthy) == ["adapters_untrained"]


def test_an_adapter_that_is_not_there(healthy):
    layer = healthy.policy.backbone.model.text_model.model.layers[1]
    layer.ffn.fc1 = layer.ffn.fc1.base_layer
    found = examine(healthy).findings
    assert [finding.name for finding in found] == ["adapters_missing"]
    assert "layers.1.ffn.fc1" in found[0].what


def test_weights_that_were_initialised_anew(healthy):
    healthy.state["head.rnn.weight_ih_l0"].add_(1e-6)
    found = examine(healthy).findings
    assert [finding.name for finding in found] == ["weights_not_loaded"]
    assert "head.rnn.weight_ih_l0" in found[0].what


def test_a_frozen_head(healthy):
    healthy.policy.head.requires_grad_(False)
    assert names(healthy) == ["head_frozen"]


def test_a_part_that_no_gradient_reaches(healthy, monkeypatch):
    own = Kosmos2Backbone.image_tokens
    monkeypatch.setattr(Kosmos2Backbone, "image_tokens", lambda *given: own(*given).detach())
    found = examine(healthy).findings
    assert [finding.name for finding in found] == ["no_gradient"]
    assert "of the vision tower" in found[0].what
    assert "of the projection" in found[0].what
    assert "decoder" not in found[0].what


def test_a_mask_of_ones_over_the_padding_of_texts(healthy, monkeypatch):
    own = Layout.assemble

    def open_mask(*given, **named):
        sequence = own(*given, **named)
        return sequence._replace(mask=torch.ones_like(sequence.mask))

    monkeypatch.setattr(Layout, "assemble", open_mask)
    found = examine(healthy).findings
    assert [(finding.name, finding.severity) for finding in found] == [("padding_attended", "warning")]


def test_a_mask_of_ones_over_chunks_beyond_the_end(fresh, monkeypatch):
    own = ChunkTable.at

    def unmasked(*given):
        chunks, mask = own(*given)
        return chunks, mask | True

    monkeypatch.setattr(ChunkTable, "at", unmasked)
    found = examine(fresh()).findings
    assert [finding.name for finding in found] == ["padding_trained_on"]
    # The last window of an episode ends at its last frame: behind positions 0-3 are 3, 2, 1 and 0 frames.
    assert found[0].numbers == {"padding": 2 * (1 + 2 + 3 + 4), "not_masked": 2 * (1 + 2 + 3 + 4)}


class TestReading:
    def test_swapped_channels_between_file_and_frame(self, healthy):
        batch = healthy.recorded.batch
        swapped = replace(healthy.recorded, batch=replace(batch, frames=batch.frames.flip(-1)))
        assert names(replace(healthy, recorded=swapped)) == ["swapped_channels"]

    def test_swapped_channels_behind_the_frame(self, healthy, monkeypatch):
        own = Preprocessing.__call__
        monkeypatch.setattr(Preprocessing, "__call__", lambda self, frames: own(self, frames.flip(-1)))
        assert names(healthy) == ["swapped_channels"]

    def test_swapped_mean_and_deviation(self, healthy):
        own = healthy.policy.preprocessing
        swapped = replace(own, mean=own.mean[::-1], std=own.std[::-1])
        healthy.policy.preprocessing = swapped
        assert names(healthy) == ["swapped_mean_std"]

    def test_swapped_channels_of_trained_weights(self, fresh):
        """A vision tower that was trained, and reads blue for red: not what the checkpoint holds."""
        case = fresh(lora=AdapterConfig(preset="full"))
        state = {name: weight.detach().clone() for name, weight in case.policy.trained().items()}
        name = "backbone.model.vision_model.model.embeddings.patch_embedding.weight"
        weight = case.policy.get_parameter(name)
        weight.data.copy_(weight.data.flip(1))
        found = examine(replace(case, state=state)).findings
        assert [(finding.name, finding.numbers["differ"]) for finding in found] == [("weights_not_loaded", [name])]

    def test_missing_mean_and_deviation(self, healthy):
        healthy.policy.preprocessing = Preprocessing.named("unit", 56)
        found = examine(healthy).findings
        assert [(finding.name, finding.severity) for finding in found] == [("missing_mean_std", "error")]
        assert found[0].numbers["compared_with_files"] == 4

    def test_what_was_asked_for_is_a_warning(self, fresh):
        found = examine(fresh(preprocessing="unit")).findings
        assert [(finding.name, finding.severity) for finding in found] == [("missing_mean_std", "warning")]

    def test_missing_scaling(self, healthy, monkeypatch):
        monkeypatch.setattr(Preprocessing, "__call__", lambda self, frames: frames.permute(0, 3, 1, 2).float())
        assert "missing_scaling" in names(healthy)


class TestBounds:
    @staticmethod
    def with_bounds(case, low, high):
        space = ActionSpace(components=("linear_x", "linear_y"), low=(low, -1.15), high=(high, 1.15))
        return [(f.name, f.numbers["component"]) for f in examine(replace(case, actions=space)).findings]

    def test_too_wide(self, healthy):
        assert self.with_bounds(healthy, -11.5, 11.5) == [("bounds_too_wide", "linear_x")]

    def test_too_narrow(self, healthy):
        assert self.with_bounds(healthy, 0.0, 0.5) == [("actions_outside_bounds", "linear_x")]

    def test_clipped_units(self, healthy):
        assert self.with_bounds(healthy, -1.0, 1.0) == [("actions_clipped", "linear_x")]


@pytest.mark.parametrize("position", [0, 2, 3])
def test_a_disconnected_position_of_the_window(healthy, position):
    def blind(module, args):
        contexts = args[0].clone()
        if contexts.shape[1] > 1:  # single inputs are examined in windows of one
            contexts[:, position] = 0
        return (contexts,)

    healthy.policy.head.register_forward_pre_hook(blind)
    found = examine(healthy).findings
    assert [finding.name for finding in found] == ["window_position_not_wired"]
    assert found[0].numbers["dead"] == [position]


def test_a_head_that_looks_ahead(healthy):
    healthy.policy.head.register_forward_pre_hook(lambda module, args: (args[0] + args[0].mean(1, keepdim=True),))
    assert names(healthy) == ["window_looks_ahead"]


def test_a_head_that_answers_to_nothing(healthy):
    """Its gradients vanish with it: both are named."""
    healthy.policy.head.velocities.mlp[-2].weight.data.zero_()
    healthy.state["head.velocities.mlp.2.weight"].zero_()
    assert names(healthy) == ["head_not_wired", "no_gradient"]


def test_a_small_init_std_drowns_the_inputs_which_are_wired_all_the_same(fresh):
    found = examine(fresh(architecture={"text_config": {"init_std": 0.02}}))
    assert [(finding.name, finding.severity) for finding in found.findings] == [("inputs_drowned", "warning")]
    assert all(moved.largest_context > 0 for moved in found.single.text_tokens)
    assert "wired, but small" in found.findings[0].what


def test_an_instruction_that_is_wired_but_ignored(healthy, monkeypatch):
    """Image tokens that are far larger than words, which are nearly all alike."""
    own = Kosmos2Backbone.image_tokens
    monkeypatch.setattr(Kosmos2Backbone, "image_tokens", lambda *given: own(*given) * 30)
    embeddings = healthy.policy.backbone.model.get_input_embeddings().weight.data
    mean = embeddings.mean(0)
    embeddings.copy_(mean + 1e-3 * (embeddings - mean))
    found = examine(healthy)
    assert [(finding.name, finding.severity) for finding in found.findings] == [("instruction_ignored", "warning")]
    assert all(moved.largest_context > 0 for moved in found.single.text_tokens)


class TestPrecision:
    def test_in_bfloat16_nothing_is_called_not_wired_that_a_gradient_reaches(self, fresh):
        case = fresh(trainer={"precision": "bf16-mixed"})
        assert case.policy.backbone.compute_dtype == torch.bfloat16
        assert [name for name in names(case) if name.endswith("_not_wired")] == []

    def test_in_bfloat16_legacy_is_still_found(self, fresh):
        case = fresh(layout="legacy", prompt="{instruction}", trainer={"precision": "bf16-mixed"})
        assert "instruction_tokens_not_wired" in names(case) or "instruction_not_wired" in names(case)

    def test_contexts_that_are_no_numbers(self, healthy):
        norm = healthy.policy.backbone.model.text_model.model.layer_norm
        norm.weight.data[3] = float("nan")
        assert names(healthy) == ["contexts_not_finite"]

    def test_image_tokens_that_are_no_numbers(self, healthy):
        """They are not taken for padding that can be attended to."""
        healthy.policy.backbone.model.vision_model.model.post_layernorm.weight.data[0] = float("inf")
        assert names(healthy) == ["contexts_not_finite"]

    @pytest.mark.parametrize("reach", [8_000, 40_000])
    def test_activations_near_the_end_of_float16(self, healthy, reach):
        """In the vision tower, whose last norm takes their size away again; a quarter of the range is near."""
        usual = examine(healthy).activations["vision_layer_0"]
        healthy.policy.backbone.compute_in(torch.float16)
        layer = healthy.policy.backbone.model.vision_model.model.encoder.layers[0].mlp.fc2
        layer.base_layer.weight.data.mul_(reach / usual)
        found = examine(healthy).findings
        assert [(finding.name, finding.severity) for finding in found] == (
            [("float16_overflow", "warning")] if reach == 40_000 else []
        )
        if found:
            assert found[0].numbers["layer"] == "vision_layer_0"

    @pytest.mark.parametrize(("alike", "expected"), [(0.1, []), (0.01, [("differences_rounded", "warning")])])
    def test_differences_smaller_than_rounding(self, fresh, alike, expected):
        """Words that are nearly all alike: in bfloat16 hardly anything of what they change is kept."""
        case = fresh(trainer={"precision": "bf16-mixed"})
        embeddings = case.policy.backbone.model.get_input_embeddings().weight.data
        mean = embeddings.float().mean(0)
        embeddings.copy_(mean + alike * (embeddings.float() - mean))
        found = examine(case).findings
        assert [(finding.name, finding.severity) for finding in found] == expected
        assert all(finding.numbers["kept"] < 0.5 for finding in found)

    def test_constant_features(self, healthy):
        norm = healthy.policy.backbone.model.text_model.model.layer_norm
        norm.weight.data[:5] = 0
        found = examine(healthy).findings
        assert [finding.name for finding in found] == ["context_features_constant"]
        assert found[0].numbers["features"] == 5


class TestBeforeTraining:
    def test_a_model_that_is_wired_passes_in_a_moment(self, fresh):
        case = fresh()
        begun = time.perf_counter()
        assert check_wiring(case.policy, case.recorded.batch) == []
        assert time.perf_counter() - begun < 2

    def test_legacy_does_not(self, fresh):
        case = fresh(layout="legacy", architecture={"latent_query_num": 64})
        found = check_wiring(case.policy, case.recorded.batch)
        assert [finding.name for finding in found] == ["instruction_not_wired"]
        assert "\n" not in found[0].line

    def test_the_same_random_numbers_are_drawn_afterwards(self, fresh):
        case = fresh()
        before = copy.deepcopy(torch.get_rng_state())
        check_wiring(case.policy, case.recorded.batch)
        assert torch.equal(torch.get_rng_state(), before)
