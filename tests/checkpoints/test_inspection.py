"""What a checkpoint is, what parts it has, what it fits, what is wrong with it; by files made as others make them."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mobile_vla.checkpoints.difference import compare
from mobile_vla.checkpoints.fitting import OWN_MODEL, infer_adapters, infer_head, own_shapes
from mobile_vla.checkpoints.formats import recognise
from mobile_vla.checkpoints.inspection import inspect_checkpoint
from mobile_vla.checkpoints.key_maps import ADAPTER, LAB, LM_HEAD, ROBOVLMS, TRANSFORMERS, plain_name
from mobile_vla.checkpoints.opening import open_checkpoint
from mobile_vla.checkpoints.parts import Count, take_apart
from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.kosmos2 import Kosmos2ModelConfig
from mobile_vla.models.skeleton import build_skeleton
from tests.checkpoints.conftest import ARCHITECTURE, make_policy
from tests.checkpoints.foreign import (
    LIGHTNING,
    lab_state,
    robovlms_state,
    write_adapter,
    write_lightning,
    write_transformers,
)

CANDIDATES = {
    "small": Kosmos2ModelConfig(weights="random", architecture=ARCHITECTURE),
    "kosmos2": Kosmos2ModelConfig(weights="random"),
}


@pytest.fixture(scope="module")
def policy():
    policy = make_policy()
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:  # zero at first, and a file of zeros hides what is wrong
                weight.normal_()
    return policy


def inspect(path: Path, **settings):
    return inspect_checkpoint(open_checkpoint(path), CANDIDATES, **settings)


def elements(weights) -> int:
    return sum(weight.numel() for weight in weights)


def test_the_labs_checkpoint_has_the_published_counts(tmp_path):
    """The real names and shapes; each distinct tensor is one number spread over its shape, so the file is small."""
    policy = build_skeleton(CANDIDATES["kosmos2"], chunk=10, num_components=2)
    for module in policy.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(torch.full((1,), 0.5).expand(weight.shape))
    file = write_lightning(policy, tmp_path / "epoch=7.ckpt")
    found = inspect(file)
    parts = found.parts
    vlm = sum(parts.counts[part].tensors for part in ("vision", "text", "projection", "lora", "lm_head"))
    assert (vlm, parts.counts["action_head"].tensors, parts.counts["action_token"].tensors) == (2944, 24, 1)
    assert parts.total == Count(tensors=2969, listed=3_694_281_492, unique=1_720_314_644)
    assert parts.counts["lora"] == Count(tensors=2 * 586, listed=2 * 43_089_920, unique=43_089_920)
    assert parts.counts["lm_head"] == Count(tensors=2, listed=2 * 65_037 * 2048, unique=0)
    assert parts.counts["text"].unique == 1_342_289_920
    why = {(twice.kind, twice.told_by): (twice.tensors, twice.parameters) for twice in parts.twice}
    assert why == {
        ("registered", "storage"): (1471, 1_664_485_376 + 43_089_920),
        ("tied", "storage"): (2, 2 * 65_037 * 2048),
    }
    assert found.format.name == "lightning"
    assert (found.opened.epoch, found.opened.global_step) == (7, 4321)
    assert found.fit is not None
    assert (found.fit.model, found.fit.exact, found.fit.head_outputs, found.fit.absent) == ("kosmos2", True, 20, ())
    assert found.fit.lora is not None
    assert (found.fit.lora.preset, found.fit.lora.r, found.fit.lora.layers) == ("all", 32, "all")
    assert found.faults == ()


@pytest.mark.parametrize(
    ("keys", "foreign", "ours"),
    [
        (LAB, "model.backbone.base_model.model.text_model.model.layers.3.ffn.fc1.base_layer.weight",
         "backbone.model.text_model.model.layers.3.ffn.fc1.weight"),
        (LAB, "model.model.base_model.model.text_model.model.layers.3.ffn.fc1.lora_A.default.weight",
         "backbone.model.text_model.model.layers.3.ffn.fc1.lora_A.default.weight"),
        (LAB, "model.act_head.rnn.weight_ih_l0", "head.rnn.weight_ih_l0"),
        (LAB, "act_head.velocities.mlp.6.bias", "head.velocities.mlp.6.bias"),
        (LAB, "model.action_token", "backbone.action_token"),
        (LAB, "model.backbone.text_model.lm_head.weight", LM_HEAD),
        (LAB, "model.act_head.gripper.mlp.0.bias", None),
        (ROBOVLMS, "model.act_head.rnn.weight_ih_l0", None),
        (ROBOVLMS, "backbone.image_to_text_projection.dense.bias",
         "backbone.model.image_to_text_projection.dense.bias"),
        (TRANSFORMERS, "vision_model.model.post_layernorm.bias",
         "backbone.model.vision_model.model.post_layernorm.bias"),
        (TRANSFORMERS, "model.vision_model.model.post_layernorm.bias", None),
        (ADAPTER, "base_model.model.text_model.model.layers.0.ffn.fc1.lora_B.weight",
         "backbone.model.text_model.model.layers.0.ffn.fc1.lora_B.default.weight"),
    ],
)  # fmt: skip
def test_names_are_translated(keys, foreign, ours):
    assert keys.translate(foreign) == ours


def test_every_format_is_recognised_and_fits(tmp_path, policy, trained):
    own = {plain_name(name) for name, _ in policy.named_parameters()}
    base = {name for name in own if name.startswith("backbone.model.") and ".lora_" not in name}
    lora = {name for name in own if ".lora_" in name}
    torch.save(robovlms_state(policy), tmp_path / "robovlms.pt")
    files = {
        "lightning": (write_lightning(policy, tmp_path / "lab.ckpt"), own),
        "robovlms": (tmp_path / "robovlms.pt", base | {"backbone.action_token"}),
        "transformers": (write_transformers(policy, tmp_path / "transformers", shards=3), base),
        "peft": (write_adapter(policy, tmp_path / "adapter"), lora),
        "mobile_vla": (trained.file, {plain_name(name) for name in trained.policy.trained()}),
    }
    for form, (path, names) in files.items():
        opened = open_checkpoint(path)
        parts = take_apart(opened.weights, recognise(opened).keys)
        assert recognise(opened).name == form
        assert set(own_shapes(opened, parts)) == names, form
        fit = inspect(path).fit
        assert fit is not None, form
        assert fit.model == (OWN_MODEL if form == "mobile_vla" and fit.model == OWN_MODEL else "small"), form
        assert fit.missing == (), form
        assert fit.wrong_shape == {}, form
        assert fit.exact == (form != "robovlms"), form
    assert set(inspect(files["peft"][0]).fit.absent) == {"vision", "text", "projection", "action_head", "action_token"}


def test_an_arm_and_a_gripper_are_no_part_of_ours(tmp_path, policy):
    torch.save({"state_dict": robovlms_state(policy)}, tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    heads = [name for name in found.opened.weights.specs if "act_head" in name]
    assert set(found.fit.unexpected) == set(heads)
    assert "model.act_head.rnn.weight_ih_l0" in heads
    assert "action_head" in found.fit.absent
    assert found.parts.counts["action_head"].tensors == len(heads)


def test_adapters_and_head_are_told_from_shapes(policy):
    shapes = {plain_name(name): tuple(weight.shape) for name, weight in policy.named_parameters()}
    lora, head = infer_adapters(shapes), infer_head(shapes)
    assert (lora.preset, lora.r, lora.layers, lora.dora) == ("all", 8, "all", False)
    assert head == (policy.head.config, 6)
    other = make_policy(lora={"preset": "text", "layers": (1,), "dora": True, "r": 4})
    shapes = {plain_name(name): tuple(weight.shape) for name, weight in other.named_parameters()}
    lora = infer_adapters(shapes)
    assert (lora.preset, lora.r, lora.layers, lora.dora) == ("text", 4, (1,), True)
    assert infer_adapters({}) is None
    assert infer_head({}) is None


def test_copies_are_told_by_their_content(tmp_path, policy):
    """A file that shares nothing holds each of them twice; the counts are the same, and the reason is another."""
    state = {name: weight.clone() for name, weight in lab_state(policy).items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": lab_state(policy)}, tmp_path / "a.pt")
    copies, shared = (inspect(tmp_path / name).parts for name in ("a.safetensors", "a.pt"))
    assert copies.counts == shared.counts
    assert copies.total.unique == elements(policy.parameters())
    assert {twice.told_by for twice in copies.twice} == {"content"}
    assert {twice.told_by for twice in shared.twice} == {"storage"}
    assert [twice.parameters for twice in copies.twice] == [twice.parameters for twice in shared.twice]


def test_copies_with_other_values_are_a_fault(tmp_path, policy):
    state = {name: weight.clone() for name, weight in lab_state(policy).items()}
    name = next(name for name in state if name.startswith("model.model.") and "lora_B" in name)
    state[name].view(-1)[-1] += 1
    torch.save({"state_dict": state, **LIGHTNING}, tmp_path / "a.ckpt")
    found = inspect(tmp_path / "a.ckpt")
    assert [pair[1] for pair in found.parts.differ] == [name]
    assert any("twice with different values" in fault for fault in found.faults)
    assert found.parts.total.unique == elements(policy.parameters()) + state[name].numel()


def test_an_untied_lm_head_is_a_parameter_of_its_own(tmp_path, policy):
    state = lab_state(policy)
    for name in ("model.backbone", "model.model"):
        state[f"{name}.base_model.model.text_model.lm_head.weight"] = torch.ones(512, 64)
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    parts = inspect(tmp_path / "a.pt").parts
    assert parts.counts["lm_head"] == Count(tensors=2, listed=2 * 512 * 64, unique=512 * 64)
    assert parts.differ == ()


def test_views_of_one_storage_are_not_one_tensor(tmp_path):
    whole = torch.arange(12.0)
    torch.save({"a": whole[:6], "b": whole[6:], "c": whole[:6], "d": whole[:6].view(2, 3)}, tmp_path / "a.pt")
    parts = inspect(tmp_path / "a.pt").parts
    assert parts.total == Count(tensors=4, listed=24, unique=18)
    assert [twice.example for twice in parts.twice] == [("a", "c")]


def damaged(policy, tmp_path, damage) -> tuple[str, ...]:
    state = {name: weight.clone() for name, weight in lab_state(policy).items() if not name.startswith("model.model.")}
    damage(state)
    torch.save({"state_dict": state, **LIGHTNING}, tmp_path / "a.ckpt")
    return inspect(tmp_path / "a.ckpt").faults


def set_nan(state):
    state["model.act_head.rnn.bias_hh_l1"][[3, 5]] = torch.tensor([float("nan"), float("inf")])


def drop_half(state):
    del state[next(name for name in state if "layers.1." in name and "lora_B" in name)]


def cut_shape(state):
    state["model.act_head.rnn.bias_hh_l1"] = state["model.act_head.rnn.bias_hh_l1"][:-1].clone()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_nan, "hold NaN or infinity: model.act_head.rnn.bias_hh_l1 has 2"),
        (drop_half, "1 weights are missing of parts that are there: "),
        (cut_shape, "head.rnn.bias_hh_l1 is (511,), expected (512,)"),
    ],
)
def test_faults_are_named(tmp_path, policy, damage, message):
    (fault,) = damaged(policy, tmp_path, damage)
    assert message in fault
    assert damaged(policy, tmp_path, lambda state: None) == ()


def test_adapters_on_some_layers_are_whole_but_no_layer_has_a_half(tmp_path, policy):
    folder = write_adapter(policy, tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    state = {name: weight for name, weight in load_file(file).items() if "q_proj" in name or "v_proj" in name}
    save_file(state, file)
    assert inspect(folder).faults == ()
    lost = next(name for name in state if "layers.1." in name and "lora_B" in name)
    save_file({name: weight for name, weight in state.items() if name != lost}, file)
    (fault,) = inspect(folder).faults
    assert fault.startswith("1 weights are missing of parts that are there: ")


def test_what_is_scanned_is_chosen(tmp_path, policy):
    state = lab_state(policy)
    name = "model.backbone.base_model.model.text_model.model.layers.0.ffn.fc1.base_layer.weight"
    state[name] = state[name].clone()
    state[name][0, 0] = float("nan")
    state[name.replace("backbone", "model")] = state[name]
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    trained, everything, nothing = (inspect(tmp_path / "a.pt", scanned=which) for which in ("trained", "all", "none"))
    assert trained.scan.not_finite == {}
    assert everything.scan.not_finite == {name: 1}
    assert everything.scan.tensors == len(list(policy.parameters()))
    assert nothing.scan.tensors == 0


def test_a_zero_action_token_and_idle_adapters_are_noted(tmp_path):
    fresh = make_policy()
    with torch.no_grad():
        fresh.backbone.action_token.zero_()
    notes = " ".join(inspect(write_lightning(fresh, tmp_path / "a.ckpt")).notes)
    assert "action token is zero" in notes
    assert "change nothing" in notes


def test_deepspeed_is_recognised_with_the_way_out(tmp_path):
    folder = tmp_path / "last.ckpt"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "latest").write_text("checkpoint")
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
        torch.save({"x": torch.ones(3)}, folder / "checkpoint" / name)
    for path in (folder, folder / "checkpoint"):
        found = inspect(path)
        assert found.format.name == "deepspeed"
        assert f"python -m deepspeed.utils.zero_to_fp32 '{folder}'" in found.format.convert
        assert len(found.opened.files) == 2
        assert found.fit is None
    torch.save({"module": lab_state(make_policy()), "ds_version": "0.14"}, tmp_path / "states.pt")
    assert inspect(tmp_path / "states.pt").format.name == "deepspeed"


def test_tensors_of_no_known_names(tmp_path):
    torch.save({"conv.weight": torch.ones(3, 3), "conv.bias": torch.ones(3)}, tmp_path / "a.pt")
    found = inspect(tmp_path / "a.pt")
    assert (found.format.name, found.fit) == ("unknown", None)
    assert found.parts.counts == {"other": Count(tensors=2, listed=12, unique=12)}


def test_how_far_the_weights_moved(tmp_path, policy):
    """From a file of the lab's form to one of ours, against the plain formula."""
    moved = copy.deepcopy(policy)
    with torch.no_grad():
        for name, weight in moved.named_parameters():
            if ".lora_" in name:
                weight += 0.1 * torch.randn_like(weight)
        moved.head.rnn.bias_hh_l0 += 1.0
    write_lightning(policy, tmp_path / "a.ckpt")
    state = {name: weight for name, weight in moved.named_parameters() if "velocities" not in name}
    torch.save({"state_dict": state, "mobile_vla": {"schema": 1}}, tmp_path / "b.ckpt")
    sides = []
    for name in ("a.ckpt", "b.ckpt"):
        opened = open_checkpoint(tmp_path / name)
        sides.append((opened.weights, take_apart(opened.weights, recognise(opened).keys)))
    found = compare(*sides)
    lora = [name for name, _ in policy.named_parameters() if ".lora_" in name]
    before, after = (torch.cat([dict(p.named_parameters())[n].flatten() for n in lora]) for p in (policy, moved))
    part = found.parts["lora"]
    assert part.moved.relative == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-5)
    assert part.moved.max == pytest.approx(float((after - before).abs().max()), rel=1e-5)
    assert (part.equal, part.changed) == (0, len(lora))
    head = found.parts["action_head"]
    assert (head.equal, head.changed, head.only_there) == (7, 1, ())
    assert {name.split(".")[1] for name in head.only_here} == {"velocities"}
    assert found.parts["text"].changed == 0
    assert found.most_moved[0][0] == "head.rnn.bias_hh_l0"
    torch.save({"x": torch.ones(2)}, tmp_path / "c.pt")
    other = open_checkpoint(tmp_path / "c.pt")
    with pytest.raises(UserError, match="share no name"):
        compare(sides[0], (other.weights, take_apart(other.weights, recognise(other).keys)))
