"""The real architecture, counted on the meta device: no weight is made, and every published count must come out."""

import pytest
import torch
from transformers import Kosmos2Config, Kosmos2Model

from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.kosmos2 import Kosmos2Backbone, Kosmos2ModelConfig
from mobile_vla.models.backbones.lora import AdapterConfig
from mobile_vla.models.heads.lstm_decoder import LSTMDecoderConfig
from mobile_vla.models.policy import Policy

KOSMOS2 = 1_664_485_376
HEAD, TOKEN = 12_737_300, 2_048


def real_policy(**adapters) -> Policy:
    with torch.device("meta"):
        backbone = Kosmos2Backbone(Kosmos2ModelConfig(weights="random"), Kosmos2Model(Kosmos2Config()), {})
        backbone.adapt(AdapterConfig(r=32, **adapters))
        head = LSTMDecoderConfig().build(backbone.context_width, 10, 2)
    return Policy(backbone, head, Preprocessing())


@pytest.fixture(scope="module")
def all_adapters() -> Policy:
    return real_policy(preset="all")


def count(module: torch.nn.Module, without: str = "lora_") -> int:
    return sum(weight.numel() for name, weight in module.named_parameters() if without not in name)


def test_kosmos2_has_the_published_parts(all_adapters):
    model = all_adapters.backbone.model
    assert count(model) == KOSMOS2
    assert count(model.text_model) == 1_342_289_920
    assert count(model.vision_model) == 303_179_776
    assert count(model.image_to_text_projection) == 19_015_680


def test_adapters_lie_on_every_linear_layer_once(all_adapters):
    adapters = {n: w for n, w in all_adapters.named_parameters() if "lora_" in n}
    layers = {name.split(".lora_")[0] for name in adapters}
    linears = {
        name.removesuffix(".base_layer")
        for name, module in all_adapters.backbone.named_modules()
        if type(module) is torch.nn.Linear and "lora_" not in name
    }
    assert len(layers) == 293
    assert {name.removeprefix("backbone.") for name in layers} == linears
    assert sum(weight.numel() for weight in adapters.values()) == 43_089_920


def test_text_adapters_stay_in_the_text_decoder():
    policy = real_policy(preset="text")
    adapters = {n: w for n, w in policy.named_parameters() if "lora_" in n}
    assert sum(weight.numel() for weight in adapters.values()) == 28_311_552
    assert all(name.startswith("backbone.model.text_model.model.layers.") for name in adapters)


def test_the_head_has_the_names_and_sizes_of_known_checkpoints(all_adapters):
    head = dict(all_adapters.head.named_parameters())
    names = {f"rnn.{kind}_{part}_l{i}" for kind in ("weight", "bias") for part in ("ih", "hh") for i in range(4)}
    names |= {f"velocities.mlp.{i}.{kind}" for i in (0, 2, 4, 6) for kind in ("weight", "bias")}
    assert len(head) == 24
    assert head.keys() == names
    assert sum(weight.numel() for weight in head.values()) == HEAD
    assert tuple(head["rnn.weight_ih_l0"].shape) == (4 * 512, 2048)
    assert [head[f"velocities.mlp.{i}.weight"].shape[0] for i in (0, 2, 4, 6)] == [1024, 512, 256, 20]


def test_trained_and_total_counts(all_adapters):
    assert all_adapters.backbone.action_token.numel() == TOKEN
    trainable = 43_089_920 + HEAD + TOKEN
    assert all_adapters.num_parameters() == {"trainable": trainable, "total": KOSMOS2 + trainable}


def test_no_parameter_is_registered_twice(all_adapters):
    listed = [id(weight) for _, weight in all_adapters.named_parameters(remove_duplicate=False)]
    assert len(listed) == len(set(listed))


def test_three_components_widen_only_the_last_layer():
    with torch.device("meta"):
        head = LSTMDecoderConfig().build(2048, 10, 3)
    assert count(head) == HEAD + 10 * (256 + 1)
