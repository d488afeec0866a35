"""A policy without its weights: names, shapes and what is trained, on the meta device, before anything is downloaded.

In: the model's settings, and how many actions its head puts out. Out: a `Policy` that holds no values.
"""

import torch

from mobile_vla.models.backbones.loading import make_sketch
from mobile_vla.models.backbones.model_config import ModelConfig
from mobile_vla.models.policy import Policy


def build_skeleton(config: ModelConfig, chunk: int, num_components: int) -> Policy:
    """`UserError` where the architecture is not known without a download that fails, or does not fit together."""
    architecture = config.find_architecture(download=False)
    backbone = make_sketch(config, architecture)
    with torch.device("meta"):
        backbone.adapt(config.lora)
        head = config.head.build(backbone.context_width, chunk, num_components)
    return Policy(backbone, head, config.default_preprocessing(architecture))
