"""From a model's settings to what reads data for it (`open_source`), and to its weights (`load_model`).

Both ask the family that the settings are of, and share what holds for all: a wrong setting or folder is told before
anything large is made, and random weights are the same for the same `weights_seed`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import Preprocessing
from mobile_vla.models.backbones.backbone import Backbone
from mobile_vla.models.backbones.model_config import RANDOM, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model without its weights: what is needed to read data for it and to build it.

    weights_preprocessing  what the weights were trained with, as they say themselves
    sketch                 the backbone without values and adapters: it knows widths, layers and layout
    """

    config: ModelConfig
    architecture: Any
    tokenizer: PreTrainedTokenizerBase
    special_ids: dict[str, int]
    preprocessing: Preprocessing
    weights_preprocessing: Preprocessing
    sketch: Backbone


def open_source(config: ModelConfig) -> Source:
    """All but the weights; `UserError` where the model cannot be had."""
    config = config.locate()
    architecture = config.find_architecture()
    sketch = make_sketch(config, architecture)
    tokenizer = config.open_tokenizer()
    own = config.read_preprocessing(architecture)
    words = sketch.embeddings.num_embeddings
    if config.weights == RANDOM and len(tokenizer) > words:
        raise UserError(
            f"model.architecture.text_config.vocab_size={words} is too small: the offline tokenizer has "
            f"{len(tokenizer)} tokens"
        )
    chosen = config.preprocessing
    return Source(
        config=config,
        architecture=architecture,
        tokenizer=tokenizer,
        special_ids=find_special_ids(tokenizer, config),
        preprocessing=own if chosen is None else Preprocessing.named(chosen, own.size),
        weights_preprocessing=own,
        sketch=sketch,
    )


def make_sketch(config: ModelConfig, architecture: Any) -> Backbone:
    """On the meta device; `UserError` where its parts do not fit together."""
    try:
        with torch.device("meta"):
            model = config.create(architecture)
            return config.wrap(model, dict.fromkeys(config.find_layout().special_tokens, 0))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"model.architecture is no architecture of {config.title}: {error}") from error


def load_model(source: Source) -> nn.Module:
    """The backbone's model in float32, on the CPU, in eval mode."""
    config = source.config
    if config.weights != RANDOM:
        return config.load(source.architecture)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.weights_seed)
        return config.create(source.architecture).eval()


def find_special_ids(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> dict[str, int]:
    """Token id of each special token that the layout writes; `UserError` where the tokenizer lacks one."""
    layout = config.find_layout()
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in layout.special_tokens}
    lacking = [name for name, id in ids.items() if not isinstance(id, int) or id == tokenizer.unk_token_id]
    if lacking:
        setting = f"model.layout={layout.name}" if hasattr(config, "layout") else f"model.name={config.name}"
        raise UserError(f"{setting} needs the tokens {lacking}, which this model's tokenizer lacks")
    return {name: id for name, id in ids.items() if isinstance(id, int)}
