"""From a folder, a hub name or `random` to a Kosmos-2 model, its tokenizer and its preprocessing.

`open_source` reads all but the weights, so that a wrong folder is told before anything is made; `load_model` reads
the weights and stops on any name that is missing or unexpected.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoImageProcessor, Kosmos2Config, Kosmos2Model, PreTrainedTokenizerBase

from mobile_vla.core.errors import UserError
from mobile_vla.core.preprocessing import NO_MEAN, NO_STD, Preprocessing
from mobile_vla.models.backbones.kosmos2 import (
    RANDOM,
    BackboneConfig,
    architecture_of,
    default_preprocessing,
    special_ids,
    vision_size,
)
from mobile_vla.models.backbones.tokenizer import load_tokenizer

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
PIL_INTERPOLATION: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
LANGUAGE_MODEL_HEAD = "text_model.lm_head."  # tied to the embeddings, and of no use here


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model without its weights: what is needed to read data for it and to build it.

    weights_preprocessing  what the weights were trained with, as they say themselves
    """

    config: BackboneConfig
    architecture: Kosmos2Config
    tokenizer: PreTrainedTokenizerBase
    special_ids: dict[str, int]
    preprocessing: Preprocessing
    weights_preprocessing: Preprocessing


def open_source(config: BackboneConfig) -> Source:
    """Configuration, tokenizer and preprocessing; `UserError` where the model cannot be had."""
    if config.weights == RANDOM:
        try:
            architecture = architecture_of(config)
            with torch.device("meta"):
                Kosmos2Model(architecture)  # its parts say what does not fit together
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"model.architecture is no Kosmos-2 architecture: {error}") from error
        tokenizer = load_tokenizer(None)
        own = default_preprocessing(architecture)
        if len(tokenizer) > architecture.text_config.vocab_size:
            raise UserError(
                f"model.architecture.text_config.vocab_size={architecture.text_config.vocab_size} is too small: the "
                f"offline tokenizer has {len(tokenizer)} tokens"
            )
    else:
        config = replace(config, weights=_find(config.weights))
        try:
            architecture = architecture_of(config)
            tokenizer = load_tokenizer(config.weights)
        except (OSError, ValueError) as error:
            raise UserError(
                f"model.weights={config.weights}: no Kosmos-2 could be read there ({_first_line(error)}); expected "
                "a local folder with config.json, weights and tokenizer, or a name on the hub that can be reached"
            ) from error
        own = _preprocessing_of(config.weights, architecture)
    ids = special_ids(tokenizer, config.layout)
    chosen = config.preprocessing
    return Source(
        config=config,
        architecture=architecture,
        tokenizer=tokenizer,
        special_ids=ids,
        preprocessing=own if chosen is None else Preprocessing.named(chosen, own.size),
        weights_preprocessing=own,
    )


def load_model(source: Source) -> Kosmos2Model:
    """The backbone in float32, on the CPU, in eval mode; random ones are the same for the same `weights_seed`."""
    if source.config.weights == RANDOM:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(source.config.weights_seed)
            return Kosmos2Model(source.architecture).eval()
    try:
        model, info = Kosmos2Model.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            source.config.weights, config=source.architecture, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"model.weights={source.config.weights} cannot be loaded: {_first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    unexpected = sorted(k for k in info["unexpected_keys"] if not k.startswith(LANGUAGE_MODEL_HEAD))
    wrong = missing or unexpected or sorted(map(str, info.get("mismatched_keys", [])))
    if wrong:
        raise UserError(
            f"model.weights={source.config.weights} does not hold this architecture: {len(missing)} weights missing, "
            f"{len(unexpected)} unexpected (first: {wrong[0]})"
        )
    return model.eval()


def _find(weights: str) -> str:
    """A path must be a model's folder, and comes back in full; a name that is no path is left to the hub."""
    folder = Path(weights).expanduser()
    if not folder.exists():
        if weights.startswith((".", "/", "~")) or weights.count("/") > 1:
            raise UserError(f"model.weights={weights}: no such folder; expected a transformers folder or a hub name")
        return weights
    if not (folder / "config.json").is_file():
        raise UserError(f"model.weights={weights} holds no config.json; expected a transformers folder of Kosmos-2")
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            _check_readable(folder / name, weights)
            return str(folder)
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = set(json.loads(index.read_text())["weight_map"].values())
            absent = sorted(shard for shard in shards if not (folder / shard).is_file())
            if absent:
                raise UserError(f"model.weights={weights} lacks {len(absent)} of {len(shards)} shards: {absent[0]}")
            for shard in sorted(shards):
                _check_readable(folder / shard, weights)
            return str(folder)
    raise UserError(f"model.weights={weights} holds no weights; expected one of {list(WEIGHT_FILES)} (or shards)")


def _check_readable(file: Path, weights: str) -> None:
    """A truncated file is told from its header, before anything is made."""
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"model.weights={weights}: {file.name} is damaged: {_first_line(error)}") from error


def _preprocessing_of(weights: str, architecture: Kosmos2Config) -> Preprocessing:
    """As the checkpoint's image processor says; a checkpoint without one was trained with Kosmos-2's own."""
    try:
        processor = AutoImageProcessor.from_pretrained(weights)
    except (OSError, ValueError):
        return default_preprocessing(architecture)
    resample = int(processor.resample)
    if resample not in PIL_INTERPOLATION:
        raise UserError(f"model.weights={weights}: its image processor resizes with an unknown filter ({resample})")
    normalized = processor.do_normalize
    return Preprocessing(
        size=vision_size(architecture),
        interpolation=PIL_INTERPOLATION[resample],
        mean=tuple(processor.image_mean) if normalized else NO_MEAN,
        std=tuple(processor.image_std) if normalized else NO_STD,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
