"""Every option of every group composes into settings that Python accepts."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mobile_vla.models.heads.head import HeadConfig
from mobile_vla.probing.context_probe import ProbeConfig
from mobile_vla.settings.typed import build
from mobile_vla.training.config import TrainConfig

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(f"{file.parent.relative_to(CONF)}={file.stem}" for file in CONF.rglob("*.yaml") if file.parent != CONF)
OF_TINY = [option for option in OPTIONS if option.startswith("model/head_of_tiny=")]
HEADS = [option for option in OPTIONS if option.startswith("model/head=")]
PROBES = [option for option in OPTIONS if option.startswith("probe=")]


REQUIRED = {  # what must be given with an option
    "data=hall": (),
    "data=custom": ("data.root=episodes", "data.source.name=mobile_vla.sources.hdf5.source:Hdf5Source"),
}


def composed(*overrides: str) -> TrainConfig:
    given = REQUIRED.get(overrides[0], ("data.root=episodes",))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("train", [*overrides, *given]), resolve=True)
    return build(TrainConfig, {k: v for k, v in plain.items() if k not in ("out", "name", "run", "config")})


@pytest.mark.parametrize("option", sorted({*OPTIONS} - {*PROBES, *OF_TINY}))
def test_every_option_is_valid(option: str):
    composed(option)


@pytest.mark.parametrize("models", [("tiny", "kosmos2"), ("smolvlm_tiny", "smolvlm")], ids=lambda pair: pair[1])
@pytest.mark.parametrize("option", HEADS)
def test_every_head_goes_with_every_model_and_is_small_for_the_tiny_one(option: str, models: tuple[str, str]):
    small, large = (composed(f"model={model}", option).model.head for model in models)
    assert small.name == large.name == option.partition("=")[2]
    sizes = [build_size(head) for head in (small, large)]
    assert sizes[0] < sizes[1] / 10
    assert large == type(large)(), "the settings of the file are Python's"


def build_size(head: HeadConfig) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in head.build(128, 10, 2).parameters())


@pytest.mark.parametrize("option", PROBES)
def test_every_probe_is_valid_and_the_default_one_is_pythons(option: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("probe", [option, "data.root=episodes"]), resolve=True)["probe"]
    assert build(ProbeConfig, plain) == ProbeConfig() or option != "probe=default"


def test_the_labs_recipe_is_the_labs():
    """The values that its notes and code agree on."""
    config = composed("experiment=mobile_vla_lora", "model=kosmos2")
    assert (config.data.batch_size, config.trainer.accumulate_grad_batches, config.trainer.max_epochs) == (1, 8, 10)
    assert (config.data.window, config.data.chunk, config.optimization.huber_delta) == (8, 10, 1.0)
    assert (config.optimization.lr_at(2048), config.optimization.weight_decay) == (1e-4, 0.01)
    assert (config.optimization.schedule, config.optimization.warmup_epochs) == ("constant", 0.1)
    lora = config.model.lora
    assert (lora.preset, lora.r, lora.alpha, lora.dropout) == ("all", 32, 16, 0.1)
    assert (config.model.head.hidden, config.model.head.layers, config.model.head.mlp) == (512, 4, (1024, 512, 256))
    assert (config.callbacks.checkpoint.save_top_k, config.trainer.gradient_clip_val) == (3, 1.0)


def test_an_experiment_has_the_last_word_and_the_command_line_an_even_later_one():
    assert composed("trainer=cpu", "experiment=demo").trainer.max_epochs == 24
    assert composed("experiment=demo", "trainer.max_epochs=2").trainer.max_epochs == 2
    assert composed("model=tiny", "model/lora=text").model.lora.preset == "text"
