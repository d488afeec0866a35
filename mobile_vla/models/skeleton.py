"""A policy without its weights: names, shapes and what is trained, on the meta device, before anything is downloaded.

In: the model's settings, and how many actions its head puts out. Out: a `Policy` that holds no values.
"""

import torch
from transformers import Kosmos2Config, Kosmos2Model

from mobile_vla.core.errors import UserError
from mobile_vla.models.backbones.kosmos2 import (
    RANDOM,
    BackboneConfig,
    Kosmos2Backbone,
    architecture_of,
    default_preprocessing,
)
from mobile_vla.models.backbones.layouts import LAYOUTS
from mobile_vla.models.policy import ModelConfig, Policy

HUB_NAME = "microsoft/kosmos-2-patch14-224"  # transformers' default architecture is this model's


def build_skeleton(config: ModelConfig, chunk: int, num_components: int) -> Policy:
    """`UserError` where the architecture is not known without a download that fails, or does not fit together."""
    architecture = find_architecture(config)
    layout = LAYOUTS[config.layout]
    names = (*layout.before_image, *layout.behind_image, *layout.behind_action)
    with torch.device("meta"):
        try:
            model = Kosmos2Model(architecture)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"model.architecture is no Kosmos-2 architecture: {error}") from error
        backbone = Kosmos2Backbone(config, model, dict.fromkeys(names, 0))
        backbone.adapt(config.lora)
        head = config.head.build(backbone.context_width, chunk, num_components)
    return Policy(backbone, head, default_preprocessing(architecture))


def find_architecture(config: BackboneConfig) -> Kosmos2Config:
    """The transformers configuration; of the hub's Kosmos-2 without asking the hub."""
    if config.weights == HUB_NAME:
        return Kosmos2Config()
    try:
        return architecture_of(config)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        where = "model.architecture" if config.weights == RANDOM else f"model.weights={config.weights}"
        raise UserError(f"{where}: no Kosmos-2 configuration could be read there ({reason})") from error
